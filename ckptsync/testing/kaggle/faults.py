"""Faults on demand: at chosen requests, or at a rate over many."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Fault(StrEnum):
    """One way in which a request goes wrong.

    The first group happens in place of the request, which is never handled; the second after it was handled, so
    what it asked for has happened; the third makes the answer itself wrong.
    """

    TOO_MANY = "429"  # with Retry-After in seconds
    TOO_MANY_DATE = "429-date"  # with Retry-After as a date
    TOO_MANY_BARE = "429-bare"  # without
    BROKEN = "500"
    BAD_GATEWAY = "502"
    UNAVAILABLE = "503"
    HTML = "html"  # a page for people, with status 200
    DROP_BEFORE = "drop-before"  # the connection is reset
    STALL = "stall"  # nothing comes for settings.stall_seconds, then the connection ends

    DROP_AFTER = "drop-after"  # handled, and reset before the first byte of the answer
    DROP_IN = "drop-in"  # reset in the middle of the answer
    TRUNCATED = "truncated"  # the answer ends in its middle, though it told its length
    TRUNCATED_BARE = "truncated-bare"  # the same, and its length was not told
    SLOW = "slow"  # late by settings.slow_seconds

    UPLOAD_REFUSED = "upload-403"
    UPLOAD_BROKEN = "upload-500"
    UPLOAD_EXPIRED = "upload-404"  # the upload's session is gone
    UPLOAD_CUT = "upload-cut"  # half of the bytes are kept, then 503
    UPLOAD_IDLE = "upload-idle"  # nothing of the bytes is kept
    URL_EXPIRED = "url-400"  # an XML page in place of the file
    URL_EXPIRED_DENIED = "url-403"
    URL_EXPIRED_OK = "url-200"
    LISTED_TWICE = "listed-twice"  # one file of the page is in it twice
    LISTED_SHUFFLED = "listed-shuffled"  # the page is in another order
    STATUS_LAG = "status-lag"  # the status of the run before


# What may happen to which kind of request
_ANY = (
    *(Fault.TOO_MANY, Fault.TOO_MANY_DATE, Fault.TOO_MANY_BARE, Fault.BROKEN, Fault.BAD_GATEWAY, Fault.UNAVAILABLE),
    *(Fault.HTML, Fault.DROP_BEFORE, Fault.STALL),
    *(Fault.DROP_AFTER, Fault.DROP_IN, Fault.TRUNCATED, Fault.TRUNCATED_BARE, Fault.SLOW),
)
_UPLOAD = (Fault.UPLOAD_REFUSED, Fault.UPLOAD_BROKEN, Fault.UPLOAD_EXPIRED, Fault.UPLOAD_CUT, Fault.UPLOAD_IDLE)
_DOWNLOAD = (Fault.URL_EXPIRED, Fault.URL_EXPIRED_DENIED, Fault.URL_EXPIRED_OK)
_LISTING = (Fault.LISTED_TWICE, Fault.LISTED_SHUFFLED)

DOWNLOAD = "download"
UPLOAD = "upload"
STREAM = "stream"


def possible(name: str) -> tuple[Fault, ...]:
    """Return the faults that a request of this name can meet."""
    if name == UPLOAD:
        return _ANY + _UPLOAD
    if name == DOWNLOAD:
        return _ANY + _DOWNLOAD
    if name in ("ListKernelSessionOutput", "ListKernelFiles", "ListDatasetFiles"):
        return _ANY + _LISTING
    if name == "GetKernelSessionStatus":
        return (*_ANY, Fault.STATUS_LAG)
    return _ANY


@dataclass
class _Planned:
    fault: Fault
    name: str
    skip: int
    times: int


@dataclass(frozen=True)
class _Rate:
    rate: float
    kinds: frozenset[Fault]
    names: frozenset[str]
    dice: random.Random


class Faults:
    """Decides for each request whether and how it goes wrong.

    A request's name is the method's (`SaveKernel`, `GetKernelSessionStatus`, ...), `download` for a signed URL,
    `upload` for a PUT of a blob, `stream` for the log stream.

    `fired` counts what really happened.
    """

    def __init__(self) -> None:
        self.fired: Counter[Fault] = Counter()
        self._lock = threading.Lock()
        self._planned: list[_Planned] = []
        self._rates: list[_Rate] = []

    def add(self, fault: Fault | str, name: str = "", *, skip: int = 0, times: int = 1) -> None:
        """Let the next requests of a name fail.

        Args:
            fault: how.
            name: which requests; empty: every one that can meet this fault.
            skip: how many of them come before that.
            times: how many fail.
        """
        fault = Fault(fault)
        if name and fault not in possible(name):
            raise ValueError(f"{fault} cannot happen to {name}")
        with self._lock:
            self._planned.append(_Planned(fault, name, skip, times))

    def rate(
        self, rate: float, *, seed: int, kinds: Iterable[Fault | str] = tuple(Fault), names: Iterable[str] = ()
    ) -> None:
        """Let a share of all requests fail, each in a way drawn from those that it can meet.

        Args:
            rate: from 0 to 1.
            seed: of the dice; the same requests in the same order fail in the same ways.
            kinds: the faults to draw from.
            names: which requests; none: all of them.
        """
        # Not for secrets
        dice = random.Random(seed)  # noqa: S311
        with self._lock:
            self._rates.append(_Rate(rate, frozenset(map(Fault, kinds)), frozenset(names), dice))

    def clear(self) -> None:
        """Let everything pass from now on; what has fired stays counted."""
        with self._lock:
            self._planned.clear()
            self._rates.clear()

    def draw(self, name: str) -> Fault | None:
        """Return what happens to the request of this name that comes in now."""
        with self._lock:
            return self._draw_planned(name) or self._draw_by_rate(name)

    def happened(self, fault: Fault) -> None:
        """Count a fault as one that the client has met."""
        with self._lock:
            self.fired[fault] += 1

    def _draw_planned(self, name: str) -> Fault | None:
        matching = [
            each for each in self._planned if each.name == name or (not each.name and each.fault in possible(name))
        ]
        hit = next((planned for planned in matching if not planned.skip), None)
        for planned in matching:
            planned.skip = max(planned.skip - 1, 0)
        if hit is None:
            return None
        hit.times -= 1
        if not hit.times:
            self._planned.remove(hit)
        return hit.fault

    def _draw_by_rate(self, name: str) -> Fault | None:
        for each in self._rates:
            if each.names and name not in each.names:
                continue
            kinds = [fault for fault in possible(name) if fault in each.kinds]
            if each.dice.random() < each.rate and kinds:
                return each.dice.choice(kinds)
        return None
