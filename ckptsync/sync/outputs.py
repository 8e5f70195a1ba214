"""A session's downloaded outputs, judged: which of its sets may come into the training tree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..core import heads, sets
from ..core.errors import NothingFoundError
from ..core.findings import Finding, Severity, Verdict, worst
from ..core.heads import Best
from ..core.layout import TrainingTree
from ..core.manifest import Manifest
from ..core.sets import SetState, StoredSet
from ..project.config import Project, RunConfig
from ..project.lineage import SessionRecord
from .downloads import Downloads
from .expectation import expectation
from .judge import Terms, judge_set
from .makers import Makers
from .report import CheckpointReport


@dataclass(frozen=True)
class Candidate:
    """One set that the session made.

    Args:
        stored: the set.
        blocking: why it may not be used; empty when it may.
        report: its judgement; None where it was refused before anybody read it.
        best: what the session's own head calls the best set.
    """

    stored: StoredSet
    blocking: tuple[Finding, ...]
    report: CheckpointReport | None = None
    best: Best | None = None

    @property
    def manifest(self) -> Manifest | None:
        """Its seal, where that is sound."""
        return self.stored.manifest

    @property
    def order(self) -> tuple[int, int]:
        """Sort key within the session: its generation is one, so N decides; a broken seal says N by its name."""
        return (0, self.stored.num_timesteps)


@dataclass(frozen=True)
class Outputs:
    """All sets among the outputs.

    Args:
        scenarios: scenario -> candidates, newest first.
        stored: every set that was found, those that the session was given included.
        unsealed: plain files that nothing vouches for; `adopt` takes them.
        findings: what concerns no candidate.
    """

    scenarios: Mapping[str, Sequence[Candidate]]
    stored: Sequence[StoredSet]
    unsealed: Sequence[StoredSet] = ()
    findings: tuple[Finding, ...] = ()

    def folders(self) -> dict[str, Path]:
        """Return where each candidate lies, by digest."""
        return {m.digest: c.stored.folder for c in self._candidates if (m := c.manifest) is not None}

    def verdicts(self) -> dict[str, Verdict]:
        """Return what each candidate that was read is judged to be, by digest."""
        judged = ((c.manifest, c.report.verdict) for c in self._candidates if c.report is not None)
        return {m.digest: verdict for m, verdict in judged if m is not None and verdict is not None}

    @property
    def _candidates(self) -> list[Candidate]:
        return [c for candidates in self.scenarios.values() for c in candidates]

    @property
    def verdict(self) -> Verdict | None:
        """The worst verdict of all candidates; None when there are none."""
        found = self._candidates
        blocking = [f.verdict for c in found for f in c.blocking if f.verdict is not None]
        judged = [c.report.verdict for c in found if c.report is not None and c.report.verdict is not None]
        return worst([*blocking, *judged])


def judge_outputs(project: Project, run: RunConfig, record: SessionRecord) -> Outputs:
    """Judge what a session left, newest first; the sets that it was given do not count.

    Raises:
        NothingFoundError: nothing was fetched.
    """
    folder = project.layout.results(record.session)
    if not folder.is_dir():
        raise NothingFoundError(f"nothing of {record.session} was fetched", hint=f"ckptsync fetch {record.session}")
    tree = TrainingTree(folder / record.spec.tree)
    stored = sets.scan(tree.checkpoints)
    makers = Makers.of(project, record)
    downloads = Downloads(project.layout.session(record.session) / "downloads.json", folder)
    scenarios: dict[str, list[Candidate]] = {}
    for scenario in dict.fromkeys(s.scenario for s in stored):
        fit = expectation(project, run, scenario)
        terms = Terms(fit.signature, fit.source, own=True, trusted=project.trusted, proved=downloads.digest)
        made = [s for s in stored if s.scenario == scenario and not makers.given(s.manifest) and _is_sealed(s)]
        made.sort(key=lambda s: s.num_timesteps, reverse=True)
        best = _best(tree, scenario)
        candidates = [_judge(makers, s, terms, fit.findings, best) for s in made]
        if candidates:
            scenarios[scenario] = candidates
    unsealed = [s for s in stored if s.state is SetState.UNSEALED]
    torn = tuple(s.finding for s in stored if s.state is SetState.TORN and s.finding is not None)
    return Outputs(scenarios, stored, unsealed, torn)


def _is_sealed(stored: StoredSet) -> bool:
    return stored.state in (SetState.SEALED, SetState.CORRUPT)


def _judge(
    makers: Makers,
    stored: StoredSet,
    terms: Terms,
    doubts: Sequence[Finding],
    best: Best | None,
) -> Candidate:
    foreign = makers.foreign(stored)
    if foreign is not None:
        return Candidate(stored, (foreign,))
    report = judge_set(stored, terms)
    blocking = [finding for finding in [*report.findings, *doubts] if finding.severity is Severity.BLOCKER]
    return Candidate(stored, tuple(blocking), report, best)


def _best(tree: TrainingTree, scenario: str) -> Best | None:
    try:
        head = heads.read_head(tree, scenario)
    except ValueError:  # the session's head file decides nothing here; only what it calls best is lost
        return None
    return head.best if head is not None else None
