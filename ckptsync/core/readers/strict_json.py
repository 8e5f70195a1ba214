"""JSON inside a checkpoint: one reading of a text, or a finding."""

from __future__ import annotations

from typing import Any

from .. import jsonio
from .window import refuse


def parse_object(data: bytes, subject: str) -> dict[str, Any]:
    """Parse a JSON object strictly.

    `NaN` and `Infinity` are read as None: SB3 writes them for attributes that are so (`max_grad_norm=inf`).

    Args:
        data: UTF-8 without a byte order mark.
        subject: what findings call it.

    Raises:
        RefusedError: `json.damaged` for anything else.
    """
    try:
        value = jsonio.parse(data, non_finite=True)
    except ValueError as error:
        raise refuse("json.damaged", subject, "a JSON text", str(error)[:200]) from None
    if not isinstance(value, dict):
        raise refuse("json.damaged", subject, "a JSON object", type(value).__name__)
    return value
