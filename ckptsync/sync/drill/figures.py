"""What a drill measured, and what that means for the run: pure functions of what was observed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

from ...core.manifest import FIDELITIES
from ...core.policy import Moment, save_interval
from ...project.config import RunConfig
from .observed import Observed, Save


@dataclass(frozen=True)
class Measured:
    """What was measured; None where nothing was to be measured.

    Args:
        saves: how many there were.
        save_seconds: the slowest.
        stall_seconds: the longest time that a save held training up.
        size_bytes: of the largest set.
        stop_seconds: from the request to stop to the end of the session.
        fetch_seconds: of the first session's outputs.
        verify_seconds: of the same.
        restore_seconds: of the same.
        start_seconds: of the second session outside its training: start, resume, end.
        steps_per_second: over the training of both sessions.
        clean_every: clean points are so many steps apart, as far as the saves tell.
        own_interval: the most steps between two saves of a script that saves by itself; None with TrainingSession,
            which saves as the run says.
        captured: the lowest fidelity of all sets.
        captured_reasons: why it is no higher.
        resumed: the lowest fidelity of the second session's resumes.
        resumed_reasons: why it is no higher.
    """

    saves: int = 0
    save_seconds: float | None = None
    stall_seconds: float | None = None
    size_bytes: int | None = None
    stop_seconds: float | None = None
    fetch_seconds: float | None = None
    verify_seconds: float | None = None
    restore_seconds: float | None = None
    start_seconds: float | None = None
    steps_per_second: float | None = None
    clean_every: int | None = None
    own_interval: int | None = None
    captured: str | None = None
    captured_reasons: tuple[str, ...] = ()
    resumed: str | None = None
    resumed_reasons: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object, with seconds to the millisecond."""
        return {
            name: round(value, 3) if isinstance(value, float) else list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self).items()
        }


@dataclass(frozen=True)
class Projected:
    """What the measured figures mean for the run as it is configured; None where that is not known.

    Args:
        interval_steps: between two saves.
        lost_steps: what a kill loses at worst: the interval, a rollout, and what is trained while a save is written.
        lost_seconds: the same in training time.
        save_seconds: the slowest save that was measured.
        margin_seconds: how long before its end a session begins to stop.
    """

    interval_steps: int | None
    lost_steps: int | None
    lost_seconds: float | None
    save_seconds: float | None
    margin_seconds: float

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object, with seconds to the millisecond."""
        return {name: round(value, 3) if isinstance(value, float) else value for name, value in asdict(self).items()}


@dataclass(frozen=True)
class TripSeconds:
    """How long the way home of the first session took, in seconds."""

    fetch: float
    verify: float
    restore: float


def measure(first: Observed, second: Observed | None, trip: TripSeconds | None) -> Measured:
    """Put the figures of both sessions together."""
    seen = [first, *([second] if second is not None else [])]
    saves = [save for one in seen for save in one.saves]
    stalls = [save.stall_seconds for save in saves if save.stall_seconds is not None]
    timed = [save.seconds for save in saves if save.seconds > 0]  # plain files were not timed by anybody
    begun = [begun for begun in second.begun.values() if begun.resumed is not None] if second is not None else []
    sets = [manifest for one in seen for manifest in one.sealed]
    return Measured(
        saves=len(saves),
        save_seconds=max(timed, default=None),
        stall_seconds=max(stalls, default=None),
        size_bytes=max((save.size_bytes for save in saves), default=None),
        stop_seconds=first.stop_seconds,
        fetch_seconds=trip.fetch if trip else None,
        verify_seconds=trip.verify if trip else None,
        restore_seconds=trip.restore if trip else None,
        start_seconds=_start_seconds(second) if second is not None else None,
        steps_per_second=_rate(seen),
        clean_every=_clean_every(saves),
        own_interval=max(map(_widest_gap, seen)) if not first.uses_session else None,
        captured=_lowest(manifest.captured for manifest in sets),
        captured_reasons=_merged(manifest.captured_reasons for manifest in sets),
        resumed=_lowest(one.resumed for one in begun if one.resumed is not None),
        resumed_reasons=_merged(one.reasons for one in begun),
    )


def project_run(run: RunConfig, measured: Measured) -> Projected:
    """Say what a kill loses at worst in a run with these settings, and whether a save fits into the margin."""
    rate, save_seconds = measured.steps_per_second, measured.save_seconds or 0.0
    interval = measured.own_interval or _interval(run, measured)
    if interval is None:
        return Projected(None, None, None, measured.save_seconds, run.margin_seconds)
    # A script that saves by itself has shown its whole interval, rollouts included
    rollout = 0 if measured.own_interval else (measured.clean_every or 1) - 1
    lost = interval + rollout + math.ceil((rate or 0.0) * save_seconds)
    return Projected(
        interval_steps=interval,
        lost_steps=lost,
        lost_seconds=lost / rate if rate else None,
        save_seconds=measured.save_seconds,
        margin_seconds=run.margin_seconds,
    )


def _interval(run: RunConfig, measured: Measured) -> int | None:
    """Return how many steps lie between two saves by the run's settings, whichever is due first."""
    rate, save_seconds = measured.steps_per_second, measured.save_seconds or 0.0
    moment = Moment(1, 0, 0.0, stall_seconds=measured.stall_seconds or save_seconds, write_seconds=save_seconds)
    seconds = save_interval(run.save, moment)
    intervals = [run.save.every_steps] if run.save.every_steps else []
    if seconds is not None and rate is not None:
        intervals.append(math.ceil(seconds * rate))
    return min(intervals, default=None)


def _widest_gap(seen: Observed) -> int:
    """Return the most steps between two saves, or a start and a save, of one scenario."""
    gaps = [0]
    for scenario, begun in seen.begun.items():
        at = [begun.num_timesteps, *(save.num_timesteps for save in seen.saves if save.scenario == scenario)]
        gaps += [later - earlier for earlier, later in pairwise(at)]
    return max(gaps)


def _lowest(fidelities: Iterable[str]) -> str | None:
    return max(fidelities, key=FIDELITIES.index, default=None)


def _merged(reasons: Iterable[Sequence[str]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(reason for one in reasons for reason in one))


def _trained(seen: Observed) -> tuple[int, float]:
    """Return steps and seconds of training in a session, counted up to each scenario's last save."""
    steps, seconds = 0, 0.0
    for scenario, begun in seen.begun.items():
        last = [s for s in seen.saves if s.scenario == scenario and s.trained_seconds is not None][-1:]
        for save in last:
            steps += save.num_timesteps - begun.num_timesteps
            seconds += (save.trained_seconds or 0.0) - begun.trained_seconds
    return steps, seconds


def _rate(seen: Sequence[Observed]) -> float | None:
    trained = [_trained(one) for one in seen]
    steps, seconds = sum(steps for steps, _ in trained), sum(seconds for _, seconds in trained)
    return steps / seconds if steps > 0 and seconds > 0 else None


def _start_seconds(second: Observed) -> float | None:
    _, trained = _trained(second)
    whole = second.status.seconds
    return max(whole - trained, 0.0) if whole is not None and trained > 0 else None


def _clean_every(saves: Sequence[Save]) -> int | None:
    return math.gcd(*(save.num_timesteps for save in saves)) or None if saves else None
