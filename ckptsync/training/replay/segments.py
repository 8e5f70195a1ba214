"""Segments on disk: rows of a replay buffer from one row to another, written once and read back into their slots.

A segment is a file of arrays (module arrays). Its state says which rows it holds: `{"rows": [start, end]}`. Each final
column is an array `rows:<name>` with a row per row; a column of objects is two, `texts:<name>` with the joined texts
and `lengths:<name>`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np

from ...core import fsio, names
from ...core.errors import CorruptError, NothingFoundError
from ...core.manifest import FileEntry
from ..arrays import ArrayFile, Stream, write_arrays
from .texts import join, split

# Columns: name -> dtype and shape of a row
Kinds = Mapping[str, tuple[np.dtype, tuple[int, ...]]]
# Name of a column, first row, and the array that shall hold as many rows as it has
Wanted = tuple[str, int, np.ndarray]
# Rows of a sealed segment pass through memory in pieces of this size when segments are merged
_CHUNK_BYTES = 1 << 20
_HINT = "use an earlier checkpoint, or run 'ckptsync fetch' and 'ckptsync restore' again"


class Piece(Protocol):
    """Rows from `start` to `end` that can be read, in memory or in a file."""

    @property
    def start(self) -> int: ...

    @property
    def end(self) -> int: ...

    def fill(self, wanted: Iterable[Wanted]) -> None: ...

    def chunks(self, name: str) -> Iterator[np.ndarray]: ...

    def texts(self, name: str) -> list[bytes]: ...

    def cut(self, start: int, end: int) -> Piece: ...


@dataclass(frozen=True)
class SealedPiece:
    """Rows that a sealed segment holds; those behind `end` are of a course that was rolled back.

    Args:
        folder: of the manifests that name it.
        entry: its file.
        rows: those that the file holds, by its name.
        start: the first row that counts.
        end: the row behind the last that counts.
    """

    folder: Path
    entry: FileEntry
    rows: tuple[int, int]
    start: int
    end: int

    @classmethod
    def of(cls, folder: Path, entry: FileEntry) -> SealedPiece:
        """Return all rows of a segment."""
        parts = names.parse_segment(entry.path.rpartition("/")[2])
        if parts is None:
            raise CorruptError(f"{names.printable(entry.path)} is no segment", hint=_HINT)
        return cls(folder, entry, (parts.start, parts.end), parts.start, parts.end)

    @property
    def path(self) -> Path:
        """Where the file is."""
        return self.folder / self.entry.path

    @property
    def is_whole(self) -> bool:
        """Whether all rows that the file holds count."""
        return (self.start, self.end) == self.rows

    @cached_property
    def file(self) -> ArrayFile:
        """The file, its header read.

        Raises:
            CorruptError: it is missing, damaged, or holds other rows than its name says.
        """
        try:
            source = ArrayFile(self.path)
        except NothingFoundError:
            raise CorruptError(f"segment {self.path} is missing", hint=_HINT) from None
        rows = source.state.get("rows") if isinstance(source.state, dict) else None
        if rows != list(self.rows):
            raise CorruptError(f"segment {self.path} holds the rows {rows}, expected {list(self.rows)}", hint=_HINT)
        return source

    def check(self) -> None:
        """Compare its bytes with the digest that they were sealed with.

        Raises:
            CorruptError: they differ, or the file is missing.
        """
        try:
            found = fsio.sha256_file(self.path)
        except NothingFoundError:
            raise CorruptError(f"segment {self.path} is missing", hint=_HINT) from None
        if found != self.entry.digest:
            raise CorruptError(
                f"segment {self.path} has changed: expected {self.entry.digest}, found {found}", hint=_HINT
            )

    def cut(self, start: int, end: int) -> SealedPiece:
        """Return the rows of it that lie between two rows."""
        if start <= self.start and self.end <= end:
            return self
        return SealedPiece(self.folder, self.entry, self.rows, max(self.start, start), min(self.end, end))

    def fill(self, wanted: Iterable[Wanted]) -> None:
        """Read rows into C-contiguous arrays.

        Raises:
            CorruptError: the file is missing or damaged, or has other columns.
        """
        first, _ = self.rows
        try:
            self.file.read_rows([(f"rows:{name}", start - first, target) for name, start, target in wanted])
        except (KeyError, ValueError) as error:
            raise CorruptError(f"segment {self.path} does not hold what its set says: {error!r}", hint=_HINT) from None

    def chunks(self, name: str) -> Iterator[np.ndarray]:
        """Yield the rows of a column in C-contiguous arrays; each is good until the next one comes."""
        stored = f"rows:{name}"
        row, dtype = self.file.shape(stored)[1:], self.file.dtype(stored)
        rows = max(_CHUNK_BYTES // max(dtype.itemsize * int(np.prod(row)), 1), 1)
        memory = np.empty((min(rows, self.end - self.start), *row), dtype)
        for start in range(self.start, self.end, rows):
            part = memory[: min(rows, self.end - start)]
            self.fill([(name, start, part)])
            yield part

    def texts(self, name: str) -> list[bytes]:
        """Return the rows of a column of objects."""
        try:
            found = split(self.file.read(f"texts:{name}"), self.file.read(f"lengths:{name}"))
        except (KeyError, ValueError) as error:
            raise CorruptError(f"segment {self.path} is damaged: {error!r}", hint=_HINT) from None
        return found[self.start - self.rows[0] : self.end - self.rows[0]]


@dataclass(frozen=True)
class NewSegment:
    """A segment that is about to be written.

    Args:
        pieces: its rows, in order and without a gap.
        kinds: its columns.
        on_damage: called when a sealed segment whose rows go into it has changed.
    """

    pieces: Sequence[Piece]
    kinds: Kinds
    on_damage: Callable[[], None]

    @property
    def start(self) -> int:
        """Its first row."""
        return self.pieces[0].start

    @property
    def end(self) -> int:
        """The row behind its last one."""
        return self.pieces[-1].end

    def write(self, file: BinaryIO) -> None:
        """Fill an open file.

        Raises:
            CorruptError: a sealed segment whose rows go into it has changed.
        """
        try:
            for piece in self.pieces:
                if isinstance(piece, SealedPiece):
                    piece.check()  # or damage would be sealed again as if it were sound
        except CorruptError:
            self.on_damage()
            raise
        arrays: dict[str, np.ndarray | Stream] = {}
        for name, (dtype, shape) in self.kinds.items():
            if dtype.hasobject:
                texts = [text for piece in self.pieces for text in piece.texts(name)]
                arrays[f"texts:{name}"], arrays[f"lengths:{name}"] = join(texts)
            else:
                rows = (self.end - self.start, *shape)
                arrays[f"rows:{name}"] = Stream(dtype, rows, partial(self._chunks, name))
        write_arrays(file, {"rows": [self.start, self.end]}, arrays)

    def _chunks(self, name: str) -> Iterator[np.ndarray]:
        for piece in self.pieces:
            yield from piece.chunks(name)


def require(pieces: Sequence[SealedPiece]) -> None:
    """Make sure that the files of pieces of one folder are there with their sizes; one look into their folder is enough.

    Raises:
        CorruptError: one of them is not.
    """
    sizes: dict[str, dict[str, int]] = {}
    for piece in pieces:
        base, _, name = piece.entry.path.rpartition("/")
        if base not in sizes:
            sizes[base] = _sizes(piece.folder / base)
        if sizes[base].get(name) != piece.entry.size_bytes:
            raise CorruptError(
                f"segment {piece.path} is missing or has changed: expected {piece.entry.size_bytes} bytes",
                hint=_HINT,
            )


def _sizes(folder: Path) -> dict[str, int]:
    try:
        with os.scandir(folder) as found:
            return {entry.name: entry.stat(follow_symlinks=False).st_size for entry in found}
    except FileNotFoundError:
        return {}
