"""JSON: one form out, a suspicious reader in."""

from __future__ import annotations

import math

import pytest

from ckptsync.core import jsonio


def test_canonical_is_one_form() -> None:
    assert jsonio.canonical({"b": 1, "a": [1.5, "ü", None, True]}) == '{"a":[1.5,"ü",null,true],"b":1}'.encode()
    assert jsonio.canonical({"a": 1, "b": 2}) == jsonio.canonical({"b": 2, "a": 1})


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, "\ud800"])
def test_what_is_no_json_is_not_written(value: object) -> None:
    for write in (jsonio.canonical, jsonio.pretty):
        with pytest.raises(ValueError):
            write({"a": value})


def test_what_is_nested_too_deeply_is_not_written() -> None:
    value: list[object] = []
    for _ in range(100_000):
        value = [value]
    with pytest.raises(ValueError, match="deeply"):
        jsonio.canonical(value)


def test_pretty_ends_with_a_line_break() -> None:
    assert jsonio.pretty({"a": "ü"}) == '{\n  "a": "ü"\n}\n'.encode()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "Expecting"),
        (b"{", "Expecting"),
        (b"{}x", "Extra"),
        (b"\xef\xbb\xbf{}", "byte order"),
        (b"\xff\xfe{}", "decode"),
        (b'{"a":1,"a":2}', "equal keys"),
        (b'{"x":[{"a":1,"a":1}]}', "equal keys"),
        (b"NaN", "no JSON number"),
        (b"[-Infinity]", "no JSON number"),
        (b"1e999", "too large"),
        (b"[-1e999]", "too large"),
        (b"12345678901234567890", "digits"),
        (b"[" * 100_000, "deeply"),
        (b'"a\nb"', "control"),
    ],
)
def test_what_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        jsonio.parse(data)


def test_what_is_read() -> None:
    assert jsonio.parse(b' {"a": [1, -9223372036854775808, 1.5, null, true, "\\u00fc"]} ') == {
        "a": [1, -(2**63), 1.5, None, True, "ü"]
    }


def test_non_finite_numbers_are_none_when_asked() -> None:
    assert jsonio.parse(b"[NaN, Infinity, -Infinity, 1e999, 1.5]", non_finite=True) == [None, None, None, None, 1.5]
    with pytest.raises(ValueError, match="equal keys"):
        jsonio.parse(b'{"a":1,"a":2}', non_finite=True)
