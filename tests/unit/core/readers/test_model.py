"""Any path a user may type: formats, special files, links, sizes."""

from __future__ import annotations

import hashlib
import os
import socket
import stat
import struct
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from support.hostile import Pickle, blockers, call, safetensors_file, sb3_file, torch_file, verdict, zeros

from ckptsync.core.errors import CkptsyncError, NothingFoundError
from ckptsync.core.findings import Severity, Verdict
from ckptsync.core.readers import ModelReport, read_model
from ckptsync.core.signature import TensorSpec

Read = Callable[..., ModelReport]


def test_missing_path_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(NothingFoundError, match=r"nothing\.zip"):
        read_model(tmp_path / "nothing.zip")


def test_empty_file(read: Read) -> None:
    report = read(b"")
    assert blockers(report) == [("file.empty", "model.zip")]
    assert report.digest == "sha256:" + hashlib.sha256().hexdigest()
    assert report.size_bytes == 0


@pytest.mark.parametrize("data", [b"x", b"PK", b"PK\3\4", b"hello world", b"<html>Not found</html>", bytes(5000)])
def test_other_bytes_are_refused(read: Read, data: bytes) -> None:
    report = read(data)
    assert not verdict(report).good
    assert report.digest == "sha256:" + hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("name", ["with space.zip", "naïve ✓.zip", "new\nline.zip", "no suffix", "-dash.zip"])
def test_odd_names_of_files_are_read(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(sb3_file())
    report = read_model(path)
    assert report.findings == ()
    assert report.path == path


def test_link_that_the_user_typed_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real.zip").write_bytes(sb3_file())
    (tmp_path / "link.zip").symlink_to("real.zip")
    (tmp_path / "broken.zip").symlink_to("nowhere.zip")
    assert read_model(tmp_path / "link.zip").findings == ()
    with pytest.raises(NothingFoundError):
        read_model(tmp_path / "broken.zip")


def test_folders_pipes_sockets_and_devices_are_refused_unread(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        previous = Path.cwd()
        os.chdir(tmp_path)  # the path of a socket must be short
        try:
            server.bind("socket")
        finally:
            os.chdir(previous)
        (tmp_path / "zero.zip").symlink_to("/dev/zero")
        for path in (tmp_path, tmp_path / "pipe", tmp_path / "socket", tmp_path / "zero.zip", Path("/dev/zero")):
            report = read_model(path)
            assert [finding.code for finding in report.findings] == ["path.special-file"], path
            assert verdict(report) is Verdict.UNSAFE
            assert (report.digest, report.size_bytes, report.format) == ("", 0, "unknown")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_file_without_permission_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "model.zip"
    path.write_bytes(sb3_file())
    path.chmod(0)
    with pytest.raises(CkptsyncError, match=r"model\.zip"):
        read_model(path)


def test_bare_pickle_is_hashed_and_refused_unless_own(read: Read) -> None:
    data = Pickle(4).value(call("os", "system", "true")).done()
    report = read(data)
    assert report.format == "pickle"
    assert blockers(report) == [("pickle.foreign-global", "model.zip")]
    assert report.not_checked == ("bytes of model.zip",)
    for options in ({"own": True}, {"trusted": [report.digest]}):
        approved = read(data, **options)
        assert blockers(approved) == []
        assert [finding.severity for finding in approved.findings] == [Severity.NOTE]
        assert approved.not_checked == ("bytes of model.zip",)


def test_safetensors(read: Read) -> None:
    header = {
        "__metadata__": {"format": "pt"},
        "b": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]},
        "a": {"dtype": "BF16", "shape": [2], "data_offsets": [16, 20]},
        "empty": {"dtype": "I64", "shape": [0, 5], "data_offsets": [20, 20]},
    }
    report = read(safetensors_file(header, struct.pack("<4f", 1, 2, 3, 4) + b"\x80\x3f" * 2))
    assert report.findings == ()
    assert report.format == "safetensors"
    assert dict(report.signature.parameters) == {
        "b": TensorSpec((2, 2), "float32"),
        "a": TensorSpec((2,), "bfloat16"),
        "empty": TensorSpec((0, 5), "int64"),
    }


@pytest.mark.parametrize(
    ("item", "code"),
    [
        ({"dtype": "F32", "shape": [4], "data_offsets": [0, 8]}, "tensor.geometry"),
        ({"dtype": "F32", "shape": [2], "data_offsets": [4, 12]}, "archive.overlap"),
        ({"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}, "archive.damaged"),
        ({"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}, "archive.overlap"),
        ({"dtype": "F32", "shape": [-2], "data_offsets": [0, 8]}, "tensor.geometry"),
        ({"dtype": "F32", "shape": [2.0], "data_offsets": [0, 8]}, "tensor.geometry"),
        ({"dtype": "F32", "shape": [2**61, 8], "data_offsets": [0, 8]}, "tensor.geometry"),
        ({"dtype": "F7", "shape": [2], "data_offsets": [0, 8]}, "json.damaged"),
        ({"dtype": "F32", "shape": [2]}, "json.damaged"),
        (7, "json.damaged"),
    ],
)
def test_safetensors_headers_that_lie_are_refused(read: Read, item: object, code: str) -> None:
    report = read(safetensors_file({"a": item}, bytes(8)))
    assert [finding.code for finding in report.findings] == [code]


def test_safetensors_with_a_long_header_or_nan(read: Read) -> None:
    header = {"a": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}}
    assert blockers(read(safetensors_file(header, b"\x80\x3f\xc0\x7f"))) == [("tensor.not-finite", "a")]
    assert read(safetensors_file(header, b"\x80\x3f\xc0\x7f"), check_values=False).findings == ()
    infinite = read(safetensors_file(header, b"\x80\x3f\x80\xff"))
    assert [(finding.code, finding.severity) for finding in infinite.findings] == [
        ("tensor.not-finite", Severity.WARNING)
    ]
    data = safetensors_file(header, bytes(4))
    assert blockers(read(data[:40])) == [("archive.damaged", "model.zip")]
    assert not verdict(read(struct.pack("<Q", 2**40) + data[8:])).good


def test_float8_is_said_not_to_be_checked(read: Read) -> None:
    header = {"a": {"dtype": "F8_E4M3", "shape": [2], "data_offsets": [0, 2]}}
    report = read(safetensors_file(header, b"\x7f\x7f"))
    assert report.findings == ()
    assert report.not_checked[0] == "values of 1 float8 tensors"
    assert "no checksums" in report.not_checked[1]


def test_safetensors_written_by_its_own_library(tmp_path: Path) -> None:
    numpy = pytest.importorskip("numpy")
    library = pytest.importorskip("safetensors.numpy")
    path = tmp_path / "model.safetensors"
    library.save_file({"x": numpy.ones((3, 2), dtype="float32"), "y": numpy.zeros(5, dtype="int64")}, path)
    report = read_model(path)
    assert report.findings == ()
    assert dict(report.signature.parameters) == {"x": TensorSpec((3, 2), "float32"), "y": TensorSpec((5,), "int64")}


def test_file_that_changes_while_it_is_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ckptsync.core.readers import model

    path = tmp_path / "model.zip"
    path.write_bytes(sb3_file())
    digest_of = model._digest

    def digest_then_append(window: model.Window) -> str:
        with path.open("ab") as file:
            file.write(b"more")
        return digest_of(window)

    monkeypatch.setattr(model, "_digest", digest_then_append)
    assert blockers(read_model(path)) == [("file.changed", "model.zip")]


def test_large_files_are_read_piece_by_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ckptsync.core.readers import limits

    path = tmp_path / "model.zip"
    path.write_bytes(sb3_file())
    whole = read_model(path)
    monkeypatch.setattr(limits, "IN_MEMORY_BYTES", 1000)
    monkeypatch.setattr(limits, "CHUNK_BYTES", 64)
    assert read_model(path) == whole


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.7, 0.99])
def test_damage_in_large_files_is_told_in_the_same_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, share: float
) -> None:
    from ckptsync.core.readers import limits, window

    path = tmp_path / "model.zip"
    data = bytearray(sb3_file())
    data[int(share * len(data))] ^= 0xFF
    path.write_bytes(data)
    whole = read_model(path)
    assert blockers(whole) != []
    monkeypatch.setattr(limits, "IN_MEMORY_BYTES", 1000)
    monkeypatch.setattr(limits, "PASSING_BYTES", 64)
    monkeypatch.setattr(window, "_BUFFERS", [])
    assert read_model(path) == whole


def test_what_was_hashed_a_moment_ago_is_read_and_checked_all_the_same(read: Read) -> None:
    data = sb3_file()
    told = "sha256:" + "0" * 64
    report = read(data, proved=told, with_content=False)
    assert (report.digest, report.content) == (told, "")
    assert replace(report, digest="", content="") == replace(read(data), digest="", content="")
    damaged = bytearray(data)
    damaged[len(data) // 2] ^= 1
    assert blockers(read(bytes(damaged), proved=told)) != []
    assert blockers(read(bytes(100), proved=told)) == blockers(read(bytes(100)))


MEASURE = """
import re, sys
from pathlib import Path
from ckptsync.core.readers import read_model
report = read_model(Path(sys.argv[1]))
# Not getrusage: its figure begins with that of the process that started this one
peak = re.search(r"VmHWM:\\s+([0-9]+) kB", Path("/proc/self/status").read_text())[1]
print(len(report.signature.parameters), len(report.findings), peak)
"""


@pytest.mark.slow
def test_memory_stays_bounded(tmp_path: Path) -> None:
    size = 64 * 2**20
    data = torch_file({"weight": zeros(1)})
    path = tmp_path / "large.safetensors"
    header = {"weight": {"dtype": "F32", "shape": [size], "data_offsets": [0, 4 * size]}}
    with path.open("wb") as file:
        file.write(safetensors_file(header, b""))
        file.truncate(file.tell() + 4 * size)  # 256 MB of zeros that take no place
    assert stat.S_ISREG(path.stat().st_mode) and data
    run = subprocess.run([sys.executable, "-c", MEASURE, path], capture_output=True, text=True, check=True)
    parameters, findings, kilobytes = map(int, run.stdout.split())
    assert (parameters, findings) == (1, 0)
    assert kilobytes < 100_000
