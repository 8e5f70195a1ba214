"""Reading pieces of objects in the order of a file, in few requests, several of them at once.

A file of which a part changed lies scattered over objects, its headers in one and its tensors in others. What lies
close together in the file and in one object is read together; so there are about as many requests as the file has
parts of the size of a request, however many pieces it has.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

from ...core.errors import CorruptError
from ..base import Store
from .keys import object_key
from .versions import Piece, merged

# One request reads at most this much, which is what ckptsync puts into one object; a stretch of a file is two of them
_READ_BYTES = 8 << 20
_STRETCH_BYTES = 2 * _READ_BYTES
# To read so much that nobody wants costs less than another request
_GAP_BYTES = 128 << 10


class _Part(NamedTuple):
    """Some of the bytes that a request brings."""

    request: int
    offset: int
    size_bytes: int


class _Stretch(NamedTuple):
    """A stretch of a file: the requests that bring it, and which of their bytes it is, in order."""

    requests: list[Piece]
    parts: list[_Part]


class Reader:
    """Reads pieces of objects in order, several at once ahead of who asks.

    Args:
        store: where from.
        pool: does the reading.
        ahead: how many requests of the usual size are on their way or waiting.
    """

    def __init__(self, store: Store, pool: ThreadPoolExecutor, ahead: int) -> None:
        self._store = store
        self._pool = pool
        self._free: defaultdict[int, list[bytearray]] = defaultdict(list)
        self._ahead = max(1, ahead * _READ_BYTES // _STRETCH_BYTES)

    def stream(self, pieces: Iterable[Piece]) -> Iterator[memoryview]:
        """Yield the bytes of pieces, one after another; each part only until the next is asked for.

        Raises:
            NothingFoundError: an object is gone.
            CorruptError: an object is shorter than its version says.
        """
        waiting: deque[tuple[list[_Part], list[Future[bytearray]]]] = deque()
        try:
            for stretch in _stretches(pieces):
                waiting.append((stretch.parts, [self._pool.submit(self._read, item) for item in stretch.requests]))
                if len(waiting) >= self._ahead:
                    yield from self._taken(*waiting.popleft())
            while waiting:
                yield from self._taken(*waiting.popleft())
        finally:
            for _, requests in waiting:
                for reading in requests:
                    reading.cancel()

    def _taken(self, parts: Sequence[_Part], requests: Sequence[Future[bytearray]]) -> Iterator[memoryview]:
        for part in parts:
            yield memoryview(requests[part.request].result())[part.offset : part.offset + part.size_bytes]
        # Memory that is new costs as much as what is read into it
        for request in requests:
            self._free[len(request.result())].append(request.result())

    def _buffer(self, size: int) -> bytearray:
        room: int = 1 << (size - 1).bit_length()
        try:
            return self._free[room].pop()
        except IndexError:
            return bytearray(room)

    def _read(self, piece: Piece) -> bytearray:
        key = object_key(piece.digest)
        data = self._buffer(piece.size_bytes)
        position = 0
        for chunk in self._store.get(key, piece.offset, piece.size_bytes):
            begin, position = position, position + len(chunk)
            if position > piece.size_bytes:
                break
            data[begin:position] = chunk
        if position != piece.size_bytes:
            raise CorruptError(
                f"object {key} in {self._store.url} is shorter than {piece.object_bytes} bytes",
                hint="'ckptsync scrub' looks for all that is damaged",
            )
        return data


def _stretches(pieces: Iterable[Piece]) -> Iterator[_Stretch]:
    """Divide pieces into stretches of at most _STRETCH_BYTES; one that does not fit begins the next."""
    held: list[Piece] = []
    size = 0
    for piece in merged(list(pieces)):
        for offset in range(0, piece.size_bytes, _READ_BYTES):
            part = min(_READ_BYTES, piece.size_bytes - offset)
            if size + part > _STRETCH_BYTES:
                yield _stretch(held)
                held, size = [], 0
            held.append(Piece(piece.digest, piece.object_bytes, piece.offset + offset, part))
            size += part
    if held:
        yield _stretch(held)


def _stretch(pieces: Sequence[Piece]) -> _Stretch:
    """Put what lies close together in an object into one request."""
    requests: list[Piece] = []
    parts: dict[int, _Part] = {}
    for place in sorted(range(len(pieces)), key=lambda place: (pieces[place].digest, pieces[place].offset)):
        piece, last = pieces[place], requests[-1] if requests else None
        end = piece.offset + piece.size_bytes
        if (
            last is not None
            and last.digest == piece.digest
            and piece.offset - (last.offset + last.size_bytes) <= _GAP_BYTES
            and end - last.offset <= _READ_BYTES
        ):
            size = max(last.size_bytes, end - last.offset)
            requests[-1] = Piece(last.digest, last.object_bytes, last.offset, size)
        else:
            requests.append(piece)
        parts[place] = _Part(len(requests) - 1, piece.offset - requests[-1].offset, piece.size_bytes)
    return _Stretch(requests, [parts[place] for place in range(len(pieces))])
