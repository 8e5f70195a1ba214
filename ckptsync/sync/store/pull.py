"""pull: bring the newest checkpoint of each scenario from the store into the training tree.

It lands in staging, is judged there as everything that comes from outside, and is then added to the tree; the head
moves last, and only forward, unless the store's head was rolled back.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...core import fsio, sets
from ...core.errors import CorruptError, IncompatibleError, NothingFoundError
from ...core.findings import Finding, Severity, Verdict
from ...core.layout import TrainingTree
from ...core.manifest import Manifest
from ...core.units import size_text
from ...project.config import Project, RunConfig
from ...project.tiers import FAR, NEAR
from ...store.repository import Repository, StoreHead, VersionKey, leads, pull_set, read_head
from ..expectation import expectation
from ..judge import Terms, judge_set
from ..ledgers import open_ledger
from ..reporting import Reporter
from ..standing_at import stand_at
from ..treework import head_in_file
from .stores import opened
from .tier_states import note_pulled

PULL_SCHEMA = "ckptsync.pull/1"
# Members that are loaded by unpickling, which may do anything
_PICKLES = ("environment", "vecnormalize")
_HINT = "where nobody else can write into the store, --mine (or mine = true in [store]) accepts code of your own"


class NoCheckpointError(NothingFoundError):
    """The store can be read, and has nothing of the run: nothing was pushed yet."""


@dataclass(frozen=True)
class PulledSet:
    """What became of one scenario.

    Args:
        version: what the store's head names.
        received_bytes: what was received; None when nothing was done.
        behind: the tree has this set or one that leads on from it, so nothing was done.
        notes: findings about it that are no blockers.
    """

    version: VersionKey
    received_bytes: int | None = None
    behind: bool = False
    notes: tuple[Finding, ...] = ()


@dataclass(frozen=True)
class PullReport:
    """What a pull did.

    Args:
        store: the store's URL.
        run: the run.
        scenarios: one for each that the store knows.
        dry_run: nothing was received.
    """

    store: str
    run: str
    scenarios: tuple[PulledSet, ...]
    dry_run: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object of the command."""
        return {
            "schema": PULL_SCHEMA,
            "store": self.store,
            "run": self.run,
            "scenarios": [
                {
                    "scenario": item.version.scenario,
                    "set": item.version.stem,
                    "digest": item.version.digest,
                    "received_bytes": item.received_bytes,
                    "behind": item.behind,
                    "findings": [finding.to_json() for finding in item.notes],
                }
                for item in self.scenarios
            ],
            "dry_run": self.dry_run,
        }


def pull(
    project: Project,
    run: RunConfig,
    reporter: Reporter,
    *,
    url: str | None = None,
    mine: bool = False,
    patience_seconds: float | None = None,
    dry_run: bool = False,
) -> PullReport:
    """Bring what the store's heads name into a run's training tree.

    Args:
        project: the project.
        run: the run.
        reporter: receives progress.
        url: another store than the project's.
        mine: nobody else can write into the store, so functions and pickles in its checkpoints are the user's own; so
            it is too where the configuration says that of the project's stores.
        patience_seconds: how long a server that fails is tried again; None: the store's own time.
        dry_run: only say what would be brought.

    Raises:
        NoCheckpointError: the store has no checkpoint of this run.
        NothingFoundError: it has no repository.
        ConfigError: no store is known.
        CorruptError: a checkpoint is damaged or not safe; it stays in staging, and the tree is as it was.
        IncompatibleError: a checkpoint has another architecture; as above.
        LockedError: somebody works on the tree, or pulls too.
    """
    tree = project.tree(run)
    mine = mine or (url in (None, NEAR, FAR) and project.stores is not None and project.stores.mine)
    with opened(project, url, reporter=reporter, patience_seconds=patience_seconds) as repository:
        found = [read_head(repository, run.name, scenario) for scenario in run.scenario_names]
        store_heads = [head for head in found if head is not None]
        if not store_heads:
            raise NoCheckpointError(
                f"{repository.store.url} has no checkpoint of {run.name}", hint=f"'ckptsync push {run.name}' sends them"
            )
        with fsio.locked(project.layout.staging / f"pull-{run.name}.lock", what=f"the pull of {run.name}"):
            done = [_bring(project, run, tree, repository, head, reporter, mine, dry_run) for head in store_heads]
    if url in (None, NEAR) and not dry_run:
        note_pulled(project, run, [item.version for item in done])
    return PullReport(repository.store.url, run.name, tuple(done), dry_run)


def _bring(
    project: Project,
    run: RunConfig,
    tree: TrainingTree,
    repository: Repository,
    head: StoreHead,
    reporter: Reporter,
    mine: bool,
    dry_run: bool,
) -> PulledSet:
    version = head.version
    if _is_behind(tree, head):
        return PulledSet(version, behind=True)
    if dry_run:
        return PulledSet(version)
    staging = project.layout.staging / "pull" / run.name
    try:
        stored = repository.read(version)
        with reporter.progress(f"pulling {version.stem}", stored.manifest.size_bytes) as meter:
            pulled = pull_set(repository, version, staging, stored=stored, progress=meter.advance)
    except NothingFoundError as error:
        # The head names it, so this is no store without a checkpoint, from which one would begin at zero
        raise CorruptError(
            f"{version.stem}, which the head names, is not whole in the store: {error.message}",
            hint="'ckptsync scrub' looks for all that is damaged, 'ckptsync repair' puts it back, 'ckptsync rollback'"
            " takes an earlier one",
        ) from None
    notes = _judge(project, run, staging, pulled.manifest, mine)
    with fsio.locked(tree.lock, what=f"the training tree {tree.root}"):
        fsio.make_folder(tree.checkpoints)
        sets.sweep(tree.checkpoints)
        if _is_behind(tree, head):  # somebody was faster while this came
            return PulledSet(version, pulled.received_bytes, behind=True)
        standing = sets.find(tree.checkpoints, version.stem)
        if standing is not None and (standing.manifest is None or standing.manifest.digest != version.digest):
            sets.set_aside(standing, tree.attic)  # another set, or a plain file, of the same N
        # Staging is ours, its files were hashed as they came and read by the judge: no need to copy them. What the tree
        # has of segments is compared
        sets.copy_set(staging, pulled.manifest, tree.checkpoints, link=not pulled.manifest.segments)
        # Before the head moves: what a rollback left is no number for the next session
        left = head.previous if head.previous is not None and head.previous.lineage == version.lineage else version
        open_ledger(project).append(
            "pulled",
            run=run.name,
            scenario=version.scenario,
            set=version.stem,
            lineage=version.lineage,
            generation=max(version.generation, left.generation),
        )
        stand_at(tree, pulled.manifest)
    fsio.remove_folder(staging)
    reporter.line(f"pulled {version.stem}: {size_text(pulled.received_bytes)}")
    return PulledSet(version, pulled.received_bytes, notes=notes)


def _is_behind(tree: TrainingTree, head: StoreHead) -> bool:
    """Whether the tree has what the store's head names, or what may lead on from there.

    What a rollback has left leads nowhere, however new it is.
    """
    here = head_in_file(tree, head.version.scenario)
    if here is None:
        return False
    place = (here.lineage, here.generation, here.num_timesteps)
    return place == head.version.order or leads(head, place)


def _judge(project: Project, run: RunConfig, folder: Path, manifest: Manifest, mine: bool) -> tuple[Finding, ...]:
    """Judge a set that was pulled; return what is worth saying of it. Raises when it is not good."""
    stored = sets.find(folder, manifest.stem)
    here = sets.scan(project.tree(run).checkpoints)
    fit = expectation(project, run, manifest.scenario, stored=here)
    if stored is None:
        raise NothingFoundError(f"{manifest.stem} is not in {folder} any more", hint="run the same command again")
    # A lineage's name proves nothing: whoever can write into the store can write any name
    pickles = [entry.path for entry in manifest.files if entry.role in _PICKLES and entry.digest not in project.trusted]
    if pickles and not mine:
        raise CorruptError(
            f"{manifest.stem} holds pickles, which the next session would load: {', '.join(pickles)}; it lies in"
            f" {folder}, and the tree is as it was",
            hint=_HINT,
        )
    hashed = {folder / entry.path: entry.digest for entry in manifest.files}  # as they came, a moment ago
    terms = Terms(fit.signature, fit.source, mine, project.trusted, proved=hashed.get, with_content=False)
    report = judge_set(stored, terms)
    blockers = [finding for finding in report.findings if finding.severity is Severity.BLOCKER]
    if blockers:
        error = IncompatibleError if report.verdict is Verdict.INCOMPATIBLE else CorruptError
        raise error(
            f"{manifest.stem} is {report.verdict}: {blockers[0]}; it lies in {folder}, and the tree is as it was",
            hint=f"'ckptsync verify {folder}' says more; {_HINT}",
        )
    return tuple(report.findings)
