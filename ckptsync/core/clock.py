"""The time as people read it. Nothing is ever ordered by it."""

from __future__ import annotations

import time


def now() -> str:
    """Return the time: ISO 8601, UTC, seconds."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
