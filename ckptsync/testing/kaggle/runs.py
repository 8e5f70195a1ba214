"""Runs: a pushed script from QUEUED to its last status, and what it leaves."""

from __future__ import annotations

import math
import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from .downloads import StoredFile
from .logs import Log
from .machine import Machine
from .world import World

TOO_LONG = "Your notebook was stopped because it exceeded the max allowed execution duration."
TOO_LARGE = "Your notebook tried to allocate more memory than is available."


class RunStatus(StrEnum):
    """The words of the service, as its JSON has them."""

    QUEUED = "queued"
    RUNNING = "running"
    COMPLETE = "complete"
    ERROR = "error"
    CANCEL_REQUESTED = "cancelRequested"
    CANCEL_ACKNOWLEDGED = "cancelAcknowledged"

    @property
    def last(self) -> bool:
        """Whether nothing comes after it."""
        return self in (RunStatus.COMPLETE, RunStatus.ERROR, RunStatus.CANCEL_ACKNOWLEDGED)


@dataclass(frozen=True)
class Outputs:
    """What a run is to have left, in place of what it really left.

    Args:
        files: names as hostile as wanted, and what each holds.
        log_bytes: the length of a made-up log, which is never stored; 0: the real one.
    """

    files: tuple[StoredFile, ...] | None = None
    log_bytes: int = 0


class Run:
    """One execution of a script.

    Args:
        world: the service's settings and clock.
        folder: of this run alone.
        source: the script.
        limit_seconds: in the service's seconds.
        accelerator: `gpu`, `tpu` or empty.
        mount: lays the inputs into a folder; called when the run starts.
    """

    def __init__(
        self,
        world: World,
        folder: Path,
        source: str,
        *,
        limit_seconds: float,
        accelerator: str,
        mount: Callable[[Path], None],
    ) -> None:
        self.number = world.number()
        self.accelerator = accelerator
        self.pushed = time.monotonic()
        self.log = Log()
        self.made_up = Outputs()
        self._world = world
        self._source = source
        self._mount = mount
        self._cancelled = threading.Event()
        self._machine = Machine(
            world, folder, self.number, limit_seconds=limit_seconds, cancelled=self._cancelled, log=self.log
        )
        self._status = RunStatus.QUEUED
        self._message = ""
        self._files: list[StoredFile] = []
        self._kept = True
        self._started: float | None = None
        self._saving: float | None = None
        self._ended: float | None = None
        self._thread = threading.Thread(target=self._run, name=f"run {self.number}")
        self._thread.start()

    @property
    def status(self) -> tuple[RunStatus, str]:
        """The run's status and, when it failed, why."""
        status = self._status
        if self._cancelled.is_set() and not status.last:
            return RunStatus.CANCEL_REQUESTED, ""
        return status, self._message if status.last else ""

    @property
    def occupies(self) -> bool:
        """Whether it counts among the sessions that an account may have at once."""
        release = self._world.settings.slot_release_seconds
        return self._ended is None or time.monotonic() - self._ended < release

    @property
    def busy_seconds(self) -> float:
        """How long it has held a machine, in the service's seconds."""
        if self._started is None:
            return 0.0
        return ((self._ended or time.monotonic()) - self._started) * self._world.settings.time_scale

    @property
    def left(self) -> list[StoredFile]:
        """All that it has left, listed or not; nothing before its end."""
        return list(self.made_up.files) if self.made_up.files is not None else self._files

    def files(self) -> list[StoredFile]:
        """Return what is listed of its outputs now."""
        return self.left[: math.ceil(len(self.left) * self._share_listed())]

    def stored_log(self) -> str:
        """Return the log as the API gives it: nothing before the end."""
        return self.log.text() if self._status.last and self._kept else ""

    def cancel(self) -> None:
        """Ask it to stop."""
        self._cancelled.set()

    def kill(self) -> None:
        """End it now, with every process that it has started, and wait for that."""
        self._machine.killed = True
        self._cancelled.set()
        self._thread.join()

    def wait(self, seconds: float) -> bool:
        """Wait until it has its last status; False: it still has none."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _share_listed(self) -> float:
        settings, now = self._world.settings, time.monotonic()
        if self._ended is not None:
            return 1.0 if not settings.listing_seconds else min((now - self._ended) / settings.listing_seconds, 1.0)
        if self._saving is not None and self._cancelled.is_set() and settings.saving_seconds:
            return min((now - self._saving) / settings.saving_seconds, 1.0)
        return 0.0

    def _run(self) -> None:
        settings = self._world.settings
        try:
            if self._cancelled.wait(settings.queued_seconds):
                self._end(RunStatus.CANCEL_ACKNOWLEDGED, "")
                return
            status, message = self._execute()
            self._saving = time.monotonic()
            if not self._machine.killed:
                self._world.closing.wait(settings.saving_seconds)
            self._end(status, message)
        except Exception:  # noqa: BLE001  (the machine has failed, not the script)
            self._world.failed()
            self._end(RunStatus.ERROR, "")
        finally:
            self.log.close()

    def _end(self, status: RunStatus, message: str) -> None:
        settings = self._world.settings
        if status is RunStatus.CANCEL_ACKNOWLEDGED:
            self._kept = settings.limit_keeps_outputs if message else settings.cancel_keeps_outputs
        if not self._kept:
            self._files = []
        self._message = message
        self._ended = time.monotonic()
        self._status = status

    def _execute(self) -> tuple[RunStatus, str]:
        working = self._machine.working
        self._machine.prepare(self._source)
        self._mount(self._machine.inputs)
        with self._machine.start() as process:
            self._started = time.monotonic()
            self._status = RunStatus.RUNNING
            timed_out = self._machine.watch(process)
        self._files = [StoredFile(path.relative_to(working).as_posix(), path) for path in _regular_files(working)]
        if timed_out:
            return RunStatus.CANCEL_ACKNOWLEDGED, TOO_LONG
        if self._cancelled.is_set():
            return RunStatus.CANCEL_ACKNOWLEDGED, ""
        if process.returncode == 0 or self._world.settings.crash_says_complete:
            return RunStatus.COMPLETE, ""
        # A kill that nobody here has sent
        killed = process.returncode in (-signal.SIGKILL, 128 + signal.SIGKILL)
        return RunStatus.ERROR, TOO_LARGE if killed else ""


def _regular_files(folder: Path) -> list[Path]:
    """Return what survives of outputs: plain files; links, empty folders and modes do not."""
    found = []
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not Path(place, name).is_symlink()]
        found += [path for name in files if (path := Path(place, name)).is_file() and not path.is_symlink()]
    return sorted(found)
