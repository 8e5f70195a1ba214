"""Packs: one file that carries one checkpoint and is no archive to anybody else.

    CKPTSYNC-PACK 1\\n
    sha256:<hex of the index line>\\n
    {"members":[{"digest":...,"name":...,"size_bytes":...},...]}\\n      canonical JSON
    the members' bytes in the order of the index, each byte translated
    the trailer: more than 66 KB of plain text

Services unpack what they take for an archive, also an archive that lies inside of another file: a zip is
looked for from the end, so no byte of a member may stay as it was and the end must be far from them. The
translation hides nothing from people and is its own inverse.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from . import fsio, jsonio, names
from .errors import CorruptError, NothingFoundError, UnsafePathError

PACK_SUFFIX = ".ckpt"
# Packs whose names begin so carry a session's code, no checkpoint
CODE_PREFIX = "ckptsync-code-"
MAX_INDEX_BYTES = 4 << 20

_MAGIC = b"CKPTSYNC-PACK "
_HEADER = _MAGIC + b"1\n"
_DIGEST_LENGTH = len("sha256:") + 64
_TRANSLATION = bytes(byte ^ 0xA5 for byte in range(256))
# A zip's end record is looked for in the last 65,557 bytes of a file
_TRAILER = b"CKPTSYNC-PACK END.\n" * 3600


@dataclass(frozen=True)
class PackMember:
    """One member of a pack.

    Args:
        name: relative path with `/`.
        size_bytes: its length.
        digest: sha256 of its bytes.
    """

    name: str
    size_bytes: int
    digest: str


@dataclass(frozen=True)
class PackIndex:
    """What a pack says that it holds.

    Args:
        members: in the order of their bytes.
        offset: where the first member's bytes begin.
    """

    members: tuple[PackMember, ...]
    offset: int


def is_pack(path: Path) -> bool:
    """Whether a file begins as a pack does, of whatever version."""
    with fsio.open_regular(path) as file:
        return file.read(len(_MAGIC)) == _MAGIC


def write_pack(target: Path, members: Mapping[str, Path]) -> PackIndex:
    """Write a pack; it exists whole or not at all.

    Args:
        target: the file to write; what was there is replaced.
        members: name in the pack -> file to read, in the order in which they shall lie there.

    Raises:
        UnsafePathError: a name is no safe relative path, or a source is no regular file.
        CorruptError: a file changed while it was read.
    """
    _check_names(list(members))
    index: list[PackMember] = [PackMember(name, path.stat().st_size, "") for name, path in members.items()]

    def write(file: BinaryIO) -> None:
        # All digests are equally long, so the head has its final length before they are known: one pass over the files.
        file.write(_head([PackMember(member.name, member.size_bytes, "sha256:" + "0" * 64) for member in index]))
        for position, (member, path) in enumerate(zip(index, members.values(), strict=True)):
            index[position] = PackMember(member.name, member.size_bytes, _append(file, path, member.size_bytes))
        file.write(_TRAILER)
        file.seek(0)
        file.write(_head(index))

    fsio.write_file(target, write)
    return PackIndex(tuple(index), len(_head(index)))


def read_index(path: Path) -> PackIndex:
    """Read and check what a pack says that it holds; the members' own bytes are checked by `unpack`.

    Raises:
        NothingFoundError: it does not exist.
        CorruptError: it is no pack, is truncated or longer than its index says, or its index was changed.
        UnsafePathError: a member's name would leave a folder.
    """
    with fsio.open_regular(path) as file:
        return _read_index(path, file)


def read_member(path: Path, index: PackIndex, name: str, *, limit: int) -> bytes:
    """Read one small member without unpacking the others.

    Args:
        path: the pack.
        index: what `read_index` gave for it.
        name: the member's name.
        limit: it is refused when it is larger.

    Raises:
        NothingFoundError: the pack does not exist, or holds no such member.
        CorruptError: the member is larger than `limit`, or its bytes disagree with the index.
    """
    offset = index.offset
    for member in index.members:
        if member.name == name:
            break
        offset += member.size_bytes
    else:
        raise NothingFoundError(f"{path} holds no member {names.printable(name)}")
    if member.size_bytes > limit:
        raise CorruptError(f"{path}: member {name} is larger than {limit} bytes, which is no size for such a file")
    with fsio.open_regular(path) as file:
        file.seek(offset)
        data = file.read(member.size_bytes).translate(_TRANSLATION)
    found = "sha256:" + hashlib.sha256(data).hexdigest()
    if found != member.digest:
        raise _damaged_member(path, member, found)
    return data


def unpack(path: Path, folder: Path) -> list[str]:
    """Unpack into a new folder; all members are there, each with the right digest, or nothing is.

    Args:
        path: the pack.
        folder: is created and must not exist, so nothing can be overwritten.

    Returns:
        The members' names in the order of the index.

    Raises:
        NothingFoundError: the pack does not exist.
        CorruptError: the pack is damaged in any way, or the folder exists.
        UnsafePathError: a member's name would leave the folder.
    """
    with fsio.open_regular(path) as file:
        index = _read_index(path, file)
        if folder.exists():
            raise CorruptError(f"{folder} exists; a pack is unpacked into a new folder only")
        fsio.make_folder(folder)
        try:
            file.seek(index.offset)
            for member in index.members:
                target = fsio.safe_join(folder, member.name)
                fsio.make_folder(target.parent)
                _extract(path, file, member, target)
        except BaseException:
            fsio.remove_folder(folder)
            raise
    return [member.name for member in index.members]


def _head(members: list[PackMember]) -> bytes:
    entries = [{"name": m.name, "size_bytes": m.size_bytes, "digest": m.digest} for m in members]
    index = jsonio.canonical({"members": entries})
    return b"".join((_HEADER, b"sha256:", hashlib.sha256(index).hexdigest().encode(), b"\n", index, b"\n"))


def _append(file: BinaryIO, source: Path, size_bytes: int) -> str:
    hasher = hashlib.sha256()
    copied = 0
    with fsio.open_regular(source) as opened:
        while chunk := opened.read(fsio.CHUNK):
            hasher.update(chunk)
            file.write(chunk.translate(_TRANSLATION))
            copied += len(chunk)
    if copied != size_bytes:
        raise CorruptError(f"{source} changed while it was packed: it had {size_bytes} bytes, now {copied}")
    return "sha256:" + hasher.hexdigest()


def _read_index(path: Path, file: BinaryIO) -> PackIndex:
    header = file.read(len(_HEADER))
    if header != _HEADER:
        if header.startswith(_MAGIC):
            raise CorruptError(f"{path} is a pack of a version that is not known here", hint="update ckptsync")
        raise CorruptError(f"{path} is no pack: it does not begin with {_HEADER.decode().strip()!r}")
    digest = file.read(_DIGEST_LENGTH + 1)
    line = file.readline(MAX_INDEX_BYTES + 1)
    if digest != b"sha256:" + hashlib.sha256(line[:-1]).hexdigest().encode() + b"\n" or not line.endswith(b"\n"):
        raise CorruptError(f"{path} is damaged: its index disagrees with its digest")
    try:
        members = _parse_members(jsonio.parse(line))
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptError(f"{path} is damaged: its index makes no sense: {error!r}") from None
    _check_names([member.name for member in members])
    offset = file.tell()
    end = offset + sum(member.size_bytes for member in members)
    size = file.seek(0, 2)
    if size != end + len(_TRAILER):
        raise CorruptError(f"{path} is damaged: expected {end + len(_TRAILER)} bytes, found {size}")
    file.seek(end)
    if file.read(len(_TRAILER)) != _TRAILER:
        raise CorruptError(f"{path} is damaged: its end is not that of a pack")
    return PackIndex(members, offset)


def _parse_members(value: Any) -> tuple[PackMember, ...]:
    members = tuple(PackMember(m["name"], m["size_bytes"], m["digest"]) for m in value["members"])
    for member in members:
        if not isinstance(member.name, str) or not isinstance(member.digest, str):
            raise ValueError("a name or digest is no text")
        if type(member.size_bytes) is not int or member.size_bytes < 0:
            raise ValueError(f"the size of {names.printable(member.name)} is no count")
    return members


def _check_names(members: list[str]) -> None:
    files: set[tuple[str, ...]] = set()
    folders: set[tuple[str, ...]] = set()
    for name in members:
        parts = names.check_relative(name.casefold(), what="name in a pack")
        folders.update(parts[:depth] for depth in range(1, len(parts)))
        files.add(parts)
    if len(files) != len(members) or files & folders:
        raise UnsafePathError("a pack has two members of one name, or one that is a file and a folder")


def _extract(path: Path, file: BinaryIO, member: PackMember, target: Path) -> None:
    def write(opened: BinaryIO) -> None:
        hasher = hashlib.sha256()
        left = member.size_bytes
        while left and (chunk := file.read(min(left, fsio.CHUNK))):
            chunk = chunk.translate(_TRANSLATION)
            hasher.update(chunk)
            opened.write(chunk)
            left -= len(chunk)
        found = "sha256:" + hasher.hexdigest()
        if left or found != member.digest:
            raise _damaged_member(path, member, found)

    fsio.write_file(target, write)


def _damaged_member(path: Path, member: PackMember, found: str) -> CorruptError:
    return CorruptError(
        f"{path} is damaged: member {member.name}: expected {member.digest}, found {found}",
        hint="send the pack again",
    )
