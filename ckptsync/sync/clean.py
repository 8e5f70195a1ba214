"""clean: make room. Removes for good what the attic, the quarantine, results and ended sessions hold."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core import fsio
from ..project.config import Project
from .ledgers import known_records

CLEAN_SCHEMA = "ckptsync.clean/1"
_DAY = 86_400.0
# What the local runner keeps of a session beside its records: copies of what was sent and fetched
_SESSION_FOLDERS = ("working", "input")


@dataclass(frozen=True)
class Item:
    """One folder that may go.

    Args:
        kind: `attic`, `quarantine`, `results` or `session`.
        path: the folder.
        size_bytes: what is free again when it and all older items go. A file that several items have (a segment that
            several sets share) counts in the youngest of them, and in none while something else has it too.
        age_days: since it was last changed.
    """

    kind: str
    path: Path
    size_bytes: int
    age_days: float

    def to_json(self) -> dict[str, Any]:
        """Return the item as it stands in the JSON output."""
        return {
            "kind": self.kind,
            "path": str(self.path),
            "size_bytes": self.size_bytes,
            "age_days": round(self.age_days, 2),
        }


@dataclass(frozen=True)
class CleanPlan:
    """What a clean removes and what stays.

    Args:
        remove: what goes, oldest first.
        keep: what stays.
        dry_run: nothing was removed.
    """

    remove: tuple[Item, ...]
    keep: tuple[Item, ...]
    dry_run: bool = True

    @property
    def freed_bytes(self) -> int:
        """How much goes."""
        return sum(item.size_bytes for item in self.remove)

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object of the command."""
        return {
            "schema": CLEAN_SCHEMA,
            "exit_code": 0,
            "remove": [item.to_json() for item in self.remove],
            "kept_bytes": sum(item.size_bytes for item in self.keep),
            "freed_bytes": self.freed_bytes,
            "dry_run": self.dry_run,
        }


def plan_clean(
    project: Project, older_than_days: float, keep_bytes: int | None = None, *, now: float | None = None
) -> CleanPlan:
    """Say what can go: what is older, then the oldest until the rest fits. Sessions under way are not touched.

    Args:
        project: the project.
        older_than_days: everything older goes.
        keep_bytes: at most so much stays; None: no such limit.
        now: the time, in seconds since 1970.
    """
    items = _items(project, time.time() if now is None else now)
    remove = [item for item in items if item.age_days > older_than_days]
    keep = items[len(remove) :]
    while keep_bytes is not None and keep and sum(item.size_bytes for item in keep) > keep_bytes:
        remove.append(keep.pop(0))
    return CleanPlan(tuple(remove), tuple(keep))


def apply_clean(project: Project, plan: CleanPlan) -> CleanPlan:
    """Remove what a plan names.

    Raises:
        LockedError: somebody works on a training tree, and may need the attic.
    """
    with ExitStack() as stack:
        for tree in sorted({run.tree for run in project.runs.values()}):
            place = project.layout.tree(tree)
            stack.enter_context(fsio.locked(place.lock, what=f"the training tree {place.root}"))
        for item in plan.remove:
            fsio.remove_folder(item.path)
    return CleanPlan(plan.remove, plan.keep, dry_run=False)


@dataclass(frozen=True)
class _Folder:
    """What lies in one folder: (device, inode) -> status of each file."""

    kind: str
    path: Path
    files: Mapping[tuple[int, int], os.stat_result]
    changed: float


def _items(project: Project, now: float) -> list[Item]:
    """Return what may go, oldest first."""
    found = sorted(_folders(project), key=lambda folder: folder.changed, reverse=True)
    names_here = Counter(file for folder in found for file in folder.files)
    counted: set[tuple[int, int]] = set()
    items = []
    for folder in found:
        new = [file for file in folder.files if file not in counted]
        counted.update(new)
        # With more names than were found here, it is needed elsewhere as well: in the training tree
        size = sum(folder.files[file].st_size for file in new if folder.files[file].st_nlink <= names_here[file])
        items.append(Item(folder.kind, folder.path, size, max(0.0, (now - folder.changed) / _DAY)))
    return items[::-1]


def _folders(project: Project) -> Iterator[_Folder]:
    layout = project.layout
    for kind, place in (("attic", layout.attic), ("quarantine", layout.quarantine)):
        for name in fsio.list_names(place):
            yield _folder(kind, place / name)
    for record in known_records(project):
        if not record.settled:
            continue
        yield from (_folder("results", path) for path in [layout.results(record.session)] if path.is_dir())
        session = [layout.session(record.session) / name for name in _SESSION_FOLDERS]
        yield from (_folder("session", path) for path in session if path.is_dir())


def _folder(kind: str, path: Path) -> _Folder:
    files, changed = {}, path.lstat().st_mtime
    for folder, _, inside in os.walk(path):
        changed = max(changed, Path(folder).lstat().st_mtime)
        for name in inside:
            status = (Path(folder) / name).lstat()
            files[status.st_dev, status.st_ino] = status
    return _Folder(kind, path, files, changed)
