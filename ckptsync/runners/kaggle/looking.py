"""Looking again and again for what comes late, and for what came of an act whose answer was lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

from ...core.errors import CkptsyncError, ServiceError
from ...core.patience import Patience, growing
from .errors import BusyError

T = TypeVar("T")

# How often something is done that must not be done twice; each but the last time what came of it is looked for
_ATTEMPTS = 5


def looks(patience: Patience, seconds: float | None = None) -> Iterator[int]:
    """Yield 0, 1, 2, ... with growing pauses between, until the time is over (the patience's when None); at least twice."""
    end = patience.clock() + (patience.seconds if seconds is None else seconds)
    number = 0
    while True:
        yield number
        number += 1
        if number > 1 and patience.clock() >= end:
            return
        patience.sleep(growing(number, patience.first_pause, patience.longest_pause))


def once(patience: Patience, act: Callable[[], T], look: Callable[[], T | None]) -> T:
    """Do what must not be done twice, and return what came of it.

    Args:
        patience: how long what came of it is looked for.
        act: does it; an error that is transient leaves open whether it was done.
        look: returns what came of it, None when nothing did yet.

    Raises:
        CkptsyncError: one that is not transient at once, else the last one.
    """
    for attempt in range(1, _ATTEMPTS):
        try:
            return act()
        except BusyError as error:  # nothing was done
            pause = patience.first_pause * attempt if error.retry_after is None else error.retry_after
            if pause > patience.seconds:
                raise
            patience.sleep(pause)
        except CkptsyncError as error:
            if not error.transient:
                raise
            if (found := _look(patience, look)) is not None:
                return found
    return act()


def _look(patience: Patience, look: Callable[[], T | None]) -> T | None:
    for _ in looks(patience):
        try:
            if (found := look()) is not None:
                return found
        except ServiceError as error:
            if not error.transient:
                raise
    return None
