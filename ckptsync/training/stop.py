"""Why a session shall stop, or save: signals, its deadline, requests by file.

A Python signal handler runs in the main thread, which may sit in one long C call for seconds. The
wakeup descriptor is written by the C handler at once, so a thread of our own learns of the signal even
then, unless the call holds the interpreter lock. SIGKILL gives nobody a chance: then the last sealed
set is what is left.

Wishes to stop, by SIGTERM or SIGINT: the first lets training come to a clean point, the second (a second
or more later) interrupts it, so that the kept clean point is sealed now; neither cuts a save. Only a third,
long after the second, ends the process at once.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

from ..core import fsio
from ..core.errors import ExitCode
from ..core.session import STARTED_VARIABLE
from .log import log

REQUEST_NAME = "ckptsync.stop"

_WISHES = (signal.SIGTERM, signal.SIGINT)
_SIGNALS = (*_WISHES, signal.SIGUSR1)
_EXIT_CODES = {signal.SIGINT: ExitCode.INTERRUPTED, signal.SIGTERM: ExitCode.TERMINATED}
# A terminal's Ctrl-C reaches a script twice when its parent forwards it: that is one wish, not two
_ONE_WISH_SECONDS = 1.0
# A third wish cuts a save when the second has waited so long for it
_CUT_SECONDS = 10.0
# How long a wish waits for the next clean point before training stops at the kept one
_PATIENCE_SECONDS = 2.0
_FILE_CHECK_SECONDS = 1.0
_NOTE_SECONDS = 0.1


def session_started() -> float:
    """Return when the session began, on the clock of `time.monotonic`.

    `boot` gives it in CKPTSYNC_STARTED; without it the session begins now.
    """
    text = os.environ.get(STARTED_VARIABLE)
    return time.monotonic() if not text else float(text)


class StopWatch:
    """Knows why training shall stop or save. Use as a context manager, in the main thread for signals.

    Args:
        deadline: on the clock of `time.monotonic`; None: no deadline.
        margin_seconds: how long after the deadline the process must have ended.
        request: a file whose presence asks for a stop; None: no such file.
        save_request: a file whose presence asks for a save, as SIGUSR1 does; None: no such file.
    """

    def __init__(
        self,
        *,
        deadline: float | None = None,
        margin_seconds: float = 0.0,
        request: Path | None = None,
        save_request: Path | None = None,
    ) -> None:
        self.signal_number: int | None = None
        self.margin_seconds = margin_seconds
        # How long the last save takes: it must be written before the deadline
        self.reserve_seconds = 0.0
        self._deadline = deadline
        self._wishes: list[float] = []
        self._noted = 0
        self._handled = 0
        self._request = request
        self._requested = False
        self._save_request = save_request
        self._save_requested = False
        self._files_checked = 0.0
        self._previous: dict[int, Any] = {}
        self._own_code = threading.RLock()
        self._undisturbed = 0

    # --- what is asked for ----------------------------------------------------------------------------------------

    @property
    def signal_name(self) -> str | None:
        """The signal's name, `SIGTERM`, or None while there was none."""
        return None if self.signal_number is None else signal.Signals(self.signal_number).name

    @property
    def exit_code(self) -> ExitCode:
        """What the process ends with because of a signal; OK while there was none."""
        return ExitCode.OK if self.signal_number is None else _EXIT_CODES[signal.Signals(self.signal_number)]

    def cause(self, *, needed_seconds: float = 0.0) -> str | None:
        """Return why to stop at this clean point, or None: `signal`, `request` or `deadline`.

        Args:
            needed_seconds: how long it takes until the next clean point.
        """
        if self.signal_number is not None:
            return "signal"
        self._look_at_files()
        if self._requested:
            return "request"
        return "deadline" if self._seconds_late() + needed_seconds >= 0 else None

    def urgent(self) -> str | None:
        """Return why to stop even between clean points, or None: `signal` or `deadline`."""
        waited = time.monotonic() - self._wishes[0] if self._wishes else 0.0
        if waited > _PATIENCE_SECONDS or len(self._wishes) > 1:
            return "signal"
        return "deadline" if self._seconds_late() >= 0 else None

    def wait_for_signal(self, seconds: float) -> bool:
        """Return whether a signal has come, waiting so long for it at most."""
        until = time.monotonic() + seconds
        while self.signal_number is None and time.monotonic() < until:
            time.sleep(0.01)
        return self.signal_number is not None

    def save_requested(self) -> bool:
        """Whether somebody wants a save now, and training to go on."""
        self._look_at_files()
        return self._save_requested

    def save_answered(self) -> None:
        """Take the request for a save away: what was asked for is sealed."""
        self._save_requested = False
        if self._save_request is not None:
            fsio.remove_file(self._save_request)

    def _seconds_late(self) -> float:
        if self._deadline is None:
            return float("-inf")
        return time.monotonic() + self.reserve_seconds - self._deadline

    def _look_at_files(self) -> None:
        now = time.monotonic()
        if now - self._files_checked < _FILE_CHECK_SECONDS:
            return
        self._files_checked = now
        self._requested = self._requested or (self._request is not None and self._request.exists())
        self._save_requested = self._save_requested or (self._save_request is not None and self._save_request.exists())

    # --- our own code ---------------------------------------------------------------------------------------------

    @contextmanager
    def undisturbed(self) -> Iterator[None]:
        """Run the training thread's part of saving and ending: no wish interrupts it, nobody ends the process."""
        self._undisturbed += 1
        try:
            with self._own_code:
                yield
        finally:
            self._undisturbed -= 1

    @contextmanager
    def alone(self, *, wait: bool) -> Iterator[bool]:
        """Keep the training thread out of `undisturbed`, for another thread; yields whether it is.

        Args:
            wait: until it has left; else give up at once when it is inside.
        """
        held = self._own_code.acquire(blocking=wait)
        try:
            yield held
        finally:
            if held:
                self._own_code.release()

    # --- signals --------------------------------------------------------------------------------------------------

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
        self._give_signals_back()
        self._send.shutdown(socket.SHUT_RDWR)  # closing is not enough: a forked child holds it too
        self._reader.join()
        self._send.close()
        self._receive.close()

    def _watch_signals(self) -> None:
        global _watching
        self._receive, self._send = socket.socketpair()
        self._send.setblocking(False)
        self._previous_wakeup = signal.set_wakeup_fd(self._send.fileno(), warn_on_full_buffer=False)
        self._previous = {number: signal.signal(number, self._on_signal) for number in _SIGNALS}
        _watching = self
        self._reader = threading.Thread(target=self._read_signals, name="ckptsync-signals", daemon=True)
        self._reader.start()

    def _give_signals_back(self) -> None:
        global _watching
        signal.set_wakeup_fd(self._previous_wakeup)
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}
        _watching = None

    def _leave_signals_to_parent(self) -> None:
        """Do it in a forked child."""
        self._previous_wakeup = -1
        self._give_signals_back()

    def _read_signals(self) -> None:
        with suppress(OSError):  # the socket goes away when the session ends
            while received := self._receive.recv(64):
                for number in received:
                    if number in _WISHES:
                        self._note_wish(number)
                    elif number == signal.SIGUSR1:
                        self._save_requested = True
                    self._noted += number in _SIGNALS

    def _note_wish(self, number: int) -> None:
        now = time.monotonic()
        self.signal_number = self.signal_number or number
        if self._wishes and now - self._wishes[-1] <= _ONE_WISH_SECONDS:
            return
        self._wishes.append(now)
        if len(self._wishes) > 2 and now - self._wishes[1] > _CUT_SECONDS:
            log(f"[TRAIN] {signal.Signals(number).name} again: the process ends in the middle of what it was doing")
            os._exit(self.exit_code)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        """Raise KeyboardInterrupt on a second wish, unless our own code is at work, which is ending already.

        Runs in the main thread, perhaps long after the signal: the moments that count are the reader's,
        which needs an instant to write the newest one down.
        """
        waited = time.monotonic() + _NOTE_SECONDS
        while self._noted <= self._handled and time.monotonic() < waited:
            time.sleep(0.001)
        self._handled = self._noted
        if number in _WISHES and len(self._wishes) > 1 and not self._undisturbed:
            raise KeyboardInterrupt


# --- forked processes: what a child receives is its own matter, and must not be written to the parent's socket ---------

_watching: StopWatch | None = None
_mask_before = threading.local()


def _before_fork() -> None:
    # Until the child has its own handlers back
    _mask_before.signals = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS if _watching is not None else ())


def _after_fork() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, _mask_before.signals)


def _in_forked_child() -> None:
    if _watching is not None:
        _watching._leave_signals_to_parent()
    _after_fork()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_in_forked_child)
