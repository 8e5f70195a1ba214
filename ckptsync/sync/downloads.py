"""What was downloaded for a session: digest of each file, and how to tell that it is still the same file."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core import fsio, jsonio, names
from ..core.errors import CkptsyncError

_SCHEMA = "ckptsync.downloads/1"
_MAX_BYTES = 64 << 20


@dataclass(frozen=True)
class Written:
    """A file as it was the moment that it had its name.

    Args:
        digest: of its bytes, hashed on their way.
        state: its inode, size and times.
    """

    digest: str
    state: tuple[int, ...]

    @classmethod
    def at(cls, path: Path, digest: str) -> Written:
        """Take down a file that has just been written."""
        return cls(digest, tuple(_state(path) or ()))

    @property
    def size_bytes(self) -> int:
        """Its length."""
        return self.state[1] if self.state else 0


class Downloads:
    """A record beside the session's other files; when it is lost, files are downloaded and hashed again.

    A file was hashed while it was written. It counts as unchanged while its inode, size and times are
    those of that moment: the kernel sets the time of change on every write, and nobody can set it back.
    An entry is kept only after the file's bytes are durable, so a file that a power cut tore has none.

    Args:
        path: the record.
        folder: the results folder that the files lie in.
    """

    def __init__(self, path: Path, folder: Path) -> None:
        self._path = path
        self._folder = folder
        self._files, self._final = _read(path)

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

    def add(self, name: str, written: Written, *, final: bool) -> None:
        """Note a file that was written and is durable now."""
        self._files[name] = {"digest": written.digest, "final": final, "state": list(written.state)}

    def save(self) -> None:
        """Keep the record."""
        value = {"schema": _SCHEMA, "final": self._final, "files": self._files}
        fsio.write_bytes(self._path, jsonio.canonical(value))

    def begin_final(self) -> None:
        """Remove what was cut short while the session still ran: its files may have changed since then."""
        if self._final:
            return
        for partial in self._folder.rglob(f"*{names.PARTIAL_SUFFIX}"):
            fsio.remove_file(partial)
        self._final = True
        self.save()

    def drop_stale(self, listed: Collection[str]) -> list[str]:
        """Remove files that came while the session ran and that it has not left; return their names.

        Args:
            listed: what it has left.
        """
        stale = [name for name in self._files if name not in listed and self._early(name)]
        for name in stale:
            fsio.remove_file(self._folder / name)
            del self._files[name]
        return sorted(stale)

    def _early(self, name: str) -> bool:
        entry = self._entry(name)
        return entry is not None and entry["final"] is False

    def _entry(self, name: str) -> dict[str, Any] | None:
        entry = self._files.get(name)
        if not isinstance(entry, dict) or entry.get("state") != _state(self._folder / name):
            return None
        return entry


def _read(path: Path) -> tuple[dict[str, Any], bool]:
    try:
        value = jsonio.parse(fsio.read_bytes(path, limit=_MAX_BYTES))
    except (ValueError, CkptsyncError):  # missing or damaged: then everything is looked at again
        return {}, False
    if not isinstance(value, dict) or value.get("schema") != _SCHEMA or not isinstance(value.get("files"), dict):
        return {}, False
    return value["files"], value.get("final") is True


def _state(path: Path) -> list[int] | None:
    try:
        status = path.lstat()
    except OSError:
        return None
    return [status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns]
