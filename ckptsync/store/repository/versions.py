"""A version: a checkpoint's own manifest, and how the bytes of its files lie in objects.

A file is a row of pieces, each a part of an object. Bytes that an earlier version brought are not sent again: the
pieces of the new one lie in the old one's objects.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ...core import fields, names
from ...core.manifest import FileEntry, Manifest
from ..base import MAX_OBJECT_BYTES
from . import documents
from .keys import VersionKey

SCHEMA = "ckptsync.version/1"
_BLAKE = "blake2b:"
_HEX = frozenset("0123456789abcdef")


@dataclass(frozen=True)
class Piece:
    """Some bytes of a file, where they lie in an object.

    Args:
        digest: the object's.
        object_bytes: the object's length.
        offset: where the bytes begin in the object.
        size_bytes: how many they are.
    """

    digest: str
    object_bytes: int
    offset: int
    size_bytes: int


@dataclass(frozen=True)
class Range:
    """Bytes of a file that may come again as they are: a tensor.

    Args:
        offset: where they begin in the file.
        size_bytes: how many they are.
        digest: `blake2b:<64 hex>` of them.
    """

    offset: int
    size_bytes: int
    digest: str


@dataclass(frozen=True)
class StoredFile:
    """One file of a version.

    Args:
        entry: what the manifest says of it.
        pieces: its bytes, in order.
        ranges: what later versions may find in it again; none where nobody looked.
    """

    entry: FileEntry
    pieces: tuple[Piece, ...]
    ranges: tuple[Range, ...] = ()

    def locate(self, offset: int, size: int) -> Iterator[Piece]:
        """Yield the pieces that hold some of the file's bytes."""
        position = 0
        for piece in self.pieces:
            begin, end = max(offset, position), min(offset + size, position + piece.size_bytes)
            if begin < end:
                yield Piece(piece.digest, piece.object_bytes, piece.offset + begin - position, end - begin)
            position += piece.size_bytes


@dataclass(frozen=True)
class Version:
    """A checkpoint in a repository.

    Args:
        key: what its key says.
        manifest: the set's manifest.
        seal: the bytes of the manifest's file.
        files: every file of the set, in the manifest's order.
    """

    key: VersionKey
    manifest: Manifest
    seal: bytes
    files: tuple[StoredFile, ...]

    def objects(self) -> dict[str, int]:
        """Return digest and length of every object that it needs."""
        return {piece.digest: piece.object_bytes for file in self.files for piece in file.pieces}

    def serialise(self) -> bytes:
        """Return the bytes of its document."""
        table = self.objects()
        places = {digest: place for place, digest in enumerate(table)}
        files = []
        for file in self.files:
            stored: dict[str, Any] = {
                "path": file.entry.path,
                "pieces": [[places[piece.digest], piece.offset, piece.size_bytes] for piece in file.pieces],
            }
            if file.ranges:
                stored["ranges"] = [[item.offset, item.size_bytes, item.digest] for item in file.ranges]
            files.append(stored)
        return documents.serialise(
            SCHEMA,
            {
                "run": self.key.run,
                "manifest": self.seal.decode(),
                "objects": [[digest, size] for digest, size in table.items()],
                "files": files,
            },
        )

    @classmethod
    def parse(cls, data: bytes, key: VersionKey) -> Version:
        """Read a version's document.

        Raises:
            CorruptError: it is damaged, lies, or is another's than its key says.
        """

        def build(value: dict[str, Any]) -> Version:
            seal = fields.text(value, "manifest").encode()
            manifest = Manifest.parse(seal)
            if VersionKey.of(fields.text(value, "run"), manifest) != key:
                raise ValueError("it is another version than its key says")
            table = [_object(item) for item in _list(value["objects"])]
            files = _list(value["files"])
            if len(files) != len(manifest.files):
                raise ValueError("it stores other files than its manifest names")
            stored = [_file(item, entry, table) for item, entry in zip(files, manifest.files, strict=True)]
            return cls(key, manifest, seal, tuple(stored))

        return documents.parse(data, SCHEMA, key.key, build)


def merged(pieces: Sequence[Piece], *, most: int | None = None) -> tuple[Piece, ...]:
    """Return pieces with neighbours that lie in a row as one, none of them longer than `most` by that."""
    result: list[Piece] = []
    for piece in pieces:
        last = result[-1] if result else None
        if (
            last is not None
            and last.digest == piece.digest
            and last.offset + last.size_bytes == piece.offset
            and (most is None or last.size_bytes + piece.size_bytes <= most)
        ):
            result[-1] = Piece(last.digest, last.object_bytes, last.offset, last.size_bytes + piece.size_bytes)
        else:
            result.append(piece)
    return tuple(result)


def _object(item: Any) -> tuple[str, int]:
    digest, size = _list(item, 2)
    checked = fields.digest({"digest": digest}, "digest")
    if not 0 < _count(size) <= MAX_OBJECT_BYTES:
        raise ValueError(f"an object of {size} bytes cannot be")
    return checked, size


def _file(item: Any, entry: FileEntry, table: list[tuple[str, int]]) -> StoredFile:
    if not isinstance(item, dict) or item.get("path") != entry.path:
        raise ValueError(f"it does not store {names.printable(entry.path)} where its manifest names it")
    pieces = tuple(_piece(piece, table) for piece in _list(item["pieces"]))
    if sum(piece.size_bytes for piece in pieces) != entry.size_bytes:
        raise ValueError(f"the pieces of {names.printable(entry.path)} are not {entry.size_bytes} bytes together")
    ranges = tuple(_range(found) for found in _list(item.get("ranges", [])))
    position = 0
    for found in ranges:
        if found.offset < position:
            raise ValueError("ranges are out of order")
        position = found.offset + found.size_bytes
    if position > entry.size_bytes:
        raise ValueError("a range ends behind its file")
    return StoredFile(entry, pieces, ranges)


def _piece(item: Any, table: list[tuple[str, int]]) -> Piece:
    place, offset, size = (_count(number) for number in _list(item, 3))
    if place >= len(table) or size == 0 or offset + size > table[place][1]:
        raise ValueError("a piece lies outside of its object")
    return Piece(*table[place], offset, size)


def _range(item: Any) -> Range:
    offset, size, digest = _list(item, 3)
    hexadecimal = digest.removeprefix(_BLAKE) if isinstance(digest, str) else ""
    if len(hexadecimal) != 64 or not _HEX.issuperset(hexadecimal) or digest == hexadecimal:
        raise ValueError("a range has no digest")
    return Range(_count(offset), _count(size), digest)


def _list(value: Any, length: int | None = None) -> list[Any]:
    if not isinstance(value, list) or length not in (None, len(value)):
        raise ValueError("a list of another length was expected" if length else "a list was expected")
    return value


def _count(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"{value!r:.40} is no count")
    return value
