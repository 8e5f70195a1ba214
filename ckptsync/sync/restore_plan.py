"""The plan of a restore, a value: which sets come, where the heads go, what gives way. Reads only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..core import heads, names, sets
from ..core.errors import ExitCode, NothingFoundError
from ..core.findings import Finding, Verdict
from ..core.heads import Head
from ..core.layout import TrainingTree
from ..core.manifest import Manifest
from ..core.sets import StoredSet
from ..project.config import Project, RunConfig
from ..project.lineage import SessionRecord
from .fetch import fetched_sessions
from .ledgers import check_session_of, find_record
from .outputs import Candidate, Outputs, judge_outputs
from .succession import Succession
from .treework import retained, sealed

PLAN_SCHEMA = "ckptsync.restore-plan/1"


@dataclass(frozen=True)
class ScenarioPlan:
    """What a restore will do for one scenario.

    Args:
        scenario: the scenario.
        add: sets that will be copied into the tree.
        head_from: the head now.
        head_to: the head afterwards; None where there is nothing to move it to.
        attic: sets of the tree that give way.
        best: the best set afterwards.
        refused: sets that are not used, with the findings.
        fallback: the newest set is broken, an older good one is used.
        behind: why the head may not move without being told, or None.
        notes: what people should know.
        heal: sets of the tree whose bytes are damaged, with the findings; the session's sound copies replace them.
    """

    scenario: str
    add: tuple[Manifest, ...] = ()
    head_from: Head | None = None
    head_to: Head | None = None
    attic: tuple[Manifest, ...] = ()
    refused: tuple[tuple[StoredSet, tuple[Finding, ...]], ...] = ()
    fallback: bool = False
    behind: str | None = None
    notes: tuple[str, ...] = ()
    heal: tuple[tuple[StoredSet, tuple[Finding, ...]], ...] = ()

    @property
    def copies(self) -> tuple[Manifest, ...]:
        """Sets that will be copied into the tree: new ones, and those that replace damaged ones."""
        return (*_manifests(stored for stored, _ in self.heal), *self.add)

    @property
    def moves(self) -> bool:
        """Whether the head will be another one."""
        return self.head_to is not None and (self.head_from is None or self.head_from.digest != self.head_to.digest)

    def to_json(self) -> dict[str, Any]:
        """Return the scenario as it stands in the JSON outputs."""
        return {
            "add": [_set_json(manifest) for manifest in self.add],
            "head_from": self.head_from.to_json() if self.head_from else None,
            "head_to": self.head_to.to_json() if self.head_to else None,
            "attic": [_set_json(manifest) for manifest in self.attic],
            "heal": _judged_json(self.heal),
            "refused": _judged_json(self.refused),
            "fallback": self.fallback,
            "behind": self.behind,
            "notes": list(self.notes),
        }


def _judged_json(judged: Iterable[tuple[StoredSet, tuple[Finding, ...]]]) -> list[dict[str, Any]]:
    return [{"set": stored.stem, "findings": [finding.to_json() for finding in found]} for stored, found in judged]


def _set_json(manifest: Manifest) -> dict[str, Any]:
    return {"set": manifest.stem, "digest": manifest.digest, "size_bytes": manifest.size_bytes}


@dataclass(frozen=True)
class RestorePlan:
    """What a restore will do.

    Args:
        run: the run.
        session: whose outputs.
        source: folder of each set that will be copied, by digest.
        scenarios: scenario -> its part.
        verdicts: digest -> what the set was judged to be.
    """

    run: str
    session: str
    source: Mapping[str, Path]
    scenarios: Mapping[str, ScenarioPlan] = field(default_factory=dict)
    verdicts: Mapping[str, Verdict] = field(default_factory=dict)

    @property
    def fallback(self) -> bool:
        """Whether an older set than the newest is used anywhere."""
        return any(part.fallback for part in self.scenarios.values())

    @property
    def moves(self) -> bool:
        """Whether any head will be another one."""
        return any(part.moves for part in self.scenarios.values())

    @property
    def exit_code(self) -> int:
        """What the restore will exit with."""
        if any(part.behind for part in self.scenarios.values()):
            return int(ExitCode.LOCKED)
        refused = [f for part in self.scenarios.values() for _, findings in part.refused for f in findings]
        verdicts = [finding.verdict for finding in refused if finding.verdict is not None]
        if not any(part.head_to for part in self.scenarios.values()) and verdicts:
            return int(min(verdicts, key=list(Verdict).index).exit_code)
        return int(ExitCode.PARTIAL if self.fallback or verdicts else ExitCode.OK)

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object of a dry run."""
        return {
            "schema": PLAN_SCHEMA,
            "exit_code": self.exit_code,
            "run": self.run,
            "session": self.session,
            "scenarios": {name: part.to_json() for name, part in self.scenarios.items()},
        }


def plan_restore(
    project: Project,
    run: RunConfig,
    session: str | None = None,
    *,
    explicit: bool | None = None,
    outputs: Outputs | None = None,
) -> RestorePlan:
    """Say what a restore would do; reads only.

    Args:
        project: the project.
        run: the run.
        session: whose outputs; the newest fetched session when None.
        explicit: the user named the session, so the head may go back behind something newer; by default
            that is so when a session is given.
        outputs: the judged outputs, where the caller has them.

    Raises:
        NothingFoundError: nothing was fetched, or the session left no checkpoints.
    """
    record = _record(project, run, session)
    outputs = outputs or judge_outputs(project, run, record)
    if not outputs.scenarios:
        raise NothingFoundError(
            f"No checkpoints found in {project.layout.results(record.session)}" + _about_plain_files(outputs),
            hint="This is normal when training didn't reach its first save; "
            f"'ckptsync logs {record.session}' shows what it printed",
        )
    told = session is not None if explicit is None else explicit
    tree = project.tree(run)
    stored = sets.scan(tree.checkpoints)
    succession = Succession.of(project, run, [*stored, *outputs.stored])
    parts = {
        scenario: _plan_scenario(run, scenario, tree, stored, candidates, record, succession, told=told)
        for scenario, candidates in outputs.scenarios.items()
    }
    return RestorePlan(run.name, record.session, outputs.folders(), parts, outputs.verdicts())


def _about_plain_files(outputs: Outputs) -> str:
    if not outputs.unsealed:
        return ""
    return f"; only plain files without a seal, such as {names.printable(outputs.unsealed[0].stem)}"


def _record(project: Project, run: RunConfig, session: str | None) -> SessionRecord:
    if session is not None:
        check_session_of(run.name, session)
        return find_record(project, session)
    fetched = fetched_sessions(project, run.name)
    if not fetched:
        raise NothingFoundError(f"nothing was fetched for run {run.name} yet", hint=f"ckptsync fetch {run.name}")
    return fetched[-1]


def _plan_scenario(
    run: RunConfig,
    scenario: str,
    tree: TrainingTree,
    stored: Sequence[StoredSet],
    candidates: Sequence[Candidate],
    record: SessionRecord,
    succession: Succession,
    *,
    told: bool,
) -> ScenarioPlan:
    place = heads.standing(tree, list(stored), scenario)
    refused = tuple((c.stored, c.blocking) for c in candidates if c.blocking)
    good = [c for c in candidates if not c.blocking and c.manifest is not None]
    part = ScenarioPlan(scenario, head_from=place.head, refused=refused)
    if not good or good[0].manifest is None:
        return part
    newest = good[0].manifest
    here = sealed(stored, scenario)
    sound = {manifest.digest for manifest in _manifests(c.stored for c in good)}
    part = replace(part, heal=_damaged(s for digest, s in here.items() if digest in sound))
    # Where the head is damaged or its set is gone, the newest seal of the tree stands for it
    current = next((c.manifest for c in place.candidates if c.manifest is not None), None)
    if current is not None and not told and not succession.descends(newest, current):
        ahead = succession.descends(current, newest)
        if ahead:
            return replace(part, head_to=place.head, notes=(f"{newest.stem} was restored before; the head is ahead",))
        return replace(
            part,
            behind=f"{newest.stem} of {record.session} does not go on from the head {current.stem} "
            f"(generation {current.generation})",
        )
    best = _best(good, place.head, here)
    lineage = [m for m in _manifests(here.values()) if succession.descends(newest, m)]
    kept, _ = retained(
        [*lineage, *_manifests(c.stored for c in good)],
        run.save,
        head=newest.digest,
        best=best.digest if best else None,
    )
    keep = {manifest.digest for manifest in kept}
    add = tuple(m for m in _manifests(c.stored for c in reversed(good)) if m.digest in keep and m.digest not in here)
    attic = tuple(m for digest, m in ((d, s.manifest) for d, s in here.items()) if m is not None and digest not in keep)
    newer_broken = any(c.blocking and c.order > good[0].order for c in candidates)
    return replace(
        part,
        add=add,
        head_to=Head.of(newest, best),
        attic=attic,
        fallback=newer_broken,
        notes=(f"the newest set is broken; {newest.stem} is used instead",) if newer_broken else (),
    )


def _manifests(stored: Iterable[StoredSet]) -> list[Manifest]:
    return [s.manifest for s in stored if s.manifest is not None]


def _damaged(stored: Iterable[StoredSet]) -> tuple[tuple[StoredSet, tuple[Finding, ...]], ...]:
    """Return the sets whose files disagree with their seals: a sound seal alone does not make a sound set."""
    hashed: sets.Hashed = {}
    checked = [(s, sets.check_files(s.folder, s.manifest, hashed)) for s in stored if s.manifest is not None]
    return tuple((s, findings) for s, findings in checked if findings)


def _best(good: Sequence[Candidate], head: Head | None, here: Mapping[str, StoredSet]) -> heads.Best | None:
    """Return the best set among those that stay reachable: the session's word where its set is good, else ours."""
    present = {c.manifest.digest for c in good if c.manifest is not None} | set(here)
    claimed = [best for c in good if (best := c.best) is not None]
    ours = [head.best] if head is not None and head.best is not None else []
    reachable = [best for best in [*claimed, *ours] if best.digest in present]
    return max(reachable, key=lambda best: best.score, default=None)
