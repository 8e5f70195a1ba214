"""Which sets of a scenario stay in the tree: the policy, applied to what lies there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from ..core import sets
from ..core.heads import Best
from ..core.manifest import Manifest
from ..core.policy import Retained, to_remove, to_remove_early
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
    own = own_sets(folder, scenario, lineage)
    return _remove(folder, own, to_remove(retained(own), policy, keep=_kept(latest, best)))


def retain_early(
    folder: Path,
    scenario: str,
    lineage: str,
    policy: SavePolicy,
    missing_bytes: int,
    *,
    latest: Manifest,
    best: Best | None,
    last_chance: bool,
) -> tuple[str, ...]:
    """Remove what a new set would push out, before it is written; return the stems, none where that is too little.

    Args:
        folder: of the sets.
        scenario: whose sets.
        lineage: the sets of other lineages are not counted.
        policy: what to keep.
        missing_bytes: how much room must be made.
        latest: the newest sealed set, which stays.
        best: the best one, which stays too.
        last_chance: the new set is the last of the session; see `to_remove_early`.
    """
    own = own_sets(folder, scenario, lineage)
    keep = _kept(latest, best)
    gone = to_remove_early(retained(own), policy, missing_bytes, keep=keep, last_chance=last_chance)
    return _remove(folder, own, gone)


def own_sets(folder: Path, scenario: str, lineage: str) -> dict[str, Manifest]:
    """Return stem -> manifest of the sealed sets of one scenario and lineage."""
    return {
        s.stem: s.manifest
        for s in sets.scan(folder)
        if s.state is SetState.SEALED
        and s.manifest is not None
        and s.scenario == scenario
        and s.manifest.lineage == lineage
    }


def retained(own: Mapping[str, Manifest]) -> list[Retained]:
    """Return sets as retention sees them."""
    return [Retained.of(manifest) for manifest in own.values()]


def _kept(latest: Manifest, best: Best | None) -> set[str]:
    return {latest.stem} | ({best.stem} if best else set())


def _remove(folder: Path, own: Mapping[str, Manifest], stems: Iterable[str]) -> tuple[str, ...]:
    removed = tuple(stems)
    for stem in removed:
        sets.remove_set(folder, own[stem])
    return removed
