"""A folder as a store: durable, on this machine's disk or on one that is mounted."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..core import fsio
from ..core.errors import NothingFoundError, StorageError, UnsafePathError, is_full, storage_error
from ..core.grants import Target
from . import base, walking
from .base import Capabilities, ObjectInfo, PreconditionError, Stored

_LOCK_NAME = ".ckptsync.lock"
_LOCK_SECONDS = 30.0
_NO_ROOM = "'ckptsync prune', or make room on the store's disk, then run the same command again"


class FolderStore:
    """Keeps each object as a file: a name is there when its bytes are whole and safe on the disk.

    Conditions are kept under a lock of the kernel, which ends with the process that holds it. On a network's disk
    they hold as far as its locks do.

    Args:
        root: the folder; made when something is written.
    """

    capabilities = Capabilities(
        conditional_create=True, conditional_update=True, checks_uploads=False, whole_or_nothing=True
    )

    def __init__(self, root: Path) -> None:
        self.url = str(root)
        self._root = root

    def put(
        self,
        key: str,
        data: bytes,
        *,
        create: bool = False,
        replacing: str | None = None,
        digest: str | None = None,
        checked: bool = False,
    ) -> str:
        """Write an object durably; see `Store`."""
        base.check_put(self, key, data, create, replacing)
        path = self._path(key)
        with _room():
            fsio.make_folder(path.parent)
            if not create and replacing is None:
                fsio.write_bytes(path, data)
                return _version(data) if digest is None else digest
        with _room(), self._locked():
            found = _version_of(path)
            if (create and found is not None) or (replacing is not None and found != replacing):
                raise PreconditionError(
                    f"{path} is there already" if create else f"{path} has changed since it was read",
                    hint="somebody else writes here too; run the same command again",
                )
            fsio.write_bytes(path, data)
        return _version(data)

    def read(self, key: str, *, limit: int) -> Stored:
        """Read a small object whole; see `Store`."""
        data = fsio.read_bytes(self._object(key), limit=limit)
        return Stored(data, _version(data))

    def get(self, key: str, offset: int = 0, size: int | None = None) -> Iterator[bytes]:
        """Stream an object's bytes; see `Store`."""
        path = self._object(key)
        with fsio.open_regular(path) as file:
            file.seek(offset)
            left = size
            while left is None or left > 0:
                try:
                    chunk = file.read(fsio.CHUNK if left is None else min(left, fsio.CHUNK))
                except OSError as error:
                    raise storage_error(error, path, action="read") from error
                if not chunk:
                    return
                left = None if left is None else left - len(chunk)
                yield chunk

    def head(self, key: str) -> ObjectInfo | None:
        """Say what an object is; see `Store`."""
        try:
            with fsio.open_regular(self._object(key)) as file:
                status = os.fstat(file.fileno())
        except NothingFoundError:
            return None
        return ObjectInfo(key, status.st_size, status.st_mtime)

    def list(self, prefix: str = "", *, after: str = "") -> Iterator[ObjectInfo]:
        """List the objects below a prefix; see `Store`. Links and other things that are no files are passed over."""
        return walking.walk(self._entries, base.check_prefix(prefix), after)

    def delete(self, key: str) -> None:
        """Remove an object; see `Store`."""
        try:
            fsio.remove_file(self._object(key))
        except NothingFoundError:
            return

    def grant(self, prefix: str, *, seconds: float, max_bytes: int) -> Target:
        """Name the folder of a prefix; who may write there is up to the file system, so nothing expires."""
        return Target(self._path(base.check_prefix(prefix)[:-1]).as_uri())

    def close(self) -> None:
        """Nothing is held open."""

    def _path(self, key: str) -> Path:
        return fsio.safe_join(self._root, base.check_key(key))

    def _object(self, key: str) -> Path:
        """Return the path of an object to read; a folder of keys is none, and nothing lies below an object."""
        path = self._path(key)
        if path.is_dir() or not path.parent.is_dir():
            raise NothingFoundError(f"{path} does not exist")
        return path

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with fsio.locked(self._root / _LOCK_NAME, what=f"the store {self.url}", wait_seconds=_LOCK_SECONDS):
            yield

    def _entries(self, prefix: str) -> Iterator[walking.Entry]:
        try:
            folder = self._path(prefix[:-1]) if prefix else self._root
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        yield walking.Entry(entry.name, True)
                    elif entry.is_file(follow_symlinks=False):
                        yield from _file_entry(entry)
        except (FileNotFoundError, NotADirectoryError, UnsafePathError):
            return
        except OSError as error:
            raise storage_error(error, self._root / prefix, action="list") from error


@contextmanager
def _room() -> Iterator[None]:
    """Say what helps where the disk is full: nothing of the project lies there."""
    try:
        yield
    except StorageError as error:
        if is_full(error):
            error.hint = _NO_ROOM
        raise


def _file_entry(entry: os.DirEntry[str]) -> Iterator[walking.Entry]:
    try:
        status = entry.stat(follow_symlinks=False)
    except FileNotFoundError:  # removed a moment ago
        return
    yield walking.Entry(entry.name, False, status.st_size, status.st_mtime)


def _version(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def _version_of(path: Path) -> str | None:
    try:
        return _version(fsio.read_bytes(path, limit=base.MAX_OBJECT_BYTES))
    except NothingFoundError:
        return None
