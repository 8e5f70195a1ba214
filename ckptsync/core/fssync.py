"""Making bytes and names durable, once they are written."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from contextlib import nullcontext, suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from .errors import storage_error
from .fsread import open_regular

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

# Folders on some file systems cannot be synced at all; that is no failure. EIO is one.
_NO_DIRECTORY_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EBADF)
# How many files are synced at the same time, and from how many on that pays
_TOGETHER = 16
_FEW = 4
# So much of a file is written before the disk is asked for it
_EARLY_BYTES = 32 << 20


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable.

    Raises:
        StorageError: it failed; whether the names are durable is not known then.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0))
        try:
            os.fsync(descriptor)
        except OSError as error:
            if error.errno not in _NO_DIRECTORY_SYNC:
                raise
        finally:
            os.close(descriptor)
    except OSError as error:
        raise storage_error(error, folder, action="sync") from error


def sync_file(path: Path) -> None:
    """Make the bytes of a regular file durable that somebody else wrote."""
    with open_regular(path) as file:
        try:
            os.fsync(file.fileno())
        except OSError as error:
            raise storage_error(error, path, action="sync") from error


class EarlySync:
    """Lets the disk write what has come of a long file while more of it comes, so that the end is not waited for.

    It promises nothing: the file is synced at its end as ever. As a context it leaves nothing behind that still runs.

    Args:
        descriptor: of the file; it stays open until the end of the block.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._written = 0
        self._pool: ThreadPoolExecutor | None = None
        self._pending: Future[None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError) if kind is not None else nullcontext():  # what came first is what gets reported
            self._wait()
        if self._pool is not None:
            self._pool.shutdown()

    def wrote(self, size: int) -> None:
        """Say that so many bytes more were written. Raises OSError when earlier ones cannot be made durable."""
        self._written += size
        if self._written < _EARLY_BYTES or (self._pending is not None and not self._pending.done()):
            return
        self._wait()
        if self._pool is None:
            from concurrent.futures import ThreadPoolExecutor

            self._pool = ThreadPoolExecutor(1)
        self._written = 0
        self._pending = self._pool.submit(getattr(os, "fdatasync", os.fsync), self._descriptor)

    def _wait(self) -> None:
        # A disk that failed says so once: the sync at the end would know nothing of it
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()


def sync_files(paths: Iterable[Path]) -> None:
    """Make files durable that were just written, and their names: each file, then each folder once.

    File systems with a journal make many files durable with one entry in it, if they are asked for them together:
    asked one after the other, a busy disk takes twenty times as long.
    """
    files = list(paths)
    if len(files) < _FEW:
        for path in files:
            sync_file(path)
    else:
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(_TOGETHER) as pool:
            for done in [pool.submit(sync_file, path) for path in files]:
                done.result()
    for folder in {path.parent for path in files}:
        sync_folder(folder)
