"""rollback: let the next session start from an earlier version; a new head, and nothing is erased."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from ...core import fsio, sets
from ...core.errors import CorruptError
from ...core.layout import TrainingTree
from ...project.config import Project, RunConfig
from ...store.repository import ROLLBACK, VersionKey, move_head, read_head, set_head_anew
from ..reporting import NULL_REPORTER, Reporter
from ..standing_at import stand_at
from ..treework import head_in_file, sealed
from .stores import opened
from .version_names import find_version

ROLLBACK_SCHEMA = "ckptsync.rollback/1"


class Local(StrEnum):
    """What became of the training tree."""

    MOVED = "moved"
    UNCHANGED = "unchanged"
    MISSING = "missing"


@dataclass(frozen=True)
class RollbackReport:
    """What a rollback did.

    Args:
        store: the store's URL.
        run: the run.
        version: what the head names now.
        before: what it named before; None where there was no head, or a damaged one.
        local: what became of the training tree; `missing`: it does not have the set.
        gave_way: stems of newer sets of the tree that went to the attic; in a dry run none is looked for.
        dry_run: nothing was changed.
    """

    store: str
    run: str
    version: VersionKey
    before: VersionKey | None
    local: Local
    gave_way: tuple[str, ...] = ()
    dry_run: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object of the command."""
        return {
            "schema": ROLLBACK_SCHEMA,
            "store": self.store,
            "run": self.run,
            "scenario": self.version.scenario,
            "set": self.version.stem,
            "digest": self.version.digest,
            "before": {"set": self.before.stem, "digest": self.before.digest} if self.before is not None else None,
            "local": self.local,
            "gave_way": list(self.gave_way),
            "dry_run": self.dry_run,
        }


def rollback(
    project: Project,
    run: RunConfig,
    word: str,
    *,
    scenario: str | None = None,
    url: str | None = None,
    reporter: Reporter = NULL_REPORTER,
    dry_run: bool = False,
) -> RollbackReport:
    """Move the head of a store to a version, and that of the training tree where the set is here.

    A run of the same command again completes what was cut short: the store's head moves first.

    Args:
        project: the project.
        run: the run.
        word: names the version; see `find_version`.
        scenario: only of this one.
        url: another store than the project's.
        reporter: is told when a server goes on failing.
        dry_run: only say what would be done.

    Raises:
        NothingFoundError: there is no such version.
        UsageError: several versions are meant.
        LockedError: the head was moved meanwhile, or somebody works on the training tree.
        ConfigError: no store is known.
    """
    tree = project.tree(run)
    with opened(project, url, reporter=reporter) as repository:
        version = find_version(repository, run, word, scenario)
        try:
            head = read_head(repository, run.name, version.scenario)
        except CorruptError:
            before = None  # nobody knows what it was; the user says what it shall be
            if not dry_run:
                set_head_anew(repository, version, reason=ROLLBACK)
        else:
            before = head.version if head is not None else None
            if not dry_run and before != version:
                move_head(repository, head, version, reason=ROLLBACK)
        local, gave_way = _local(tree, version, dry_run)
        return RollbackReport(repository.store.url, run.name, version, before, local, gave_way, dry_run)


def _local(tree: TrainingTree, version: VersionKey, dry_run: bool) -> tuple[Local, tuple[str, ...]]:
    with fsio.locked(tree.lock, what=f"the training tree {tree.root}"):
        stored = sealed(sets.scan(tree.checkpoints), version.scenario).get(version.digest)
        if stored is None or stored.manifest is None:
            return Local.MISSING, ()
        head = head_in_file(tree, version.scenario)
        is_there = head is not None and head.digest == version.digest
        # Also where the head is there already: what gives way behind it may have been cut short
        gave_way = () if dry_run else tuple(stand_at(tree, stored.manifest))
        return Local.UNCHANGED if is_there and not gave_way else Local.MOVED, gave_way
