"""Bearing failures that may pass: pauses that grow, asked for by nobody at the same moment, and an end to it."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

from ..core.errors import CkptsyncError, ServiceError

T = TypeVar("T")

_MOST_DOUBLINGS = 16


class Patience:
    """Lets failures pass as long as something is heard once in a while; safe for use by many threads.

    Args:
        seconds: how long nothing may be heard before a failure is final.
        first: bound of the first pause; it doubles with every failure in a row.
        longest: what it grows to.
        sleep: waits.
        clock: seconds that only grow.
        chance: between 0 and 1; a pause lies anywhere below its bound, so that many who were turned away together
            do not come back together.
    """

    def __init__(
        self,
        seconds: float,
        *,
        first: float = 0.5,
        longest: float = 60.0,
        sleep: Callable[[float], object] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._seconds = seconds
        self._first = first
        self._longest = longest
        self._sleep = sleep
        self._clock = clock
        self._chance = chance
        self._heard_at = clock()

    def heard(self) -> None:
        """Take notice of a sign of life."""
        self._heard_at = self._clock()

    @property
    def silent_seconds(self) -> float:
        """How long nothing was heard."""
        return self._clock() - self._heard_at

    def pause_after(self, error: CkptsyncError, failures: int) -> float:
        """Return how many seconds to wait after a failure.

        Args:
            error: what failed.
            failures: how many came in a row, this one included.

        Raises:
            CkptsyncError: the error itself, when it cannot pass or patience is at its end.
        """
        left = self._seconds - self.silent_seconds
        if not error.transient or left <= 0:
            raise error
        bound = min(self._first * 2.0 ** min(failures - 1, _MOST_DOUBLINGS), self._longest)
        asked = (error.retry_after or 0.0) if isinstance(error, ServiceError) else 0.0
        # One more attempt when patience ends, however long the service asks to wait
        return min(max(self._chance() * bound, asked), left)

    def bear(self, error: CkptsyncError, failures: int) -> None:
        """Wait after a failure. Raises as `pause_after` does."""
        self._sleep(self.pause_after(error, failures))

    def ask(self, question: Callable[[], T]) -> T:
        """Return what a question that changes nothing is answered, asked again after failures that may pass."""
        failures = 0
        while True:
            try:
                answer = question()
            except CkptsyncError as error:
                failures += 1
                self.bear(error, failures)
            else:
                self.heard()
                return answer
