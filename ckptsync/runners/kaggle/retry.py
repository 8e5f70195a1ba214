"""Asking again: with growing random pauses, as the service wishes, up to a deadline."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

from ...core.errors import CkptsyncError, ServiceError

T = TypeVar("T")

FIRST_PAUSE = 0.5
LONGEST_PAUSE = 20.0
_GROWTH = 2.0


@dataclass(frozen=True)
class Patience:
    """How long and how often something is tried again; safe to be shared by threads.

    Args:
        seconds: from the first failure on; then the last error is raised.
        first_pause: the most that the first pause takes; each later one may take twice as long.
        longest_pause: the most that any pause takes, unless the service asks for more.
        sleep: waits.
        clock: a monotonic clock.
        jitter: a random number from 0 to 1: many clients that failed at once must not come back at once.
    """

    seconds: float = 60.0
    first_pause: float = FIRST_PAUSE
    longest_pause: float = LONGEST_PAUSE
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    jitter: Callable[[], float] = field(default=random.random)

    def call(self, ask: Callable[[], T]) -> T:
        """Return what a call gives that changes nothing, so that it may be made again.

        Raises:
            CkptsyncError: one that is not transient at once, else the last one when the time is over.
        """
        failures = Failures(self)
        while True:
            try:
                return ask()
            except CkptsyncError as error:
                failures.wait(error)

    def looks(self, seconds: float | None = None) -> Iterator[int]:
        """Yield 0, 1, 2, ... with growing pauses between, until the time is over; at least twice."""
        end = self.clock() + (self.seconds if seconds is None else seconds)
        pause, number = self.first_pause, 0
        while True:
            yield number
            number += 1
            if number > 1 and self.clock() >= end:
                return
            self.sleep(pause)
            pause = min(pause * _GROWTH, self.longest_pause)


class Failures:
    """Counts failures in a row and waits after each; `progress` forgets them."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self.progress()

    def progress(self) -> None:
        """Begin anew: something came."""
        self._pause = self._patience.first_pause
        self._end: float | None = None

    def wait(self, error: CkptsyncError) -> None:
        """Pause after a failure.

        Raises:
            CkptsyncError: the same one, where it is not transient or the time is over.
        """
        patience = self._patience
        if not error.transient:
            raise error
        now = patience.clock()
        if self._end is None:
            self._end = now + patience.seconds
        asked = error.retry_after if isinstance(error, ServiceError) else None
        pause = self._pause * patience.jitter() if asked is None else asked
        if now + pause >= self._end:
            raise error
        patience.sleep(pause)
        self._pause = min(self._pause * _GROWTH, patience.longest_pause)
