from __future__ import annotations

from argparse import ArgumentTypeError
from typing import Any

import pytest

from ckptsync.cli import values


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("lr=1e-4", ("lr", 1e-4)),
        ("n=3", ("n", 3)),
        ("on=true", ("on", True)),
        ("name=ppo", ("name", "ppo")),
        ("layers=[64, 64]", ("layers", [64, 64])),
        ("eq=a=b", ("eq", "a=b")),
        ("empty=", ("empty", "")),
        ("bad=NaN", ("bad", "NaN")),
    ],
)
def test_parameters_are_json_where_they_can_be(typed: str, meant: tuple[str, Any]) -> None:
    assert values.parameter(typed) == meant


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("0", 0), ("512", 512), ("1k", 1000), ("500MB", 500_000_000), ("2GB", 2_000_000_000), ("1.5 GiB", 3 << 29)],
)
def test_sizes(typed: str, meant: int) -> None:
    assert values.amount_of_bytes(typed) == meant


@pytest.mark.parametrize(
    ("parse", "typed"),
    [
        (values.parameter, "no equals sign"),
        (values.parameter, "=1"),
        (values.amount_of_bytes, "2 apples"),
        (values.amount_of_bytes, "-1"),
        (values.whole, "-1"),
        (values.whole, "1.5"),
        (values.whole, ""),
        (values.positive, "0"),
        (values.scenario_mapping, "prefix="),
    ],
)
def test_anything_else_is_refused(parse: Any, typed: str) -> None:
    with pytest.raises(ArgumentTypeError):
        parse(typed)
