"""Putting new bytes into objects, several of which are on their way at once.

Small files follow each other in one object, a large one begins an object of its own, so a checkpoint of three small
files is one request and one of ten gigabytes many that can go on after a kill.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from ...core.errors import CkptsyncError
from ...core.fsread import Hasher
from ..base import Store
from .keys import object_key
from .repository import Repository
from .versions import Piece

OBJECT_BYTES = 8 << 20
# To ask whether an object is there costs a request, to send this much not much more
_ASK_BYTES = 4 << 20


@dataclass(frozen=True)
class Place:
    """Bytes in an object that is still on its way; `Packing.piece` tells where they lie once it has arrived."""

    number: int
    offset: int
    size_bytes: int


class Packing:
    """Collects bytes and sends them as objects.

    Args:
        repository: where to.
        sent: told how many bytes of an object have arrived, from any thread.
    """

    def __init__(self, repository: Repository, sent: Callable[[int], None]) -> None:
        self._repository = repository
        self._sent = sent
        self._pool = ThreadPoolExecutor(repository.workers, thread_name_prefix="ckptsync-push")
        # What the next object will be; its parts become one where it is sent, beside the reading of the next one
        self._parts: list[bytes] = []
        self._held = 0
        self._objects: list[Future[tuple[str, int]]] = []
        self._lock = threading.Lock()
        self._whole: Hasher | None = None
        self._first = 0
        # Whether others are asked for at all: what is asked beside the first large one is whether an earlier push has
        # sent it, and was cut short. That one goes at once, for the answer is mostly no
        self._asker = ThreadPoolExecutor(1, thread_name_prefix="ckptsync-ask")
        self._begun_before: Future[bool] | None = None
        self._asking = True
        self.sent_bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._asker.shutdown(wait=True)

    def begin(self, *, whole: bool = False) -> None:
        """Let what comes next begin an object of its own.

        Args:
            whole: it is one file, whose digest `end` tells.
        """
        if self._held:
            self._send(None)
        self._first = len(self._objects)
        self._whole = Hasher() if whole else None

    def end(self) -> str:
        """Return the digest of all that was taken since `begin`."""
        if self._whole is None:
            raise ValueError("nobody asked for a digest")
        digest, self._whole = self._whole.digest(), None
        if self._held and len(self._objects) == self._first:
            self._send(digest)
        return digest

    def add(self, data: bytes) -> list[Place]:
        """Take bytes; return where they will lie."""
        places = []
        position = 0
        while position < len(data):
            room = OBJECT_BYTES - self._held
            part = data[position : position + room]
            places.append(Place(len(self._objects), self._held, len(part)))
            self._parts.append(part)
            self._held += len(part)
            position += len(part)
            if self._whole is not None:
                self._whole.update(part)
            if self._held == OBJECT_BYTES:
                # So far the file and its first object are the same bytes: nobody hashes them twice
                is_first = self._whole is not None and len(self._objects) == self._first
                self._send(self._whole.digest() if self._whole is not None and is_first else None)
        return places

    def finish(self) -> None:
        """Wait until all has arrived. Raises the first error of any object."""
        self.begin()
        for sending in self._objects:
            sending.result()

    def piece(self, place: Place) -> Piece:
        """Return a piece for a place, after `finish`."""
        digest, size = self._objects[place.number].result()
        return Piece(digest, size, place.offset, place.size_bytes)

    def _send(self, digest: str | None) -> None:
        parts, self._parts = self._parts, []
        size, self._held = self._held, 0
        # Memory is bounded: no more objects are held than can be on their way
        waiting = len(self._objects) - self._repository.workers
        if waiting >= 0:
            self._objects[waiting].result()
        begun_before = None
        if size >= _ASK_BYTES:
            begun_before = self._begun_before
            self._begun_before = begun_before or Future()
        is_first = begun_before is None and size >= _ASK_BYTES
        self._objects.append(self._pool.submit(self._store, parts, digest, begun_before, is_first))

    def _store(
        self, parts: list[bytes], digest: str | None, begun_before: Future[bool] | None, is_first: bool
    ) -> tuple[str, int]:
        store = self._repository.store
        try:
            data = b"".join(parts)
            parts.clear()
            digest = digest or "sha256:" + hashlib.sha256(data).hexdigest()
        except BaseException:
            if is_first and self._begun_before is not None:
                self._begun_before.set_result(False)  # others wait for it
            raise
        key = object_key(digest)
        there = None
        if is_first and self._begun_before is not None:
            self._asker.submit(_ask, store, key, self._begun_before)
        if begun_before is not None and self._asking and begun_before.result():
            there = store.head(key)
            # Objects arrive about in the order in which they are sent: behind one that did not, none did
            self._asking = there is not None
        if there is None or there.size_bytes != len(data):
            store.put(key, data, digest=digest, checked=True)
            with self._lock:
                self.sent_bytes += len(data)
        self._sent(len(data))
        return digest, len(data)


def _ask(store: Store, key: str, answer: Future[bool]) -> None:
    found = False
    try:
        found = store.head(key) is not None
    except CkptsyncError:
        pass  # it is sent, and that tells what is wrong
    finally:
        answer.set_result(found)
