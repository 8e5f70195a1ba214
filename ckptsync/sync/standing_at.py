"""Letting a training tree stand at a set that it has, forward or back; what is newer gives way."""

from __future__ import annotations

from ..core import heads, sets
from ..core.heads import Best, Head
from ..core.layout import TrainingTree
from ..core.manifest import Manifest
from .treework import head_in_file, remove_exports, renew_exports, sealed


def stand_at(tree: TrainingTree, manifest: Manifest) -> list[str]:
    """Let the head of a scenario name a set of the tree; sets that are newer go to the attic.

    Safe to repeat after a crash: the head moves first.

    Args:
        tree: the tree; the caller holds its lock.
        manifest: of the set.

    Returns:
        The stems of the sets that gave way.
    """
    present = sealed(sets.scan(tree.checkpoints), manifest.scenario)
    order = (manifest.lineage, *manifest.order)
    newer = [stored for stored in present.values() if stored.order > order]
    staying = [s.manifest for s in present.values() if s not in newer and s.manifest is not None]
    heads.write_head(tree, Head.of(manifest, _best(tree, manifest, staying)))
    for stored in newer:
        sets.set_aside(stored, tree.attic)
    gone = {stored.manifest.model.digest: stored.manifest for stored in newer if stored.manifest is not None}
    remove_exports(tree, manifest.scenario, gone)
    renew_exports(tree)
    return [stored.stem for stored in newer]


def _best(tree: TrainingTree, manifest: Manifest, staying: list[Manifest]) -> Best | None:
    """Return the best set so far; one that gives way was never the best of what is left."""
    before = head_in_file(tree, manifest.scenario)
    best = before.best if before is not None else None
    if best is not None and best.digest not in {m.digest for m in staying}:
        best = None
    for known in sorted(staying, key=lambda m: (m.lineage, *m.order)):
        best = heads.better_of(best, known)
    return best
