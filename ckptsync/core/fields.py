"""Fields of JSON objects from outside, each checked for its kind. All raise ValueError that names the field."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}", re.ASCII)


def text(value: Mapping[str, Any], key: str) -> str:
    """Return a text."""
    found = value.get(key)
    if not isinstance(found, str):
        raise ValueError(f"field {key!r} is no text")
    return found


def texts(value: Mapping[str, Any], key: str) -> tuple[str, ...]:
    """Return a list of texts."""
    found = value.get(key)
    if not isinstance(found, list) or not all(isinstance(item, str) for item in found):
        raise ValueError(f"field {key!r} is no list of texts")
    return tuple(found)


def one_of(value: Mapping[str, Any], key: str, allowed: tuple[str, ...]) -> str:
    """Return one of some words."""
    found = text(value, key)
    if found not in allowed:
        raise ValueError(f"field {key!r} is {found!r}, expected one of {', '.join(allowed)}")
    return found


def count(value: Mapping[str, Any], key: str) -> int:
    """Return an integer that is not negative; True is none."""
    found = value.get(key)
    if type(found) is not int or found < 0:
        raise ValueError(f"field {key!r} is no count")
    return found


def number(value: Mapping[str, Any], key: str) -> float:
    """Return a number; True is none."""
    found = value.get(key)
    if not isinstance(found, int | float) or isinstance(found, bool):
        raise ValueError(f"field {key!r} is no number")
    return float(found)


def digest(value: Mapping[str, Any], key: str) -> str:
    """Return `sha256:` and 64 hexadecimal digits."""
    found = value.get(key)
    if not isinstance(found, str) or not _DIGEST.fullmatch(found):
        raise ValueError(f"field {key!r} is no sha256 digest")
    return found


def mapping(value: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Return an object."""
    found = value.get(key)
    if not isinstance(found, dict):
        raise ValueError(f"field {key!r} is no object")
    return found
