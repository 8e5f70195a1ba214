"""Zip archives, read strictly: what two readers could understand in two ways is refused.

Members lie back to back from the first byte to the directory, the directory ends where the end record begins, and
the end record ends the file: no gap, no overlap, nothing before and nothing behind. Each local header repeats the
directory. Only stored and deflated regular files with plain names are read. What remains unchecked: the bits
"version made by" and the permissions, which exist once and change nothing for a reader.

Source: the layout is PKWARE's APPNOTE 6.3.9; torch pads local headers with an extra field `FB` and writes a data
descriptor behind each record (caffe2/serialize/inline_container.cc).
"""

from __future__ import annotations

import re
import stat
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import IO, NamedTuple

from . import limits
from .window import Window, refuse

_END = struct.Struct("<4s4H2LH")
_END64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR64 = struct.Struct("<4sLQL")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_PLAIN_NAME = re.compile(r"(?:[A-Za-z0-9_.]*[A-Za-z0-9_]/)*[A-Za-z0-9_.]*[A-Za-z0-9_]")  # most of them; no part is "."
_HEAD_BYTES = 192
_NO16, _NO32 = 0xFFFF, 0xFFFFFFFF

_STORED, _DEFLATED = 0, 8
_ENCRYPTED, _DESCRIPTOR, _UTF8 = 0x1, 0x8, 0x800
_VERSIONS_NEEDED = (0, 10, 20, 45)
_ZIP64, _PADDING, _OTHER_NAME = 0x0001, 0x4246, 0x7075
_HARMLESS_EXTRAS = frozenset({_ZIP64, _PADDING, 0x5455, 0x5855, 0x7875, 0x000A})  # times and owners


class Entry(NamedTuple):
    """One member of an archive: where its bytes lie and what they must be."""

    name: str
    raw_name: bytes
    version: int
    flags: int
    method: int
    stamp: int
    crc32: int
    packed_bytes: int
    size_bytes: int
    header: int
    data: int = 0

    @property
    def packed(self) -> bool:
        """Whether the bytes are deflated."""
        return self.method == _DEFLATED


def is_zip(window: Window) -> bool:
    """Whether the window begins like a zip (a damaged one counts)."""
    return window.size >= 4 and window.read(0, 4) in (b"PK\x03\x04", b"PK\x05\x06")


def read_entries(window: Window) -> dict[str, Entry]:
    """Read and check an archive's structure.

    Args:
        window: the whole archive.

    Returns:
        The members by name, in the order in which they lie. Their bytes are not yet checked: see `check_bytes`.

    Raises:
        RefusedError: on the first fault.
    """
    count, offset, size = _end_record(window)
    directory = window.read(offset, size)
    entries = list(_central_entries(window, directory, count))
    unpacked = sum(entry.size_bytes for entry in entries if entry.packed)
    if unpacked > max(window.size * limits.MAX_TOTAL_RATIO, limits.TOTAL_RATIO_FREE_BYTES):
        raise refuse(
            "archive.bomb", window.name, f"at most {limits.MAX_TOTAL_RATIO} times {window.size} bytes", unpacked
        )
    entries.sort(key=lambda entry: entry.header)
    placed: dict[str, Entry] = {}
    folded: set[str] = set()
    position = 0
    for index, entry in enumerate(entries):
        subject = window.subject(entry.name)
        if entry.name.casefold() in folded:
            raise refuse("archive.duplicate-member", subject)
        folded.add(entry.name.casefold())
        if entry.header != position:
            raise refuse("archive.overlap", subject, f"begins at {position}", f"begins at {entry.header}")
        following = entries[index + 1].header if index + 1 < len(entries) else offset
        data = _check_local(window, entry, following)
        position = following
        placed[entry.name] = entry._replace(data=data)
    if position != offset:
        raise refuse("archive.overlap", window.name, f"directory at {position}", f"directory at {offset}")
    return placed


def _end_record(window: Window) -> tuple[int, int, int]:
    """Return the number of entries, the directory's offset and its size."""
    if window.size < _END.size:
        raise refuse("archive.damaged", window.name, "an end record", f"{window.size} bytes: it is cut off")
    end_at = window.size - _END.size
    magic, disk, start_disk, here, count, size, offset, comment = _END.unpack(window.read(end_at, _END.size))
    if magic != b"PK\x05\x06":
        if _has_tail(window):
            raise refuse("archive.overlap", window.name, "the end record as the last bytes", "bytes behind it")
        raise refuse("archive.damaged", window.name, "an end record", "none: the file is cut off or no zip")
    directory_end = end_at
    locator_at = end_at - _LOCATOR64.size
    if locator_at >= _END64.size and window.read(locator_at, 4) == b"PK\x06\x07":
        _, locator_disk, end64_at, disks = _LOCATOR64.unpack(window.read(locator_at, _LOCATOR64.size))
        directory_end = locator_at - _END64.size
        if (locator_disk, end64_at, disks) != (0, directory_end, 1):
            raise refuse("archive.damaged", window.name, f"zip64 end at {directory_end}", f"at {end64_at}")
        fields = _END64.unpack(window.read(directory_end, _END64.size))
        if fields[0] != b"PK\x06\x06" or fields[1] != 44 or fields[2] not in (45, 798) or fields[3] != 45:
            raise refuse("archive.damaged", window.name, "a zip64 end record", "something else")
        wide = (fields[4], fields[5], *fields[6:])
        narrow = (disk, start_disk, here, count, size, offset)
        full = (_NO16, _NO16, _NO16, _NO16, _NO32, _NO32)
        if any(small not in (large, mark) for small, large, mark in zip(narrow, wide, full, strict=True)):
            raise refuse("archive.damaged", window.name, "equal end records", "two that differ")
        disk, start_disk, here, count, size, offset = wide
    if (disk, start_disk, comment) != (0, 0, 0) or here != count:
        raise refuse("archive.damaged", window.name, "one volume, no comment", "another end record")
    if count > limits.MAX_MEMBERS or size > limits.MAX_DIRECTORY_BYTES:
        raise refuse("format.too-large", window.name, f"at most {limits.MAX_MEMBERS} members", count)
    if offset + size != directory_end:
        code = "archive.overlap" if offset + size < directory_end else "archive.damaged"
        raise refuse(code, window.name, f"directory ends at {directory_end}", f"at {offset + size}")
    return count, offset, size


def _has_tail(window: Window) -> bool:
    """Whether a whole archive ends before the window does; the end of a zip inside a cut-off file is none."""
    start = max(0, window.size - _END.size - _NO16)
    tail = window.read(start, window.size - start)
    at = tail.rfind(b"PK\x05\x06", 0, len(tail) - _END.size + 4)
    if at < 0:
        return False
    size, offset = _END.unpack_from(tail, at)[5:7]
    behind_directory = start + at - (offset + size)
    return behind_directory in (0, _END64.size + _LOCATOR64.size)


def _central_entries(window: Window, directory: bytes, count: int) -> Iterator[Entry]:
    position = 0
    for _ in range(count):
        if position + _CENTRAL.size > len(directory):
            raise refuse("archive.damaged", window.name, f"{count} members", "a directory that ends early")
        fields = _CENTRAL.unpack_from(directory, position)
        (magic, _made_by, version, flags, method, time, date, crc, packed, size) = fields[:10]
        (name_size, extra_size, comment_size, disk, internal, external, header) = fields[10:]
        position += _CENTRAL.size
        raw_name = directory[position : position + name_size]
        extra = directory[position + name_size : position + name_size + extra_size]
        position += name_size + extra_size
        if magic != b"PK\x01\x02" or len(raw_name) != name_size or len(extra) != extra_size:
            raise refuse("archive.damaged", window.name, "a directory entry", "something else")
        name = _plain_name(window, raw_name, flags)
        subject = window.subject(name)
        if flags & _ENCRYPTED:
            raise refuse("format.unsupported", subject, actual="encrypted")
        if method not in (_STORED, _DEFLATED):
            raise refuse("format.unsupported", subject, "stored or deflated", f"compression method {method}")
        if flags & ~(_DESCRIPTOR | _UTF8) or version not in _VERSIONS_NEEDED:
            raise refuse("archive.damaged", subject, "plain flags", f"flags {flags:#x}, version {version}")
        if comment_size or disk or internal not in (0, 1):
            raise refuse("archive.damaged", subject, "no comment, one volume", "another directory entry")
        file_type = stat.S_IFMT(external >> 16)
        if file_type not in (0, stat.S_IFREG) or external & 0x10 or (external & 0xFFFF) & ~0x21:
            raise refuse("archive.special-member", subject, "a regular file", f"attributes {external:#x}")
        size, packed, header = _wide_sizes(subject, extra, size, packed, header)
        if method == _STORED and size != packed:
            raise refuse("archive.damaged", subject, f"{size} stored bytes", packed)
        if method == _DEFLATED and size > max(packed * limits.MAX_RATIO, limits.RATIO_FREE_BYTES):
            raise refuse("archive.bomb", subject, f"at most {limits.MAX_RATIO} times its {packed} bytes", size)
        stamp = date << 16 | time
        yield Entry(name, raw_name, version, flags, method, stamp, crc, packed, size, header)
    if position != len(directory):
        raise refuse("archive.damaged", window.name, f"{count} members", "more in the directory")


def _plain_name(window: Window, raw: bytes, flags: int) -> str:
    """Decode a member's name and refuse what could lead out of a folder or hide on a screen."""
    try:
        name = raw.decode("utf-8" if flags & _UTF8 else "ascii")
    except UnicodeDecodeError:
        raise refuse("archive.unsafe-name", window.name, "a name in ASCII or UTF-8", repr(raw[:80])) from None
    if len(raw) <= limits.MAX_NAME_BYTES and _PLAIN_NAME.fullmatch(name) and ".." not in name:
        return name
    if name.endswith("/"):
        raise refuse("archive.special-member", window.name, "a file", f"folder {name!r}")
    if (
        any(part in ("", ".", "..") for part in name.split("/"))
        or "\\" in name
        or ":" in name
        or not name.isprintable()
        or len(raw) > limits.MAX_NAME_BYTES
    ):
        raise refuse("archive.unsafe-name", window.name, "a plain relative name", repr(name[:80]))
    return name


def _extras(subject: str, extra: bytes) -> Iterator[tuple[int, bytes]]:
    position = 0
    while position < len(extra):
        if position + 4 > len(extra):
            raise refuse("archive.damaged", subject, "an extra field", "half of one")
        kind, size = struct.unpack_from("<2H", extra, position)
        body = extra[position + 4 : position + 4 + size]
        position += 4 + size
        if kind == _OTHER_NAME:
            raise refuse("archive.unsafe-name", subject, "one name", "a second name in an extra field")
        if len(body) != size or kind not in _HARMLESS_EXTRAS:
            raise refuse("archive.damaged", subject, "a known extra field", f"{kind:#06x} of {size} bytes")
        if kind == _PADDING and body.strip(b"Z"):
            raise refuse("archive.damaged", subject, "padding of 'Z'", "other bytes")
        yield kind, body


def _wide_sizes(subject: str, extra: bytes, size: int, packed: int, header: int = 0) -> tuple[int, int, int]:
    """Return the sizes and offset, taken from the zip64 field where the narrow ones are full."""
    if not extra:
        return size, packed, header
    narrow = (size, packed, header)
    body = b""
    for kind, content in _extras(subject, extra):
        if kind == _ZIP64:
            if body or len(content) % 8:
                raise refuse("archive.damaged", subject, "one zip64 field", "another")
            body = content
    if not body:
        return size, packed, header
    wide = list(struct.unpack(f"<{len(body) // 8}Q", body))
    values = [wide.pop(0) if value == _NO32 and wide else value for value in narrow]
    # some writers repeat sizes that would have fitted; they must say the same
    if wide and wide != [value for value in narrow[:2] if value != _NO32][: len(wide)]:
        raise refuse("archive.damaged", subject, "sizes that agree", "a zip64 field that differs")
    return values[0], values[1], values[2]


def _check_local(window: Window, entry: Entry, following: int) -> int:
    """Compare the local header with the directory; return where the member's bytes begin."""
    subject = window.subject(entry.name)
    # one reading takes the fixed part, the name and most often all of the extra field
    head = window.read(entry.header, min(_HEAD_BYTES, window.size - entry.header))
    if len(head) < _LOCAL.size or head[:4] != b"PK\x03\x04":
        raise refuse("archive.damaged", subject, "a local header", "something else")
    _, version, flags, method, time, date, crc, packed, size, name_size, extra_size = _LOCAL.unpack_from(head)
    behind = head[_LOCAL.size : _LOCAL.size + name_size + extra_size]
    if len(behind) < name_size + extra_size:
        behind = window.read(entry.header + _LOCAL.size, name_size + extra_size)
    size, packed, _ = _wide_sizes(subject, behind[name_size:], size, packed)
    found = (behind[:name_size], version, flags, method, date << 16 | time)
    if found != (entry.raw_name, entry.version, entry.flags, entry.method, entry.stamp):
        raise refuse("archive.damaged", subject, "a local header like the directory", "another")
    sums = (entry.crc32, entry.packed_bytes, entry.size_bytes)
    late = entry.flags & _DESCRIPTOR and (crc, packed, size) == (0, 0, 0)
    if (crc, packed, size) != sums and not late:
        raise refuse("archive.damaged", subject, "sizes and checksum like the directory", "others")
    data: int = entry.header + _LOCAL.size + name_size + extra_size
    end = data + entry.packed_bytes
    left = following - end
    if entry.flags & _DESCRIPTOR and left in (16, 24):
        descriptor = struct.unpack("<4s3L" if left == 16 else "<4sL2Q", window.read(end, left))
        if descriptor != (b"PK\x07\x08", *sums):
            raise refuse("archive.damaged", subject, "a descriptor like the directory", "another")
    elif entry.flags & _DESCRIPTOR or left != 0:
        raise refuse("archive.overlap", subject, f"ends at {following}", f"ends at {end}")
    return data


def unpack(window: Window, entry: Entry) -> Window:
    """Return a window on a member's bytes: a part of the archive where it is stored, else its inflated bytes.

    Large inflated members go to a temporary file without a name, so memory stays bounded.
    """
    subject = window.subject(entry.name)
    packed = window.part(entry.data, entry.packed_bytes, subject)
    if not entry.packed:
        return packed
    if entry.size_bytes <= limits.IN_MEMORY_BYTES:
        data = b"".join(_inflate(packed, entry))
        return Window(data, 0, len(data), subject)
    import tempfile

    spool = tempfile.TemporaryFile()  # noqa: SIM115 - the window keeps it open
    for piece in _inflate(packed, entry):
        spool.write(piece)
    spool.flush()
    return _SpooledWindow(spool, entry.size_bytes, subject)


class _SpooledWindow(Window):
    """A window on a nameless temporary file, which lives as long as the window."""

    __slots__ = ("_spool",)

    def __init__(self, spool: IO[bytes], size: int, name: str) -> None:
        super().__init__(spool.fileno(), 0, size, name)
        self._spool = spool


def _inflate(packed: Window, entry: Entry) -> Iterator[bytes]:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    produced = 0
    try:
        for chunk in packed.chunks():
            while chunk:
                piece = inflater.decompress(chunk, limits.CHUNK_BYTES)
                produced += len(piece)
                if produced > entry.size_bytes:
                    raise refuse("archive.bomb", packed.name, f"{entry.size_bytes} bytes", "more")
                yield piece
                chunk = inflater.unconsumed_tail
                if inflater.eof:
                    break
        piece = inflater.flush()
    except zlib.error as error:
        raise refuse("archive.checksum", packed.name, "deflated bytes", str(error)) from None
    produced += len(piece)
    yield piece
    if not inflater.eof or inflater.unused_data or produced != entry.size_bytes:
        raise refuse("archive.damaged", packed.name, f"{entry.size_bytes} bytes", produced)


def check_bytes(content: Window, entry: Entry, also: Callable[[bytes | bytearray], object] | None = None) -> None:
    """Read a member's bytes once and compare their checksum.

    Args:
        content: what `unpack` gave.
        entry: the member.
        also: called with each piece, for a digest in the same pass; the piece changes afterwards.

    Raises:
        RefusedError: when a bit is not what it was.
    """
    checksum = 0
    for chunk in content.passing():
        checksum = zlib.crc32(chunk, checksum)
        if also is not None:
            also(chunk)
    if checksum != entry.crc32:
        raise refuse("archive.checksum", content.name, f"{entry.crc32:08x}", f"{checksum:08x}")
