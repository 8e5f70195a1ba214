"""The machine that a run gets: its folders, its process, what that prints, and the end of all that it has started."""

from __future__ import annotations

import math
import os
import secrets
import selectors
import signal
import subprocess
import threading
import time
from pathlib import Path

from .logs import Log
from .world import World

_INPUTS = "CKPTSYNC_INPUT_DIR"
_TICK_SECONDS = 0.05
_DYING_SECONDS = 0.005
_CHUNK = 64 * 1024
# What a script gets of our environment; everything else stays here, for it may be a secret
_PASSED = ("PATH", "LANG", "LANGUAGE", "TZ", "TMPDIR", "LD_LIBRARY_PATH")
_PASSED_PREFIXES = ("LC_", "OMP_", "MKL_", "OPENBLAS_", "CUDA_")


class Machine:
    """Runs one script in its own folder and process group.

    Args:
        world: the service's settings and clock.
        folder: of this run alone.
        number: the session's id, which the script finds in the middle of KAGGLE_CONTAINER_NAME.
        limit_seconds: when the script is killed, in the service's seconds.
        cancelled: set when the script is to be asked to stop.
        log: takes what the script prints.

    Attributes:
        inputs: the folder that stands for /kaggle/input.
        working: the script's current folder, which stands for /kaggle/working.
        killed: set to end everything at once.
    """

    def __init__(
        self,
        world: World,
        folder: Path,
        number: int,
        *,
        limit_seconds: float,
        cancelled: threading.Event,
        log: Log,
    ) -> None:
        self.inputs = folder / "input"
        self.working = folder / "working"
        self.killed = False
        self._world = world
        self._folder = folder
        self._number = number
        self._container = f"kaggle_{number}_{secrets.token_hex(8)}"
        self._limit_seconds = limit_seconds
        self._cancelled = cancelled
        self._log = log

    def prepare(self, source: str) -> None:
        """Make the folders, and write the script into its own."""
        for folder in (self._script.parent, self.working, self.inputs, self._home):
            folder.mkdir(parents=True, exist_ok=True)
        self._script.write_text(source, encoding="utf-8")

    def start(self) -> subprocess.Popen[bytes]:
        """Start the script."""
        return subprocess.Popen(
            [self._world.settings.python, str(self._script)],
            cwd=self.working,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    @property
    def _script(self) -> Path:
        return self._folder / "src" / "script.py"

    @property
    def _home(self) -> Path:
        return self._folder / "home"

    def watch(self, process: subprocess.Popen[bytes]) -> bool:
        """Log what the script prints, stop it when it is cancelled or too long; return whether it was too long."""
        started, stop_at, timed_out = time.monotonic(), math.inf, False
        with selectors.DefaultSelector() as selector:
            for name, pipe in (("stdout", process.stdout), ("stderr", process.stderr)):
                if pipe is not None:
                    os.set_blocking(pipe.fileno(), False)
                    selector.register(pipe, selectors.EVENT_READ, name)
            while process.poll() is None:
                if not self._read(selector, started, _TICK_SECONDS):
                    self._log.flush(self._world.scaled(started))
                if self._cancelled.is_set() and stop_at == math.inf:
                    stop_at = time.monotonic() + self._world.settings.cancel_grace_seconds
                    process.send_signal(signal.Signals[self._world.settings.cancel_signal])  # as to a container
                timed_out |= self._world.scaled(started) >= self._limit_seconds
                if timed_out or time.monotonic() >= stop_at or self.killed:
                    self._kill_processes(process.pid)
            while self._kill_processes(process.pid):  # what the script has left behind; it may still be writing
                time.sleep(_DYING_SECONDS)
            while self._read(selector, started, 0):
                pass
        self._log.flush(self._world.scaled(started))
        return timed_out

    def _environment(self) -> dict[str, str]:
        ours = {
            name: value for name, value in os.environ.items() if name in _PASSED or name.startswith(_PASSED_PREFIXES)
        }
        return {
            **ours,
            "HOME": str(self._home),
            "KAGGLE_KERNEL_RUN_TYPE": "Batch",
            "KAGGLE_CONTAINER_NAME": self._container,
            "KAGGLE_URL_BASE": "https://www.kaggle.com",
            # Whoever prints the environment into the log shows this one
            "KAGGLE_USER_SECRETS_TOKEN": f"secret-of-session-{self._number}",
            _INPUTS: str(self.inputs),
        }

    def _read(self, selector: selectors.BaseSelector, started: float, seconds: float) -> bool:
        """Log what is there; return whether there was anything."""
        found = False
        for key, _events in selector.select(seconds):
            data = os.read(key.fd, _CHUNK)
            if data:
                self._log.add(key.data, self._world.scaled(started), data)
                found = True
            else:
                selector.unregister(key.fileobj)
        return found

    def _kill_processes(self, group: int) -> bool:
        """Kill the script's group, and what has left it but still carries the session's name; return whether any did."""
        try:
            os.killpg(group, signal.SIGKILL)
        except ProcessLookupError:
            pass
        mark, found = f"KAGGLE_CONTAINER_NAME={self._container}".encode(), False
        for process in Path("/proc").glob("[0-9]*/environ"):
            try:
                if mark in process.read_bytes().split(b"\0"):
                    os.kill(int(process.parent.name), signal.SIGKILL)
                    found = True
            except OSError:  # it has ended, or is somebody else's
                pass
        return found
