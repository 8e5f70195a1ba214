"""Making bytes and names durable, once they are written."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from pathlib import Path

from .errors import storage_error
from .fsread import open_regular

# Folders on some file systems cannot be synced at all; that is no failure. EIO is one.
_NO_DIRECTORY_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EBADF)
# How many files are synced at the same time, and from how many on that pays
_TOGETHER = 16
_FEW = 4


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
