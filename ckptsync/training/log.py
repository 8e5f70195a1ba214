"""The session's own lines: on stdout at once, and with their time in training.log.

The one place that prints while a session trains, so that a line never lands in the middle of a bar. A runner
keeps what the script prints in a log of its own; training.log is there for plain local training, whose terminal
is gone one day, and comes home with the outputs.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ..core import fsio
from ..core.clock import now
from ..core.errors import StorageError

# A line of progress every ten seconds fills this in a day; the file before it is kept too
MAX_LOG_BYTES = 1 << 20
OLDER_SUFFIX = ".1"

Write = Callable[[str], None]


def _print(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


class _Outlet:
    """Where lines go: changed by `around_bars` and `kept_in`, used by threads of training and of saving."""

    def __init__(self) -> None:
        self.show: Write = _print
        self.keep: Write | None = None


_OUTLET = _Outlet()


def log(text: str) -> None:
    """Print one line of the session's log, in one piece and at once, and keep it."""
    _OUTLET.show(text)
    if _OUTLET.keep is not None:
        _OUTLET.keep(text)


def around_bars(write: Write | None) -> None:
    """Print through what knows of bars on the terminal from now on; None: there are none any more."""
    _OUTLET.show = write or _print


@contextmanager
def kept_in(path: Path) -> Iterator[None]:
    """Also append every line to a file, with its time, until the end of the block.

    Args:
        path: the file; what earlier sessions left in it stays. When it is full, it becomes `<name>.1` and a
            new one begins, so both together stay below twice MAX_LOG_BYTES.
    """
    before = _OUTLET.keep
    _OUTLET.keep = _Keeper(path).write
    try:
        yield
    finally:
        _OUTLET.keep = before


class _Keeper:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._failed = False

    def write(self, text: str) -> None:
        line = f"{now()} {text}\n".encode("utf-8", "backslashreplace")
        with self._lock:
            try:
                if self._path.exists() and self._path.stat().st_size + len(line) > MAX_LOG_BYTES:
                    fsio.rename(self._path, self._path.with_name(self._path.name + OLDER_SUFFIX))
                fsio.append_line(self._path, line, durable=False)
                self._failed = False
            except StorageError as error:  # a full disk must not end the training; it is told once
                if not self._failed:
                    self._failed = True
                    _OUTLET.show(f"[TRAIN] {error.message}; training goes on")
