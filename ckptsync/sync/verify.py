"""verify: judge a path, a run or a session's outputs. Reads only, executes nothing, needs no lock."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..core import names, sets
from ..core.errors import CkptsyncError, CorruptError, NothingFoundError
from ..core.findings import Finding, Severity, Verdict
from ..core.layout import TrainingTree
from ..core.sets import SetState, StoredSet
from .expectation import Expectation, expectation
from .judge import Terms, judge_file, judge_set
from .report import CheckpointReport, FileReport, VerifyReport
from .reporting import NullReporter, Reporter, shown_path
from .targets import Target, find_target

# Judging a file outside any project needs no configuration and no ledger, so they are imported where they are used
if TYPE_CHECKING:
    from ..project.config import Project, RunConfig

__all__ = [
    "CheckpointReport",
    "Expectation",
    "FileReport",
    "VerifyReport",
    "expectation",
    "verify_path",
    "verify_run",
    "verify_session",
]

# Scenario -> what its sets are judged by
TermsOf = Callable[[StoredSet], Terms]


@dataclass(frozen=True)
class _Place:
    """Where a path lies in a project: in the training tree of a run, among a session's outputs, or elsewhere."""

    run: RunConfig | None = None
    session: str | None = None


def verify_path(
    path: Path,
    *,
    against: Path | None = None,
    project: Project | None = None,
    run: RunConfig | None = None,
    only_newest: bool = False,
    reporter: Reporter | None = None,
) -> VerifyReport:
    """Judge a file, a set, a folder of sets, a training tree or a session's outputs.

    What lies beside the judged files is never their own expectation: it is `against`, else what the run
    declares, else the local tree. Outside a project, and without `against`, sound files are `valid`.

    Args:
        path: what to judge.
        against: a checkpoint that everything must fit.
        project: the project around, where there is one.
        run: the run that the path shall be judged for; found by the path's place when None.
        only_newest: only the newest candidate of each scenario.
        reporter: receives progress.

    Raises:
        NothingFoundError: the path does not exist or holds no checkpoints.
        CorruptError: `against` cannot be read; the message names that file.
    """
    target = find_target(path)
    yardstick = read_yardstick(against) if against is not None else None
    place = _place(project, path)
    terms = _terms_for(project, run or place.run, place, yardstick)
    findings: list[Finding] = []
    if project is not None and yardstick is None and (concerned := run or place.run) is not None:
        findings = _unknown_fit(project, concerned)
    report = _judge_target(target, terms, only_newest, reporter or NullReporter())
    if project is not None and place.session is not None:
        report = _refuse_foreign(project, place.session, report)
    if project is not None and yardstick is None and place.run is not None and place.session is None:
        from .verdicts import VerdictCache

        VerdictCache(project).store(report.checkpoints)
    return replace(report, findings=(*findings, *report.findings))


def _refuse_foreign(project: Project, session: str, report: VerifyReport) -> VerifyReport:
    """Judge a session's outputs as `restore` does: a set that it cannot have made is none of its sets."""
    from .ledgers import find_record
    from .makers import Makers

    makers = Makers.of(project, find_record(project, session))
    judged = []
    for checkpoint in report.checkpoints:
        if found := makers.findings(checkpoint.path.parent, checkpoint.manifest):
            checkpoint = replace(checkpoint, findings=(*checkpoint.findings, *found), verdict=Verdict.UNSAFE)
        judged.append(checkpoint)
    return replace(report, checkpoints=tuple(judged))


def verify_run(
    project: Project, run: RunConfig, *, only_newest: bool = False, reporter: Reporter | None = None
) -> VerifyReport:
    """Judge the training tree of a run."""
    return verify_path(
        shown_path(project.tree(run).root), project=project, run=run, only_newest=only_newest, reporter=reporter
    )


def verify_session(project: Project, session: str, reporter: Reporter | None = None) -> VerifyReport:
    """Judge what a session left, after it was fetched.

    Raises:
        NothingFoundError: nothing of it was fetched, or it left no checkpoints.
    """
    name, _ = names.parse_session_id(session)
    folder = project.layout.results(session)
    if not folder.is_dir():
        raise NothingFoundError(f"nothing of {session} was fetched", hint=f"ckptsync fetch {session}")
    return verify_path(shown_path(folder), project=project, run=project.run(name), reporter=reporter)


def read_yardstick(path: Path) -> Expectation:
    """Read the checkpoint that others are compared with.

    Raises:
        NothingFoundError: it does not exist.
        CorruptError: it is damaged, unsafe or of an unknown format, or a folder without one newest set.
    """
    target = find_target(path)
    if target.one is not None:
        stored: StoredSet | Path = target.one
    else:
        stored = _only_newest_of(path, target)
    report = (
        judge_set(stored, Terms(own=True)) if isinstance(stored, StoredSet) else judge_file(stored, Terms(own=True))
    )
    blocking = [finding for finding in report.findings if finding.severity is Severity.BLOCKER]
    if blocking or report.signature is None or not report.signature.parameters:
        reason = str(blocking[0]) if blocking else "no network can be read in it"
        raise CorruptError(f"cannot compare with {path}: {reason}", hint=f"ckptsync verify {path}")
    return Expectation(report.signature, str(path))


def _only_newest_of(path: Path, target: Target) -> StoredSet:
    stored = [s for tree in target.trees for s in sets.scan(tree.checkpoints)]
    scenarios = {s.scenario for s in stored}
    candidates = sets.newest(stored, next(iter(scenarios))) if len(scenarios) == 1 else []
    if not candidates:
        raise CorruptError(f"cannot compare with {path}: it is a folder, and not of one scenario; name a file in it")
    return candidates[0]


def _place(project: Project | None, path: Path) -> _Place:
    if project is None:
        return _Place()
    from .ledgers import known_records

    where = Path(os.path.realpath(path))
    for record in known_records(project):
        if where.is_relative_to(os.path.realpath(project.layout.results(record.session))):
            return _Place(project.runs.get(record.run), record.session)
    for run in project.runs.values():
        if where.is_relative_to(os.path.realpath(project.tree(run).root)):
            return _Place(run)
    return _Place()


def _terms_for(project: Project | None, run: RunConfig | None, place: _Place, yardstick: Expectation | None) -> TermsOf:
    trusted = project.trusted if project is not None else frozenset()
    lineages = _lineages(project)
    scanned: dict[str, list[StoredSet]] = {}
    known: dict[str, Expectation] = {}
    hashed: sets.Hashed = {}

    def expected(scenario: str) -> Expectation:
        if yardstick is not None:
            return yardstick
        if project is None or run is None:
            return Expectation()
        if scenario not in known:
            if run.tree not in scanned:
                scanned[run.tree] = sets.scan(project.tree(run).checkpoints)
            known[scenario] = expectation(project, run, scenario, stored=scanned[run.tree])
        return known[scenario]

    def own(stored: StoredSet) -> bool:
        if place.session is not None:
            return True
        return place.run is not None and stored.manifest is not None and stored.manifest.lineage in lineages

    def terms(stored: StoredSet) -> Terms:
        fit = expected(stored.scenario)
        return Terms(fit.signature, fit.source, own(stored), trusted, hashed=hashed)

    return terms


def _lineages(project: Project | None) -> frozenset[str]:
    if project is None:
        return frozenset()
    from .ledgers import known_lineages

    return known_lineages(project)


def _unknown_fit(project: Project, run: RunConfig) -> list[Finding]:
    """Say for which scenarios it is not known what their checkpoints must fit, although it should be."""
    stored = sets.scan(project.tree(run).checkpoints)
    findings: list[Finding] = []
    for scenario in run.scenario_names:
        found = expectation(project, run, scenario, stored=stored).findings
        findings += [finding for finding in found if finding not in findings]
    return findings


def _judge_target(target: Target, terms: TermsOf, only_newest: bool, reporter: Reporter) -> VerifyReport:
    findings: list[Finding] = []
    work: list[tuple[StoredSet, bool]] = []
    loose = [*target.loose]
    if isinstance(target.one, StoredSet):
        work.append((target.one, _is_head(target.one)))
    elif target.one is not None:
        loose.append(target.one)
    for tree in target.trees:
        chosen, found = _of_tree(tree, only_newest)
        work += chosen
        findings += found
    judgeable = [(stored, head) for stored, head in work if stored.state is not SetState.TORN]
    findings += [stored.finding for stored, _ in work if stored.state is SetState.TORN and stored.finding is not None]
    if not judgeable and not loose:
        raise NothingFoundError(
            f"No checkpoints found in {target.path}: only saves that were cut short",
            hint="they are swept by the next session; older sets may be in the attic ('ckptsync restore --undo')",
        )
    checkpoints = []
    with reporter.progress(f"verify {target.path}", len(judgeable) + len(loose), "checkpoints") as meter:
        for stored, head in judgeable:
            checkpoints.append(judge_set(stored, terms(stored), head=head))
            meter.advance(1)
        for path in loose:
            checkpoints.append(judge_file(path, terms(_as_stored(path))))
            meter.advance(1)
    return VerifyReport(str(target.path), tuple(findings), tuple(checkpoints))


def _as_stored(path: Path) -> StoredSet:
    parts = names.parse_stem(path.stem, classic=True) or names.StemParts(path.stem, 0)
    return StoredSet(path.parent, path.stem, parts.scenario, parts.num_timesteps, SetState.UNSEALED)


def _is_head(stored: StoredSet) -> bool:
    tree = TrainingTree(stored.folder.parent)
    if stored.manifest is None or tree.checkpoints != stored.folder:
        return False
    from ..core.heads import standing

    head = standing(tree, [stored], stored.scenario).head
    return head is not None and head.digest == stored.manifest.digest


def _of_tree(tree: TrainingTree, only_newest: bool) -> tuple[list[tuple[StoredSet, bool]], list[Finding]]:
    from ..core.heads import standing

    stored = sets.scan(tree.checkpoints)
    work: list[tuple[StoredSet, bool]] = []
    findings: list[Finding] = []
    for scenario in dict.fromkeys(s.scenario for s in stored):
        found = standing(tree, stored, scenario)
        findings += [finding for finding in found.findings if finding.code == "head.damaged"]
        of_scenario: Sequence[StoredSet] = [s for s in stored if s.scenario == scenario]
        if only_newest:
            of_scenario = found.candidates[:1]
        digest = found.head.digest if found.head is not None else None
        work += [(s, _names(digest, s)) for s in of_scenario]
    return work, findings


def _names(digest: str | None, stored: StoredSet) -> bool:
    return digest is not None and stored.manifest is not None and stored.manifest.digest == digest


def one_report(path: Path, terms: Terms) -> CheckpointReport:
    """Judge the one checkpoint that a path stands for.

    Raises:
        CkptsyncError: the path stands for several.
    """
    target = find_target(path)
    if isinstance(target.one, StoredSet):
        return judge_set(target.one, terms, head=_is_head(target.one))
    if target.one is not None:
        return judge_file(target.one, terms)
    stored = [(s, head) for tree in target.trees for s, head in _of_tree(tree, only_newest=True)[0]]
    if len(stored) != 1:
        raise CkptsyncError(f"{path} holds several checkpoints", hint="name one of its files")
    return judge_set(stored[0][0], terms, head=stored[0][1])
