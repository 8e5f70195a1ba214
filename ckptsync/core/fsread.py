"""The reading half of fsio: regular files only, translated errors, hashing. Use it as `fsio.<name>`."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from . import names
from .errors import CorruptError, NothingFoundError, UnsafePathError, storage_error

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

CHUNK = 1 << 20


def list_names(folder: Path) -> list[str]:
    """Return the names in a folder in order; none when it does not exist."""
    try:
        return sorted(os.listdir(folder))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise storage_error(error, folder, action="list") from error


def open_regular(path: Path | str, *, follow: bool = False) -> BinaryIO:
    """Open a regular file for reading; never a pipe, device or folder, and no link unless asked.

    Args:
        path: the file.
        follow: accept a symbolic link, for paths that a person typed.

    Raises:
        NothingFoundError: it does not exist.
        UnsafePathError: it is no regular file.
        StorageError: it cannot be opened.
    """
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | (0 if follow else os.O_NOFOLLOW)
    try:
        descriptor = os.open(path, flags)
    except FileNotFoundError:
        raise NothingFoundError(f"{path} does not exist") from None
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO, errno.EMLINK):
            raise UnsafePathError(f"{path} is a link or no regular file") from None
        raise storage_error(error, path, action="read") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise UnsafePathError(f"{path} is no regular file")
    return os.fdopen(descriptor, "rb")


def read_bytes(path: Path | str, *, limit: int) -> bytes:
    """Read a small regular file whole.

    Raises:
        NothingFoundError: it does not exist.
        UnsafePathError: it is no regular file.
        CorruptError: it is larger than `limit` bytes.
    """
    with open_regular(path) as file:
        try:
            # Room for what is there, not for what is allowed; a file that grows meanwhile is cut, and refused as damaged
            data = file.read(min(limit, os.fstat(file.fileno()).st_size) + 1)
        except OSError as error:
            raise storage_error(error, path, action="read") from error
    if len(data) > limit:
        raise CorruptError(f"{path} is larger than {limit} bytes, which is no size for such a file")
    return data


def chunks(path: Path) -> Iterator[bytes]:
    """Read a regular file of any size piece by piece. Raises as `open_regular` does."""
    with open_regular(path) as file:
        while True:
            try:
                chunk = file.read(CHUNK)
            except OSError as error:
                raise storage_error(error, path, action="read") from error
            if not chunk:
                return
            yield chunk


def sha256_file(path: Path) -> str:
    """Return `sha256:<hex>` of a regular file."""
    hasher = hashlib.sha256()
    for chunk in chunks(path):
        hasher.update(chunk)
    return "sha256:" + hasher.hexdigest()


def safe_join(folder: Path, relative: str) -> Path:
    """Join a path from outside below a folder.

    The folder itself may be reached through links: a user may keep data/ on another disk.

    Raises:
        UnsafePathError: it would leave the folder, or a folder on the way is a link.
    """
    *folders, last = names.check_relative(relative)
    path = folder
    for part in folders:
        path = path / part
        if path.is_symlink():
            raise UnsafePathError(f"{path} is a link; nothing is read or written through links")
    return path / last


def free_bytes(path: Path) -> int:
    """Return how many bytes may still be written where a path lies or will lie."""
    while not path.exists():
        path = path.parent
    try:
        usage = os.statvfs(path)
    except OSError as error:
        raise storage_error(error, path, action="measure") from error
    return usage.f_bavail * usage.f_frsize


def used_bytes(folder: Path) -> int:
    """Return how many bytes the files below a folder hold, following no links.

    A file that goes while they are counted does not count.
    """
    total = 0
    folders = [folder]
    while folders:
        try:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(Path(entry.path))
                    else:
                        total += entry.stat(follow_symlinks=False).st_size
        except FileNotFoundError:
            continue
        except OSError as error:
            raise storage_error(error, folder, action="measure") from error
    return total


class Hasher:
    """The sha256 of a stream, computed while the caller does something else with each chunk.

    hashlib lets other threads run, so a copy takes the time of the slower of hashing and writing, not of both.
    A stream of one chunk needs no thread.
    """

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._begun = False
        self._pool: ThreadPoolExecutor | None = None
        self._pending: Future[None] | None = None

    def update(self, chunk: bytes | memoryview) -> None:
        """Take the next chunk; it must not change before the next call."""
        if not self._begun:
            self._begun = True
            self._hash.update(chunk)
            return
        if self._pool is None:
            from concurrent.futures import ThreadPoolExecutor

            self._pool = ThreadPoolExecutor(1)
        self.wait()
        self._pending = self._pool.submit(self._hash.update, chunk)

    def digest(self) -> str:
        """Return `sha256:<hex>` of all chunks so far."""
        self.wait()
        return "sha256:" + self._hash.hexdigest()

    def wait(self) -> None:
        """Wait until no chunk is needed any more."""
        if self._pending is not None:
            self._pending.result()


class HashedWrite:
    """Hands what a function writes on to a file and hashes it on the way; a `write` itself, for `fsio`.

    Args:
        write: fills a file from front to back; it gets this object in the file's place.
    """

    def __init__(self, write: Callable[[BinaryIO], None]) -> None:
        self._fill = write
        self._hash = hashlib.sha256()
        self.size_bytes = 0

    def __call__(self, file: BinaryIO) -> None:
        """Fill a file."""
        self._file = file
        self._fill(cast(BinaryIO, self))

    def write(self, data: bytes | memoryview) -> int:
        """Write some bytes, as a file does."""
        view = memoryview(data).cast("B")
        self._hash.update(view)
        self._file.write(view)
        self.size_bytes += view.nbytes
        return view.nbytes

    @property
    def digest(self) -> str:
        """`sha256:<hex>` of all that was written."""
        return "sha256:" + self._hash.hexdigest()
