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
from types import FrameType

_TAIL_BYTES = 1 << 16
_TRACEBACK = "Traceback (most recent call last):"
_FORWARDED = (signal.SIGTERM, signal.SIGINT)
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
    """

    exit_code: int
    signal: str | None
    deadline: bool
    error: str | None


def run_child(command: Sequence[str], environment: Mapping[str, str], *, seconds: float | None) -> ChildEnd:
    """Run a command to its end with its output on ours.

    Args:
        command: program and arguments.
        environment: its environment.
        seconds: after this long it is sent SIGTERM; None: never.
    """
    sys.stdout.flush()
    ours, theirs = os.pipe()
    late = threading.Event()
    with _forwarding() as (sent, receive):
        child = subprocess.Popen(command, env=dict(environment), stdout=theirs, stderr=theirs)
        os.close(theirs)
        receive(child)
        pump = _Pump(ours)
        pump.start()
        timer = _deadline(child, seconds, late)
        # No timeout here: with one, Popen looks again and again in place of sleeping
        child.wait()
        timer.cancel()
    pump.join(timeout=_DRAIN_SECONDS)
    code = child.returncode
    died_of = signal.Signals(-code).name if code < 0 else None
    plain = f"killed by {died_of}" if died_of else f"the script ended with exit code {code}"
    return ChildEnd(
        exit_code=128 - code if code < 0 else code,
        signal=sent[0].name if sent else died_of,
        deadline=late.is_set(),
        error=None if code == 0 else pump.last_traceback_line() or plain,
    )


def _deadline(child: subprocess.Popen[bytes], seconds: float | None, late: threading.Event) -> threading.Timer:
    def stop() -> None:
        late.set()
        child.terminate()

    timer = threading.Timer(threading.TIMEOUT_MAX if seconds is None else max(seconds, 0.0), stop)
    timer.daemon = True
    timer.start()
    return timer


@contextmanager
def _forwarding() -> Iterator[tuple[list[signal.Signals], Callable[[subprocess.Popen[bytes]], None]]]:
    """Send a child every SIGTERM and SIGINT that we get, also those that came before it was there.

    Yields the signals so far, and what to call with the child.
    """
    sent: list[signal.Signals] = []
    children: list[subprocess.Popen[bytes]] = []

    def forward(number: int, frame: FrameType | None) -> None:
        sent.append(signal.Signals(number))
        for child in children:
            child.send_signal(number)

    def receive(child: subprocess.Popen[bytes]) -> None:
        early = list(sent)
        children.append(child)
        for number in early:
            child.send_signal(number)

    before = {number: signal.signal(number, forward) for number in _FORWARDED}
    try:
        yield sent, receive
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


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
