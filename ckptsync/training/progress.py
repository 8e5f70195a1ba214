"""How far a session has come, for people: two bars on a terminal, else a line every ten seconds.

One bar is the run's: every scenario, from zero to its target, with what earlier sessions have done. The other
is the session's own: its steps or its time. A line says the same. Asking costs one look at the clock, for an
off-policy algorithm passes here thousands of times a second.
"""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core.metrics import REWARD, STEPS_PER_SECOND, Stretch, loss_of
from .log import around_bars, log
from .metrics import MetricLog

_BAR_SECONDS = 0.5
_LINE_SECONDS = 10.0
# The speed of the last minute says more about the time that is left than that of the whole session
_PACE_SECONDS = 60.0


@dataclass(frozen=True)
class Limits:
    """What a session ends by, and how often it saves.

    Args:
        deadline: on the clock of `time.monotonic`; None: no deadline.
        max_steps: of each scenario in this session; None: no such limit.
        every_steps: the save interval; None: not by steps.
    """

    deadline: float | None = None
    max_steps: int | None = None
    every_steps: int | None = None


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
        bars = _Bars.open() if (_on_terminal() if terminal is None else terminal) else None
        self._screen: _Bars | _Lines = bars or _Lines()

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
        """Record the last numbers of the scenario in this session, durably."""
        self._record(self._session.clock(), num_timesteps, numbers, durable=True)

    def _record(
        self, moment: float, num_timesteps: int, numbers: Mapping[str, float], *, durable: bool = False
    ) -> None:
        then, before = self._recorded
        if num_timesteps > before and moment > then:
            numbers = {**numbers, STEPS_PER_SECOND: (num_timesteps - before) / (moment - then)}
        self._recorded = (moment, num_timesteps)
        if numbers:
            self._session.metrics.row(self._scenario, num_timesteps, numbers, durable=durable)


@dataclass(frozen=True)
class Standing:
    """Where a session stands at one moment.

    Args:
        scenario: the one that is being trained.
        num_timesteps: its N.
        target: its total_timesteps.
        done: transitions of all scenarios, over all sessions.
        total: what all of them are to reach.
        session_done: transitions in this session.
        session_total: how many it can come to.
        seconds: since the session began.
        deadline_in: seconds until it stops itself, or None.
        pace: steps a second, lately; None before the first two looks.
        numbers: of the training log.
        limits: what the session ends by.
        several: whether the run has more scenarios than this one.
    """

    scenario: str
    num_timesteps: int
    target: int
    done: int
    total: int
    session_done: int
    session_total: int
    seconds: float
    deadline_in: float | None
    pace: float | None
    numbers: Mapping[str, float]
    limits: Limits
    several: bool

    def line(self) -> str:
        """Return everything in one line of the log."""
        parts = [f"{self.scenario} {self.num_timesteps:,}/{self.target:,} steps"]
        if self.several:
            parts.append(f"run {self.done:,}/{self.total:,}")
        if self.limits.max_steps is not None:
            parts.append(f"session {self.session_done:,}/{self.session_total:,}")
        parts += [*self._learning(), *self._time()]
        if self.limits.every_steps:
            every = self.limits.every_steps
            parts.append(f"next save at {min((self.num_timesteps // every + 1) * every, self.target):,}")
        return "[TRAIN] " + " · ".join(parts)

    def run_bar(self) -> str:
        """Return what stands behind the bar of the run."""
        where = [f"{self.scenario} {self.num_timesteps:,}/{self.target:,}"] if self.several else []
        return " · ".join([f"{self.done:,}/{self.total:,} steps", *where, *self._time(deadline=False)])

    def session_bar(self) -> tuple[float, float, str]:
        """Return how far the session is, of how much, and what stands behind its bar."""
        if self.deadline_in is not None and self.limits.max_steps is None:
            total = self.seconds + max(self.deadline_in, 0.0)
            return self.seconds, total, " · ".join([*self._deadline(), *self._learning()])
        text = f"{self.session_done:,}/{self.session_total:,} steps"
        return self.session_done, self.session_total, " · ".join([text, *self._deadline(), *self._learning()])

    def _learning(self) -> list[str]:
        parts = [f"reward {_number(self.numbers[REWARD])}"] if REWARD in self.numbers else []
        loss = loss_of(self.numbers)
        if loss is not None:
            parts.append(f"{loss.removeprefix('train/').replace('_', ' ')} {_number(self.numbers[loss])}")
        return parts

    def _time(self, *, deadline: bool = True) -> list[str]:
        parts = []
        if self.pace is not None:
            parts.append(f"{_number(self.pace, digits=0)} steps/s")
            if self.pace > 0:
                parts.append(f"{_clock((self.total - self.done) / self.pace)} to the target")
        return [*parts, *(self._deadline() if deadline else [])]

    def _deadline(self) -> list[str]:
        return [] if self.deadline_in is None else [f"{_clock(self.deadline_in)} to the deadline"]


class _Lines:
    """A line every ten seconds."""

    every_seconds = _LINE_SECONDS

    def show(self, standing: Standing) -> None:
        """Print a line."""
        log(standing.line())

    def close(self) -> None:
        """Nothing is left to take away."""


class _Bars:
    """Two bars on the terminal; lines of the log appear above them."""

    every_seconds = _BAR_SECONDS

    def __init__(self, tqdm: Any) -> None:
        options = {"file": sys.stderr, "dynamic_ncols": True, "leave": False, "bar_format": "{desc}"}
        self._run = tqdm(desc="run", position=0, **options)
        self._session = tqdm(desc="session", position=1, **options)
        around_bars(lambda text: tqdm.write(text, file=sys.stdout))

    @classmethod
    def open(cls) -> _Bars | None:
        """Return the bars, or None where tqdm is not installed: a session's machine may lack it."""
        try:
            from tqdm import tqdm
        except ImportError:
            return None
        return cls(tqdm)

    def show(self, standing: Standing) -> None:
        """Draw both bars."""
        done, total, text = standing.session_bar()
        for bar, n, end, told in (
            (self._run, standing.done, standing.total, standing.run_bar()),
            (self._session, done, total, text),
        ):
            bar.n, bar.total = min(n, end), end
            bar.bar_format = "{desc:<7} {percentage:3.0f}%|{bar:20}| " + told.replace("{", "{{").replace("}", "}}")
            bar.refresh()

    def close(self) -> None:
        """Take the bars off the terminal."""
        around_bars(None)
        self._session.close()
        self._run.close()


def _on_terminal() -> bool:
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


def _number(value: float, *, digits: int = 1) -> str:
    return f"{value:,.{digits}f}" if abs(value) >= 10 or value == 0 else f"{value:.3g}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(max(round(seconds), 0), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
