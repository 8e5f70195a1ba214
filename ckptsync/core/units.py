"""Amounts as people read them."""

from __future__ import annotations

import re

_SIZE = re.compile(r"(?P<number>[0-9]+(?:\.[0-9]+)?)\s*(?P<unit>[kmgt]?)(?P<binary>i?)b?", re.IGNORECASE | re.ASCII)
_POWER = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


def size_text(size_bytes: int) -> str:
    """Return a size for people, in units of 1000 as file managers show it."""
    if size_bytes < 1000:
        return f"{size_bytes} B"
    amount = float(size_bytes)
    for unit in ("kB", "MB", "GB"):
        amount /= 1000
        if amount < 999.95 or unit == "GB":
            break
    return f"{amount:.1f} {unit}"


def duration_text(seconds: float) -> str:
    """Return seconds for people: 4.2 s, 12 min 5 s, 3 h 20 min."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"


def parse_size(text: str) -> int | None:
    """Return the bytes that a text such as 500MB, 2GB, 2GiB or 1000 means; None where it is no size."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        return None
    return int(float(match["number"]) * (1024 if match["binary"] else 1000) ** _POWER[match["unit"].lower()])
