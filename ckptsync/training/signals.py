"""Signals, told of by a thread of our own even while the main thread sits in one long C call.

A Python signal handler runs in the main thread, when it comes back to Python. The wakeup descriptor is written by the
C handler at once, and a thread reads it, unless a call holds the interpreter lock.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import FrameType
from typing import Any

# How long a handler in the main thread waits for the reader to have noted its signal
_NOTE_SECONDS = 0.1


class SignalReader:
    """Reads signals from `start` to `stop`; both in the main thread of the process.

    Args:
        numbers: the signals.
        note: called by the reader's thread with each, at once.
        handle: called in the main thread with each, behind `note`, perhaps long after the signal; may raise.
    """

    def __init__(
        self, numbers: Sequence[signal.Signals], note: Callable[[int], None], handle: Callable[[int], None]
    ) -> None:
        self._numbers = frozenset(numbers)
        self._note = note
        self._handle = handle
        self._noted = 0
        self._handled = 0
        self._receive, self._send = socket.socketpair()
        self._send.setblocking(False)
        self._thread = threading.Thread(target=self._read, name="ckptsync-signals", daemon=True)

    def start(self) -> None:
        """Take the signals over."""
        global _reading
        self._previous_wakeup = signal.set_wakeup_fd(self._send.fileno(), warn_on_full_buffer=False)
        self._previous: dict[int, Any] = {number: signal.signal(number, self._on_signal) for number in self._numbers}
        _reading = self
        self._thread.start()

    def stop(self) -> None:
        """Give the signals back."""
        self._give_back(self._previous_wakeup)
        self._send.shutdown(socket.SHUT_RDWR)  # closing is not enough: a forked child holds it too
        self._thread.join()
        self._send.close()
        self._receive.close()

    def _give_back(self, wakeup: int) -> None:
        global _reading
        signal.set_wakeup_fd(wakeup)
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        _reading = None

    def _read(self) -> None:
        with suppress(OSError):  # the socket goes away when the reading ends
            while received := self._receive.recv(64):
                for number in self._numbers.intersection(received):
                    self._note(number)
                self._noted += 1

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        # The moments that count are the reader's, which needs an instant to write the newest one down
        waited = time.monotonic() + _NOTE_SECONDS
        while self._noted <= self._handled and time.monotonic() < waited:
            time.sleep(0.001)
        self._handled = self._noted
        self._handle(number)


# --- forked processes: what a child receives is its own matter, and must not be written to the parent's socket ---------

_reading: SignalReader | None = None
_mask_before = threading.local()


def _before_fork() -> None:
    # Until the child has its own handlers back
    _mask_before.signals = signal.pthread_sigmask(signal.SIG_BLOCK, () if _reading is None else _reading._numbers)


def _after_fork() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, _mask_before.signals)


def _in_forked_child() -> None:
    if _reading is not None:
        _reading._give_back(-1)
    _after_fork()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_in_forked_child)
