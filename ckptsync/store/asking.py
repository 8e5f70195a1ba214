"""Asking a server: with the patience that stores have, and its exceptions translated before they are borne."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from ..core.errors import CkptsyncError
from ..core.patience import Patience

T = TypeVar("T")

# The seconds run from the start, so that a server which does not answer at all is not waited for twice
# What passes at once is not worth a word
PATIENCE = Patience(90.0, first_pause=0.2, longest_pause=20.0, from_start=True, tell_at=3)


def ask(patience: Patience, function: Callable[[], T], translate: Callable[[Exception], CkptsyncError]) -> T:
    """Call a function until it answers, fails for good, or patience is at its end.

    Args:
        patience: with the server.
        function: what to call; may be called any number of times.
        translate: a foreign exception -> an error of ours, which says whether it is transient.

    Raises:
        CkptsyncError: the last error.
    """

    def asked() -> T:
        try:
            return function()
        except CkptsyncError:
            raise
        except Exception as error:
            raise translate(error) from error

    return patience.call(asked)
