"""Where a session stands, in words: behind two bars on a terminal, else in lines of the log."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..core.metrics import REWARD, loss_of
from .log import around_bars, log


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


class Lines:
    """A line every ten seconds."""

    every_seconds = 10.0

    def show(self, standing: Standing) -> None:
        """Print a line."""
        log(standing.line())

    def close(self) -> None:
        """Nothing is left to take away."""


class Bars:
    """Two bars on the terminal; lines of the log appear above them."""

    every_seconds = 0.5

    def __init__(self, tqdm: Any) -> None:
        self._tqdm = tqdm
        self._drawn: list[Any] = []

    @classmethod
    def open(cls) -> Bars | None:
        """Return the bars, or None where tqdm is not installed: a session's machine may lack it."""
        try:
            from tqdm import tqdm
        except ImportError:
            return None
        return cls(tqdm)

    def show(self, standing: Standing) -> None:
        """Draw both bars."""
        if not self._drawn:
            self._begin()
        done, total, text = standing.session_bar()
        shown = ((standing.done, standing.total, standing.run_bar()), (done, total, text))
        for bar, (n, end, told) in zip(self._drawn, shown, strict=True):
            bar.n, bar.total = min(n, end), end
            bar.bar_format = "{desc:<7} {percentage:3.0f}%|{bar:20}| " + told.replace("{", "{{").replace("}", "}}")
            bar.refresh()

    def close(self) -> None:
        """Take the bars off the terminal, so that a script may print there; they come back when there is more."""
        around_bars(None)
        for bar in reversed(self._drawn):
            bar.close()
        self._drawn = []

    def _begin(self) -> None:
        options = {"file": sys.stderr, "dynamic_ncols": True, "leave": False, "bar_format": "{desc}"}
        self._drawn = [self._tqdm(desc=name, position=n, **options) for n, name in enumerate(("run", "session"))]
        around_bars(lambda text: self._tqdm.write(text, file=sys.stdout))


def on_terminal() -> bool:
    """Whether bars can be drawn."""
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


def _number(value: float, *, digits: int = 1) -> str:
    return f"{value:,.{digits}f}" if abs(value) >= 10 or value == 0 else f"{value:.3g}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(max(round(seconds), 0), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
