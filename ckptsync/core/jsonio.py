"""Strict JSON: one canonical form for writing, one suspicious reader for everything from outside."""

from __future__ import annotations

import json
from typing import Any

MAX_DIGITS = 19


def canonical(value: Any) -> bytes:
    """Return the one byte form of a JSON value: sorted keys, no spaces, UTF-8, no NaN.

    Raises:
        ValueError: a number is not finite, or text is no valid Unicode.
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8")


def pretty(value: Any) -> bytes:
    """Return a JSON value as indented text for people."""
    return (json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode("utf-8")


def parse(data: bytes) -> Any:
    """Parse JSON from outside.

    Raises:
        ValueError: it is no valid UTF-8 or JSON, has a byte order mark, two equal keys, NaN or
            infinity, an integer of more than 19 digits, or is nested too deeply.
    """
    if data.startswith(b"\xef\xbb\xbf"):
        raise ValueError("it starts with a byte order mark")
    try:
        return _DECODER.decode(data.decode("utf-8"))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("an object has two equal keys")
    return result


def _constant(text: str) -> Any:
    raise ValueError(f"{text} is no JSON number")


def _integer(text: str) -> int:
    if len(text.lstrip("-")) > MAX_DIGITS:
        raise ValueError(f"an integer has more than {MAX_DIGITS} digits")
    return int(text)


_DECODER = json.JSONDecoder(object_pairs_hook=_pairs, parse_constant=_constant, parse_int=_integer)
