"""Windows: ranges of bytes that are read piece by piece, never beyond their ends.

A checkpoint is a zip with zips inside; a window stands for the file, a member, a record in a member, and none
of them is copied as a whole.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from ..findings import Finding, blocker
from . import limits

# Buffers that nobody uses now
_BUFFERS: list[bytearray] = []


class RefusedError(Exception):
    """A part of a file cannot be used; carries the finding that says why. Never leaves the readers."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(str(finding))
        self.finding = finding


def refuse(code: str, subject: str, expected: object = None, actual: object = None, hint: str = "") -> RefusedError:
    """Make the error for a blocker."""
    return RefusedError(blocker(code, subject, expected, actual, hint))


class Window:
    """A range of bytes of an open file, or of memory.

    Args:
        source: a file descriptor, or the bytes themselves.
        start: where the window begins in the source.
        size: its length in bytes.
        name: what findings call it.
        whole: whether this is the file itself; the members of any other window are named with it.
    """

    __slots__ = ("_source", "_start", "name", "size", "whole")

    def __init__(self, source: int | bytes | memoryview, start: int, size: int, name: str, whole: bool = False) -> None:
        self._source = source
        self._start = start
        self.size = size
        self.name = name
        self.whole = whole

    def subject(self, inside: str) -> str:
        """Return what findings call a thing inside: `policy.pth` in a file, `policy.pth: archive/data.pkl` in a member."""
        return inside if self.whole else f"{self.name}: {inside}"

    def read(self, offset: int, size: int) -> bytes:
        """Return exactly `size` bytes from `offset`. Raises RefusedError when they are not there."""
        if offset < 0 or size < 0 or offset + size > self.size:
            raise refuse("archive.damaged", self.name, f"{size} bytes at {offset}", f"{self.size} bytes in all")
        begin = self._start + offset
        if not isinstance(self._source, int):
            return bytes(self._source[begin : begin + size])
        pieces = []
        while size > 0:
            piece = os.pread(self._source, size, begin)
            if not piece:
                raise refuse("file.changed", self.name, hint="the file shrank while it was read; try again")
            pieces.append(piece)
            begin += len(piece)
            size -= len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def chunks(self, offset: int = 0, size: int | None = None) -> Iterator[bytes]:
        """Yield the bytes from `offset` on, in pieces of a whole number of 16 bytes but for the last."""
        end = self.size if size is None else offset + size
        while offset < end:
            piece = self.read(offset, min(limits.CHUNK_BYTES, end - offset))
            yield piece
            offset += len(piece)

    def passing(self, offset: int = 0, size: int | None = None) -> Iterator[bytes | bytearray]:
        """Yield the bytes as `chunks` does, each piece only until the next one is asked for.

        On the disk they come into one buffer: a new one for each piece takes longer than reading it.
        """
        end = self.size if size is None else offset + size
        if not isinstance(self._source, int) or end - offset <= limits.PASSING_BYTES or offset < 0 or end > self.size:
            yield from self.chunks(offset, end - offset)
            return
        try:
            buffer = _BUFFERS.pop()
        except IndexError:
            buffer = bytearray(limits.PASSING_BYTES)
        try:
            while end - offset >= len(buffer):
                if os.preadv(self._source, [buffer], self._start + offset) != len(buffer):
                    break  # `chunks` says what is wrong
                yield buffer
                offset += len(buffer)
        finally:
            _BUFFERS.append(buffer)
        yield from self.chunks(offset, end - offset)

    def part(self, offset: int, size: int, name: str) -> Window:
        """Return a smaller window. Raises RefusedError when it would not lie inside."""
        if offset < 0 or size < 0 or offset + size > self.size:
            raise refuse("archive.damaged", name, f"{size} bytes at {offset}", f"{self.size} bytes in all")
        return Window(self._source, self._start + offset, size, name)
