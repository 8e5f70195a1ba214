"""What people see while a session trains: a bar on a terminal, else a line now and then; and metrics.jsonl."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..core import fsio, jsonio
from ..core.clock import now

_LINE_SECONDS = 10.0
_METRICS_SECONDS = 2.0


def log(text: str) -> None:
    """Print one line of the session's log, in one piece and at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def finite(numbers: Mapping[str, Any]) -> dict[str, float]:
    """Return the entries that are finite numbers, as floats: the others are no JSON."""
    found: dict[str, float] = {}
    for key, value in numbers.items():
        try:
            number = float(value)
        except (TypeError, ValueError):
            continue
        if math.isfinite(number):
            found[str(key)] = number
    return found


class Progress:
    """Shows how one scenario advances.

    Args:
        scenario: its name.
        target: its total_timesteps.
        begun_at: num_timesteps at the start of this session.
        metrics: the file of the metric history.
        every_steps: the save interval, for "next save"; None: not by steps.
    """

    def __init__(self, scenario: str, target: int, begun_at: int, metrics: Path, every_steps: int | None) -> None:
        self._scenario = scenario
        self._target = target
        self._begun_at = begun_at
        self._metrics = metrics
        self._every_steps = every_steps
        self._started = time.monotonic()
        self._shown = self._started
        self._recorded = 0.0
        self._bar = _terminal_bar(scenario, target, begun_at)

    def update(self, num_timesteps: int, values: Mapping[str, Any]) -> None:
        """Take notice of a clean point; shows and records at most every few seconds.

        Args:
            num_timesteps: N now.
            values: `ep_rew_mean` and the numbers of the training log.
        """
        moment = time.monotonic()
        if moment - self._recorded >= _METRICS_SECONDS:
            self._recorded = moment
            self.record(num_timesteps, values)
        if self._bar is not None:
            self._bar.n = min(num_timesteps, self._target)
            if "ep_rew_mean" in values:
                self._bar.set_postfix(reward=f"{float(values['ep_rew_mean']):.1f}", refresh=False)
            self._bar.refresh()
        elif moment - self._shown >= _LINE_SECONDS:
            self._shown = moment
            log(self._line(num_timesteps, values, moment))

    def record(self, num_timesteps: int, values: Mapping[str, Any]) -> None:
        """Append one line to the metric history."""
        line = {"at": now(), "scenario": self._scenario, "num_timesteps": num_timesteps, **finite(values)}
        fsio.append_line(self._metrics, jsonio.canonical(line) + b"\n")

    def close(self) -> None:
        """Take the bar off the terminal."""
        if self._bar is not None:
            self._bar.close()

    def _line(self, num_timesteps: int, values: Mapping[str, Any], moment: float) -> str:
        parts = [f"{num_timesteps:,}/{self._target:,} steps"]
        if "ep_rew_mean" in values:
            parts.append(f"reward {float(values['ep_rew_mean']):.1f}")
        rate = (num_timesteps - self._begun_at) / max(moment - self._started, 1e-9)
        parts.append(f"{rate:,.0f} steps/s")
        if self._every_steps:
            following = min((num_timesteps // self._every_steps + 1) * self._every_steps, self._target)
            parts.append(f"next save at {following:,}")
        return f"[TRAIN] {self._scenario} " + " · ".join(parts)


def _terminal_bar(scenario: str, target: int, begun_at: int) -> Any:
    if not sys.stderr.isatty():
        return None
    from tqdm import tqdm

    return tqdm(total=target, initial=begun_at, desc=scenario, unit="step", dynamic_ncols=True)
