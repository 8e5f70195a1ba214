"""Sizes as people read and write them."""

from __future__ import annotations

import pytest

from ckptsync.core.units import parse_size, size_text


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (999_949, "999.9 kB"),
        (999_960, "1.0 MB"),
        (5 * 10**13, "50000.0 GB"),
    ],
)
def test_size_text(size_bytes: int, text: str) -> None:
    assert size_text(size_bytes) == text


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [("0", 0), ("1000", 1000), ("500MB", 500 * 10**6), ("1.5 k", 1500), ("2GiB", 2 << 30), (" 20gb ", 20 * 10**9)],
)
def test_parse_size(text: str, size_bytes: int) -> None:
    assert parse_size(text) == size_bytes


@pytest.mark.parametrize("text", ["", "GB", "-1", "1 EB", "1,5GB", "1e9", "many"])
def test_what_is_no_size(text: str) -> None:
    assert parse_size(text) is None
