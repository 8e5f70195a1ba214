"""When a runner takes no session now: another kind of machine, waiting until it will, or a refusal that says when."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, TypeVar

from ..core.errors import LimitError
from ..project.config import Project
from .reporting import Reporter

T = TypeVar("T")

# The setting of a runner that may name several kinds of machines, the best one first
MACHINES_KEY = "accelerator"
_FIRST_PAUSE = 30.0
# The clock here may be wrong, and a quota may be raised: never is it believed for longer that it is no use to ask
_LONGEST_PAUSE = 3600.0
_GROWTH = 2.0
_JITTER = 0.1


def machines(project: Project, runner: str, run: str) -> Iterator[tuple[str | None, Project]]:
    """Yield the project as it is set up for each kind of machine that a run may use, the best one first.

    Args:
        project: the project.
        runner: the runner's name.
        run: the run's name.
    """
    wanted = project.runner_settings(runner, run).get(MACHINES_KEY)
    if not isinstance(wanted, list):
        yield None, project
        return
    for machine in wanted:
        yield machine, _with(project, runner, run, {MACHINES_KEY: machine})


def _with(project: Project, runner: str, run: str, settings: Mapping[str, Any]) -> Project:
    config = project.runs[run]
    own = {**config.runner_settings.get(runner, {}), **settings}
    changed = replace(config, runner_settings={**config.runner_settings, runner: own})
    return replace(project, runs={**project.runs, run: changed})


def on_any_machine(project: Project, runner: str, run: str, start: Callable[[Project], T], reporter: Reporter) -> T:
    """Start on the first kind of machine that is to be had.

    Raises:
        LimitError: none is; it is the one that says when the first will be.
    """
    refused: LimitError | None = None
    for machine, configured in machines(project, runner, run):
        if refused is not None:
            reporter.warn(f"{refused.message}; taking {machine} instead")
        try:
            return start(configured)
        except LimitError as error:
            refused = error if refused is None or refused.available_at is None else refused
    if refused is None:
        raise LimitError(f"[runners.{runner}] {MACHINES_KEY} names no machine", hint="name one, such as none")
    raise refused


def when_possible(
    start: Callable[[], T],
    reporter: Reporter,
    *,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.time,
    chance: Callable[[], float] = random.random,
) -> T:
    """Try again for as long as a limit is only a matter of time, and say until when.

    Args:
        start: what is tried.
        reporter: receives what it waits for.
        sleep: waits.
        clock: the time of day in seconds, which the service's times are compared with.
        chance: between 0 and 1; many who were refused together do not come back together.

    Raises:
        LimitError: waiting does not help.
    """
    least = _FIRST_PAUSE
    while True:
        try:
            return start()
        except LimitError as error:
            if error.available_at is None:
                raise
            left = seconds_until(error.available_at, clock())
            pause = min(max(left, least), _LONGEST_PAUSE)
            least = min(least * _GROWTH, _LONGEST_PAUSE)
            reporter.line(f"{error.message}; waiting until {error.available_at}")
            sleep(pause * (1.0 + _JITTER * chance()))


def seconds_until(moment: str, now: float) -> float:
    """Return how many seconds a moment in ISO 8601 is ahead; 0 for one that has passed or is none."""
    try:
        at = datetime.fromisoformat(moment)
    except ValueError:
        return 0.0
    return max((at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp() - now, 0.0)
