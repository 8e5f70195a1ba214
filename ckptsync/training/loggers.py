"""The training's log (SB3's Logger): a resumed session goes on where the log was at the clean point.

SB3 empties progress.csv, progress.json and log.txt when a logger is made, and on a machine that is new
each time they are not there at all. So their text travels in the resume state and is written back: the
last session's files hold the rows of all sessions, none twice. TensorBoard's files lie side by side in
the folder of the run; a mark hides what a killed session has logged behind the clean point.
"""

from __future__ import annotations

import csv
import inspect
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stable_baselines3.common.logger import (
    CSVOutputFormat,
    HumanOutputFormat,
    JSONOutputFormat,
    KVWriter,
    TensorBoardOutputFormat,
)

from .arrays import UnencodableError, encode
from .log import log

# A longer text is not carried along: it would make every save as large
_LONGEST_BYTES = 16 << 20
_ITERATIONS = "time/iterations"


class LogInterval(int):
    """A log interval by which iterations of earlier sessions count too: `iteration % interval` asks it."""

    before = 0

    def __rmod__(self, iteration: int) -> int:
        return (iteration + self.before) % int(self)


class _Iterations(KVWriter):
    """Stands before the writers of a logger and lets the number of iterations go on."""

    def __init__(self, before: int) -> None:
        self._before = before

    def write(self, key_values: dict[str, Any], key_excluded: dict[str, tuple[str, ...]], step: int = 0) -> None:
        if _ITERATIONS in key_values:
            key_values[_ITERATIONS] += self._before

    def close(self) -> None:
        """Nothing is open."""


class _LogText:
    """The text of one file that a logger appends to; read as it grows."""

    def __init__(self, writer: Any) -> None:
        self.writer = writer
        self.path = Path(writer.file.name).absolute()
        self._text = b""
        self._keys = 0
        self._left_out = False

    @property
    def name(self) -> str:
        return f"{type(self.writer).__name__} {self.path.name}"

    def text(self) -> bytes | None:
        """Return the whole text; None when it is too long or gone."""
        keys = len(getattr(self.writer, "keys", ()))
        if keys != self._keys:  # a new column: SB3 has written all rows anew
            self._text, self._keys = b"", keys
        try:
            with self.path.open("rb") as file:
                file.seek(len(self._text))
                more = file.read(_LONGEST_BYTES + 1)
        except OSError:
            return None
        if more:
            self._text += more
        if len(self._text) > _LONGEST_BYTES:
            if not self._left_out:
                log(
                    f"[TRAIN] {self.writer.file.name} is longer than {_LONGEST_BYTES >> 20} MB: the next session begins it anew"
                )
            self._left_out = True
            return None
        return self._text

    def put_back(self, text: bytes) -> None:
        """Begin the file with a text."""
        file = self.writer.file
        present = self.path.read_bytes()
        if present and not isinstance(self.writer, HumanOutputFormat):
            log(f"[TRAIN] {file.name} holds rows of this session already: those of earlier ones are left out")
            return
        file.seek(0)
        file.truncate()
        file.write((text + present).decode(file.encoding))
        file.flush()
        if isinstance(self.writer, CSVOutputFormat):
            header = text.partition(b"\n")[0].decode(file.encoding)
            self.writer.keys = next(csv.reader([header]), [])
        log(f"[TRAIN] {file.name} goes on after the rows of earlier sessions")


class TrainingLog:
    """The log of one call of `learn`.

    Args:
        model: an SB3 algorithm.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        self._interval = LogInterval(0)
        self._iterations_before = 0
        self._began_at = int(model.num_timesteps)
        self._texts: list[_LogText] | None = None

    def learn_arguments(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Return arguments of `learn` whose log interval counts the iterations of earlier sessions."""
        interval = arguments.get(
            "log_interval", inspect.signature(self._model.learn).parameters["log_interval"].default
        )
        if type(interval) is not int:
            return dict(arguments)
        self._interval = LogInterval(interval)
        return {**arguments, "log_interval": self._interval}

    def capture(self) -> dict[str, Any]:
        """Return what has been logged, and what waits for the next row."""
        model, logger = self._model, self._model.logger
        pending = {name: value for name, value in logger.name_to_value.items() if _is_plain(value)}
        return {
            "iterations": self._iterations(),
            "seconds": (time.time_ns() - model.start_time) / 1e9,
            "began_at": model._num_timesteps_at_start,
            "values": pending,
            "counts": {name: count for name, count in logger.name_to_count.items() if name in pending},
            "excluded": {name: where for name, where in logger.name_to_excluded.items() if name in pending},
            "texts": {file.name: text for file in self._files() if (text := file.text()) is not None},
        }

    def put_back(self, stored: Mapping[str, Any] | None) -> None:
        """Go on where the log was.

        Args:
            stored: what `capture` gave; None: an older version has saved none.
        """
        if stored is None or not hasattr(self._model, "_logger"):
            return
        model, logger = self._model, self._model.logger
        self._iterations_before = self._interval.before = stored["iterations"]
        model.start_time = time.time_ns() - int(stored["seconds"] * 1e9)
        model._num_timesteps_at_start = stored["began_at"]
        logger.name_to_value.update(stored["values"])
        logger.name_to_count.update(stored["counts"])
        logger.name_to_excluded.update(stored["excluded"])
        for file in self._files():
            if stored["texts"].get(file.name):
                file.put_back(stored["texts"][file.name])
        for writer in logger.output_formats:
            if isinstance(writer, TensorBoardOutputFormat):
                _hide_behind(writer, int(model.num_timesteps))
        logger.output_formats.insert(0, _Iterations(self._iterations_before))

    def _iterations(self) -> int:
        """How many rollouts of an on-policy algorithm there were in all sessions."""
        if not hasattr(self._model, "rollout_buffer"):
            return 0
        steps = int(self._model.num_timesteps) - self._began_at
        return self._iterations_before + steps // int(self._model.n_steps * self._model.n_envs)

    def _files(self) -> list[_LogText]:
        if self._texts is None:
            self._texts = [
                _LogText(writer)
                for writer in self._model.logger.output_formats
                if isinstance(writer, CSVOutputFormat | JSONOutputFormat)
                or (isinstance(writer, HumanOutputFormat) and writer.own_file)
            ]
        return self._texts


def _is_plain(value: Any) -> bool:
    try:
        encode(value, {})
    except UnencodableError:  # a figure or a video: drawn anew with the next row
        return False
    return True


def _hide_behind(writer: Any, num_timesteps: int) -> None:
    """Let TensorBoard forget what earlier files of its folder hold behind a step.

    Source: what torch's SummaryWriter does with its argument `purge_step`.
    """
    from tensorboard.compat.proto.event_pb2 import Event, SessionLog  # type: ignore[import-untyped]

    files = writer.writer.file_writer
    files.add_event(Event(step=num_timesteps + 1, file_version="brain.Event:2"))
    files.add_event(Event(step=num_timesteps + 1, session_log=SessionLog(status=SessionLog.START)))
    writer.writer.flush()
