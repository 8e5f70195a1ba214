"""An `os` for the rooms that change files that tells of every call that changes a file before it happens."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ckptsync.core import fsio, fssync

_CREATING = os.O_CREAT | os.O_TRUNC
_CHANGING = ("fsync", "rename", "unlink", "mkdir", "rmdir", "link", "ftruncate", "write", "pwrite")


@dataclass(frozen=True)
class Call:
    """One call that changes a file or makes a change durable.

    Args:
        name: `open`, `write`, `fsync`, `rename`, `unlink`, `mkdir`, `rmdir`, `link`, `ftruncate`, `pwrite`.
        path: what it changes; for `rename` and `link` the new name.
        source: for `rename` and `link` the old name.
        data: what is written.
    """

    name: str
    path: str
    source: str | None = None
    data: bytes = b""


class WatchedOs:
    """Stands in for the module `os` inside fsio and fssync.

    Args:
        before: called before each call; what it raises happens instead of it.
        after: called after each.
    """

    def __init__(self, before: Callable[[Call], None], after: Callable[[Call], None] = lambda call: None) -> None:
        self._before = before
        self._after = after
        self._paths: dict[int, str] = {}

    def __getattr__(self, name: str) -> Any:
        function = getattr(os, name)
        if name not in _CHANGING:
            return function

        def watched(*arguments: Any, **options: Any) -> Any:
            return self._run(self._call(name, arguments), lambda: function(*arguments, **options))

        return watched

    def open(self, path: Any, flags: int, mode: int = 0o777) -> int:
        """Open as os.open does; a change only when it may create or cut the file."""
        if flags & _CREATING:
            descriptor = self._run(Call("open", os.fspath(path)), lambda: os.open(path, flags, mode))
        else:
            descriptor = os.open(path, flags, mode)
        self._paths[descriptor] = os.fspath(path)
        return int(descriptor)

    def fdopen(self, descriptor: int, mode: str) -> Any:
        """Open without a buffer, so that each write is one call; files for reading stay as they are."""
        if mode == "rb":
            return os.fdopen(descriptor, mode)
        return _WatchedFile(io.FileIO(descriptor, mode.replace("b", "")), self._paths[descriptor], self._run)

    def _call(self, name: str, arguments: tuple[Any, ...]) -> Call:
        if name in ("rename", "link"):
            return Call(name, os.fspath(arguments[1]), source=os.fspath(arguments[0]))
        target = arguments[0]
        path = os.fspath(target) if not isinstance(target, int) else self._paths.get(target) or _path_of(target)
        data = bytes(arguments[1]) if name in ("write", "pwrite") else b""
        return Call(name, path, data=data)

    def _run(self, call: Call, function: Callable[[], Any]) -> Any:
        self._before(call)
        result = function()
        self._after(call)
        return result


def _path_of(descriptor: int) -> str:
    return os.readlink(f"/proc/self/fd/{descriptor}")  # opened by fsread, whose os nobody watches


class _WatchedFile:
    def __init__(self, file: io.FileIO, path: str, run: Callable[[Call, Callable[[], Any]], Any]) -> None:
        self._file = file
        self._path = path
        self._run = run

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> _WatchedFile:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def write(self, data: Any) -> int:
        """Write all of the data, as a buffered file does."""
        return int(self._run(Call("write", self._path, data=bytes(data)), lambda: self._file.write(data)))


@contextmanager
def watching(watched: WatchedOs) -> Iterator[None]:
    """Let the rooms that change files use another `os` until the end of the block."""
    rooms = (fsio, fssync)
    for room in rooms:
        room.os = watched  # type: ignore[attr-defined]
    try:
        yield
    finally:
        for room in rooms:
            room.os = os  # type: ignore[attr-defined]
