"""A set's replay buffer back into the buffer that the script has built."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...core import fsio
from ...core.errors import CorruptError
from ...core.manifest import SEGMENT, FileEntry
from .columns import columns_of, geometry_of, spans
from .segments import Piece, SealedPiece
from .state import StateFile
from .texts import put_rows

# So many of the newest rows are compared, to tell whether a live buffer is the one that was read
_COMPARED_ROWS = 64


def read_replay(folder: Path, files: Sequence[FileEntry], buffer: Any) -> str | None:
    """Fill a replay buffer from a set; return why it was left as it is, or None.

    The rows go from the files straight into their slots. Nothing else of the buffer is replaced: HER keeps the
    environment that it was built with.

    Args:
        folder: the folder of the set.
        files: of its manifest, checked against their digests.
        buffer: the buffer that the script has built.

    Raises:
        CorruptError: a file is damaged, or a segment is missing.
    """
    entry = next((entry for entry in files if entry.role == "replay"), None)
    if entry is None:
        return "the set holds no replay buffer"
    source = StateFile(fsio.safe_join(folder, entry.path))
    state, columns = source.state, columns_of(buffer)
    if (problem := _misfit(state.geometry, geometry_of(buffer))) is not None:
        return f"the replay buffer was left out: {problem}"
    # Earlier versions had no segments: all columns are in the set's own member
    own = columns.changing if state.count is not None else {**columns.final, **columns.changing}
    for name, column in own.items():
        if not source.fits(name, column):
            return f"the replay buffer was left out: its rows {name!r} have another shape"
    if state.count is not None and columns.final:
        begin = state.count - state.used
        pieces = sealed_pieces(folder, files, state.count)
        _require_rows(source, pieces, begin, state.count)
        fill_final(columns.final, pieces, begin, state.count, buffer.buffer_size)
    for name, column in own.items():
        source.fill(name, column)
    put_small(buffer, source.small)
    return None


def stored_rows(folder: Path, files: Sequence[FileEntry], buffer: Any) -> tuple[int, tuple[SealedPiece, ...]] | None:
    """Return how many rows were ever added to a live buffer, and the segments that hold those in it.

    None when the files are not those that it was filled from: another buffer, or rows were added since.

    Raises:
        CorruptError: a file is damaged or missing.
    """
    entry = next((entry for entry in files if entry.role == "replay"), None)
    if entry is None:
        return None
    state = StateFile(fsio.safe_join(folder, entry.path)).state
    if state.count is None or _misfit(state.geometry, geometry_of(buffer)) is not None:
        return None
    size = int(buffer.buffer_size)
    if (state.used, state.count % size) != (int(buffer.size()), int(buffer.pos)):
        return None
    pieces = sealed_pieces(folder, files, state.count)
    return (state.count, pieces) if _agree(pieces, columns_of(buffer).final, state.count, size) else None


def sealed_pieces(folder: Path, files: Sequence[FileEntry], end: int) -> tuple[SealedPiece, ...]:
    """Return the segments among a manifest's files, as far as their rows lie before `end`."""
    segments = [entry for entry in files if entry.role == SEGMENT]
    for path in segments[:1]:
        fsio.safe_join(folder, path.path)  # they all lie in one folder, which may be no link
    pieces = [SealedPiece.of(folder, entry) for entry in segments]
    return tuple(piece.cut(piece.start, end) for piece in pieces if piece.start < end)


def fill_final(columns: Mapping[str, np.ndarray], pieces: Sequence[Piece], start: int, end: int, size: int) -> None:
    """Put rows of the final columns into their slots.

    Args:
        columns: the live arrays.
        pieces: hold the rows, and perhaps others.
        start: the first row that is wanted.
        end: the row behind the last one.
        size: how many slots there are.

    Raises:
        CorruptError: a file is damaged.
    """
    plain = {name: array for name, array in columns.items() if not array.dtype.hasobject}
    for piece in pieces:
        parts = list(spans(max(piece.start, start), min(piece.end, end), size))
        if not parts:
            continue
        piece.fill([(name, row, array[slots]) for name, array in plain.items() for row, slots in parts])
        for name in columns.keys() - plain.keys():
            texts = piece.texts(name)
            for row, slots in parts:
                at = row - piece.start
                put_texts(columns[name][slots], texts[at : at + slots.stop - slots.start], name)


def put_texts(rows: np.ndarray, texts: Sequence[bytes], name: str) -> None:
    """Decode texts into rows of an array of objects. Raises CorruptError when they are damaged."""
    try:
        put_rows(rows, texts)
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptError(f"rows of {name!r} of the replay buffer are damaged: {error!r}") from None


def put_small(buffer: Any, small: Mapping[str, Any]) -> None:
    """Put position, other small state and the slot behind the last row back.

    Args:
        buffer: the live buffer, its columns filled.
        small: `rest` and `ahead`.
    """
    vars(buffer).update(small["rest"])
    columns = columns_of(buffer)
    for name, row in small.get("ahead", {}).items():
        {**columns.final, **columns.changing}[name][buffer.pos] = row


def _misfit(stored: Mapping[str, Any], mine: Mapping[str, Any]) -> str | None:
    for name in ("class", "buffer_size", "n_envs"):
        if stored.get(name) != mine[name]:
            return f"its {name} was {stored.get(name)}, is {mine[name]}"
    columns = stored.get("columns", mine["columns"])
    for name in sorted({*columns, *mine["columns"]}):
        if columns.get(name) != mine["columns"].get(name):
            return f"its rows {name!r} were {_told(columns.get(name))}, are {_told(mine['columns'].get(name))}"
    return None


def _told(kind: Sequence[Any] | None) -> str:
    return "none" if kind is None else f"{kind[0]} of shape {tuple(kind[1])}"


def _require_rows(source: StateFile, pieces: Sequence[SealedPiece], begin: int, count: int) -> None:
    row = begin
    for piece in pieces:
        if piece.start > row:
            break
        row = max(row, piece.end)
    if row < count:
        raise CorruptError(
            f"{source.path} says that the buffer holds the rows from {begin} to {count}, no segment has row {row}",
            hint="use an earlier checkpoint",
        )


def _agree(pieces: Sequence[SealedPiece], columns: Mapping[str, np.ndarray], count: int, size: int) -> bool:
    # Not the oldest row of a full ring: with optimize_memory_usage something else lies in its slot
    start = max(count - _COMPARED_ROWS, count - size + 1)
    for piece in pieces:
        for name, array in columns.items():
            for row, slots in spans(max(piece.start, start), piece.end, size) if not array.dtype.hasobject else ():
                stored = np.empty_like(array[slots])
                piece.fill([(name, row, stored)])
                if stored.tobytes() != array[slots].tobytes():
                    return False
    return True
