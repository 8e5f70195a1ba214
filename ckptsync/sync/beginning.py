"""What the next session starts from: the newest good set of each scenario, or zero only where that is meant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..core import names
from ..core.compare import describe_incompatibility
from ..core.errors import CorruptError, IncompatibleError, NothingFoundError
from ..core.findings import Finding, Severity, Verdict
from ..core.heads import Standing, standing, tree_scenarios
from ..core.manifest import Manifest
from ..core.sets import Hashed, StoredSet
from ..project.config import Project, RunConfig
from ..project.lineage import SessionRecord
from .judge import Terms, judge_set
from .ledgers import known_lineages

FRESH_HINT = "'ckptsync launch --fresh' begins from zero and moves the old sets to the attic"


@dataclass(frozen=True)
class Beginning:
    """What a session starts one scenario from.

    Args:
        scenario: the scenario.
        start: the set; None: from zero.
        best: the best set so far, when it is another one and good.
        broken: candidates that were refused on the way, newest first, with the findings.
        notes: what people should know.
    """

    scenario: str
    start: StoredSet | None
    best: StoredSet | None = None
    broken: tuple[tuple[StoredSet, tuple[Finding, ...]], ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def manifest(self) -> Manifest | None:
        """The manifest of the set to start from."""
        return self.start.manifest if self.start is not None else None


def choose_beginning(
    project: Project, run: RunConfig, scenario: str, stored: Sequence[StoredSet], found: Sequence[SessionRecord]
) -> Beginning:
    """Choose what the next session starts a scenario from; every byte of it is judged first.

    Args:
        project: the project.
        run: the run.
        scenario: one of its scenarios.
        stored: what a scan of the run's tree found.
        found: the run's sessions.

    Raises:
        IncompatibleError: the newest good set does not fit what the run declares.
        CorruptError: there are sets and none is good, or the ledger knows of sets that are gone.
        NothingFoundError: there are only plain files that no seal vouches for.
    """
    tree = project.tree(run)
    place = standing(tree, list(stored), scenario)
    lineages = known_lineages(project)
    broken: list[tuple[StoredSet, tuple[Finding, ...]]] = []
    hashed: Hashed = {}
    for candidate in place.candidates:
        if candidate.manifest is None:
            continue
        own = candidate.manifest.lineage in lineages
        terms = Terms(run.expects, "the declaration", own, project.trusted, hashed=hashed)
        report = judge_set(candidate, terms)
        if report.verdict is Verdict.INCOMPATIBLE:
            raise IncompatibleError(
                "\n".join([f"{report.path} does not fit run {run.name}", *describe_incompatibility(report.findings)]),
                hint=FRESH_HINT,
            )
        if report.good:
            notes = tuple(_fell_back(project, run, candidate, broken, place))
            return Beginning(scenario, candidate, _best(project, place, candidate, terms), tuple(broken), notes)
        blocking = tuple(finding for finding in report.findings if finding.severity is Severity.BLOCKER)
        broken.append((candidate, blocking))
    _refuse_silent_zero(project, run, scenario, place, broken, found)
    others = [name for name in tree_scenarios(list(stored), tree.checkpoints) if name != scenario]
    notes = (f"starting scenario {scenario} from zero: the tree holds checkpoints of {', '.join(others)} only",)
    return Beginning(scenario, None, notes=notes if others else ())


def _fell_back(
    project: Project,
    run: RunConfig,
    chosen: StoredSet,
    broken: Sequence[tuple[StoredSet, tuple[Finding, ...]]],
    place: Standing,
) -> list[str]:
    said = [f"{stored.stem} is broken and goes to the quarantine: {findings[0]}" for stored, findings in broken]
    fetched = {s.manifest.session for s, _ in broken if s.manifest is not None and s.manifest.session is not None}
    said += [
        f"what {session} left is still here: 'ckptsync restore {run.name} --session {session}' may bring a sound copy back"
        for session in sorted(fetched)
        if project.layout.results(session).is_dir()
    ]
    if said or place.head is None:
        said += [f"{finding}" for finding in place.findings if finding.code == "head.damaged"]
        if not said:
            return [
                f"there is no {names.head_name(chosen.scenario)}; starting from the newest sealed set, {chosen.stem}"
            ]
        said.append(f"starting from {chosen.stem} instead")
    return said


def _best(project: Project, place: Standing, chosen: StoredSet, terms: Terms) -> StoredSet | None:
    best = place.head.best if place.head is not None else None
    if best is None or chosen.manifest is None or best.digest == chosen.manifest.digest:
        return None
    for candidate in place.candidates:
        if candidate.manifest is not None and candidate.manifest.digest == best.digest:
            return candidate if judge_set(candidate, terms).good else None
    return None


def _refuse_silent_zero(
    project: Project,
    run: RunConfig,
    scenario: str,
    place: Standing,
    broken: Sequence[tuple[StoredSet, tuple[Finding, ...]]],
    found: Sequence[SessionRecord],
) -> None:
    folder = project.tree(run).checkpoints
    damaged = [finding for finding in place.findings if finding.code != "set.torn"]
    if broken or damaged:
        alike: dict[str, list[str]] = {}
        for stored, findings in broken:
            alike.setdefault(str(findings[0]), []).append(stored.stem)
        reasons = [f"{', '.join(stems)}: {reason}" for reason, stems in alike.items()]
        reasons += [str(finding) for finding in damaged]
        way_out = f"'ckptsync restore {run.name}' puts a fetched session's sound copies in their place"
        if broken and (newest := broken[0][1][0]).verdict is Verdict.UNSAFE:
            way_out = newest.hint  # a sound copy would be as unsafe
        raise CorruptError(
            f"no checkpoint of {names.printable(scenario)} in {folder} is good, and something is there: "
            + "; ".join(reasons),
            hint=f"{way_out}; {FRESH_HINT}",
        )
    if place.candidates:
        raise NothingFoundError(
            f"{folder} holds plain files of {names.printable(scenario)}, such as {place.candidates[0].model_path.name}, "
            "that no seal vouches for",
            hint=f"'ckptsync adopt {run.name}' seals them; {FRESH_HINT}",
        )
    last = remembered_head(found, scenario)
    if last is not None:
        raise CorruptError(
            f"the ledger knows {last} as the newest checkpoint of {names.printable(scenario)}, and {folder} has none",
            hint=f"'ckptsync restore {run.name}' brings it back where its session was fetched; {FRESH_HINT}",
        )


def remembered_head(found: Sequence[SessionRecord], scenario: str) -> str | None:
    """Return the stem that the ledger last saw as a scenario's head, or None when none is expected."""
    last: str | None = None
    for record in found:
        if record.spec.fresh:
            last = None
        origin = record.spec.heads.get(scenario) if record.discovered else None
        if origin is not None:  # whoever started it had that set
            last = names.checkpoint_stem(scenario, origin.num_timesteps)
        if record.stage == "restoring" or record.receipt is None:
            continue
        moved = record.receipt["scenarios"].get(scenario)
        head = (moved["head_from"] if record.undone else moved["head_to"]) if moved else None
        last = head["set"] if head else (None if moved and record.undone else last)
    return last
