"""Bearing failures that may pass: pauses that grow, asked for by nobody at the same moment, and an end to it."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from .errors import CkptsyncError, ServiceError

T = TypeVar("T")

_MOST_DOUBLINGS = 16


def growing(number: int, first: float, longest: float) -> float:
    """Return the pause after the failure with this number, 1 or more: twice the one before, up to the longest."""
    return min(first * 2.0 ** min(number - 1, _MOST_DOUBLINGS), longest)


@dataclass(frozen=True)
class Patience:
    """How long failures are borne, and with which pauses; safe to be shared by threads.

    Args:
        seconds: how long nothing may come before a failure is final.
        first_pause: the most that the pause after a first failure takes; it doubles with every failure in a row.
        longest_pause: what it grows to; no pause is longer, except where the service asks for more.
        from_start: whether the seconds run while the first attempt does. Else they run from its failure on, so that
            there is always a second attempt, however long the first one took.
        sleep: waits.
        clock: seconds that only grow.
        chance: between 0 and 1; a pause lies anywhere below its bound, so that many who were turned away together
            do not come back together.
        tell: is given a failure of a row, when there will be another attempt.
        tell_at: which failure of a row, 1 or more.
    """

    seconds: float = 60.0
    first_pause: float = 0.5
    longest_pause: float = 20.0
    from_start: bool = False
    sleep: Callable[[float], object] = time.sleep
    clock: Callable[[], float] = time.monotonic
    chance: Callable[[], float] = random.random
    tell: Callable[[CkptsyncError], object] = lambda error: None
    tell_at: int = 1

    def call(self, ask: Callable[[], T]) -> T:
        """Return what a call gives that changes nothing, so that it may be made again.

        Raises:
            CkptsyncError: the last error, when it cannot pass or patience is at its end.
        """
        return Failures(self).call(ask)


class _Silence:
    """Since when nothing has come; None where that does not count before a failure."""

    def __init__(self) -> None:
        self.since: float | None = None


class Failures:
    """The failures of one thing that is tried again and again: counts those in a row, and waits after each.

    Args:
        patience: how long they are borne.
    """

    def __init__(self, patience: Patience, *, _silence: _Silence | None = None) -> None:
        self._patience = patience
        self.count = 0
        if _silence is None:
            self._silence = _Silence()
            self.heard()
        else:
            self._silence = _silence

    def beside(self) -> Failures:
        """Begin another row with the same service, for another thread: what either hears, both have heard."""
        return Failures(self._patience, _silence=self._silence)

    def heard(self) -> None:
        """Take notice of a sign of life: the row ends, and patience begins anew."""
        self.count = 0
        self._silence.since = self._patience.clock() if self._patience.from_start else None

    @property
    def silent_seconds(self) -> float:
        """How long nothing was heard."""
        since = self._silence.since
        return 0.0 if since is None else self._patience.clock() - since

    def pause_after(self, error: CkptsyncError) -> float:
        """Count a failure, and return how many seconds to wait.

        Raises:
            CkptsyncError: the error itself, when it is none of a service that may pass, patience is at its end, or the
                service asks to wait for longer than is left.
        """
        patience = self._patience
        # What somebody else holds or was first at is for the caller to decide about, though it may be otherwise later
        if not isinstance(error, ServiceError) or not error.transient:
            raise error
        self.count += 1
        if self._silence.since is None:
            self._silence.since = patience.clock()
        left, asked = patience.seconds - self.silent_seconds, error.retry_after or 0.0
        if left <= 0 or asked > left:
            raise error
        if self.count == patience.tell_at:
            patience.tell(error)
        bound = growing(self.count, patience.first_pause, patience.longest_pause)
        return min(max(patience.chance() * bound, asked), left)  # one more attempt when patience ends

    def wait(self, error: CkptsyncError) -> None:
        """Wait after a failure. Raises as `pause_after` does."""
        self._patience.sleep(self.pause_after(error))

    def call(self, ask: Callable[[], T]) -> T:
        """Return what a call gives that changes nothing, made again after failures in a row of its own.

        Raises:
            CkptsyncError: as `pause_after` does.
        """
        row = self.beside()
        while True:
            try:
                answer = ask()
            except CkptsyncError as error:
                row.wait(error)
            else:
                self.heard()
                return answer
