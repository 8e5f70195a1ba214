"""Hostile and damaged archives."""

from __future__ import annotations

import io
import struct
import warnings
import zipfile
from collections.abc import Callable

import pytest
from support import hostile
from support.hostile import verdict

from ckptsync.core.findings import Verdict
from ckptsync.core.readers import ModelReport, limits

Read = Callable[[bytes], ModelReport]


def codes(report: ModelReport) -> list[str]:
    return [finding.code for finding in report.findings]


def directory_offset(data: bytes) -> int:
    return int(struct.unpack("<L", data[-6:-2])[0])


def test_hand_made_file_is_good(read: Read) -> None:
    report = read(hostile.sb3_file())
    assert report.findings == ()
    assert verdict(report) is Verdict.VALID
    assert [member.name for member in report.members][:2] == ["data", "pytorch_variables.pth"]


def test_deflated_members_are_read(read: Read) -> None:
    stored = read(hostile.sb3_parts().pack())
    deflated = read(hostile.sb3_parts().pack(zipfile.ZIP_DEFLATED))
    assert deflated.findings == ()
    assert deflated.signature == stored.signature
    assert deflated.content == stored.content
    assert deflated.digest != stored.digest


def test_large_deflated_member_goes_through_a_temporary_file(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "IN_MEMORY_BYTES", 1000)
    report = read(hostile.sb3_parts().pack(zipfile.ZIP_DEFLATED))
    assert report.findings == ()
    assert report.content == read(hostile.sb3_file()).content


def test_every_truncation_is_refused(read: Read) -> None:
    data = hostile.sb3_file()
    for size in [*range(0, len(data), 97), *range(len(data) - 60, len(data))]:
        report = read(data[:size])
        assert verdict(report) in (Verdict.CORRUPT, Verdict.UNREADABLE), size
        if size > 40:
            assert verdict(report) is Verdict.CORRUPT, size
            assert report.format == "sb3", size


@pytest.mark.parametrize("apart", [401, pytest.param(61, marks=pytest.mark.slow)])
def test_every_flipped_bit_in_a_member_is_found(read: Read, apart: int) -> None:
    data = hostile.sb3_file()
    for position in range(0, directory_offset(data) * 8, apart):
        damaged = bytearray(data)
        damaged[position // 8] ^= 1 << position % 8
        assert not verdict(read(bytes(damaged))).good, f"bit {position % 8} of byte {position // 8}"


@pytest.mark.parametrize("apart", [21, pytest.param(5, marks=pytest.mark.slow)])
def test_flipped_bits_in_the_directory_go_unseen_only_where_they_mean_nothing(read: Read, apart: int) -> None:
    data = hostile.sb3_file()
    start = directory_offset(data)
    harmless = set()
    position = start
    while data[position : position + 4] == b"PK\1\2":
        name_size, extra_size = struct.unpack("<2H", data[position + 28 : position + 32])
        # "version made by", "is text", permissions: they exist once, and no reader acts on them
        harmless |= {position + offset for offset in (4, 5, 36, 38, 39, 40, 41)}
        position += 46 + name_size + extra_size
    for bit in range(start * 8, len(data) * 8, apart):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        assert not verdict(read(bytes(damaged))).good or bit // 8 in harmless, f"bit {bit % 8} of byte {bit // 8}"


@pytest.mark.parametrize("member", ["policy.pth", "policy.optimizer.pth", "data", "pytorch_variables.pth"])
def test_missing_member_is_named(read: Read, member: str) -> None:
    parts = hostile.sb3_parts()
    del parts.members[member]
    report = read(parts.pack())
    assert verdict(report) is Verdict.CORRUPT
    assert member in [finding.subject for finding in report.findings if finding.code == "archive.missing-member"]


@pytest.mark.parametrize(
    "name",
    ["../evil", "/etc/passwd", "a/../b", "C:evil", "back\\slash", "new\nline", "a//b", ".", "nul\x1b[31m", "\u202e"],
)
def test_unsafe_name_is_refused(read: Read, name: str) -> None:
    parts = hostile.sb3_parts()
    stand_in = "x" * len(name.encode())
    parts.members[stand_in] = b"x"
    report = read(parts.pack().replace(stand_in.encode(), name.encode()))
    assert verdict(report) is Verdict.UNSAFE
    assert codes(report) == ["archive.unsafe-name"]


def test_folder_and_link_members_are_refused(read: Read) -> None:
    buffer = io.BytesIO(hostile.sb3_file())
    with zipfile.ZipFile(buffer, "a") as archive:
        link = zipfile.ZipInfo("link")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    assert codes(read(buffer.getvalue())) == ["archive.special-member"]
    buffer = io.BytesIO(hostile.sb3_file())
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr("folder/", b"")
    assert codes(read(buffer.getvalue())) == ["archive.special-member"]


@pytest.mark.parametrize("second", ["policy.pth", "Policy.PTH"])
def test_two_members_of_one_name_are_refused(read: Read, second: str) -> None:
    buffer = io.BytesIO(hostile.sb3_file())
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "a") as archive:
        warnings.simplefilter("ignore")
        archive.writestr(second, b"other bytes")
    report = read(buffer.getvalue())
    assert codes(report) == ["archive.duplicate-member"]
    assert verdict(report) is Verdict.UNSAFE


def test_encrypted_member_is_refused(read: Read) -> None:
    data = bytearray(hostile.sb3_file())
    start = directory_offset(bytes(data))
    data[6] |= 1
    data[start + 8] |= 1
    assert codes(read(bytes(data))) == ["format.unsupported"]


def test_rare_compression_is_refused(read: Read) -> None:
    assert codes(read(hostile.sb3_parts().pack(zipfile.ZIP_BZIP2))) == ["format.unsupported"]


def test_bytes_before_behind_and_between_are_refused(read: Read) -> None:
    data = hostile.sb3_file()
    assert codes(read(b"#!/bin/sh\n" + data)) == ["format.unknown"]
    assert codes(read(data + b"tail")) == ["archive.overlap"]
    assert codes(read(data[:4] + data)) != []
    start = directory_offset(data)
    shifted = data[:start] + b"GAP!" + data[start:-6] + struct.pack("<LH", start + 4, 0)
    assert codes(read(shifted)) == ["archive.overlap"]
    with_comment = data[:-2] + struct.pack("<H", 4) + b"note"
    assert codes(read(with_comment)) == ["archive.overlap"]


def test_overlapping_members_are_refused(read: Read) -> None:
    parts = hostile.sb3_parts()
    parts.members = {"data": parts.members["data"], **parts.members}
    data = bytearray(parts.pack())
    start = directory_offset(bytes(data))
    second = start + 46 + len("data")
    data[second + 42 : second + 46] = struct.pack("<L", 0)  # the second member claims the bytes of the first
    assert verdict(read(bytes(data))) is Verdict.UNSAFE
    assert codes(read(bytes(data))) == ["archive.overlap"]


def test_bomb_is_refused_before_it_is_unpacked(read: Read) -> None:
    parts = hostile.sb3_parts()
    parts.members["policy.pth"] = bytes(5_000_000)
    report = read(parts.pack(zipfile.ZIP_DEFLATED))
    assert codes(report) == ["archive.bomb"]
    assert verdict(report) is Verdict.UNSAFE


def test_member_that_inflates_to_more_than_it_says_is_refused(read: Read) -> None:
    parts = hostile.sb3_parts()
    data = bytearray(parts.pack(zipfile.ZIP_DEFLATED))
    start = directory_offset(bytes(data))
    claimed = struct.pack("<L", 100)
    data[22:26] = claimed
    data[start + 24 : start + 28] = claimed
    assert codes(read(bytes(data)))[0] == "archive.bomb"


def test_wrong_checksum_names_the_member(read: Read) -> None:
    data = bytearray(hostile.sb3_file())
    at = data.index(b"Stable-Baselines3: 2.9.2")
    data[at + 22] ^= 1
    report = read(bytes(data))
    assert codes(report) == ["archive.checksum"]
    assert report.findings[0].subject == "system_info.txt"
    assert report.signature.parameters, "the sound members are read all the same"


def test_inner_checksum_is_checked_too(read: Read) -> None:
    parts = hostile.sb3_parts()
    inner = bytearray(parts.members["policy.pth"])
    inner[inner.index(struct.pack("<f", 0.5) * 4)] ^= 1
    parts.members["policy.pth"] = bytes(inner)
    report = read(parts.pack())
    assert codes(report) == ["archive.checksum"]
    assert report.findings[0].subject.startswith("policy.pth: archive/data/")
    assert verdict(report) is Verdict.CORRUPT


def test_damaged_inner_archive_is_named(read: Read) -> None:
    parts = hostile.sb3_parts()
    parts.members["policy.pth"] = parts.members["policy.pth"][:-30]
    report = read(parts.pack())
    assert codes(report) == ["archive.damaged"]
    assert report.findings[0].subject == "policy.pth"


def test_another_zip_is_unknown(read: Read) -> None:
    report = read(hostile.pack_zip({"readme.txt": b"hello"}))
    assert codes(report) == ["format.unknown"]
    assert verdict(report) is Verdict.UNREADABLE


def test_names_of_unknown_members_are_reported_as_not_checked(read: Read) -> None:
    parts = hostile.sb3_parts()
    parts.members["naïve notes.txt"] = b"anything"
    report = read(parts.pack())
    assert report.findings == ()
    assert report.not_checked == ("meaning of naïve notes.txt",)
