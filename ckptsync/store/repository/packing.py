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

from .keys import object_key
from .repository import Repository
from .versions import Piece

OBJECT_BYTES = 8 << 20
# To ask whether an object is there costs a request, to send this much not much more
_ASK_BYTES = 1 << 20


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
        self._buffer = bytearray()
        self._objects: list[Future[tuple[str, int]]] = []
        self._lock = threading.Lock()
        self.sent_bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def begin(self) -> None:
        """Let what comes next begin an object of its own."""
        if self._buffer:
            self._send(None)

    def end(self, digest: str) -> None:
        """Send what was taken since `begin`, all of it one file of this digest, which is then checked but once."""
        if self._buffer:
            self._send(digest)

    def add(self, data: bytes) -> list[Place]:
        """Take bytes; return where they will lie."""
        places = []
        position = 0
        while position < len(data):
            room = OBJECT_BYTES - len(self._buffer)
            part = data[position : position + room]
            places.append(Place(len(self._objects), len(self._buffer), len(part)))
            self._buffer += part
            position += len(part)
            if len(self._buffer) == OBJECT_BYTES:
                self._send(None)
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

    def _send(self, expected: str | None) -> None:
        data = bytes(self._buffer)
        self._buffer.clear()
        # Memory is bounded: no more objects are held than can be on their way
        waiting = len(self._objects) - self._repository.workers
        if waiting >= 0:
            self._objects[waiting].result()
        self._objects.append(self._pool.submit(self._store, data, expected))

    def _store(self, data: bytes, expected: str | None) -> tuple[str, int]:
        store = self._repository.store
        # A store that checks what is sent does so by the digest that it is told: no need to do the same before
        trusted = expected is not None and store.capabilities.checks_uploads
        digest = expected if expected is not None and trusted else "sha256:" + hashlib.sha256(data).hexdigest()
        key = object_key(digest)
        there = store.head(key) if len(data) >= _ASK_BYTES else None
        if there is None or there.size_bytes != len(data):
            store.put(key, data, digest=digest)
            with self._lock:
                self.sent_bytes += len(data)
        self._sent(len(data))
        return digest, len(data)
