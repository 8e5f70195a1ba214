"""Verdicts of full checks, kept for `ls` as long as nothing they rest on has changed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..core import fsio, jsonio
from ..core.errors import CkptsyncError, StorageError
from ..core.findings import Verdict
from ..core.manifest import Manifest
from ..project.config import Project
from .report import CheckpointReport

_SCHEMA = "ckptsync.verdicts/1"
_MAX_BYTES = 64 << 20


class VerdictCache:
    """A small file in the project's cache; it can be removed at any time.

    A verdict counts while the manifest is the same and every file of the set has the size and the time of
    change that it had when it was judged. It says nothing about bits that rot on the disk: `verify` does.

    Args:
        project: whose cache.
    """

    def __init__(self, project: Project) -> None:
        self._path = project.layout.cache / "verdicts.json"
        self._known: dict[str, Any] | None = None

    def get(self, folder: Path, manifest: Manifest) -> Verdict | None:
        """Return the verdict of a set's last full check if it still holds."""
        known = self._load().get(manifest.digest)
        if not isinstance(known, list) or len(known) != 2 or known[0] not in list(Verdict):
            return None
        return Verdict(known[0]) if known[1] == _state(folder, manifest) else None

    def store(self, reports: Iterable[CheckpointReport]) -> None:
        """Keep the verdicts of sealed sets that were judged in full."""
        judged = [(r.path.parent, r.manifest, r.verdict) for r in reports if r.manifest is not None]
        self.keep((folder, manifest, verdict) for folder, manifest, verdict in judged if verdict is not None)

    def keep(self, judged: Iterable[tuple[Path, Manifest, Verdict]]) -> None:
        """Keep the verdicts of sealed sets by the folder that they lie in now."""
        known = dict(self._load())
        for folder, manifest, verdict in judged:
            known[manifest.digest] = [verdict, _state(folder, manifest)]
        # Who may read a project may judge it; that the result cannot be kept then is no failure of the judging
        with suppress(StorageError):
            fsio.make_folder(self._path.parent)
            fsio.write_bytes(self._path, jsonio.canonical({"schema": _SCHEMA, "sets": known}))
        self._known = known

    def _load(self) -> dict[str, Any]:
        if self._known is None:
            try:
                value = jsonio.parse(fsio.read_bytes(self._path, limit=_MAX_BYTES))
            except (ValueError, CkptsyncError):  # missing or damaged: it is made anew
                value = {}
            found = value.get("sets") if isinstance(value, dict) and value.get("schema") == _SCHEMA else None
            self._known = found if isinstance(found, dict) else {}
        return self._known


def _state(folder: Path, manifest: Manifest) -> str:
    hasher = hashlib.sha256()
    for entry in manifest.files:
        path = folder / entry.path
        try:
            status = path.stat()
        except OSError:  # a file that is gone has no state, so no verdict holds
            return ""
        hasher.update(f"{path.absolute()}\0{status.st_size}\0{status.st_mtime_ns}\0{status.st_ino}\n".encode())
    return hasher.hexdigest()
