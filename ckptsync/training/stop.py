"""Why a session shall stop: a signal, its deadline, or a request by file.

A Python signal handler runs in the main thread, which may sit in one long C call for seconds. The
wakeup descriptor is written by the C handler at once, so a watcher thread learns of the signal even
then, unless the call holds the interpreter lock. SIGKILL gives nobody a chance: then the last sealed
set is what is left.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

from ..core.session import STARTED_VARIABLE

REQUEST_NAME = "ckptsync.stop"

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
# A terminal's Ctrl-C reaches a script twice when its parent forwards it: that is one wish, not two
_SECOND_WISH_SECONDS = 1.0
_REQUEST_CHECK_SECONDS = 1.0
_WATCHER_SECONDS = 0.1


def session_started() -> float:
    """Return when the session began, on the clock of `time.monotonic`.

    `boot` gives it in CKPTSYNC_STARTED; without it the session begins now.
    """
    text = os.environ.get(STARTED_VARIABLE)
    return time.monotonic() if not text else float(text)


class StopWatch:
    """Knows why training shall stop. Use as a context manager, in the main thread for signals.

    Args:
        deadline: on the clock of `time.monotonic`; None: no deadline.
        request: a file whose presence asks for a stop; None: no such file.
    """

    def __init__(self, *, deadline: float | None = None, request: Path | None = None) -> None:
        self.deadline = deadline
        self.signal_number: int | None = None
        self._arrivals: list[float] = []
        self._handled = 0
        self._request = request
        self._requested = False
        self._request_checked = 0.0
        self._previous: dict[int, Any] = {}

    @property
    def signal_name(self) -> str | None:
        """The signal's name, `SIGTERM`, or None while there was none."""
        return None if self.signal_number is None else signal.Signals(self.signal_number).name

    @property
    def handles_signals(self) -> bool:
        """Whether signals are watched: only the main thread of a process may."""
        return bool(self._previous)

    def __enter__(self) -> StopWatch:
        if threading.current_thread() is threading.main_thread():
            self._watch_signals()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._previous:
            return
        signal.set_wakeup_fd(self._previous_wakeup)
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}
        self._send.close()  # the watcher reads the end and leaves
        self._watcher.join()
        self._receive.close()

    def cause(self, *, needed_seconds: float = 0.0) -> str | None:
        """Return why to stop, or None: `signal`, `request` or `deadline`.

        Args:
            needed_seconds: how long it takes until the next chance to stop, and to save then.
        """
        if self.signal_number is not None:
            return "signal"
        if self._is_requested():
            return "request"
        if self.deadline is not None and time.monotonic() + needed_seconds >= self.deadline:
            return "deadline"
        return None

    def seconds_since_signal(self) -> float:
        """Return how long a signal has been waiting; 0 while there is none."""
        return time.monotonic() - self._arrivals[0] if self._arrivals else 0.0

    def _is_requested(self) -> bool:
        now = time.monotonic()
        if self._request is not None and not self._requested and now - self._request_checked >= _REQUEST_CHECK_SECONDS:
            self._request_checked = now
            self._requested = self._request.exists()
        return self._requested

    def _watch_signals(self) -> None:
        self._receive, self._send = socket.socketpair()
        self._send.setblocking(False)
        self._previous_wakeup = signal.set_wakeup_fd(self._send.fileno(), warn_on_full_buffer=False)
        self._previous = {number: signal.signal(number, self._on_signal) for number in _SIGNALS}
        self._watcher = threading.Thread(target=self._read_signals, name="ckptsync-signals", daemon=True)
        self._watcher.start()

    def _read_signals(self) -> None:
        with suppress(OSError):  # the socket goes away when the session ends
            while received := self._receive.recv(64):
                for number in received:
                    if number in _SIGNALS:
                        self._arrivals.append(time.monotonic())
                        self.signal_number = self.signal_number or number

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        """Raise KeyboardInterrupt on a second wish, which means: at once, without another save.

        Runs in the main thread, perhaps long after the signal: the moments that count are the watcher's,
        which needs an instant to write the newest one down.
        """
        waited = time.monotonic() + _WATCHER_SECONDS
        while len(self._arrivals) <= self._handled and time.monotonic() < waited:
            time.sleep(0.001)
        self._handled = len(self._arrivals)
        if self._arrivals and self._arrivals[-1] - self._arrivals[0] > _SECOND_WISH_SECONDS:
            raise KeyboardInterrupt
