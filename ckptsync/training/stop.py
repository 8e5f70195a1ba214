"""Why a session shall stop, or save: signals, its deadline, requests by file.

Wishes to stop, by SIGTERM or SIGINT: the first lets training come to a clean point, the second (a second
or more later) interrupts it, so that the kept clean point is sealed now; neither cuts a save. Only a third,
long after the second, ends the process at once. SIGUSR1 asks for a save. SIGKILL gives nobody a chance: then
the last sealed set is what is left.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from ..core import fsio
from ..core.errors import ExitCode
from ..core.session import STARTED_VARIABLE
from .log import log
from .signals import SignalReader

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
        self._request = request
        self._requested = False
        self._save_request = save_request
        self._save_requested = False
        self._files_checked = 0.0
        self._reader: SignalReader | None = None
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
        return self._reader is not None

    def __enter__(self) -> StopWatch:
        if threading.current_thread() is threading.main_thread():
            self._reader = SignalReader(_SIGNALS, self._note, self._handle)
            self._reader.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._reader is not None:
            self._reader.stop()
            self._reader = None

    def _note(self, number: int) -> None:
        if number == signal.SIGUSR1:
            self._save_requested = True
            return
        now = time.monotonic()
        self.signal_number = self.signal_number or number
        if self._wishes and now - self._wishes[-1] <= _ONE_WISH_SECONDS:
            return
        self._wishes.append(now)
        if len(self._wishes) > 2 and now - self._wishes[1] > _CUT_SECONDS:
            log(f"[TRAIN] {signal.Signals(number).name} again: the process ends in the middle of what it was doing")
            os._exit(self.exit_code)

    def _handle(self, number: int) -> None:
        """Raise KeyboardInterrupt on a second wish, unless our own code is at work, which is ending already."""
        if number in _WISHES and len(self._wishes) > 1 and not self._undisturbed:
            raise KeyboardInterrupt
