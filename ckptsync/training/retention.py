"""Which sets of a scenario stay in the tree: the policy, applied to what lies there."""

from __future__ import annotations

from pathlib import Path

from ..core import sets
from ..core.heads import Best
from ..core.manifest import Manifest
from ..core.policy import Retained, to_remove
from ..core.session import SavePolicy
from ..core.sets import SetState


def retain(
    folder: Path, scenario: str, lineage: str, policy: SavePolicy, *, latest: Manifest, best: Best | None
) -> tuple[str, ...]:
    """Remove the sets that the policy lets go and return their stems; the caller holds the tree's lock.

    Args:
        folder: of the sets.
        scenario: whose sets.
        lineage: the sets of other lineages are not counted: they must not push out this one's.
        policy: what to keep.
        latest: the newest sealed set, which stays.
        best: the best one, which stays too.
    """
    own = {
        s.stem: s.manifest
        for s in sets.scan(folder)
        if s.state is SetState.SEALED
        and s.manifest is not None
        and s.scenario == scenario
        and s.manifest.lineage == lineage
    }
    retained = [Retained.of(manifest) for manifest in own.values()]
    keep = {latest.stem} | ({best.stem} if best else set())
    removed = to_remove(retained, policy, keep=keep)
    for stem in removed:
        sets.remove_set(folder, own[stem])
    return tuple(removed)
