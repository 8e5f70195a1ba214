"""How much room the sets of a scenario will need: pure functions of sizes and counts.

Two totals are told apart. What is certain (`least`) decides whether training is refused; what may come
(`most`: the best is none of the newest, every milestone is reached) is only warned of.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from . import names
from .manifest import Manifest
from .policy import Retained, pinned
from .session import SavePolicy
from .units import size_text

# A set is a little larger than the one before it (an env's state, a longer history), and a save writes small
# files beside it: seal, head, metadata, events
_GROWTH = 1.05
_SMALL_FILES_BYTES = 64 << 10
# How there can be more room on a disk
MORE_ROOM = "free some space ('ckptsync clean --dry-run' shows what can go)"
# Copies of the best model under two names and of the final one, and one that is being replaced
_COPIES = 4


class Fit(StrEnum):
    """Whether what is to come fits."""

    ENOUGH = "enough"
    TIGHT = "tight"
    SHORT = "short"


@dataclass(frozen=True)
class SetSize:
    """How large the sets of a scenario are.

    Args:
        own_bytes: the files that one set has for itself.
        model_bytes: its model; an exported copy is as large.
        shared_bytes: what its sets share now (replay segments).
        shared_least_bytes: what they will certainly share at the end.
        shared_most_bytes: what they may share at the end.
    """

    own_bytes: int
    model_bytes: int
    shared_bytes: int = 0
    shared_least_bytes: int = 0
    shared_most_bytes: int = 0

    @classmethod
    def of(cls, manifest: Manifest, *, end_steps: int) -> SetSize:
        """Measure a sealed set.

        Args:
            manifest: the set.
            end_steps: num_timesteps at the end; a replay buffer that is not full yet grows till then.
        """
        shared = shared_most = sum(entry.size_bytes for entry in manifest.segments)
        # The ring of a buffer that has overwritten its first rows is as large as it will be
        if shared and names.check_segment(manifest.scenario, manifest.segments[0].path).start == 0:
            shared_most = shared * end_steps // max(1, min(end_steps, manifest.num_timesteps))
        return cls(
            own_bytes=sum(entry.size_bytes for entry in manifest.members),
            model_bytes=manifest.model.size_bytes,
            shared_bytes=shared,
            shared_least_bytes=shared,
            shared_most_bytes=shared_most,
        )

    def next_bytes(self, copies: int = 0) -> int:
        """Return what the next save needs, with so many exported copies of its model."""
        return int(self.own_bytes * _GROWTH) + copies * self.model_bytes + _SMALL_FILES_BYTES


@dataclass(frozen=True)
class Forecast:
    """What is to come, and whether it fits.

    Args:
        least_bytes: what will certainly be written on top of what is there.
        most_bytes: what may be.
        free_bytes: how much room there is.
        keep_last: the largest `keep_last` for which what is certain would fit; None: not even 1 does.
    """

    least_bytes: int
    most_bytes: int
    free_bytes: int
    keep_last: int | None

    @property
    def fit(self) -> Fit:
        """Whether it fits: certainly, perhaps, or not."""
        if self.least_bytes > self.free_bytes:
            return Fit.SHORT
        return Fit.TIGHT if self.most_bytes > self.free_bytes else Fit.ENOUGH

    def said(self, scenario: str, place: object) -> str:
        """Say in a sentence what the sets of a scenario will need at a place."""
        certain = self.fit is Fit.SHORT
        needed = size_text(self.least_bytes if certain else self.most_bytes)
        return (
            f"the checkpoints of {scenario} {'will' if certain else 'may'} need {needed} more in {place}, "
            f"and {size_text(self.free_bytes)} are free"
        )

    def advice(self, policy: SavePolicy, *, more_room: str = MORE_ROOM) -> str:
        """Say what to change so that they fit; `more_room` is how there can be more."""
        ways = [more_room]
        if self.keep_last is not None and self.keep_last < policy.keep_last:
            ways.insert(0, f"set keep_last to {self.keep_last} (it is {policy.keep_last})")
        if policy.keep_every_steps and self.fit is Fit.TIGHT:
            ways.insert(0, f"keep fewer for ever: keep_every_steps is {policy.keep_every_steps:,}")
        return "; or ".join(ways)


def forecast(
    size: SetSize,
    policy: SavePolicy,
    sets: Sequence[Retained],
    *,
    num_timesteps: int,
    end_steps: int,
    free_bytes: int,
    exported_bytes: int = 0,
) -> Forecast:
    """Say how much a scenario's sets will need until it ends.

    Args:
        size: of its sets.
        policy: what is kept.
        sets: those of its lineage that are there.
        num_timesteps: N now.
        end_steps: N at the end.
        free_bytes: how much may still be written.
        exported_bytes: of the exported copies that are there.
    """
    for_ever = pinned(sets, policy)
    pinned_bytes = sum(s.size_bytes for s in sets if s.stem in for_ever)
    present = sum(s.size_bytes for s in sets)

    standing = present + size.shared_bytes
    for_ever_bytes = pinned_bytes + size.shared_least_bytes + _SMALL_FILES_BYTES
    # A new set is written before an old one may go, so even one that is kept needs the room of two
    kept_least = max(2, policy.keep_last, policy.keep_best)
    least = max(0, for_ever_bytes + kept_least * size.own_bytes - standing)
    every = policy.keep_every_steps
    milestones = max(0, end_steps // every - num_timesteps // every) if every else 0
    kept_most = policy.keep_last + max(1, policy.keep_best) + 1 + milestones
    most = int((pinned_bytes + kept_most * size.own_bytes + size.shared_most_bytes) * _GROWTH) + _SMALL_FILES_BYTES
    most += max(0, _COPIES * size.model_bytes - exported_bytes) - standing
    fitting = (free_bytes + standing - for_ever_bytes) // max(1, size.own_bytes)
    return Forecast(
        least_bytes=least,
        most_bytes=max(least, most),
        free_bytes=free_bytes,
        keep_last=min(policy.keep_last, fitting) if fitting >= max(2, policy.keep_best) else None,
    )
