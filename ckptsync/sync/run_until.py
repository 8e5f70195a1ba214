"""run-until: one session after the other until the steps are reached, or until going on makes no sense.

What a session leaves decides: a time limit or a stop of its own means the next one, a crash means another attempt
as long as there are restarts left, checkpoints that cannot be used mean the end.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from ..core.errors import CkptsyncError, ExitCode, LimitError, LockedError, NothingFoundError
from ..core.patience import growing
from ..core.session import ScenarioSpec
from ..core.units import duration_text
from ..project.config import Project, RunConfig
from .launch import LaunchOptions
from .ledgers import find_record
from .outcome import Ending
from .overview import head_steps
from .reporting import Reporter
from .roundtrip import resume_unfinished
from .roundtrip import run as launch
from .store.from_store import bring_newer
from .trip import RoundTrip

RUN_UNTIL_SCHEMA = "ckptsync.run-until/1"
DEFAULT_RESTARTS = 2
_FIRST_PAUSE = 10.0
_LONGEST_PAUSE = 600.0
_WITHOUT_STEPS = 2  # so many sessions in a row without new steps are enough
# What another attempt may mend
_AGAIN = (Ending.CRASHED, Ending.STOPPED, Ending.CANCELLED)


@dataclass(frozen=True)
class Limits:
    """How long to go on.

    Args:
        steps: what every scenario is to reach; None: its own target.
        sessions: at most so many; None: no limit.
        restarts: so many attempts after crashes in a row.
        when_possible: wait where a quota or limit is only a matter of time.
    """

    steps: int | None = None
    sessions: int | None = None
    restarts: int = DEFAULT_RESTARTS
    when_possible: bool = False


@dataclass(frozen=True)
class Series:
    """What a series of sessions came to.

    Args:
        run: the run.
        exit_code: of the command.
        message: why it stopped.
        trips: each session's trip.
        steps: what was added, over all scenarios.
        seconds: how long it took, with all waiting.
        next_command: what to type next.
    """

    run: str
    exit_code: int
    message: str
    trips: tuple[RoundTrip, ...]
    steps: int
    seconds: float
    next_command: str

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object of the command."""
        return {
            "schema": RUN_UNTIL_SCHEMA,
            "exit_code": self.exit_code,
            "run": self.run,
            "message": self.message,
            "sessions": [trip.to_json() for trip in self.trips],
            "steps": self.steps,
            "seconds": round(self.seconds, 3),
            "next_command": self.next_command,
        }


@dataclass(frozen=True)
class _Stop:
    code: int
    why: str
    hint: str | None = None


def run_until(
    project: Project,
    run: RunConfig,
    options: LaunchOptions,
    limits: Limits,
    *,
    reporter: Reporter,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Series:
    """Launch sessions one after the other until every scenario has its steps.

    Args:
        project: the project.
        run: the run.
        options: of every session; `fresh` counts for the first.
        limits: how long to go on.
        reporter: receives what happens.
        sleep: waits between attempts.
        clock: seconds that only grow.

    Raises:
        CkptsyncError: before anything was launched.
    """
    project, run = aimed(project, run, limits.steps, options.runner or run.runner)
    if not options.fresh:
        bring_newer(project, run, reporter)
    began, begun_at = clock(), sum(head_steps(project, run).values())
    trips: list[RoundTrip] = []
    crashes = idle = 0
    while True:
        before = sum(head_steps(project, run).values())
        stop = _enough(project, run, limits, trips)
        if stop is None:
            stop = _one_more(project, run, options, limits, trips, reporter)
        if stop is not None:
            break
        options = replace(options, fresh=False)
        trip = trips[-1]
        crashes = crashes + 1 if trip.ending in _AGAIN else 0
        idle = 0 if sum(head_steps(project, run).values()) > before else idle + 1
        cancelled = trip.session is not None and find_record(project, trip.session).cancelled
        stop = _no_sense(trip, limits, crashes, idle, cancelled=cancelled)
        if stop is not None:
            break
        if crashes:
            pause = growing(crashes, _FIRST_PAUSE, _LONGEST_PAUSE)
            left = limits.restarts - crashes
            reporter.warn(f"{_first_line(trip)}; again in {duration_text(pause)}, then {left} restart(s) are left")
            try:
                sleep(pause)
            except KeyboardInterrupt:
                stop = _Stop(int(ExitCode.INTERRUPTED), "interrupted", f"ckptsync run-until {run.name}")
                break
    added = sum(head_steps(project, run).values()) - begun_at
    last = trips[-1].next_command if trips else f"ckptsync ls {run.name}"
    return Series(run.name, stop.code, stop.why, tuple(trips), added, clock() - began, stop.hint or last)


def aimed(project: Project, run: RunConfig, steps: int | None, runner: str) -> tuple[Project, RunConfig]:
    """Return the project and run with other targets (those of the run when None), on another runner."""
    scenarios = run.scenarios if steps is None else tuple(ScenarioSpec(each.name, steps) for each in run.scenarios)
    changed = replace(run, scenarios=scenarios, runner=runner)
    return replace(project, runs={**project.runs, run.name: changed}), changed


def _enough(project: Project, run: RunConfig, limits: Limits, trips: list[RoundTrip]) -> _Stop | None:
    reached = head_steps(project, run)
    if all(reached[scenario.name] >= scenario.total_timesteps for scenario in run.scenarios):
        told = ", ".join(f"{name} at {steps:,}" for name, steps in reached.items())
        return _Stop(int(ExitCode.OK), f"the steps are reached: {told}", f"ckptsync ls {run.name}")
    if limits.sessions is not None and len(trips) >= limits.sessions:
        why = f"{len(trips)} session(s), as many as were asked for, and the steps are not reached"
        return _Stop(int(ExitCode.PARTIAL), why, f"ckptsync run-until {run.name}")
    return None


def _one_more(
    project: Project,
    run: RunConfig,
    options: LaunchOptions,
    limits: Limits,
    trips: list[RoundTrip],
    reporter: Reporter,
) -> _Stop | None:
    again = f"ckptsync run-until {run.name}"
    try:
        try:
            trip = launch(project, run, options, when_possible=limits.when_possible, reporter=reporter)
        except LockedError as locked:
            trip = _behind(project, run, locked, reporter)
    except LimitError as error:
        when = f"; possible again at {error.available_at}" if error.available_at is not None else ""
        return _Stop(int(error.exit_code), error.message + when, f"{again} --when-possible" if when else error.hint)
    except CkptsyncError as error:
        if not trips:
            raise
        return _Stop(int(error.exit_code), error.message, error.hint)
    if trip.session is not None:
        trips.append(trip)
    if trip.exit_code == ExitCode.INTERRUPTED:
        return _Stop(trip.exit_code, trip.message, again)
    return None


def _behind(project: Project, run: RunConfig, locked: LockedError, reporter: Reporter) -> RoundTrip:
    """Wait for the session of another machine that came first: it trains the same run."""
    try:
        trip = resume_unfinished(project, run, reporter=reporter)
    except NothingFoundError:
        raise locked from None  # somebody here works on the tree
    reporter.warn(locked.message)
    return trip


def _no_sense(trip: RoundTrip, limits: Limits, crashes: int, idle: int, *, cancelled: bool) -> _Stop | None:
    if cancelled:
        return _Stop(trip.exit_code, f"{_first_line(trip)}; it was asked to stop from here")
    if trip.ending is Ending.REFUSED:
        return _Stop(trip.exit_code, trip.message)
    if crashes > limits.restarts:
        again = f"{crashes} sessions in a row did not end by themselves" if crashes > 1 else "no restarts are left"
        return _Stop(int(ExitCode.SESSION_FAILED), f"{_first_line(trip)}; {again}")
    if idle >= _WITHOUT_STEPS and not crashes:
        return _Stop(int(ExitCode.NO_PROGRESS), f"{_first_line(trip)}; {idle} sessions in a row added no steps")
    return None


def _first_line(trip: RoundTrip) -> str:
    return trip.message.splitlines()[0]
