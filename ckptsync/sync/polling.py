"""Looking at a session until it has ended: often at first, then less often, through hours in which nothing answers."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator

from ..core.errors import CkptsyncError, ServiceError
from ..core.patience import Failures
from ..runners.base import Runner, SessionHandle, SessionState, SessionStatus
from .contact import Contact
from .following import Follower
from .reporting import Reporter

_GROWTH = 1.3
_JITTER = 0.1
# Trouble is told at once, then after a minute, after four more, ... and at last once an hour
_TELL_AGAIN_SECONDS = 60.0
_TELL_GROWTH = 4.0
_LONGEST_SILENCE = 3600.0


def watch(
    runner: Runner,
    handle: SessionHandle,
    contact: Contact,
    reporter: Reporter,
    *,
    follower: Follower | None = None,
    sleep: Callable[[float], object] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[SessionStatus | bytes]:
    """Look until a session has ended; give every status, the last one being that of the end, and what it prints.

    The status alone says when a session has ended, never its log. A service that cannot be reached is asked again as
    long as `contact.wait_patience` lasts; a word of it that is not known is never taken for an end.

    Args:
        runner: where it runs.
        handle: the session.
        contact: how to ask.
        reporter: is told of trouble, not at every look.
        follower: of its log; None when nobody wants that.
        sleep: waits where there is no stream to wait for.
        clock: seconds that only grow.

    Raises:
        CkptsyncError: the runner refuses to answer, or patience is at its end.
    """
    failures = contact.bearing(contact.wait_patience, sleep=sleep, clock=clock)
    pauses, trouble = _Pauses(contact), _Trouble(reporter, failures)
    last: SessionState | None = None
    try:
        while True:
            try:
                status = _look(runner, handle)
            except CkptsyncError as error:
                pause = trouble.met(error)
            else:
                trouble.over()
                if status.state != last:
                    last = status.state
                    pauses.begin()
                pause = pauses.next()
                if follower is not None:
                    yield from _log(follower, reporter, ended=status.state.finished)
                yield status
                if status.state.finished:
                    return
            if follower is None or not follower.streaming:
                sleep(pause)
            else:
                yield from _stream(follower, pause, sleep=sleep, clock=clock)
    finally:
        if follower is not None:
            follower.close()


def _look(runner: Runner, handle: SessionHandle) -> SessionStatus:
    status = runner.status(handle)
    if status.state is SessionState.UNKNOWN:
        said = f" ({status.message})" if status.message else ""
        raise ServiceError(f"what {runner.name} says of {handle.session} is not known{said}")
    return status


def _log(follower: Follower, reporter: Reporter, *, ended: bool) -> Iterator[bytes]:
    """Give what is there of the log; where it cannot be read the session's own state still counts."""
    try:
        if ended:
            yield from follower.rest()
        elif not follower.streaming:
            yield from follower.asked()
            follower.begin()
    except CkptsyncError as error:
        if ended:
            reporter.warn(f"the end of the log cannot be read: {error.message}")


def _stream(
    follower: Follower, seconds: float, *, sleep: Callable[[float], object], clock: Callable[[], float]
) -> Iterator[bytes]:
    """Give what the stream sends for so many seconds, or until it ends: then it is time to look."""
    until = clock() + seconds
    sent = False
    while (left := until - clock()) > 0:
        chunk = follower.next(left)
        if chunk is None:
            if not sent:  # a stream that ends at once is no reason to look at once
                sleep(left)
            return
        if chunk:
            sent = True
            yield chunk


class _Pauses:
    """Pauses between two looks: they grow, and begin anew when the session does something else."""

    def __init__(self, contact: Contact) -> None:
        self._contact = contact
        self._pause = contact.poll_first

    def begin(self) -> None:
        """Begin with short ones."""
        self._pause = self._contact.poll_first

    def next(self) -> float:
        """Return how long to wait now, a little more or less, so that many who wait do not ask together."""
        pause = self._pause
        self._pause = min(pause * _GROWTH, self._contact.poll_longest)
        return pause * random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311  # no secret


class _Trouble:
    """Tells of failures that may pass: once, then less and less often."""

    def __init__(self, reporter: Reporter, failures: Failures) -> None:
        self._reporter = reporter
        self._failures = failures
        self._tell_at = 0.0
        self._interval = _TELL_AGAIN_SECONDS

    def met(self, error: CkptsyncError) -> float:
        """Return how long to wait after a failure. Raises it when it is final."""
        pause = self._failures.pause_after(error)
        silent = self._failures.silent_seconds
        if self._failures.count == 1:
            self._reporter.warn(f"{error.message}; asking again")
        elif silent >= self._tell_at:
            self._reporter.warn(f"nothing for {_span(silent)}, asking again: {error.message}")
        else:
            return pause
        self._tell_at = silent + self._interval
        self._interval = min(self._interval * _TELL_GROWTH, _LONGEST_SILENCE)
        return pause

    def over(self) -> None:
        """Take notice of an answer."""
        if self._failures.count > 1:
            self._reporter.line(f"answered again after {_span(self._failures.silent_seconds)}")
        self._failures.heard()
        self._tell_at, self._interval = 0.0, _TELL_AGAIN_SECONDS


def _span(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{seconds:.0f} s"
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"
