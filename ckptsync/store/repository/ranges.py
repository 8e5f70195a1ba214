"""Where the tensors of a file lie, so that those which stay as they are need not be sent again.

Torch files are zips of stored records, SB3 files are zips of torch files, safetensors files say where their numbers
lie. Nothing is decoded: a range is only a hint where equal bytes may be found, and what is made of it is checked by
digests.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from ...core.readers.archive import is_zip, read_entries
from ...core.readers.safetensors import is_safetensors, tensor_places
from ...core.readers.window import RefusedError, Window

# Below this a range costs more words in the manifest than it can save
MIN_RANGE_BYTES = 4 << 10
_MAX_DEPTH = 3


class Span(NamedTuple):
    """Some bytes of a file: a range that may come again, or what lies between ranges."""

    offset: int
    size_bytes: int
    is_range: bool


def spans(window: Window) -> list[Span]:
    """Cut a file into ranges and what lies between them; they cover it without a hole.

    A file that is no archive of tensors, or a damaged one, is one span that is no range.
    """
    try:
        found = sorted(set(_ranges(window, 0, 0)))
    except RefusedError:
        found = []
    result: list[Span] = []
    position = 0
    for offset, size in found:
        if offset < position:
            return [Span(0, window.size, False)]  # archives have no overlaps: whatever this is, it is none
        if offset > position:
            result.append(Span(position, offset - position, False))
        result.append(Span(offset, size, True))
        position = offset + size
    if position < window.size:
        result.append(Span(position, window.size - position, False))
    return result


def _ranges(window: Window, start: int, depth: int) -> Iterator[tuple[int, int]]:
    if is_zip(window) and depth < _MAX_DEPTH:
        for entry in read_entries(window).values():
            if entry.size_bytes < MIN_RANGE_BYTES:
                continue
            if entry.packed:
                yield start + entry.data, entry.packed_bytes
                continue
            member = window.part(entry.data, entry.size_bytes, entry.name)
            inside = _inside(member, start + entry.data, depth)
            yield from inside or [(start + entry.data, entry.size_bytes)]
    elif depth == 0 and is_safetensors(window):
        for begin, end in tensor_places(window):
            if end - begin >= MIN_RANGE_BYTES:
                yield start + begin, end - begin


def _inside(member: Window, start: int, depth: int) -> list[tuple[int, int]]:
    """Return the ranges of an archive inside of an archive; none where it is no archive, or a damaged one."""
    try:
        return list(_ranges(member, start, depth + 1))
    except RefusedError:
        return []
