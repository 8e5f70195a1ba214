"""What was downloaded for a session: digest of each file, and how to tell that it is still the same file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..core import fsio, jsonio
from ..core.errors import CkptsyncError

_SCHEMA = "ckptsync.downloads/1"
_MAX_BYTES = 64 << 20


class Downloads:
    """A record beside the session's other files; when it is lost, files are downloaded and hashed again.

    A file was hashed while it was written. It counts as unchanged while its inode, size and times are
    those of that moment: the kernel sets the time of change on every write, and nobody can set it back.

    Args:
        path: the record.
        folder: the results folder that the files lie in.
    """

    def __init__(self, path: Path, folder: Path) -> None:
        self._path = path
        self._folder = folder
        self._files: dict[str, Any] = _read(path)

    def holds(self, name: str, size_bytes: int | None) -> bool:
        """Whether a file is here, unchanged, and was downloaded after its session had ended."""
        entry = self._entry(name)
        return entry is not None and entry["final"] is True and size_bytes in (None, entry["state"][1])

    def digest(self, path: Path) -> str | None:
        """Return the digest that a file had when it was written here, if it is still that file."""
        if not path.is_relative_to(self._folder):
            return None
        entry = self._entry(path.relative_to(self._folder).as_posix())
        return str(entry["digest"]) if entry is not None else None

    def add(self, name: str, digest: str, *, final: bool) -> None:
        """Note a file that has just been written."""
        self._files[name] = {"digest": digest, "final": final, "state": _state(self._folder / name)}

    def save(self) -> None:
        """Keep the record."""
        fsio.write_bytes(self._path, jsonio.canonical({"schema": _SCHEMA, "files": self._files}))

    def _entry(self, name: str) -> dict[str, Any] | None:
        entry = self._files.get(name)
        if not isinstance(entry, dict) or entry.get("state") != _state(self._folder / name):
            return None
        return entry


def _read(path: Path) -> dict[str, Any]:
    try:
        value = jsonio.parse(fsio.read_bytes(path, limit=_MAX_BYTES))
    except (ValueError, CkptsyncError):  # missing or damaged: then everything is looked at again
        return {}
    files = value.get("files") if isinstance(value, dict) and value.get("schema") == _SCHEMA else None
    return files if isinstance(files, dict) else {}


def _state(path: Path) -> list[int] | None:
    try:
        status = path.lstat()
    except OSError:
        return None
    return [status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns]
