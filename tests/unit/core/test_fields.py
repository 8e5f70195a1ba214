"""Fields of JSON from outside: the right kind or an error that names the field."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ckptsync.core import fields

DIGEST = "sha256:" + "0" * 64


@pytest.mark.parametrize(
    ("read", "value", "result"),
    [
        (fields.text, "x", "x"),
        (fields.texts, ["a", "b"], ("a", "b")),
        (fields.count, 0, 0),
        (fields.number, 3, 3.0),
        (fields.number, -0.5, -0.5),
        (fields.digest, DIGEST, DIGEST),
        (fields.mapping, {"a": 1}, {"a": 1}),
    ],
)
def test_the_right_kind(read: Callable[..., Any], value: object, result: object) -> None:
    assert read({"key": value}, "key") == result


@pytest.mark.parametrize(
    ("read", "value"),
    [
        (fields.text, 5),
        (fields.texts, "ab"),
        (fields.texts, ["a", 1]),
        (fields.count, -1),
        (fields.count, True),
        (fields.count, 1.0),
        (fields.number, "3"),
        (fields.number, True),
        (fields.digest, "sha256:" + "0" * 63),
        (fields.digest, "sha256:" + "A" * 64),
        (fields.digest, DIGEST + "\n"),
        (fields.mapping, []),
    ],
)
def test_another_kind(read: Callable[..., Any], value: object) -> None:
    for broken in ({"key": value}, {}):
        with pytest.raises(ValueError, match="'key'"):
            read(broken, "key")


def test_one_of_some_words() -> None:
    assert fields.one_of({"key": "a"}, "key", ("a", "b")) == "a"
    with pytest.raises(ValueError, match="expected one of a, b"):
        fields.one_of({"key": "c"}, "key", ("a", "b"))
