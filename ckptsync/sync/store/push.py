"""push: send a run's checkpoints to its store, the oldest first; what is there is not sent again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ...core import heads, sets
from ...core.errors import NothingFoundError
from ...core.manifest import Manifest
from ...core.sets import StoredSet
from ...core.units import size_text
from ...project.config import Project, RunConfig
from ...store.repository import Line, Repository, VersionKey, pushing
from ..reporting import Reporter
from .stores import opened

# So many versions are asked for one by one; a list of all costs a request for each thousand that the store has
_MOST_ASKED = 64
PUSH_SCHEMA = "ckptsync.push/1"


@dataclass(frozen=True)
class PushedSet:
    """One set that was pushed, or would be.

    Args:
        manifest: of the set.
        sent_bytes: what was sent; None in a dry run.
        head: the store's head names it now.
    """

    manifest: Manifest
    sent_bytes: int | None = None
    head: bool = False


@dataclass(frozen=True)
class PushReport:
    """What a push did.

    Args:
        store: the store's URL.
        run: the run.
        pushed: sets that were not there, in the order of their going.
        skipped: stems of sets that were there already.
        dry_run: nothing was sent.
    """

    store: str
    run: str
    pushed: tuple[PushedSet, ...]
    skipped: tuple[str, ...]
    dry_run: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object of the command."""
        return {
            "schema": PUSH_SCHEMA,
            "store": self.store,
            "run": self.run,
            "pushed": [
                {
                    "set": item.manifest.stem,
                    "digest": item.manifest.digest,
                    "size_bytes": item.manifest.size_bytes,
                    "sent_bytes": item.sent_bytes,
                    "head": item.head,
                }
                for item in self.pushed
            ],
            "skipped": list(self.skipped),
            "dry_run": self.dry_run,
        }


def push(
    project: Project, run: RunConfig, reporter: Reporter, *, url: str | None = None, dry_run: bool = False
) -> PushReport:
    """Push the sealed sets of a run's training tree that its next session may start from.

    Args:
        project: the project.
        run: the run.
        reporter: receives progress.
        url: another store than the project's.
        dry_run: only say what would be sent.

    Raises:
        NothingFoundError: the tree has no sealed set, or the store no repository.
        ConfigError: no store is known.
        CorruptError: a file disagrees with its seal; what was pushed before is there.
        LockedError: somebody removes things from the store.
    """
    candidates = required(project, run)
    with opened(project, url, reporter=reporter) as repository:
        return push_to(repository, run, candidates, reporter, dry_run=dry_run)


def required(project: Project, run: RunConfig) -> list[tuple[StoredSet, Manifest]]:
    """Return what `pushable` does. Raises NothingFoundError when that is nothing."""
    candidates = pushable(project, run)
    if not candidates:
        raise NothingFoundError(
            f"{run.name} has no sealed checkpoint to push", hint=f"'ckptsync ls {run.name}' lists what there is"
        )
    return candidates


def push_to(
    repository: Repository,
    run: RunConfig,
    candidates: list[tuple[StoredSet, Manifest]],
    reporter: Reporter,
    *,
    dry_run: bool = False,
) -> PushReport:
    """Push sealed sets that a repository lacks; see `push`."""
    there = _present(repository, run.name, [manifest for _, manifest in candidates])
    wanted = [(stored, manifest) for stored, manifest in candidates if manifest.digest not in there]
    skipped = tuple(manifest.stem for _, manifest in candidates if manifest.digest in there)
    if dry_run:
        pushed = tuple(PushedSet(manifest) for _, manifest in wanted)
    else:
        pushed = _send(repository, run, wanted, reporter)
    return PushReport(repository.store.url, run.name, pushed, skipped, dry_run)


def _present(repository: Repository, run: str, manifests: list[Manifest]) -> set[str]:
    """Return the digests of those manifests whose versions a repository has, however many others it has."""
    if len(manifests) > _MOST_ASKED:
        return {key.digest for key in repository.versions(run)}
    from concurrent.futures import ThreadPoolExecutor

    places = [VersionKey.of(run, manifest).key for manifest in manifests]
    with ThreadPoolExecutor(repository.workers) as pool:
        found = pool.map(repository.store.head, places)
        return {manifest.digest for manifest, info in zip(manifests, found, strict=True) if info is not None}


def pushable(project: Project, run: RunConfig) -> list[tuple[StoredSet, Manifest]]:
    """Return the sealed sets of a tree that its next session may start from, the oldest first."""
    tree = project.tree(run)
    stored = sets.scan(tree.checkpoints)
    found: list[tuple[StoredSet, Manifest]] = []
    for scenario in run.scenario_names:
        usable = heads.standing(tree, stored, scenario).candidates
        found += [(item, item.manifest) for item in reversed(usable) if item.manifest is not None]
    return found


def _send(
    repository: Repository, run: RunConfig, wanted: list[tuple[StoredSet, Manifest]], reporter: Reporter
) -> tuple[PushedSet, ...]:
    if not wanted:
        return ()
    total = sum(manifest.size_bytes for _, manifest in wanted)
    pushed = []
    first = Line(run.name, wanted[0][1].scenario)
    with reporter.progress("pushing", total) as meter, pushing(repository, first=first) as pusher:
        for stored, manifest in wanted:
            done = pusher.push(run.name, stored.folder, stored.stem, progress=meter.advance)
            pushed.append(PushedSet(manifest, done.sent_bytes, done.advanced))
            reporter.line(
                f"pushed {stored.stem}: {size_text(done.sent_bytes)} sent of {size_text(manifest.size_bytes)}"
            )
    return tuple(pushed)
