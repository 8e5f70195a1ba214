"""Packs: what goes in comes out, nobody else sees an archive, and any damage is refused with the file named."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import subprocess
import tarfile
import tracemalloc
import zipfile
from pathlib import Path

import pytest

from ckptsync.core import pack
from ckptsync.core.errors import CorruptError, NothingFoundError, UnsafePathError
from ckptsync.core.pack import read_index, read_member, unpack, write_pack


def make_members(folder: Path) -> dict[str, Path]:
    folder.mkdir()
    archive = folder / "model.zip"
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr("data", "{}")
        opened.writestr("policy.pth", os.urandom(5000))
    (folder / "inner.tar").write_bytes(b"")
    with tarfile.open(folder / "inner.tar", "w") as tar:
        tar.add(archive, "model.zip")
    (folder / "empty").write_bytes(b"")
    return {
        "x_checkpoint_5_steps.zip": archive,
        "x_checkpoint_5_steps.env.pkl": folder / "inner.tar",
        "x_replay/0001.seg": folder / "empty",
    }


@pytest.fixture
def members(tmp_path: Path) -> dict[str, Path]:
    return make_members(tmp_path / "source")


@pytest.fixture
def packed(tmp_path: Path, members: dict[str, Path]) -> Path:
    target = tmp_path / "x.ckpt"
    write_pack(target, members)
    return target


def test_what_goes_in_comes_out(tmp_path: Path, members: dict[str, Path], packed: Path) -> None:
    assert unpack(packed, tmp_path / "out") == list(members)
    for name, source in members.items():
        assert (tmp_path / "out" / name).read_bytes() == source.read_bytes()


def test_the_index_names_sizes_and_digests(members: dict[str, Path], packed: Path) -> None:
    index = read_index(packed)
    for member, (name, source) in zip(index.members, members.items(), strict=True):
        data = source.read_bytes()
        assert (member.name, member.size_bytes) == (name, len(data))
        assert member.digest == "sha256:" + hashlib.sha256(data).hexdigest()


def test_one_member_is_read_without_the_others(members: dict[str, Path], packed: Path) -> None:
    index = read_index(packed)
    for name, source in members.items():
        assert read_member(packed, index, name, limit=1 << 20) == source.read_bytes()
    with pytest.raises(NothingFoundError, match="no member 'other'"):
        read_member(packed, index, "other", limit=1 << 20)
    with pytest.raises(CorruptError, match="larger than 10 bytes"):
        read_member(packed, index, "x_checkpoint_5_steps.zip", limit=10)
    data = bytearray(packed.read_bytes())
    data[index.offset + 5] ^= 1
    packed.write_bytes(data)
    with pytest.raises(CorruptError, match=r"x_checkpoint_5_steps\.zip: expected"):
        read_member(packed, index, "x_checkpoint_5_steps.zip", limit=1 << 20)


def test_equal_members_give_equal_bytes(tmp_path: Path, members: dict[str, Path], packed: Path) -> None:
    write_pack(tmp_path / "again.ckpt", members)
    assert (tmp_path / "again.ckpt").read_bytes() == packed.read_bytes()


def test_nobody_else_sees_an_archive(packed: Path) -> None:
    assert not zipfile.is_zipfile(packed)
    assert not tarfile.is_tarfile(packed)
    data = packed.read_bytes()
    for magic in (b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06", b"ustar", b"\x1f\x8b\x08", b"\xfd7zXZ", b"BZh9"):
        assert magic not in data


@pytest.mark.parametrize(
    ("tool", "arguments"), [("file", ["--brief"]), ("bsdtar", ["-tf"]), ("7z", ["l"]), ("unzip", ["-l"])]
)
def test_tools_see_no_archive(tool: str, arguments: list[str], packed: Path) -> None:
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed")
    result = subprocess.run([tool, *arguments, str(packed)], capture_output=True, text=True, timeout=30)
    if tool == "file":
        assert result.stdout.strip() == "data" or "text" in result.stdout.lower()
        assert "archive" not in result.stdout.lower()
        assert "compressed" not in result.stdout.lower()
    else:
        assert result.returncode != 0


def test_every_truncation_is_refused(tmp_path: Path, packed: Path) -> None:
    data = packed.read_bytes()
    damaged = tmp_path / "damaged.ckpt"
    for length in [*range(0, 400, 7), *range(400, len(data), 1009), len(data) - 1]:
        damaged.write_bytes(data[:length])
        with pytest.raises(CorruptError, match=r"damaged\.ckpt"):
            unpack(damaged, tmp_path / "out")
        assert not (tmp_path / "out").exists()


def test_every_flipped_bit_is_refused(tmp_path: Path, packed: Path) -> None:
    data = bytearray(packed.read_bytes())
    damaged = tmp_path / "damaged.ckpt"
    offset = read_index(packed).offset
    chosen = random.Random(1)
    positions = [*range(0, offset, 3), *chosen.sample(range(offset, len(data)), 60)]
    for position in positions:
        bit = 1 << chosen.randrange(8)
        data[position] ^= bit
        damaged.write_bytes(data)
        with pytest.raises(CorruptError, match=r"damaged\.ckpt"):
            unpack(damaged, tmp_path / "out")
        assert not (tmp_path / "out").exists()
        data[position] ^= bit


def test_bytes_at_the_end_are_refused(packed: Path) -> None:
    with packed.open("ab") as file:
        file.write(b"x")
    with pytest.raises(CorruptError, match="expected"):
        read_index(packed)


def lying(tmp_path: Path, index: bytes, body: bytes) -> Path:
    path = tmp_path / "lying.ckpt"
    digest = hashlib.sha256(index).hexdigest().encode()
    path.write_bytes(b"CKPTSYNC-PACK 1\nsha256:" + digest + b"\n" + index + b"\n" + body + pack._TRAILER)
    return path


def entry(name: str, size: int = 0, digest: str = "sha256:" + hashlib.sha256(b"").hexdigest()) -> str:
    return f'{{"digest":"{digest}","name":"{name}","size_bytes":{size}}}'


@pytest.mark.parametrize(
    "name", ["../evil", "/etc/evil", "a/../../evil", "a//b", "", "C:evil", "a\\\\b", "a\\u0000b", "a\\nb", "."]
)
def test_names_that_leave_the_folder_are_refused(tmp_path: Path, name: str) -> None:
    path = lying(tmp_path, f'{{"members":[{entry(name)}]}}'.encode(), b"")
    with pytest.raises(UnsafePathError):
        unpack(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("pair", [("a", "a"), ("a", "A"), ("a", "a/b"), ("a/b", "A")])
def test_two_members_of_one_name_are_refused(tmp_path: Path, pair: tuple[str, str]) -> None:
    path = lying(tmp_path, f'{{"members":[{entry(pair[0])},{entry(pair[1])}]}}'.encode(), b"")
    with pytest.raises(UnsafePathError):
        read_index(path)


@pytest.mark.parametrize(
    "index",
    [
        "[]",
        "{}",
        '{"members":3}',
        '{"members":[{"name":"a"}]}',
        '{"members":[' + entry("a", -5) + "]}",
        '{"members":[' + entry("a").replace('"size_bytes":0', '"size_bytes":true') + "]}",
        '{"members":[' + entry("a").replace('"size_bytes":0', '"size_bytes":0.0') + "]}",
        '{"members":[' + entry("a", 10**15) + "]}",
        '{"members":[' + entry("a", 0, "sha256:" + "0" * 64) + "]}",
        '{"members":[]} {}',
    ],
)
def test_an_index_that_lies_is_refused(tmp_path: Path, index: str) -> None:
    path = lying(tmp_path, index.encode(), b"")
    with pytest.raises(CorruptError, match=r"lying\.ckpt"):
        unpack(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_another_version_is_named(tmp_path: Path, packed: Path) -> None:
    packed.write_bytes(packed.read_bytes().replace(b"CKPTSYNC-PACK 1\n", b"CKPTSYNC-PACK 2\n", 1))
    assert pack.is_pack(packed)
    with pytest.raises(CorruptError, match="version"):
        read_index(packed)


def test_other_files_are_no_packs(tmp_path: Path, members: dict[str, Path]) -> None:
    assert not pack.is_pack(next(iter(members.values())))
    with pytest.raises(CorruptError, match="no pack"):
        read_index(next(iter(members.values())))
    with pytest.raises(NothingFoundError):
        read_index(tmp_path / "absent.ckpt")


def test_nothing_is_overwritten(tmp_path: Path, packed: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_bytes(b"mine")
    with pytest.raises(CorruptError, match="exists"):
        unpack(packed, tmp_path / "out")
    assert (tmp_path / "out" / "mine").read_bytes() == b"mine"


def test_a_link_is_not_packed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "link").symlink_to(tmp_path / "secret")
    with pytest.raises(UnsafePathError):
        write_pack(tmp_path / "x.ckpt", {"a": tmp_path / "link"})
    assert not (tmp_path / "x.ckpt").exists()


def test_memory_is_bounded(tmp_path: Path) -> None:
    big = tmp_path / "big"
    big.write_bytes(bytes(24 << 20))
    tracemalloc.start()
    try:
        write_pack(tmp_path / "big.ckpt", {"big": big})
        unpack(tmp_path / "big.ckpt", tmp_path / "out")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8 << 20
