"""When to save and what to keep: pure functions of values, no clock, no disk."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from .session import SavePolicy

# A new best mean reward comes with nearly every rollout early in training: no closer than this part of every_steps
_BEST_SHARE = 2


@dataclass(frozen=True)
class Moment:
    """What a save decision looks at, at one clean point.

    Args:
        num_timesteps: N now.
        last_saved: N of the last save, or of the start of this session.
        seconds_since_save: wall clock since then.
        score: mean reward of the last episodes, or None while there is none.
        best_score: the best that was saved so far, or None.
        stopping: why training stops at this clean point, or None.
    """

    num_timesteps: int
    last_saved: int
    seconds_since_save: float
    score: float | None = None
    best_score: float | None = None
    stopping: str | None = None


def is_best(score: float | None, best_score: float | None) -> bool:
    """Whether a score is the best so far."""
    return score is not None and (best_score is None or score > best_score)


def kind_to_save(policy: SavePolicy, moment: Moment) -> str | None:
    """Return the kind under which to save now, or None.

    A stop always saves what is new: `final` at the target, `emergency` on a signal or error, else
    `request`. Otherwise by steps, by seconds, and on a new best, whichever is due first.
    """
    if moment.num_timesteps <= moment.last_saved:
        return None
    if moment.stopping is not None:
        return {"target": "final", "signal": "emergency", "error": "emergency"}.get(moment.stopping, "request")
    if policy.every_steps and moment.num_timesteps // policy.every_steps > moment.last_saved // policy.every_steps:
        return "periodic"
    if policy.every_seconds is not None and moment.seconds_since_save >= policy.every_seconds:
        return "time"
    gap = max(1, (policy.every_steps or 0) // _BEST_SHARE)
    if (
        policy.save_best
        and is_best(moment.score, moment.best_score)
        and moment.num_timesteps - moment.last_saved >= gap
    ):
        return "best"
    return None


@dataclass(frozen=True)
class Retained:
    """One set as retention sees it.

    Args:
        stem: its stem.
        order: (lineage, generation, N).
        kind: why it was saved.
        good: whether it is sealed and not known to be damaged.
    """

    stem: str
    order: tuple[str, int, int]
    kind: str
    good: bool = True


def to_remove(sets: Sequence[Retained], policy: SavePolicy, *, keep: Collection[str] = ()) -> list[str]:
    """Return the stems that may go, oldest first.

    The newest `keep_last` good ones stay (at least one), so do `final` ones and those named in
    `keep` (the head, the best). Broken ones do not count among the newest and are left for a person.
    """
    good = sorted((s for s in sets if s.good), key=lambda s: s.order)
    newest = {s.stem for s in good[-max(1, policy.keep_last) :]}
    return [s.stem for s in good if s.stem not in newest and s.kind != "final" and s.stem not in keep]
