"""When a runner takes no session now: another kind of machine, waiting until it will, or a refusal that says when."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, TypeVar

from ..core.errors import CkptsyncError, LimitError
from ..core.patience import growing
from ..core.units import duration_text
from ..project.config import Project, RunConfig
from ..runners.base import Allowance, RemoteRunner
from .reporting import Reporter
from .runners import runner_for

T = TypeVar("T")

# The setting of a runner that may name several kinds of machines, the best one first
MACHINES_KEY = "accelerator"
_FIRST_PAUSE = 30.0
# The clock here may be wrong, and a quota may be raised: never is it believed for longer that it is no use to ask
_LONGEST_PAUSE = 3600.0
_JITTER = 0.1
_ASK_SECONDS = 5.0


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
    refusals = 0
    while True:
        try:
            return start()
        except LimitError as error:
            if not error.transient:
                raise
            left = seconds_until(error.available_at, clock()) if error.available_at is not None else 0.0
            refusals += 1
            pause = min(max(left, growing(refusals, _FIRST_PAUSE, _LONGEST_PAUSE)), _LONGEST_PAUSE)
            until = f"waiting until {error.available_at}" if left else f"asking again in {duration_text(pause)}"
            reporter.line(f"{error.message}; {until}")
            sleep(pause * (1.0 + _JITTER * chance()))


def hours_left(project: Project, run: RunConfig) -> tuple[tuple[Allowance, ...], str | None]:
    """Return what the service of a run's runner still gives, and why that is not known; asks for a moment only.

    A runner without a service counts nothing.
    """
    found: list[tuple[Allowance, ...]] = []
    trouble: list[str] = []

    def ask() -> None:
        try:
            runner = runner_for(project, run.runner, run.name)
            found.append(runner.limits().allowances if isinstance(runner, RemoteRunner) else ())
        except CkptsyncError as error:
            trouble.append(error.message)

    asking = threading.Thread(target=ask, daemon=True)  # one that gets no answer is left behind
    asking.start()
    asking.join(_ASK_SECONDS)
    if found:
        return found[0], None
    return (), trouble[0] if trouble else f"{run.runner} has not answered within {_ASK_SECONDS:g} s"


def seconds_until(moment: str, now: float) -> float:
    """Return how many seconds a moment in ISO 8601 is ahead; 0 for one that has passed or is none."""
    try:
        at = datetime.fromisoformat(moment)
    except ValueError:
        return 0.0
    return max((at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp() - now, 0.0)
