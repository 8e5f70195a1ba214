"""Run the user's script as a child: pass its output through, forward signals, stop it in time, learn how it ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

_TAIL_BYTES = 1 << 16
_TRACEBACK = "Traceback (most recent call last):"
_STOPS = (signal.SIGTERM, signal.SIGINT)
# Asks for a save; by itself it ends a process that does not wait for it
_SAVE = signal.SIGUSR1
# A process that the script left behind may hold the pipe open for ever
_DRAIN_SECONDS = 1.0


@dataclass(frozen=True)
class ChildEnd:
    """How a child ended.

    Args:
        exit_code: its own; 128 + n when signal n killed it.
        signal: the name of the signal that it was sent through us or died of, or None.
        deadline: it was still running at the deadline and was asked to stop.
        error: the last line of its last traceback, else what killed it or its exit code; None when it ended well.
        killed: it did not end when it was asked to, and was killed.
    """

    exit_code: int
    signal: str | None
    deadline: bool
    error: str | None
    killed: bool = False


def run_child(
    command: Sequence[str], environment: Mapping[str, str], *, seconds: float | None, kill_seconds: float | None = None
) -> ChildEnd:
    """Run a command to its end with its output on ours.

    Args:
        command: program and arguments.
        environment: its environment.
        seconds: after this long it is sent SIGTERM; None: never.
        kill_seconds: after this long it is killed when it is still there; None: never.
    """
    sys.stdout.flush()
    ours, theirs = os.pipe()
    with _forwarding() as (sent, receive):
        child = subprocess.Popen(command, env=dict(environment), stdout=theirs, stderr=theirs)
        os.close(theirs)
        receive(child)
        pump = _Pump(ours)
        pump.start()
        asked = _timer(seconds, child.terminate)
        killed = _timer(kill_seconds, child.kill)
        # No timeout here: with one, Popen looks again and again in place of sleeping
        child.wait()
        asked.cancel()
        killed.cancel()
    pump.join(timeout=_DRAIN_SECONDS)
    code = child.returncode
    died_of = signal.Signals(-code).name if code < 0 else None
    plain = f"killed by {died_of}" if died_of else f"the script ended with exit code {code}"
    if killed.rang:
        plain = "the script did not end when it was asked to, and was killed"
    return ChildEnd(
        exit_code=128 - code if code < 0 else code,
        signal=sent[0].name if sent else died_of,
        deadline=asked.rang,
        error=None if code == 0 else plain if killed.rang else pump.last_traceback_line() or plain,
        killed=killed.rang,
    )


class _Alarm(threading.Timer):
    """Does something once the time has come, and remembers it."""

    def __init__(self, seconds: float | None, act: Callable[[], None]) -> None:
        super().__init__(threading.TIMEOUT_MAX if seconds is None else max(seconds, 0.0), self._ring)
        self.daemon = True
        self.rang = False
        self._act = act

    def _ring(self) -> None:
        self.rang = True
        self._act()


def _timer(seconds: float | None, act: Callable[[], None]) -> _Alarm:
    alarm = _Alarm(seconds, act)
    alarm.start()
    return alarm


@contextmanager
def _forwarding() -> Iterator[tuple[list[signal.Signals], Callable[[subprocess.Popen[bytes]], None]]]:
    """Send a child every SIGTERM and SIGINT that we get, also those that came before it was there.

    SIGUSR1 goes to a child that waits for it, and is no wish to stop.

    Yields the wishes to stop so far, and what to call with the child.
    """
    sent: list[signal.Signals] = []
    children: list[subprocess.Popen[bytes]] = []

    def forward(number: int, frame: FrameType | None) -> None:
        sent.append(signal.Signals(number))
        for child in children:
            child.send_signal(number)

    def forward_save(number: int, frame: FrameType | None) -> None:
        for child in children:
            if _waits_for(child.pid, number):
                child.send_signal(number)

    def receive(child: subprocess.Popen[bytes]) -> None:
        early = list(sent)
        children.append(child)
        for number in early:
            child.send_signal(number)

    before = {number: signal.signal(number, forward) for number in _STOPS}
    before[_SAVE] = signal.signal(_SAVE, forward_save)
    try:
        yield sent, receive
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _waits_for(process: int, number: int) -> bool:
    """Whether a process has a handler for a signal; never where the system does not tell (it does on Linux)."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return False
    caught = next((line.split()[1] for line in status.splitlines() if line.startswith("SigCgt:")), "0")
    return bool(int(caught, 16) >> (number - 1) & 1)


class _Pump(threading.Thread):
    """Copies a pipe to our own output and keeps the end of it."""

    def __init__(self, pipe: int) -> None:
        super().__init__(daemon=True, name="output")
        self._pipe = pipe
        self._tail = b""

    def run(self) -> None:
        """Copy until the last writer has closed the pipe."""
        target: int | None = sys.stdout.fileno()
        while chunk := os.read(self._pipe, _TAIL_BYTES):
            self._tail = (self._tail + chunk)[-_TAIL_BYTES:]
            while chunk and target is not None:
                try:
                    chunk = chunk[os.write(target, chunk) :]
                except OSError:
                    target = None  # nobody reads the log any more; training goes on all the same

    def last_traceback_line(self) -> str | None:
        """Return the line that ends the last traceback, such as `ValueError: x`."""
        _before, mark, behind = self._tail.decode("utf-8", "replace").rpartition(_TRACEBACK)
        lines = [line for line in behind.splitlines() if line and not line[0].isspace()]
        return lines[0] if mark and lines else None
