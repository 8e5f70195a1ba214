"""clean: make room. Removes for good what the attic, the quarantine, results and ended sessions hold."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
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
        size_bytes: what its files hold; files with several names count in each.
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
    items = sorted(_items(project, time.time() if now is None else now), key=lambda item: -item.age_days)
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


def _items(project: Project, now: float) -> Iterator[Item]:
    layout = project.layout
    for kind, place in (("attic", layout.attic), ("quarantine", layout.quarantine)):
        for name in fsio.list_names(place):
            yield _item(kind, place / name, now)
    for record in known_records(project):
        if not record.settled:
            continue
        folders = [("results", layout.results(record.session))]
        folders += [("session", layout.session(record.session) / name) for name in _SESSION_FOLDERS]
        for kind, folder in folders:
            if folder.is_dir():
                yield _item(kind, folder, now)


def _item(kind: str, path: Path, now: float) -> Item:
    size, changed = 0, path.lstat().st_mtime
    for folder, _, files in os.walk(path):
        changed = max(changed, Path(folder).lstat().st_mtime)
        size += sum((Path(folder) / name).lstat().st_size for name in files)
    return Item(kind, path, size, max(0.0, (now - changed) / _DAY))
