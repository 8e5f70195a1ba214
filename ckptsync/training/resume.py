"""Which set a scenario starts from: the newest good one, or an error where one was expected."""

from __future__ import annotations

from dataclasses import dataclass

from ..core import names, sets
from ..core.compare import compare, describe_incompatibility
from ..core.errors import CorruptError, IncompatibleError
from ..core.findings import Finding, Severity, Verdict
from ..core.heads import Head, better_of, read_head, standing, tree_scenarios, write_head
from ..core.layout import TrainingTree
from ..core.manifest import Manifest, Origin
from ..core.readers import ModelReport, read_model
from ..core.sets import Hashed, SetState, StoredSet
from ..core.signature import Signature

FRESH_HINT = "go back to the old settings, or start over with 'ckptsync launch --fresh'"


@dataclass(frozen=True)
class Resume:
    """The set to start from, checked.

    Args:
        stored: the set.
        report: what reading its model without executing it found.
        reasons: why it is not the set that should have been used; empty when it is.
    """

    stored: StoredSet
    report: ModelReport
    reasons: tuple[str, ...] = ()

    @property
    def num_timesteps(self) -> int:
        """N, by the seal, else by the file's own content, else by its name."""
        if self.stored.manifest is not None or self.report.num_timesteps is None:
            return self.stored.num_timesteps
        return self.report.num_timesteps

    def refuse_misfit(self, current: Signature) -> None:
        """Compare the set with the network that shall go on from it; call it before anything is loaded.

        Args:
            current: the signature of the network that the script has built.

        Raises:
            IncompatibleError: with the lines that people look for, naming every parameter that differs.
        """
        manifest = self.stored.manifest
        findings = compare(manifest.signature if manifest is not None else self.report.signature, current)
        if lines := describe_incompatibility(findings):
            raise IncompatibleError("\n".join([f"{self.stored.stem} does not fit", *lines]), hint=FRESH_HINT)

    @property
    def origin(self) -> Origin:
        """What the sets made from here on name as their origin."""
        manifest = self.stored.manifest
        if manifest is None:
            return Origin(None, self.num_timesteps, self.report.digest)
        return Origin(manifest.session, manifest.num_timesteps, manifest.digest)


def choose(tree: TrainingTree, scenario: str, *, expected: Origin | None = None) -> Resume | None:
    """Return the newest good set of a scenario, checked to the last byte; None when it begins from zero.

    Args:
        tree: the training tree; the caller holds its lock.
        scenario: whose set.
        expected: the set that the session was promised; None: nothing was promised.

    Raises:
        CorruptError: sets were there or promised, and none of them is good.
    """
    stored = sets.scan(tree.checkpoints)
    place = standing(tree, stored, scenario)
    reasons = [str(finding) for finding in place.findings]
    hashed: Hashed = {}
    for candidate in place.candidates:
        report = read_model(candidate.model_path, own=True) if candidate.model_path.exists() else None
        blockers = _blockers(tree, candidate, report, hashed)
        if report is not None and not blockers:
            return Resume(candidate, report, _fallback_reasons(candidate, expected, place.head, reasons))
        reasons += [f"{candidate.stem}: {finding}" for finding in blockers]
    damaged = [s for s in stored if s.scenario == scenario and s.state is not SetState.TORN]
    if expected is None and not damaged and not tree.head(scenario).exists():
        return None
    raise CorruptError(
        f"no checkpoint of {names.printable(scenario)} in {tree.checkpoints} can be used, although one was expected: "
        + ("; ".join(reasons) or "the promised checkpoint is not there"),
        hint="fetch and restore it again ('ckptsync fetch', 'ckptsync restore'), or begin from zero with "
        "'ckptsync launch --fresh', which moves the old tree to the attic",
    )


def _blockers(tree: TrainingTree, candidate: StoredSet, report: ModelReport | None, hashed: Hashed) -> list[Finding]:
    findings: list[Finding] = []
    if candidate.manifest is not None:
        findings += sets.check_files(tree.checkpoints, candidate.manifest, hashed)
    if report is not None and not findings:
        findings += report.findings
    return [finding for finding in findings if finding.severity is Severity.BLOCKER]


def _fallback_reasons(
    candidate: StoredSet, expected: Origin | None, head: Head | None, reasons: list[str]
) -> tuple[str, ...]:
    promised = expected.digest if expected is not None else head.digest if head is not None else None
    if promised is not None and candidate.manifest is not None and candidate.manifest.digest == promised:
        return ()
    if promised is not None and not reasons:
        return (f"the promised checkpoint {promised} is not in the tree",)
    return tuple(reasons)


def roll_forward(tree: TrainingTree, scenario: str) -> Manifest | None:
    """Complete a save that was cut between the seal and the head; the caller holds the tree's lock.

    Only a set whose parent is the head's set, in the same lineage, moves the head: a set that `restore`
    put aside is no such set. Returns the new head's manifest, or None when there was nothing to complete.
    """
    try:
        head = read_head(tree, scenario)
    except ValueError:
        return None  # `choose` reports it
    if head is None:
        return None
    moved: Manifest | None = None
    children = {
        s.manifest.parent: s.manifest for s in sets.scan(tree.checkpoints) if s.manifest and s.scenario == scenario
    }
    while (child := children.pop(head.digest, None)) is not None:
        if child.lineage != head.lineage or sets.check_files(tree.checkpoints, child):
            break
        head, moved = Head.of(child, better_of(head.best, child)), child
        write_head(tree, head)
    return moved


def other_scenarios(tree: TrainingTree, scenario: str) -> list[str]:
    """Return the scenarios other than this one that a tree holds checkpoints of."""
    return [name for name in tree_scenarios(sets.scan(tree.checkpoints), tree.checkpoints) if name != scenario]


def is_sound(report: ModelReport) -> bool:
    """Whether a model that was just written is whole: its bytes, and no NaN among its weights.

    What would be judged `unsafe` is a matter of who reads it, not of the bytes, and does not count here.
    """
    return all(finding.verdict in (None, Verdict.UNSAFE) for finding in report.findings)
