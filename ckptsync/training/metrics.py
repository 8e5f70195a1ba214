"""The numbers of a training: asked of the model, and appended to metrics.jsonl.

A row is handed to the operating system when it is written, so any end of the process loses at most what came
since the last row. Nobody waits for the disk, except at the end of a scenario.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..core import fsio
from ..core.errors import StorageError
from ..core.metrics import LENGTH, REWARD, Row, Stretch, row_line, start_line

# The next row is due after this share of the time since the session began, within bounds: plots of a night stay as
# sharp as those of a minute, and twelve hours fit into two megabytes
_ROW_SHARE = 1 / 300
_ROW_SECONDS = (0.5, 30.0)
# A float32 has no more
_DIGITS = 8


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


class ModelNumbers:
    """What an SB3 model's training log says now; cheap enough to be asked at every step.

    Args:
        model: an SB3 model with a logger.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        self._newest: Any = None
        self._means: dict[str, float] = {}

    def __call__(self) -> dict[str, Any]:
        """Return `ep_rew_mean`, `ep_len_mean` and what the algorithm logs under `train/`."""
        values = {key: value for key, value in self._model.logger.name_to_value.items() if key.startswith("train/")}
        buffer = self._model.ep_info_buffer
        # The means of a hundred episodes cost more than a small network's step, and change with an episode's end only
        newest = buffer[-1] if buffer else None
        if newest is not self._newest:
            self._newest = newest
            episodes = [episode for episode in buffer or () if "r" in episode]
            self._means = {
                name: math.fsum(float(episode[key]) for episode in episodes) / len(episodes)
                for name, key in ((REWARD, "r"), (LENGTH, "l"))
                if episodes
            }
        return {**values, **self._means}


class MetricLog:
    """Appends rows to metrics.jsonl.

    Args:
        path: the file; its folder must exist, what earlier sessions left in it stays.
        tell: shows a line to people when the file cannot be written.
        clock: seconds that only grow.

    `due_at` is when the next row is due, on that clock.
    """

    def __init__(self, path: Path, tell: Callable[[str], None], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._tell = tell
        self._clock = clock
        self._begun = clock()
        self.due_at = self._begun + _ROW_SECONDS[0]
        self._failed = False

    def start(self, stretch: Stretch) -> None:
        """Write that a scenario goes on here."""
        self._append(start_line(stretch), durable=True)

    def row(self, scenario: str, num_timesteps: int, numbers: Mapping[str, float], *, durable: bool = False) -> None:
        """Write one row.

        Args:
            scenario: whose.
            num_timesteps: N.
            numbers: finite ones.
            durable: wait for the disk.
        """
        moment = self._clock()
        shortest, longest = _ROW_SECONDS
        self.due_at = moment + min(max((moment - self._begun) * _ROW_SHARE, shortest), longest)
        rounded = {name: float(f"{number:.{_DIGITS}g}") for name, number in numbers.items()}
        self._append(row_line(scenario, Row(num_timesteps, rounded)), durable=durable)

    def _append(self, line: bytes, *, durable: bool) -> None:
        try:
            fsio.append_line(self._path, line, durable=durable)
            self._failed = False
        except StorageError as error:  # a full disk must not end the training; it is told once
            if not self._failed:
                self._failed = True
                self._tell(f"[TRAIN] {error.message}; training goes on without a row of its metric history")
