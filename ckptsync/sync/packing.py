"""The packs that carry sets into a session."""

from __future__ import annotations

from pathlib import Path

from ..core import fsio, names, sets
from ..core.manifest import FileEntry
from ..core.pack import write_pack
from ..project.config import Project, RunConfig
from ..project.lineage import SessionRecord
from .treework import sealed


def staging(project: Project, session: str) -> Path:
    """Return the folder of a session's packs on their way to its runner."""
    run, number = names.parse_session_id(session)
    return project.layout.staging / run / f"s{number:04d}"


def write_packs(project: Project, run: RunConfig, record: SessionRecord) -> dict[str, Path] | None:
    """Write the packs that a session was promised; None when one of their sets is gone.

    The head's pack comes before the best set's and is whole by itself; no segment is packed twice.
    """
    here = sealed(sets.scan(project.tree(run).checkpoints))
    folder = staging(project, record.session)
    packs: dict[str, Path] = {}
    carried: set[FileEntry] = set()
    for promised in record.inputs:
        stored = here.get(promised["digest"])
        if stored is None or stored.manifest is None:
            return None
        fsio.make_folder(folder)
        entries = [entry for entry in stored.manifest.files if entry not in carried]
        carried.update(stored.manifest.segments)
        members = [*(entry.path for entry in entries), stored.stem + names.MANIFEST_SUFFIX]
        packs[promised["file"]] = folder / promised["file"]
        write_pack(packs[promised["file"]], {name: stored.folder / name for name in members})
    return packs
