"""A thread that acts for a training thread that does not come back: it seals the kept point, then ends the process.

A long `env.step`, an evaluation, a long `train()`: the training thread is in code of others and knows
nothing of the signal or of the deadline. What this cannot help against: a C call that holds the interpreter
lock holds every thread; against SIGKILL nothing helps but the last sealed set.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType

from .stop import StopWatch

# How long the training thread has to cut itself, once a stop is urgent
_PATIENCE_SECONDS = 1.0
# How long it then has to come back before the process ends without it
_GRACE_SECONDS = 5.0
# Of both, also where a margin leaves no time at all
_LEAST_SHARE = 0.2
_LOOK_SECONDS = 0.2


class Watcher:
    """Watches one call of `learn`. Use as a context manager around it.

    Args:
        stop: says when a stop is urgent.
        seal: seals the kept point for a cause, when it is newer than the last sealed set, and waits for it.
        leave: ends the process for a cause.
    """

    def __init__(self, stop: StopWatch, *, seal: Callable[[str], None], leave: Callable[[str], None]) -> None:
        self._stop = stop
        self._seal = seal
        self._leave = leave
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="ckptsync-watcher", daemon=True)

    def __enter__(self) -> Watcher:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while (cause := self._stop.urgent()) is None:
            if self._over.wait(_LOOK_SECONDS):
                return
        # Where little time is left before the runner's limit, no more than a part of it
        hurry = self._stop.margin_seconds / (4 * _GRACE_SECONDS)
        share = 1.0 if cause == "signal" else min(1.0, max(hurry, _LEAST_SHARE))
        if self._over.wait(share * _PATIENCE_SECONDS):
            return
        with self._stop.alone(wait=True):
            self._seal(cause)
        while not self._over.wait(share * _GRACE_SECONDS):
            with self._stop.alone(wait=False) as alone:
                if alone:  # else the training thread is back, and at work on the end
                    self._leave(cause)
                    return
