"""JSON from outside: one reading of a text, or none."""

from __future__ import annotations

import json
from typing import Any

from .window import refuse


def parse_object(data: bytes, subject: str) -> dict[str, Any]:
    """Parse a JSON object strictly.

    `NaN` and `Infinity` are let through: SB3 writes them for attributes that are so (`max_grad_norm=inf`).

    Args:
        data: UTF-8 without a byte order mark.
        subject: what findings call it.

    Raises:
        RefusedError: `json.damaged` for anything else, for a key that occurs twice, for numbers and nesting beyond
            what Python's parser takes.
    """
    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=_no_duplicates)
    except RecursionError:
        raise refuse("json.damaged", subject, "a flat JSON text", "nested too deeply") from None
    except ValueError as error:  # also UnicodeDecodeError, JSONDecodeError, integers of thousands of digits
        raise refuse("json.damaged", subject, "a JSON text", str(error)[:200]) from None
    if not isinstance(value, dict):
        raise refuse("json.damaged", subject, "a JSON object", type(value).__name__)
    return value


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a key occurs twice")
    return value
