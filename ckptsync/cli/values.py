"""Values of options: what is typed, made into what is meant."""

from __future__ import annotations

from argparse import ArgumentTypeError
from typing import Any

from ..core import jsonio
from ..core.units import parse_size


def whole(text: str) -> int:
    """Parse a whole number from 0 on."""
    if not text.isascii() or not text.replace("_", "").isdigit():
        raise ArgumentTypeError(f"{text!r} is no whole number")
    return int(text.replace("_", ""))


def positive(text: str) -> int:
    """Parse a whole number from 1 on."""
    number = whole(text)
    if number == 0:
        raise ArgumentTypeError("it must be 1 or more")
    return number


def part(text: str) -> tuple[int, int]:
    """Parse K/N, the K-th of N parts."""
    number, _, parts = text.partition("/")
    found = positive(number), positive(parts or "0")
    if found[0] > found[1]:
        raise ArgumentTypeError(f"{text!r} is no part: there are {found[1]}")
    return found


def time_span(text: str) -> float:
    """Parse a time span as 90, 90s, 30m or 12h; returns seconds."""
    from ..project.values import duration

    try:
        return duration(text)
    except ValueError as error:
        raise ArgumentTypeError(f"{text!r} is no time span: {error}") from None


def amount_of_bytes(text: str) -> int:
    """Parse a size as 500MB, 2GB, 2GiB or a number of bytes."""
    size = parse_size(text)
    if size is None:
        raise ArgumentTypeError(f"{text!r} is no size; write it as 500MB or 2GB")
    return size


def parameter(text: str) -> tuple[str, Any]:
    """Parse KEY=VALUE; the value is JSON where it is valid JSON, else a text."""
    key, _, value = _split(text, "KEY=VALUE")
    try:
        return key, jsonio.parse(value.encode())
    except ValueError:
        return key, value


def scenario_mapping(text: str) -> tuple[str, str]:
    """Parse PREFIX=NAME."""
    prefix, _, name = _split(text, "PREFIX=NAME")
    if not name:
        raise ArgumentTypeError(f"{text!r} is not of the form PREFIX=NAME")
    return prefix, name


def _split(text: str, form: str) -> tuple[str, str, str]:
    parts = text.partition("=")
    if not parts[0] or not parts[1]:
        raise ArgumentTypeError(f"{text!r} is not of the form {form}")
    return parts
