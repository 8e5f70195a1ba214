"""Claims: who is at work in a repository, so that nobody takes away what another one is about to need.

A claim is an object that its holder renews. Whoever wants one writes it first and looks for others afterwards, so of
two who want what excludes each other at least one sees the other; who sees one withdraws. A claim that was not
renewed for a lease is dead, by the store's own clock, and takes nobody's place any more: who was paused so long finds
that out by `confirm` before anything counts.
"""

from __future__ import annotations

import os
import random
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress

from ...core.clock import now
from ...core.errors import (
    CkptsyncError,
    LimitError,
    LockedError,
    NothingFoundError,
    ServiceError,
    StorageError,
    is_full,
)
from ..base import ObjectInfo, PreconditionError, Store
from . import documents, keys

SCHEMA = "ckptsync.claim/1"
# Who refers to versions and objects, and who removes them; the words of keys that are written already
PUSH = "push"
REMOVE = "collect"
_SAID = {PUSH: "a push, or a new name", REMOVE: "a removal"}
LEASE_SECONDS = 300.0
# So often within a lease is a claim renewed
_RENEWALS = 6
# So much of a lease after a renewal it is certain that nobody takes the holder for dead
_BELIEVED_SHARE = 0.5
_MAX_CLAIM_BYTES = 1 << 16
_UNFIT = "try again later; a store where it comes again cannot keep checkpoints"


class Claim:
    """A claim that is held.

    Args:
        store: where.
        kind: what is claimed, such as `push`.
        what: the same in words, for messages.
        lease_seconds: after how long without a renewal it is dead.
    """

    def __init__(self, store: Store, kind: str, what: str, lease_seconds: float) -> None:
        self._believed_seconds = lease_seconds * _BELIEVED_SHARE
        self._written = 0.0
        self._version = ""
        self.key = keys.claim_key(kind, os.urandom(8).hex())
        self.kind = kind
        self._store = store
        self._what = what
        self._data = documents.serialise(SCHEMA, {"host": socket.gethostname(), "process": os.getpid(), "since": now()})

    def confirm(self) -> None:
        """Make sure that nobody has taken this process for dead; to be asked before and after anything that counts.

        Within a lease of the last renewal nobody can have, and nothing is asked.

        Raises:
            LockedError: somebody has.
        """
        if _seconds() - self._written < self._believed_seconds:
            return
        if self._store.head(self.key) is None:
            raise self._lost()

    def write(self) -> None:
        """Write it. Where there is no room, it says nothing but that it is there."""
        try:
            self._put(None)
        except (StorageError, LimitError) as error:
            if self.kind != REMOVE or (isinstance(error, StorageError) and not is_full(error)):
                raise
            self._data = b""  # an empty object mostly has room, and who makes room needs a claim
            self._put(None)

    def written(self, listed: Iterable[ObjectInfo]) -> float | None:
        """Return when it was written, by the store's clock.

        Args:
            listed: claims that were listed afterwards; a store that lists late is asked for this one.

        Raises:
            ServiceError: the store says that it has written it, and has not.
        """
        info = next((item for item in listed if item.key == self.key), None) or self._store.head(self.key)
        if info is None:
            raise ServiceError(
                f"{self._store.url} says that {self.key} is written, and it is not there", hint=_UNFIT, transient=False
            )
        return info.modified

    def renew(self) -> None:
        """Renew it while it is there. Raises LockedError as `confirm` does."""
        if self._store.capabilities.conditional_update:
            try:
                self._put(self._version)
            except (PreconditionError, NothingFoundError):
                raise self._lost() from None
        elif self._store.head(self.key) is None:
            raise self._lost()
        else:
            self._put(None)

    def _put(self, replacing: str | None) -> None:
        begun = _seconds()  # it counts from before it was sent
        self._version = self._store.put(self.key, self._data, replacing=replacing)
        self._written = begun

    def _lost(self) -> LockedError:
        return LockedError(
            f"{self._what} stood still for so long that others went on without it", hint="run the same command again"
        )

    def withdraw(self) -> None:
        """Take it back. What cannot be removed now dies with its lease."""
        with suppress(CkptsyncError):
            self._store.delete(self.key)


@contextmanager
def held(
    store: Store,
    kind: str,
    against: Sequence[str],
    *,
    what: str,
    wait_seconds: float = 0.0,
    lease_seconds: float = LEASE_SECONDS,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[Claim]:
    """Hold a claim until the end of the block, renewed in the background.

    Args:
        store: where.
        kind: what is claimed.
        against: kinds that exclude it; dead claims of these are removed.
        what: the same in words, for messages.
        wait_seconds: how long to wait for others.
        lease_seconds: after how long without a renewal a claim is dead.
        sleep: how to wait.

    Raises:
        LockedError: another one holds a claim that excludes this one.
    """
    claim = Claim(store, kind, what, lease_seconds)
    _acquire(store, claim, against, what, wait_seconds, lease_seconds, sleep)
    stop = threading.Event()
    renewing = threading.Thread(target=_renew, args=(claim, stop, max(lease_seconds / _RENEWALS, 1.0)), daemon=True)
    renewing.start()
    try:
        yield claim
    finally:
        stop.set()
        renewing.join()
        claim.withdraw()


def _kind(key: str) -> str:
    return key.removeprefix(keys.CLAIMS).rpartition("/")[0]


def _living(found: Sequence[ObjectInfo], at: float | None, lease_seconds: float) -> tuple[list[str], list[str]]:
    """Return the keys of the claims that live and of those that are dead at a time of the store's clock."""
    alive = [info.key for info in found if _lives(info, at, lease_seconds)]
    return alive, [info.key for info in found if info.key not in alive]


def _lives(info: ObjectInfo, at: float | None, lease_seconds: float) -> bool:
    # A store that tells no times leaves nothing to judge by: then every claim counts until somebody removes it
    return info.modified is None or at is None or at - info.modified < lease_seconds


def _acquire(
    store: Store,
    claim: Claim,
    against: Sequence[str],
    what: str,
    wait_seconds: float,
    lease_seconds: float,
    sleep: Callable[[float], None],
) -> None:
    waited, pause = 0.0, 0.1
    while True:
        try:
            claim.write()
            # All kinds in one request: most often there is no claim but the own one, which tells the time
            listed = [info for info in store.list(keys.CLAIMS) if keys.is_claim(info.key)]
            at = claim.written(listed)
            alive, dead = _living([info for info in listed if _kind(info.key) in against], at, lease_seconds)
            if claim.kind in against and claim.key not in (*alive, *dead):
                raise ServiceError(
                    f"{store.url} does not list {claim.key}, which was written a moment ago: so it may hide what others do",
                    hint=_UNFIT,
                    transient=False,
                )
            others = [key for key in alive if key != claim.key]
            if not others:
                for key in dead:
                    if key != claim.key:
                        store.delete(key)
                return
            holder = _holder(store, others[0])
        except BaseException:
            claim.withdraw()
            raise
        claim.withdraw()
        if waited >= wait_seconds:
            raise LockedError(
                f"{what} has to wait: {holder}",
                hint=f"wait until it has ended, then run the same command again; the dead are passed over after"
                f" {lease_seconds:.0f} seconds",
            )
        chosen = pause * (0.5 + random.random())  # noqa: S311 - so that two who met do not meet again
        sleep(chosen)
        waited, pause = waited + chosen, min(2 * pause, 5.0)


def _holder(store: Store, key: str) -> str:
    kind = _kind(key)
    work = f"somebody is at work ({_SAID.get(kind, kind)})"
    try:
        data = store.read(key, limit=_MAX_CLAIM_BYTES).data
        said = documents.parse(data, SCHEMA, key, lambda value: (value["host"], value["process"], value["since"]))
    except CkptsyncError:
        return work
    host, process, since = said
    return f"{work} on {host!r:.80}, process {process!r:.20}, since {since!r:.40}"


def _seconds() -> float:
    """Seconds that go on while the machine sleeps, where there is such a clock."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def _renew(claim: Claim, stop: threading.Event, every_seconds: float) -> None:
    while not stop.wait(every_seconds):
        try:
            claim.renew()
        except LockedError:
            return  # whoever holds it learns it by `confirm`
        except CkptsyncError:
            continue  # the store cannot be reached for now; the next time counts
