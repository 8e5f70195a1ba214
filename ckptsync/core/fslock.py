"""Holding a file's lock, in this process alone. Use it as `fsio.locked`."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import LockedError, storage_error

# Descriptors of the locks that are held now. A forked child (a worker of an environment) would hold them too, and may
# live longer than a process that was killed
_held: set[int] = set()


@contextmanager
def held(descriptor: int, path: Path, *, what: str, wait_seconds: float) -> Iterator[None]:
    """Hold the lock of an open file, and close the file in the end; see `fsio.locked`."""
    _held.add(descriptor)
    try:
        _acquire(descriptor, path, what, time.monotonic() + wait_seconds)
        yield
    finally:
        if descriptor in _held:  # a forked child that unwinds its parent's stack has closed it already
            _held.remove(descriptor)
            os.close(descriptor)


def _acquire(descriptor: int, path: Path, what: str, deadline: float) -> None:
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() >= deadline:
                holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
                raise LockedError(
                    f"{what} is in use by another process" + (f" (process {holder})" if holder.isdigit() else ""),
                    hint="wait until it has ended, then run the same command again",
                ) from None
            time.sleep(0.05)
        except OSError as error:  # some network file systems have no locks: then nothing is safe
            raise storage_error(error, path, action="lock") from error


def _leave_to_parent() -> None:
    """In a forked child: close the copies, which leaves the parent's locks as they are."""
    while _held:
        os.close(_held.pop())


os.register_at_fork(after_in_child=_leave_to_parent)
