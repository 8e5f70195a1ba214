"""Which rows of a set lie in which segment: those that are there are named again, new rows are written.

Every file costs a little when a buffer is read, and rows that the ring has overwritten are let go only by whole files.
So there are never many files, and never a large part of the buffer in one. Merging is rare, and takes the neighbours
whose rows are the fewest for each file that is saved, so that a row is rewritten a few times in its life at most.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from .segments import Piece, SealedPiece

MAX_SEGMENTS = 128
# A merge of fewer would come again too soon
_MIN_MERGED = 16
# A file holds at most this share of the slots, so that at most as much is kept of rows that are overwritten
_MAX_SHARE = 8


def plan(
    sealed: Sequence[SealedPiece], fresh: Sequence[Piece], *, begin: int, size: int
) -> list[SealedPiece | list[Piece]]:
    """Return the segments of a set in the order of their rows: those that are there, and the pieces of new ones.

    Args:
        sealed: rows in segments that are there.
        fresh: the rows behind them.
        begin: the oldest row that the buffer still holds.
        size: how many rows it can hold.
    """
    limit = -(-size // _MAX_SHARE)
    parts: list[list[Piece]] = [[piece] for piece in sealed]
    parts += _split(fresh, limit)
    if len(parts) > MAX_SEGMENTS:
        first, last = _cheapest(parts, limit)
        merged = [piece for part in parts[first:last] for piece in part]
        merged[0] = merged[0].cut(begin, merged[0].end)
        parts[first:last] = [merged]
    return [_segment(part, is_last=part is parts[-1]) for part in parts]


def _segment(part: list[Piece], *, is_last: bool) -> SealedPiece | list[Piece]:
    piece = part[0]
    # Rows of a course that was rolled back may stay behind the last row; before others they would be in the way
    if len(part) == 1 and isinstance(piece, SealedPiece) and (is_last or piece.is_whole):
        return piece
    return part


def _split(pieces: Sequence[Piece], limit: int) -> list[list[Piece]]:
    parts: list[list[Piece]] = []
    rows = limit
    for piece in pieces:
        start = piece.start
        while start < piece.end:
            if rows == limit:
                parts.append([])
                rows = 0
            end = min(piece.end, start + limit - rows)
            parts[-1].append(piece.cut(start, end))
            rows += end - start
            start = end
    return parts


def _cheapest(parts: Sequence[Sequence[Piece]], limit: int) -> tuple[int, int]:
    rows = [part[-1].end - part[0].start for part in parts]
    before = [0, *accumulate(rows)]
    runs = [
        (before[last] - before[first], first, last)
        for first in range(len(rows))
        for last in range(first + _MIN_MERGED, len(rows) + 1)
    ]
    fitting = [run for run in runs if run[0] <= limit] or [min(runs)]
    _, first, last = min(fitting, key=lambda run: (run[0] / (run[2] - run[1] - 1), run))
    return first, last
