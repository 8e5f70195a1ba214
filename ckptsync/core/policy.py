"""When to save and what to keep: pure functions of values, no clock, no disk."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from . import cadence
from .manifest import Manifest
from .metrics import REWARD
from .session import AUTO, SavePolicy

# The number in a manifest's metrics that "best" goes by
SCORE = REWARD
# A new best mean reward comes with nearly every rollout early in training: no closer than this part of the interval
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
        stall_seconds: how long a save holds training up, as measured; None before the first one.
        write_seconds: how long a save is written in the background, as measured.
    """

    num_timesteps: int
    last_saved: int
    seconds_since_save: float
    score: float | None = None
    best_score: float | None = None
    stopping: str | None = None
    stall_seconds: float | None = None
    write_seconds: float = 0.0


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
    if _passed_multiple(policy.every_steps, moment) or _passed_multiple(policy.keep_every_steps, moment):
        return "periodic"
    seconds = save_interval(policy, moment)
    if seconds is not None and moment.seconds_since_save >= seconds:
        return "time"
    if policy.save_best and is_best(moment.score, moment.best_score) and _is_far_enough(policy, moment, seconds):
        return "best"
    return None


def save_interval(policy: SavePolicy, moment: Moment) -> float | None:
    """Return after how many seconds since the last save the next one is due; None: saves go by no clock."""
    if policy.every_seconds != AUTO:
        return policy.every_seconds
    return cadence.best_interval(
        moment.stall_seconds, moment.write_seconds, policy.failure_seconds, policy.max_overhead
    )


def _passed_multiple(every: int | None, moment: Moment) -> bool:
    return every is not None and every > 0 and moment.num_timesteps // every > moment.last_saved // every


def _is_far_enough(policy: SavePolicy, moment: Moment, seconds: float | None) -> bool:
    """Whether a new best keeps its distance from the last save: in steps where saves go by steps, else in time."""
    if policy.every_seconds == AUTO:
        least = cadence.least_interval(moment.stall_seconds or 0.0, moment.write_seconds, policy.max_overhead)
        if moment.seconds_since_save < least:
            return False
    if policy.every_steps:
        return moment.num_timesteps - moment.last_saved >= policy.every_steps // _BEST_SHARE
    return seconds is None or moment.seconds_since_save >= seconds / _BEST_SHARE


@dataclass(frozen=True)
class Retained:
    """One set as retention sees it.

    Args:
        stem: its stem.
        order: (lineage, generation, N).
        kind: why it was saved.
        good: whether it is sealed and not known to be damaged.
        score: its mean reward, a finite number, or None where there is none.
        size_bytes: what its removal certainly gives back: the files that it shares with no other set.
    """

    stem: str
    order: tuple[str, int, int]
    kind: str
    good: bool = True
    score: float | None = None
    size_bytes: int = 0

    @classmethod
    def of(cls, manifest: Manifest, *, name: str | None = None) -> Retained:
        """Describe a sealed set; `name` stands for its stem where stems are not enough."""
        return cls(
            stem=manifest.stem if name is None else name,
            order=(manifest.lineage, *manifest.order),
            kind=manifest.kind,
            score=manifest.metrics.get(SCORE),
            size_bytes=sum(entry.size_bytes for entry in manifest.members),
        )


def to_remove(sets: Sequence[Retained], policy: SavePolicy, *, keep: Collection[str] = ()) -> list[str]:
    """Return the stems that may go, oldest first.

    The newest `keep_last` good ones stay (at least one), so do the `keep_best` of the highest score (at
    least one), milestones, `final` ones, and those named in `keep` (the head, the best). Broken ones do not
    count and are left for a person.
    """
    good = sorted((s for s in sets if s.good), key=lambda s: s.order)
    stay = {*why_kept(good, policy), *keep}
    return [s.stem for s in good if s.stem not in stay]


def to_remove_early(
    sets: Sequence[Retained],
    policy: SavePolicy,
    missing_bytes: int,
    *,
    keep: Collection[str] = (),
    last_chance: bool = False,
) -> list[str]:
    """Return the stems that may go before a new set is sealed, where the disk has no room for both.

    These are the ones that `to_remove` lets go once the new set is there, oldest first and no more than
    needed. Where all of them together would not make the room, none goes.

    Args:
        sets: those that are there.
        policy: what to keep.
        missing_bytes: how much must be given back.
        keep: stems that stay in any case.
        last_chance: training ends here and the new set is what it comes to: of the older ones only the newest,
            the best, milestones and final ones stay.
    """
    keep_last, keep_best = (1, 1) if last_chance else (policy.keep_last - 1, policy.keep_best)
    sizes = {s.stem: s.size_bytes for s in sets}
    gone: list[str] = []
    for stem in to_remove(sets, replace(policy, keep_last=keep_last, keep_best=keep_best), keep=keep):
        if missing_bytes <= 0:
            break
        gone.append(stem)
        missing_bytes -= sizes[stem]
    return gone if missing_bytes <= 0 else []


def pinned(sets: Sequence[Retained], policy: SavePolicy) -> set[str]:
    """Return the stems of good sets that stay for ever: `final` ones and milestones.

    The milestone of a multiple is the first set of its lineage at or after it and before the next one. Sets
    that are written later come behind it in order, so a milestone stays one.
    """
    good = [s for s in sets if s.good]
    return _final(good) | _milestones(good, policy)


def why_kept(sets: Sequence[Retained], policy: SavePolicy) -> dict[str, list[str]]:
    """Return stem -> why it stays (`last`, `best`, `final`, `every`), for each that `to_remove` leaves by itself."""
    good = sorted((s for s in sets if s.good), key=lambda s: s.order)
    rules = {
        "last": _last(good, policy),
        "best": _best(good, max(1, policy.keep_best)),
        "final": _final(good),
        "every": _milestones(good, policy),
    }
    found: dict[str, list[str]] = {}
    for reason, stems in rules.items():
        for stem in stems:
            found.setdefault(stem, []).append(reason)
    return found


def _last(good: Sequence[Retained], policy: SavePolicy) -> set[str]:
    return {s.stem for s in good[-max(1, policy.keep_last) :]}


def _final(good: Sequence[Retained]) -> set[str]:
    return {s.stem for s in good if s.kind == "final"}


def _milestones(good: Sequence[Retained], policy: SavePolicy) -> set[str]:
    first: dict[tuple[str, int], str] = {}
    if policy.keep_every_steps:
        for s in sorted(good, key=lambda s: s.order):
            lineage, _, num_timesteps = s.order
            if multiple := num_timesteps // policy.keep_every_steps:
                first.setdefault((lineage, multiple), s.stem)
    return set(first.values())


def _best(good: Sequence[Retained], count: int) -> set[str]:
    scored = [(s.score, s.stem) for s in good if s.score is not None]
    # Stable: of equal scores the oldest stays, as a score must be beaten to be the best
    return {stem for _, stem in sorted(scored, key=lambda pair: -pair[0])[:count]}
