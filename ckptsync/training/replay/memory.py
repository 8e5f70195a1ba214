"""Rows that no segment holds yet, copied out of the live buffer: an append-only tail in reused memory.

Whoever holds a piece may read it from another thread while rows are appended behind it: the rows of a piece are never
written again as long as it lives.
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import prod

import numpy as np

from .columns import spans
from .texts import row_texts

_BLOCK_BYTES = 4 << 20
_MAX_SPARES = 4

Arrays = dict[str, np.ndarray]


class Spares:
    """Arrays that nobody needs any more, for the next who needs arrays of the same kind."""

    def __init__(self) -> None:
        self._arrays: deque[Arrays] = deque(maxlen=_MAX_SPARES)

    def take(self, kinds: Mapping[str, tuple[tuple[int, ...], np.dtype]]) -> Arrays:
        """Return arrays of these shapes and dtypes, with anything in them."""
        while self._arrays:
            spare = self._arrays.pop()
            if {name: (array.shape, array.dtype) for name, array in spare.items()} == dict(kinds):
                return spare
        return {name: np.empty(shape, dtype) for name, (shape, dtype) in kinds.items()}

    def return_after(self, owner: object, arrays: Arrays) -> None:
        """Take arrays back when their owner is gone."""
        weakref.finalize(owner, self._arrays.append, arrays).atexit = False


class Block:
    """Memory for some rows; `used` of them are filled.

    Args:
        start: its first row.
        capacity: how many rows it can hold.
        columns: the live arrays.
        spares: where its memory comes from and goes to.
    """

    def __init__(self, start: int, capacity: int, columns: Mapping[str, np.ndarray], spares: Spares) -> None:
        kinds = {
            name: ((capacity, *array.shape[1:]), array.dtype)
            for name, array in columns.items()
            if not array.dtype.hasobject
        }
        self.start = start
        self.end = start
        self.capacity = capacity
        self.arrays = spares.take(kinds)
        self.texts: dict[str, list[bytes]] = {name: [] for name, array in columns.items() if array.dtype.hasobject}
        spares.return_after(self, self.arrays)

    def append(self, columns: Mapping[str, np.ndarray], end: int, size: int) -> None:
        """Copy the rows behind its last one up to `end` from live columns of `size` slots."""
        for row, slots in spans(self.end, end, size):
            at = row - self.start
            for name, array in columns.items():
                if array.dtype.hasobject:
                    self.texts[name] += row_texts(array[slots])
                else:
                    self.arrays[name][at : at + slots.stop - slots.start] = array[slots]
        self.end = end


@dataclass(frozen=True)
class MemoryPiece:
    """Some rows of a block.

    Args:
        block: the block.
        start: the first row.
        end: the row behind the last.
    """

    block: Block
    start: int
    end: int

    def cut(self, start: int, end: int) -> MemoryPiece:
        """Return the rows of it that lie between two rows."""
        return MemoryPiece(self.block, max(self.start, start), min(self.end, end))

    def fill(self, wanted: Iterable[tuple[str, int, np.ndarray]]) -> None:
        """Copy rows into arrays: (name of the column, first row, array of as many rows as are wanted)."""
        for name, start, target in wanted:
            at = start - self.block.start
            target[...] = self.block.arrays[name][at : at + len(target)]

    def chunks(self, name: str) -> Iterator[np.ndarray]:
        """Yield the rows of a column in C-contiguous arrays."""
        yield self.block.arrays[name][self.start - self.block.start : self.end - self.block.start]

    def texts(self, name: str) -> list[bytes]:
        """Return the rows of a column of objects."""
        return self.block.texts[name][self.start - self.block.start : self.end - self.block.start]


class Tail:
    """The rows behind the last sealed segment, in order and without a gap.

    Args:
        spares: where its memory comes from.
    """

    def __init__(self, spares: Spares) -> None:
        self._spares = spares
        self._open: Block | None = None
        self.pieces: tuple[MemoryPiece, ...] = ()

    def append(self, columns: Mapping[str, np.ndarray], start: int, end: int, size: int) -> None:
        """Copy rows from live columns of `size` slots; `start` is the row behind its last one, if it has any."""
        row_bytes = sum(array.itemsize * prod(array.shape[1:]) for array in columns.values())
        pieces = list(self.pieces)
        while start < end:
            block = self._open
            if block is None or block.end != start or block.end - block.start == block.capacity:
                capacity = max(min(_BLOCK_BYTES // max(row_bytes, 1), size), 1)
                block = self._open = Block(start, capacity, columns, self._spares)
            upto = min(end, block.start + block.capacity)
            block.append(columns, upto, size)
            if pieces and pieces[-1].block is block:
                pieces[-1] = MemoryPiece(block, pieces[-1].start, upto)
            else:
                pieces.append(MemoryPiece(block, start, upto))
            start = upto
        self.pieces = tuple(pieces)

    def drop_before(self, row: int) -> None:
        """Let go of the rows before one."""
        self.pieces = tuple(piece.cut(row, piece.end) for piece in self.pieces if piece.end > row)

    def replace(self, pieces: tuple[MemoryPiece, ...]) -> None:
        """Hold these rows from now on; the next go into a block of their own, for somebody may read the old one."""
        self._open = None
        self.pieces = pieces
