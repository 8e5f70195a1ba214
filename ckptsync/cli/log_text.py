"""A session's log on its way to people and programs: without secrets, and never held whole."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

from .output import redact

LOGS_SCHEMA = "ckptsync.logs/1"
# One JSON object holds at most so much of a log: its end
MAX_JSON_CHARACTERS = 16 << 20


def redact_lines(lines: Sequence[str]) -> list[str]:
    """Return lines with secrets replaced; all at once, for a log may have millions."""
    return redact("\n".join(lines)).split("\n") if lines else []


class LogEnd:
    """Keeps the end of a log for the one object of `--json`."""

    def __init__(self) -> None:
        self._lines: deque[str] = deque()
        self._characters = 0
        self._left_out = 0

    def add(self, lines: Sequence[str]) -> None:
        """Take the next lines."""
        for line in lines:
            self._lines.append(line)
            self._characters += len(line) + 1
        while self._characters > MAX_JSON_CHARACTERS and len(self._lines) > 1:
            self._characters -= len(self._lines.popleft()) + 1
            self._left_out += 1

    def value(self) -> dict[str, Any]:
        """Return what of the object is about the text."""
        return {"text": "".join(f"{line}\n" for line in self._lines), "lines_left_out": self._left_out}
