"""The quarantine: what was refused, each set with the reason beside it. Nothing is deleted by a refusal."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ..core import fsio, jsonio, sets
from ..core.clock import now
from ..core.errors import CkptsyncError
from ..core.findings import Finding
from ..core.sets import StoredSet
from ..project.config import Project

REASON_NAME = "reason.json"
_SCHEMA = "ckptsync.refusal/1"


def move_to_quarantine(project: Project, stored: StoredSet, findings: Iterable[Finding]) -> Path:
    """Move a broken set out of a training tree; the caller holds its lock. Returns the folder it is in now."""
    folder = sets.set_aside(stored, project.layout.quarantine)
    _write_reason(folder, stored, findings)
    return folder


def copy_to_quarantine(project: Project, stored: StoredSet, findings: Iterable[Finding]) -> Path:
    """Give the files of a refused download a second name in the quarantine: results stay as they came.

    Returns the folder they are in as well.
    """
    files, _ = sets.members(stored.folder, stored.stem)  # a link or a pipe is evidence by its finding only
    manifest = stored.manifest
    digest = manifest.digest if manifest is not None else sets.digest_of_files(stored.folder, stored.stem)
    folder = sets.attic_folder(project.layout.quarantine, digest)
    fsio.make_folder(folder)
    for name in [*sets.segments_of(stored), *files]:
        sets.give_second_name(stored.folder, name, folder)
    _write_reason(folder, stored, findings)
    return folder


def _write_reason(folder: Path, stored: StoredSet, findings: Iterable[Finding]) -> None:
    reason = {
        "schema": _SCHEMA,
        "at": now(),
        "from": str(stored.folder),
        "set": stored.stem,
        "findings": [finding.to_json() for finding in findings],
    }
    try:
        fsio.write_bytes(folder / REASON_NAME, jsonio.pretty(reason))
    except ValueError as error:
        raise CkptsyncError(f"the reason for refusing {stored.stem} cannot be written: {error}") from None
