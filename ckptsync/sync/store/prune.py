"""prune: remove the versions of a run that nothing keeps, and then the bytes that no version needs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from ...core.policy import Retained, why_kept
from ...core.session import SavePolicy
from ...project.config import Project, RunConfig
from ...store.repository import Repository, VersionKey, removing
from ..reporting import Reporter
from .stores import StoredVersion, opened, stored_versions

PRUNE_SCHEMA = "ckptsync.prune/1"
# How long to wait for pushes that are under way
_WAIT_SECONDS = 60.0


@dataclass(frozen=True)
class Judged:
    """What becomes of a version.

    Args:
        key: the version.
        why: why it stays; it goes where nothing keeps it.
    """

    key: VersionKey
    why: tuple[str, ...]


@dataclass(frozen=True)
class PruneReport:
    """What a prune did.

    Args:
        store: the store's URL.
        run: the run.
        versions: every version that was there, by scenario, in order.
        freed_bytes: what was removed of bytes that no version needs; None in a dry run.
        dry_run: nothing was removed.
    """

    store: str
    run: str
    versions: tuple[Judged, ...]
    freed_bytes: int | None
    dry_run: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object of the command."""
        return {
            "schema": PRUNE_SCHEMA,
            "store": self.store,
            "run": self.run,
            "versions": [
                {
                    "scenario": item.key.scenario,
                    "set": item.key.stem,
                    "digest": item.key.digest,
                    "stays": bool(item.why),
                    "why": list(item.why),
                }
                for item in self.versions
            ],
            "freed_bytes": self.freed_bytes,
            "dry_run": self.dry_run,
        }


def prune(
    project: Project,
    run: RunConfig,
    reporter: Reporter,
    *,
    keep_last: int | None = None,
    keep_best: int | None = None,
    keep_every_steps: int | None = None,
    url: str | None = None,
    dry_run: bool = False,
) -> PruneReport:
    """Remove what nothing keeps of a run. A run of the same command again completes what was cut short.

    Args:
        project: the project.
        run: the run; what is not given below is taken from its policy.
        reporter: receives progress.
        keep_last: so many of the newest stay.
        keep_best: so many of the highest score stay.
        keep_every_steps: the first at or after each multiple stays.
        url: another store than the project's.
        dry_run: only say what would go; nothing but names is read.

    Raises:
        ConfigError: no store is known.
        NothingFoundError: the store holds no repository.
        LockedError: somebody pushes to the store or removes things from it.
        CorruptError: a head, a tag or a version is damaged, so nobody knows what is needed; no object is removed then.
    """
    save = run.save
    policy = replace(
        save,
        keep_last=keep_last or save.keep_last,
        keep_best=keep_best or save.keep_best,
        keep_every_steps=keep_every_steps or save.keep_every_steps,
    )
    with opened(project, url, reporter=reporter) as repository:
        return prune_in(repository, run, policy, reporter, wait_seconds=_WAIT_SECONDS, dry_run=dry_run)


def prune_in(
    repository: Repository,
    run: RunConfig,
    policy: SavePolicy,
    reporter: Reporter,
    *,
    wait_seconds: float,
    dry_run: bool = False,
) -> PruneReport:
    """Remove what a policy does not keep of a run; see `prune`.

    Args:
        repository: where.
        run: the run.
        policy: what stays.
        reporter: receives progress.
        wait_seconds: how long to wait for pushes that are under way.
        dry_run: only say what would go.
    """
    where = repository.store.url
    if dry_run:
        return PruneReport(where, run.name, judge(stored_versions(repository, run), policy), None, dry_run)
    with removing(repository, wait_seconds=wait_seconds) as remover:
        versions = judge(stored_versions(repository, run), policy)
        remover.remove([item.key for item in versions if not item.why])
        total = sum(1 for _ in repository.versions())
        with (
            reporter.progress("reading versions", total, "versions") as reading,
            reporter.progress("removing", None) as meter,
        ):
            swept = remover.sweep(read=reading.advance, begin=meter.expect, removed=meter.advance)
    return PruneReport(where, run.name, versions, swept.size_bytes)


def judge(versions: list[StoredVersion], policy: SavePolicy) -> tuple[Judged, ...]:
    """Say of each version why it stays; an empty row of reasons means that it goes.

    What is newer than its scenario's head was left by a rollback, or its push is not over: it stays until the head has
    passed it, and does not take the place of what the head stands on.
    """
    heads = {item.key.scenario: item.key.order for item in versions if item.head}
    ahead = {item.key.digest for item in versions if item.key.order > heads.get(item.key.scenario, item.key.order)}
    why: dict[tuple[str, str], list[str]] = {}
    for scenario in {item.key.scenario for item in versions}:
        passed = [_retained(i.key) for i in versions if i.key.scenario == scenario and i.key.digest not in ahead]
        why |= {(scenario, digest): reasons for digest, reasons in why_kept(passed, policy).items()}
    return tuple(
        Judged(
            item.key,
            (
                *(["head"] if item.head else []),
                *(f"tag {name}" for name in item.tags),
                *(["ahead of the head"] if item.key.digest in ahead else []),
                *why.get((item.key.scenario, item.key.digest), ()),
            ),
        )
        for item in versions
    )


def _retained(key: VersionKey) -> Retained:
    return Retained(key.digest, key.order, key.kind, score=key.score)
