"""What a checkpoint of a run must fit: declared, or known from the local tree; never from the file itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..core import sets
from ..core.errors import CorruptError
from ..core.findings import Finding, blocker
from ..core.signature import Signature

if TYPE_CHECKING:
    from ..project.config import Project, RunConfig


@dataclass(frozen=True)
class Expectation:
    """What a scenario's checkpoints must fit.

    Args:
        signature: the network, as far as known; None: nothing is known.
        source: in words, where that comes from; None with it.
        findings: why nothing is known although something should be.
    """

    signature: Signature | None = None
    source: str | None = None
    findings: tuple[Finding, ...] = ()


def differences(signature: Signature, expected: Signature) -> tuple[Finding, ...]:
    """Compare a network with what is expected of it; what the expectation does not know is not compared."""
    from ..core.compare import compare

    if not expected.parameters:  # a declaration or metadata: no network is without any
        signature = replace(signature, parameters={})
    return compare(signature, expected)


def expectation(
    project: Project, run: RunConfig, scenario: str, *, stored: Sequence[sets.StoredSet] | None = None
) -> Expectation:
    """Return what the checkpoints of a scenario must fit.

    The head of the local tree knows every parameter, so it counts where the run's declaration agrees
    with it; a declaration that disagrees wins, for it is the user's newest word. Where the tree has no
    seal, its metadata count. Damaged metadata and nothing better is a blocker, never "compatible".

    Args:
        project: the project.
        run: the run.
        scenario: one of its scenarios.
        stored: what a scan of the run's tree found, where the caller has it.
    """
    from ..core import metadata
    from ..core.heads import standing

    tree = project.tree(run)
    found = standing(tree, list(sets.scan(tree.checkpoints) if stored is None else stored), scenario)
    sealed = next((candidate for candidate in found.candidates if candidate.manifest is not None), None)
    known = sealed.manifest.signature if sealed is not None and sealed.manifest is not None else None
    declared = run.expects
    if declared is not None:
        source = f"what {project.layout.config.name} declares for run {run.name}"
        if known is None or differences(known, declared):
            return Expectation(declared, source)
        return Expectation(known, f"{source}, and the local set {sealed.stem}" if sealed else source)
    if known is not None and sealed is not None:
        name = "the head" if found.head is not None and sealed is found.candidates[0] else "the newest local set"
        return Expectation(known, f"{name} of the local tree, {sealed.stem}")
    try:
        value = metadata.read_metadata(tree)
        local = metadata.expectation_from(value, scenario) if value is not None else None
    except CorruptError as error:
        hint = "move the file away if it is not needed; a sealed set makes it anew"
        return Expectation(findings=(blocker("metadata.damaged", tree.metadata.name, actual=error.message, hint=hint),))
    return Expectation(local, f"{tree.metadata.name} of the local tree") if local is not None else Expectation()
