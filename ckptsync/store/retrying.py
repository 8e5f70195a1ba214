"""Trying again what a service refused for a moment: with growing pauses, by chance longer or shorter, for so long."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from ..core.errors import CkptsyncError, ServiceError

T = TypeVar("T")


@dataclass(frozen=True)
class Retrying:
    """Repeats calls that fail with a transient error.

    Args:
        deadline_seconds: after this long the last error is the answer.
        first_seconds: about how long the first pause is; each is twice as long as the one before.
        longest_seconds: no pause is longer, except where the service asks for one.
        sleep: how to wait.
        clock: seconds that only go forward.
        chance: a number from 0 to 1, so that many who failed together do not return together.
    """

    deadline_seconds: float = 90.0
    first_seconds: float = 0.1
    longest_seconds: float = 10.0
    sleep: Callable[[float], None] = field(default=time.sleep)
    clock: Callable[[], float] = field(default=time.monotonic)
    chance: Callable[[], float] = field(default=random.random)

    def call(self, function: Callable[[], T], translate: Callable[[Exception], CkptsyncError]) -> T:
        """Call a function until it answers, fails for good, or the time is up.

        Args:
            function: what to call; may be called any number of times.
            translate: a foreign exception -> an error of ours, which says whether it is transient.

        Raises:
            CkptsyncError: the last error.
        """
        pauses = self.pauses()
        while True:
            try:
                return function()
            except Exception as error:
                translated = error if isinstance(error, CkptsyncError) else translate(error)
                if pauses.after(translated):
                    continue
                if translated is error:
                    raise
                raise translated from error

    def pauses(self) -> Pauses:
        """Begin to count the pauses of one operation."""
        return Pauses(self)


class Pauses:
    """The pauses of one operation."""

    def __init__(self, rules: Retrying) -> None:
        self._rules = rules
        self._end = rules.clock() + rules.deadline_seconds
        self._next = rules.first_seconds

    def after(self, error: CkptsyncError) -> bool:
        """Wait a while after an error; return False at once when another attempt makes no sense."""
        if not (isinstance(error, ServiceError) and error.transient):
            return False
        rules = self._rules
        pause = self._next * (0.5 + rules.chance())
        if error.retry_after is not None:
            pause = max(pause, error.retry_after)
        if rules.clock() + pause >= self._end:
            return False
        self._next = min(2 * self._next, rules.longest_seconds)
        rules.sleep(pause)
        return True
