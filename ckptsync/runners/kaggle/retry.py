"""Asking again: with growing random pauses, as the service wishes, up to a deadline."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

from ...core.errors import CkptsyncError, ServiceError
from .errors import BusyError

T = TypeVar("T")

FIRST_PAUSE = 0.5
LONGEST_PAUSE = 20.0
_GROWTH = 2.0
# How often something is done that must not be done twice; each but the last time what came of it is looked for
_ATTEMPTS = 5


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
        tell: is given the first failure of a row, when it will be tried again.
    """

    seconds: float = 60.0
    first_pause: float = FIRST_PAUSE
    longest_pause: float = LONGEST_PAUSE
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    jitter: Callable[[], float] = field(default=random.random)
    tell: Callable[[CkptsyncError], object] = field(default=lambda error: None)

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

    def once(self, act: Callable[[], T], look: Callable[[], T | None]) -> T:
        """Do what must not be done twice, and return what came of it.

        Args:
            act: does it; an error that is transient leaves open whether it was done.
            look: returns what came of it, None when nothing did yet.

        Raises:
            CkptsyncError: one that is not transient at once, else the last one.
        """
        for attempt in range(1, _ATTEMPTS):
            try:
                return act()
            except BusyError as error:  # nothing was done
                pause = self.first_pause * attempt if error.retry_after is None else error.retry_after
                if pause > self.seconds:
                    raise
                self.sleep(pause)
            except CkptsyncError as error:
                if not error.transient:
                    raise
                if (found := self._look(look)) is not None:
                    return found
        return act()

    def _look(self, look: Callable[[], T | None]) -> T | None:
        for _ in self.looks():
            try:
                if (found := look()) is not None:
                    return found
            except ServiceError as error:
                if not error.transient:
                    raise
        return None

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
        self._told = False

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
        if not self._told:
            self._told = True
            patience.tell(error)
        patience.sleep(pause)
        self._pause = min(self._pause * _GROWTH, patience.longest_pause)
