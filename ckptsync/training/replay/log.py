"""A replay buffer over a course of training: at every clean point what is new goes to memory, at a save to segments.

    log = ReplayLog(buffer, folder, files, added)
    point = log.keep()                 training thread, at a clean point: copies the rows that are new
    members = log.members(point)       writer's thread: what a set of that moment consists of
    log.sealed(point, manifest.files)  writer's thread, after the seal: memory of rows that are on disk is let go
    log.roll_back(point)               training thread: the live buffer is what it was at that moment

What the writer does with the members, before it seals the manifest:

    writer.add(<name>, "replay", members.state)
    for segment in members.segments:   in this order into the manifest
        writer.refer(segment) if it is a FileEntry, else writer.share(segment.start, segment.end, segment.write)

Every row from the oldest in the ring to the newest is in a sealed segment or in the tail at every moment. So a
point can be written or rolled back to whenever it comes to it, however many rows were overwritten since.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any, BinaryIO

import numpy as np

from ...core.errors import CorruptError
from ...core.manifest import FileEntry
from ..arrays import UnencodableError, decode, encode
from .columns import ahead_of, columns_of, geometry_of, rest_of, why_not
from .memory import Arrays, MemoryPiece, Spares, Tail
from .plan import plan
from .reading import fill_final, put_small, put_texts, sealed_pieces, stored_rows
from .segments import NewSegment, Piece, SealedPiece, require
from .settings import settings_of, space_values
from .state import ReplayState, write_state
from .texts import row_texts


@dataclass(frozen=True, eq=False)
class ReplayPoint:
    """A moment of a buffer, in memory.

    Args:
        count: how many rows were ever added; the newest is count - 1.
        used: how many of them the buffer holds.
        added: how many rows training had added by its own count.
        small: `rest`, `ahead` and `settings`, encoded.
        arrays: those that `small` refers to.
        changing: whole changing columns; of objects the texts of the used rows.
        pieces: the rows that no segment held at that moment.
        course: counts how often the log had been rolled back.
    """

    count: int
    used: int
    added: int
    small: Mapping[str, Any]
    arrays: Mapping[str, np.ndarray]
    changing: Mapping[str, np.ndarray | list[bytes]]
    pieces: tuple[MemoryPiece, ...]
    course: int

    @property
    def begin(self) -> int:
        """The oldest row that the buffer holds."""
        return self.count - self.used


@dataclass(frozen=True)
class ReplayMembers:
    """What a set holds of a replay buffer.

    Args:
        state: writes its own member, of role `replay`.
        segments: in the order of rows; entries are there already.
    """

    state: Callable[[BinaryIO], None]
    segments: Sequence[FileEntry | NewSegment]


class ReplayLog:
    """The rows of one live buffer; made when training begins.

    Args:
        buffer: SB3's ReplayBuffer or a class derived from it.
        folder: of the sets; the segments' paths are relative to it.
        files: of the manifest of the set that the buffer was read from; empty when it begins from zero. Rows that
            they hold are not written again; files that do not describe this buffer count as none.
        added: returns how many rows training has added so far, by its own count (num_timesteps // n_envs). It
            tells rows apart from rounds: a ring that was filled several times between two points looks like one that
            was filled a little.
    """

    def __init__(self, buffer: Any, folder: Path, files: Sequence[FileEntry], added: Callable[[], int]) -> None:
        self._buffer = buffer
        self._folder = folder
        self._added = added
        self._lock = Lock()
        self._spares = Spares()
        self._tail = Tail(Spares())
        columns = columns_of(buffer)
        self._kinds = {name: (array.dtype, array.shape[1:]) for name, array in columns.final.items()}
        self._geometry = geometry_of(buffer)
        self._built = {
            "settings": settings_of(buffer),
            "observation_space": space_values(buffer.observation_space),
            "action_space": space_values(buffer.action_space),
        }
        self.problem = why_not(buffer)
        self._full = bool(buffer.full)
        stored = stored_rows(folder, files, buffer)
        self._count, self._sealed = stored or (int(buffer.pos) + (int(buffer.buffer_size) if self._full else 0), ())
        # Up to which row the segments and the tail hold everything
        self._held = self._sealed[-1].end if self._sealed else self._count - int(buffer.size())
        self._added_before = added()
        self._forks: list[int] = []

    def keep(self) -> ReplayPoint | None:
        """Copy what is new since the last point; None when `problem` says why the buffer cannot be captured.

        It costs the new rows, and the whole of columns whose rows may change (for HER the episode lengths).
        """
        if self.problem is not None:
            return None
        buffer, columns = self._buffer, columns_of(self._buffer)
        arrays: Arrays = {}
        with self._lock:
            self._count, self._added_before, self._full = self._counted(), self._added(), bool(buffer.full)
            used = int(buffer.size())
            self._held = max(self._held, self._count - used)
            try:
                if columns.final:
                    self._tail.append(columns.final, self._held, self._count, buffer.buffer_size)
                small = encode({"rest": rest_of(buffer), "ahead": ahead_of(buffer), **self._built}, arrays)
                texts = {
                    name: row_texts(array[:used]) for name, array in columns.changing.items() if array.dtype.hasobject
                }
            except UnencodableError as error:
                self.problem = f"the replay buffer was left out: it holds {error}"
                return None
            self._held = self._count
            self._tail.drop_before(self._count - used)
            copies = self._copies({name: array for name, array in columns.changing.items() if name not in texts})
            point = ReplayPoint(
                self._count,
                used,
                self._added_before,
                small,
                {name: array.copy() for name, array in arrays.items()},
                {**copies, **texts},
                self._tail.pieces,
                len(self._forks),
            )
            self._spares.return_after(point, copies)
            return point

    def members(self, point: ReplayPoint) -> ReplayMembers:
        """Return what a set of a moment consists of; all of it is written from memory and from sealed segments.

        Raises:
            CorruptError: a segment is gone, and so are rows of that moment. The next point has them again.
        """
        with self._lock:
            sealed, fresh = self._sources(point)
        try:
            require(sealed)
        except CorruptError:
            self._start_over()
            raise
        segments = plan(sealed, fresh, begin=point.begin, size=self._buffer.buffer_size)
        return ReplayMembers(
            partial(self._write_state, point),
            [
                segment.entry
                if isinstance(segment, SealedPiece)
                else NewSegment(segment, self._kinds, self._start_over)
                for segment in segments
            ],
        )

    def sealed(self, point: ReplayPoint, files: Sequence[FileEntry]) -> None:
        """Take note that a set of a moment was sealed, and let go of the memory of its rows.

        Args:
            point: the moment.
            files: of its manifest.
        """
        with self._lock:
            # What was added after a point to which the log was rolled back since is not there any more
            end = min([point.count, *self._forks[point.course :]])
            known = self._sealed[-1].end if self._sealed else 0
            if end >= known:
                self._sealed = sealed_pieces(self._folder, files, end)
                self._tail.drop_before(end)

    def roll_back(self, point: ReplayPoint) -> bool:
        """Bring the live buffer back to a moment; False, and nothing changed, when its rows are not there any more.

        Rows that were overwritten since come from memory or from segments, whose bytes are checked first.
        """
        buffer, size = self._buffer, int(self._buffer.buffer_size)
        with self._lock:
            now = self._counted()
            # One more: with optimize_memory_usage the newest row has written into the slot behind its own
            end = min(max(now + 1 - size, point.begin), point.count)
            try:
                sealed, fresh = self._sources(point)
                pieces: list[Piece] = [*sealed, *fresh]
                pieces = [piece for piece in pieces if piece.start < end and piece.end > point.begin]
                for piece in pieces:
                    if isinstance(piece, SealedPiece):
                        piece.check()
            except CorruptError:
                return False
            columns = columns_of(buffer)
            fill_final(columns.final, pieces, point.begin, end, size)
            for name, column in point.changing.items():
                if isinstance(column, np.ndarray):
                    columns.changing[name][...] = column
                else:
                    put_texts(columns.changing[name], column, name)
            # Copies, for the live buffer will write into its arrays, and the point may be written afterwards
            arrays = {name: array.copy() for name, array in point.arrays.items()}
            put_small(buffer, decode(point.small, arrays))
            self._count = self._held = point.count
            self._added_before, self._full = point.added, bool(buffer.full)
            self._forks.append(point.count)
            self._sealed = tuple(p.cut(p.start, point.count) for p in self._sealed if p.start < point.count)
            self._tail.replace(tuple(fresh))
            return True

    def _copies(self, columns: Mapping[str, np.ndarray]) -> Arrays:
        copies = self._spares.take({name: (array.shape, array.dtype) for name, array in columns.items()})
        for name, array in columns.items():
            copies[name][...] = array
        return copies

    def _write_state(self, point: ReplayPoint, file: BinaryIO) -> None:
        changing = {
            name: column[: point.used] if isinstance(column, np.ndarray) else column
            for name, column in point.changing.items()
        }
        state = ReplayState(self._geometry, point.count, point.used)
        write_state(file, state, point.small, point.arrays, changing)

    def _counted(self) -> int:
        # How many rows were ever added by now
        size, pos = int(self._buffer.buffer_size), int(self._buffer.pos)
        if not self._buffer.full:
            begun = self._count - self._count % size
            emptied = self._full or pos < self._count - begun  # by reset()
            return begun + pos + (size if emptied else 0)
        moved = (pos - self._count) % size
        told = self._added() - self._added_before
        return self._count + moved + max(round((told - moved) / size), 0) * size

    def _sources(self, point: ReplayPoint) -> tuple[list[SealedPiece], list[MemoryPiece]]:
        if not self._kinds:
            return [], []
        sealed = [piece.cut(piece.start, point.count) for piece in self._sealed if piece.end > point.begin]
        sealed = [piece for piece in sealed if piece.start < piece.end]
        row = sealed[-1].end if sealed else point.begin
        fresh = [piece.cut(row, piece.end) for piece in point.pieces if piece.end > row]
        first = sealed[0].start if sealed else fresh[0].start if fresh else point.begin
        last = fresh[-1].end if fresh else row
        if first > point.begin or last < point.count or (fresh and fresh[0].start > row):
            raise CorruptError(
                f"rows from {point.begin} to {point.count} of the replay buffer are not there any more",
                hint="a segment was lost or damaged; the next clean point has all rows again",
            )
        return sealed, fresh

    def _start_over(self) -> None:
        # A segment is damaged: what the live buffer holds is copied again, and the next save does not need it
        with self._lock:
            self._sealed, self._held = (), 0
            self._tail.replace(())
