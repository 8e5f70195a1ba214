"""How far a session has come: told to people now and then, and kept in the metric history.

On a terminal there are two bars. One is the run's: every scenario, from zero to its target, with what earlier
sessions have done. The other is the session's own: its steps or its time. Elsewhere a line every ten seconds says
the same. Asking costs one look at the clock, for an off-policy algorithm passes here thousands of times a second.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path

from ..core.metrics import STEPS_PER_SECOND, Stretch
from .log import log
from .metrics import MetricLog
from .screen import Bars, Limits, Lines, Standing, on_terminal

# The speed of the last minute says more about the time that is left than that of the whole session
_PACE_SECONDS = 60.0


class SessionProgress:
    """Shows how a session advances through its scenarios, and keeps the metric history.

    Args:
        targets: scenario -> its total_timesteps.
        reached: scenario -> its num_timesteps so far, as far as known before it begins.
        limits: what the session ends by.
        metrics: the file of the metric history.
        terminal: draw bars; None: if stderr is a terminal.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        targets: Mapping[str, int],
        reached: Mapping[str, int],
        limits: Limits,
        metrics: Path,
        *,
        terminal: bool | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.clock = clock
        self.limits = limits
        self.metrics = MetricLog(metrics, log, clock=clock)
        self._targets = targets
        self._reached = {name: reached.get(name, 0) for name in targets}
        self._begun = dict(self._reached)
        self._started = clock()
        self._pace = deque([(self._started, 0)])
        bars = Bars.open() if (on_terminal() if terminal is None else terminal) else None
        self._screen: Bars | Lines = bars or Lines()

    def begin(self, stretch: Stretch) -> Progress:
        """Begin a scenario in this session.

        Args:
            stretch: what the session adds to the scenario's history; without rows.
        """
        self._begun[stretch.scenario] = self._reached[stretch.scenario] = stretch.begun_at
        self._pace = deque([(self.clock(), self.steps)])
        self.metrics.start(stretch)
        return Progress(self, stretch.scenario, stretch.begun_at)

    def close(self) -> None:
        """Take the bars off the terminal."""
        self._screen.close()

    @property
    def every_seconds(self) -> float:
        """How often people are shown something."""
        return self._screen.every_seconds

    @property
    def steps(self) -> int:
        """Transitions in this session, over all scenarios."""
        return sum(self._reached.values()) - sum(self._begun.values())

    def show(self, scenario: str, num_timesteps: int, numbers: Mapping[str, float]) -> None:
        """Show where the session stands."""
        moment = self.clock()
        self._reached[scenario] = num_timesteps
        self._pace.append((moment, self.steps))
        while len(self._pace) > 2 and moment - self._pace[0][0] > _PACE_SECONDS:
            self._pace.popleft()
        (then, before), limits = self._pace[0], self.limits
        left = {name: max(target - self._begun[name], 0) for name, target in self._targets.items()}
        if limits.max_steps is not None:
            left = {name: min(steps, limits.max_steps) for name, steps in left.items()}
        self._screen.show(
            Standing(
                scenario=scenario,
                num_timesteps=num_timesteps,
                target=self._targets[scenario],
                done=sum(self._reached.values()),
                total=sum(max(target, self._reached[name]) for name, target in self._targets.items()),
                session_done=self.steps,
                session_total=sum(left.values()),
                seconds=moment - self._started,
                deadline_in=limits.deadline - moment if limits.deadline is not None else None,
                pace=(self.steps - before) / (moment - then) if moment > then else None,
                numbers=numbers,
                limits=limits,
                several=len(self._targets) > 1,
            )
        )


class Progress:
    """How one scenario advances; made by `SessionProgress.begin`.

    Args:
        session: what it is part of.
        scenario: its name.
        begun_at: num_timesteps at its beginning in this session.
    """

    def __init__(self, session: SessionProgress, scenario: str, begun_at: int) -> None:
        self._session = session
        self._scenario = scenario
        self._begun = session.clock()
        self._recorded = (self._begun, begun_at)
        self._shown_at = self._look_at = self._begun

    @property
    def seconds(self) -> float:
        """How long the scenario has been trained in this session."""
        return self._session.clock() - self._begun

    def update(self, num_timesteps: int, numbers: Mapping[str, float]) -> None:
        """Take notice of a clean point; records and shows at most every few seconds.

        Args:
            num_timesteps: N now.
            numbers: finite numbers of the training log, `ep_rew_mean` among them.
        """
        moment = self._session.clock()
        if moment < self._look_at:
            return
        if moment >= self._session.metrics.due_at:
            self._record(moment, num_timesteps, numbers)
        every = self._session.every_seconds
        if moment - self._shown_at >= every:
            self._shown_at = moment
            self._session.show(self._scenario, num_timesteps, numbers)
        self._look_at = min(self._shown_at + every, self._session.metrics.due_at)

    def end(self, num_timesteps: int, numbers: Mapping[str, float]) -> None:
        """Record the last numbers of the scenario in this session, durably, and leave the terminal to the script."""
        self._record(self._session.clock(), num_timesteps, numbers, durable=True)
        self._session.close()

    def _record(
        self, moment: float, num_timesteps: int, numbers: Mapping[str, float], *, durable: bool = False
    ) -> None:
        then, before = self._recorded
        if num_timesteps > before and moment > then:
            numbers = {**numbers, STEPS_PER_SECOND: (num_timesteps - before) / (moment - then)}
        self._recorded = (moment, num_timesteps)
        if numbers:
            self._session.metrics.row(self._scenario, num_timesteps, numbers, durable=durable)
