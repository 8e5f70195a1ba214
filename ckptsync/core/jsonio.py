"""Strict JSON: one canonical form for writing, one suspicious reader for everything from outside."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from typing import Any

MAX_DIGITS = 19


def canonical(value: Any) -> bytes:
    """Return the one byte form of a JSON value: sorted keys, no spaces, UTF-8, no NaN.

    Raises:
        ValueError: a number is not finite, text is no valid Unicode, or it is nested too deeply.
    """
    try:
        text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    return text.encode("utf-8")


def pretty(value: Any) -> bytes:
    """Return a JSON value as indented text for people."""
    return (json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode("utf-8")


def parse(data: bytes, *, non_finite: bool = False) -> Any:
    """Parse JSON from outside.

    Args:
        data: its bytes.
        non_finite: read NaN and infinity as None, for files of scripts that write them.

    Raises:
        ValueError: it is no valid UTF-8 or JSON, has a byte order mark, two equal keys, NaN or
            infinity, an integer of more than 19 digits, or is nested too deeply.
    """
    if data.startswith(b"\xef\xbb\xbf"):
        raise ValueError("it starts with a byte order mark")
    # Checking every integer in Python takes a third of the time, and hardly any file has a long row of digits
    decoders = _CHECKING if data[:1].isdigit() or _LONG_INTEGER.search(data) else _TRUSTING
    try:
        return decoders[non_finite].decode(data.decode("utf-8"))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("an object has two equal keys")
    return result


def _constant(text: str) -> Any:
    raise ValueError(f"{text} is no JSON number")


def _float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):  # 1e999 is a JSON number, but none that a float holds
        raise ValueError(f"{text[:40]} is too large a number")
    return number


def _float_or_none(text: str) -> float | None:
    number = float(text)
    return number if math.isfinite(number) else None


def _integer(text: str) -> int:
    if len(text.lstrip("-")) > MAX_DIGITS:
        raise ValueError(f"an integer has more than {MAX_DIGITS} digits")
    return int(text)


def _decoders(parse_int: Callable[[str], int]) -> tuple[json.JSONDecoder, json.JSONDecoder]:
    """Return the decoder that refuses numbers that are not finite, and the one that reads them as None."""
    return (
        json.JSONDecoder(object_pairs_hook=_pairs, parse_int=parse_int, parse_float=_float, parse_constant=_constant),
        json.JSONDecoder(
            object_pairs_hook=_pairs, parse_int=parse_int, parse_float=_float_or_none, parse_constant=_float_or_none
        ),
    )


# Behind what may stand before a number: digests in texts hold long rows of digits too, and are no numbers
_LONG_INTEGER = re.compile(rb"[\s:,\[-][0-9]{%d}" % (MAX_DIGITS + 1))
_TRUSTING = _decoders(int)
_CHECKING = _decoders(_integer)
