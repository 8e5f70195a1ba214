"""Whatever fsspec speaks: memory, sftp, gs, az, hf and so on. Its packages are loaded on use.

fsspec promises less than a store of its own does, so this one says of itself that it can do little, and the
repository above takes its leases instead of conditions.
"""

from __future__ import annotations

import ftplib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar

from ..core import names
from ..core.errors import (
    CorruptError,
    NothingFoundError,
    ServiceError,
)
from ..core.patience import Patience
from . import base, walking
from . import fsspec_connections as connections
from .asking import PATIENCE, ask
from .base import Capabilities, ObjectInfo, Stored
from .fsspec_errors import translated

_CHUNK = 8 << 20
# Of these an object is there whole or not at all; elsewhere a file grows while it is written
_OBJECT_STORES = frozenset({"memory", "s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "oci", "oss", "hf"})
# These rename in one step, so a file is written under another name first
_RENAMING = frozenset({"sftp", "ssh", "smb", "local", "file"})
_TIMES = ("mtime", "LastModified", "updated", "last_modified", "timeModified", "created")
_RACES = 5

T = TypeVar("T")


class FsspecStore:
    """Keeps each object as a file of a file system that fsspec knows.

    Args:
        url: as fsspec takes it, without secrets.
        options: for the file system.
        patience: how long a server that fails is asked again.

    Raises:
        ConfigError: fsspec or the package for this protocol is not installed, or nobody knows the protocol.
    """

    def __init__(self, url: str, options: Mapping[str, str] | None = None, *, patience: Patience = PATIENCE) -> None:
        self.url = url
        protocol = url.partition(":")[0].casefold()
        self._renames = protocol in _RENAMING
        self._has_folders = protocol not in _OBJECT_STORES
        self.capabilities = Capabilities(
            conditional_create=False,
            conditional_update=False,
            checks_uploads=False,
            whole_or_nothing=self._renames or protocol in _OBJECT_STORES,
        )
        self._patience = patience
        self._options = dict(options or {})
        self._connections = connections.Connections(url, dict(options or {}))
        self._folders: set[str] = set()  # that are there

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
        """Write an object; see `Store`."""
        base.check_put(self, key, data, create, replacing)
        self._write(key, lambda: data)
        return ""

    def put_stream(self, key: str, chunks: Callable[[], Iterable[bytes]]) -> None:
        """Write an object of any size; see `StreamingStore`."""
        self._write(key, chunks)

    def read(self, key: str, *, limit: int) -> Stored:
        """Read a small object whole; see `Store`. It has no version here."""
        path = self._path(key)
        try:
            data = self._call(f"read {key}", lambda system: connections.read(system, path, 0, limit + 1))
        except ServiceError as error:
            if not error.transient and self.head(key) is None:  # a folder, which some read without saying so
                raise NothingFoundError(f"cannot read {key} in {self.url}: it is not there") from None
            raise
        if len(data) > limit:
            raise CorruptError(f"{self.url}/{key} is larger than {limit} bytes, which is no size for such an object")
        return Stored(data, "")

    def get(self, key: str, offset: int = 0, size: int | None = None) -> Iterator[bytes]:
        """Stream an object's bytes; see `Store`."""
        path = self._path(key)
        info = self.head(key)
        if info is None:
            raise NothingFoundError(f"cannot read {key} in {self.url}: it is not there")
        end = info.size_bytes if size is None else min(info.size_bytes, offset + size)
        while offset < end:
            chunk = self._call(f"read {key}", self._range(path, offset, min(end, offset + _CHUNK)))
            if not chunk:
                return
            offset += len(chunk)
            yield chunk

    def head(self, key: str) -> ObjectInfo | None:
        """Say what an object is; see `Store`."""
        path = self._path(key)

        def look(system: Any) -> Any:
            system.invalidate_cache()
            return system.info(path)

        try:
            info = self._call(f"look at {key}", look)
        except NothingFoundError:
            return None
        return ObjectInfo(key, int(info["size"] or 0), _modified(info)) if info["type"] == "file" else None

    def list(self, prefix: str = "", *, after: str = "") -> Iterator[ObjectInfo]:
        """List the objects below a prefix; see `Store`."""
        return walking.walk(self._entries, base.check_prefix(prefix), after)

    def delete(self, key: str) -> None:
        """Remove an object; see `Store`."""
        path = self._path(key)
        try:
            self._call(f"remove {key}", lambda system: system.rm_file(path))
        except NothingFoundError:
            return
        except ServiceError as error:
            if error.transient or self.head(key) is not None:
                raise

    def close(self) -> None:
        """Let go of connections; fsspec keeps those that others may use, too."""
        self._connections.close()

    def _path(self, key: str) -> str:
        return f"{self._connections.root}/{base.check_key(key)}"

    def _range(self, path: str, start: int, end: int) -> Callable[[Any], bytes]:
        return lambda system: connections.read(system, path, start, end)

    def _write(self, key: str, content: Callable[[], bytes | Iterable[bytes]]) -> None:
        """Write an object: under another name first where a rename takes one step."""
        path = self._path(key)
        folder, _, name = path.rpartition("/")
        written = f"{folder}/{names.temporary_name(name, os.urandom(4).hex())}" if self._renames else path

        def whole(system: Any) -> None:
            connections.write(system, written, content())
            if written != path:
                system.mv(written, path)

        def with_folder(system: Any) -> None:
            # Asked for once each: far away, every part of a path is a question
            if folder in self._folders or not self._has_folders:
                try:
                    return whole(system)
                except FileNotFoundError:  # somebody has removed it
                    if not self._has_folders:
                        raise
                    self._folders.discard(folder)
            _make_folder(system, folder)
            self._folders.add(folder)
            return whole(system)

        self._call(f"write {key}", with_folder)

    def _entries(self, prefix: str) -> Iterator[walking.Entry]:
        folder = f"{self._connections.root}/{prefix}".rstrip("/")

        def look(system: Any) -> Any:
            system.invalidate_cache()
            return system.ls(folder, detail=True)

        try:
            found = self._call(f"list {prefix or 'everything'}", look)
        except NothingFoundError:
            return
        for info in found:
            name = info["name"].rstrip("/").rpartition("/")[2]
            if info["type"] == "directory" and info["name"].rstrip("/") != folder:
                yield walking.Entry(name, True)
            elif info["type"] == "file" and info["name"] != folder:
                yield walking.Entry(name, False, int(info["size"] or 0), _modified(info))

    def _call(self, action: str, function: Callable[[Any], T]) -> T:
        def call() -> T:
            with self._connections.one() as system:
                return function(system)

        return ask(self._patience, call, lambda error: translated(error, action, self.url))


def _make_folder(system: Any, folder: str) -> None:
    for left in reversed(range(_RACES)):
        try:
            system.makedirs(folder, exist_ok=True)
            return
        except (OSError, ftplib.error_perm):  # others make it, too, or one above it
            if system.isdir(folder):
                return
            if not left:
                raise


def _modified(info: Mapping[str, Any]) -> float | None:
    found = next((info[name] for name in _TIMES if info.get(name) is not None), None)
    if isinstance(found, str):
        try:
            found = datetime.fromisoformat(found)
        except ValueError:
            return None
    if isinstance(found, datetime):
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    return float(found) if isinstance(found, int | float) else None
