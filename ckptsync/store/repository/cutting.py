"""Storing one large file: whole, or only what changed since an earlier version where most of it did not.

A file is read once to be compared and hashed. Of what is likely to be stored as changes, each change is sent as soon as
it is found; else what has to be sent is read again and must be the same. The digest of the whole file always agrees
with the manifest before anything refers to what was sent.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from ...core.errors import CorruptError
from ...core.fsread import Hasher
from ...core.manifest import FileEntry
from ...core.readers.window import Window
from .packing import OBJECT_BYTES, Packing, Place
from .ranges import Span, spans
from .versions import Piece, Range, StoredFile

# A file that would lie in more objects than this is stored whole again: reading it stays fast, and old objects become
# free. So is one of which less than half stayed
MAX_SOURCES = 16
_SAMPLES = 8
_SAMPLE_BYTES = 1 << 20


@dataclass(frozen=True)
class Draft:
    """A file whose bytes are on their way.

    Args:
        entry: what the manifest says of it.
        parts: its bytes in order: pieces that are there, and places of those that are sent.
        ranges: what later versions may find in it again.
    """

    entry: FileEntry
    parts: list[Piece | Place] = field(default_factory=list)
    ranges: list[Range] = field(default_factory=list)


def draft_large(window: Window, entry: FileEntry, before: StoredFile | None, packing: Packing) -> Draft:
    """Send what is new of a large file.

    Args:
        window: the open file.
        entry: what the manifest says of it.
        before: the same file of an earlier version.
        packing: takes the new bytes.

    Raises:
        CorruptError: its bytes disagree with the manifest, or change while they are read.
    """
    cut = spans(window)
    known = {item.digest: item for item in before.ranges} if before is not None else {}
    noted = set(cut) if not known else set(_samples(cut))
    if before is not None and known and _looks_alike(window, cut, known):
        noted = set(cut)
        draft = _draft_changes(window, cut, entry, before, known, packing)
        if draft is not None:
            return draft
    packing.begin(whole=True)
    places: list[Place] = []
    digests = _read(window, cut, noted, lambda chunk: places.extend(packing.add(chunk)))
    _check(window, entry, packing.end())
    return Draft(entry, list(places), _ranges(cut, digests))


def _samples(cut: Sequence[Span]) -> list[Span]:
    """Return some ranges, the same ones of every file that is built alike; where all are large, fewer of the smallest."""
    found = [span for span in cut if span.is_range]
    most = max(_SAMPLE_BYTES, min((span.size_bytes for span in found), default=0))
    candidates = [span for span in found if span.size_bytes <= most]
    count = max(1, _SAMPLES * _SAMPLE_BYTES // most)
    return candidates[:: max(1, len(candidates) // count)][:count]


def _looks_alike(window: Window, cut: Sequence[Span], known: dict[str, Range]) -> bool:
    """Whether at least half of some ranges are known; training that changes everything is told apart so, at once."""
    chosen = _samples(cut)
    return 2 * sum(_digest(window, span) in known for span in chosen) >= len(chosen)


def _read(window: Window, cut: Sequence[Span], noted: Collection[Span], take: Callable[[bytes], None]) -> list[str]:
    """Read the whole file.

    Args:
        window: the file.
        cut: its spans.
        noted: spans whose digests are wanted.
        take: gets the bytes.

    Returns:
        The digest of each span, empty where it is not wanted.
    """
    digests = []
    for span in cut:
        hasher = hashlib.blake2b(digest_size=32) if span in noted else None
        for chunk in window.chunks(span.offset, span.size_bytes):
            take(chunk)
            if hasher is not None:
                hasher.update(chunk)
        digests.append(f"blake2b:{hasher.hexdigest()}" if hasher is not None else "")
    return digests


def _check(window: Window, entry: FileEntry, found: str) -> None:
    if found != entry.digest:
        raise disagrees(window.name, entry, found)


def _draft_changes(
    window: Window,
    cut: Sequence[Span],
    entry: FileEntry,
    before: StoredFile,
    known: dict[str, Range],
    packing: Packing,
) -> Draft | None:
    """Send the spans that are not known; None where that is not worth it."""
    packing.begin()
    at_once = _were_changes(before, entry)
    whole = Hasher()
    digests: list[str] = []
    found: list[list[Piece | Place]] = []
    sources: set[str] = set()
    late, unknown = [], 0
    for number, span in enumerate(cut):
        hasher = hashlib.blake2b(digest_size=32)
        held: list[bytes] | None = [] if at_once and span.size_bytes <= OBJECT_BYTES else None
        for chunk in window.chunks(span.offset, span.size_bytes):
            whole.update(chunk)
            hasher.update(chunk)
            if held is not None:
                held.append(chunk)
        digests.append(f"blake2b:{hasher.hexdigest()}")
        pieces = _known(span, digests[-1], before, known)
        found.append(list(pieces))
        sources.update(piece.digest for piece in pieces)
        if not pieces:
            unknown += span.size_bytes
            if held is None:
                late.append(number)
            found[-1] += [place for chunk in held or () for place in packing.add(chunk)]
    _check(window, entry, whole.digest())
    if 2 * unknown > entry.size_bytes or len(sources) > _most(entry):
        return None
    for number in late:
        found[number] += _sent_again(window, cut[number], digests[number], entry, packing)
    return Draft(entry, [part for parts in found for part in parts], _ranges(cut, digests))


def _were_changes(before: StoredFile, entry: FileEntry) -> bool:
    """Whether the file before was stored as changes, and this one may be: what changes little mostly goes on so."""
    sources = len({piece.digest for piece in before.pieces})
    return -(-before.entry.size_bytes // OBJECT_BYTES) < sources <= _most(entry)


def _known(span: Span, digest: str, before: StoredFile, known: dict[str, Range]) -> list[Piece]:
    item = known.get(digest) if span.is_range else None
    if item is None or item.size_bytes != span.size_bytes:
        return []
    return list(before.locate(item.offset, item.size_bytes))


def _sent_again(window: Window, span: Span, digest: str, entry: FileEntry, packing: Packing) -> list[Place]:
    """Read a span once more and send it."""
    hasher = hashlib.blake2b(digest_size=32)
    places = []
    for chunk in window.chunks(span.offset, span.size_bytes):
        hasher.update(chunk)
        places += packing.add(chunk)
    if f"blake2b:{hasher.hexdigest()}" != digest:
        raise disagrees(window.name, entry, "other bytes a moment later")
    return places


def _most(entry: FileEntry) -> int:
    return MAX_SOURCES + entry.size_bytes // OBJECT_BYTES


def _ranges(cut: Sequence[Span], digests: Sequence[str]) -> list[Range]:
    return [
        Range(span.offset, span.size_bytes, digest)
        for span, digest in zip(cut, digests, strict=True)
        if span.is_range and digest
    ]


def _digest(window: Window, span: Span) -> str:
    hasher = hashlib.blake2b(digest_size=32)
    for chunk in window.chunks(span.offset, span.size_bytes):
        hasher.update(chunk)
    return f"blake2b:{hasher.hexdigest()}"


def disagrees(name: object, entry: FileEntry, found: str) -> CorruptError:
    """Make the error for a file that is not what its manifest says."""
    return CorruptError(
        f"{name} disagrees with its seal: expected {entry.size_bytes} bytes with {entry.digest}, found {found}",
        hint="'ckptsync verify' looks at the whole tree",
    )
