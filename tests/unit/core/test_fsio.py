"""Files that survive: order of writing and syncing, refusals, locks, errors that name the path."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pytest

from ckptsync.core import fsio, fssync
from ckptsync.core.errors import CorruptError, LockedError, NothingFoundError, StorageError, UnsafePathError


def test_write_replaces_in_one_step_and_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "a"
    fsio.write_bytes(path, b"old")
    fsio.write_bytes(path, b"new")
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["a"]


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a"
    fsio.write_bytes(path, b"old")

    def write(file: BinaryIO) -> None:
        file.write(b"half")
        raise RuntimeError("the model cannot be saved")

    with pytest.raises(RuntimeError):
        fsio.write_file(path, write)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a"]


def test_a_writer_may_seek_and_read(tmp_path: Path) -> None:
    def write(file: BinaryIO) -> None:
        file.write(b"0000 tail")
        file.seek(0)
        file.write(b"head")
        file.seek(5)
        assert file.read() == b"tail"

    fsio.write_file(tmp_path / "a", write)
    assert (tmp_path / "a").read_bytes() == b"head tail"


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=str(tmp_path / "none" / "a")):
        fsio.write_bytes(tmp_path / "none" / "a", b"x")


def test_a_name_with_anything_in_it_can_be_written(tmp_path: Path) -> None:
    for name in ("ü" * 127, "a" * 255, "line\nbreak", os.fsdecode(b"\xff\xfe")):
        fsio.write_bytes(tmp_path / name, b"x")
        assert (tmp_path / name).read_bytes() == b"x"


def test_make_folder_makes_all_parents_and_may_be_repeated(tmp_path: Path) -> None:
    fsio.make_folder(tmp_path / "a" / "b" / "c")
    fsio.make_folder(tmp_path / "a" / "b" / "c")
    assert (tmp_path / "a" / "b" / "c").is_dir()


def test_make_folder_does_not_replace_a_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    with pytest.raises(UnsafePathError, match="is a file"):
        fsio.make_folder(tmp_path / "a" / "b")


def test_append_adds_lines(tmp_path: Path) -> None:
    path = tmp_path / "log"
    fsio.append_line(path, b"one\n")
    fsio.append_line(path, b"two\n")
    assert path.read_bytes() == b"one\ntwo\n"


def test_append_closes_a_torn_line_so_that_it_spoils_no_other(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b'one\n{"half":')
    fsio.append_line(path, b"two\n")
    assert path.read_bytes() == b'one\n{"half":\ntwo\n'


def test_truncate_cuts_the_end(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"one\ntwo")
    fsio.truncate(path, 4)
    assert path.read_bytes() == b"one\n"
    with pytest.raises(StorageError):
        fsio.truncate(tmp_path / "none", 0)


def test_copy_hashes_on_the_way(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 3_000_000)
    digest = fsio.copy_file(tmp_path / "a", tmp_path / "b")
    assert digest == fsio.sha256_file(tmp_path / "b") == fsio.sha256_file(tmp_path / "a")


@pytest.mark.parametrize(
    ("size", "digest"),
    [(4, None), (None, "sha256:" + "0" * 64), (3, "sha256:" + "0" * 64)],
    ids=["size", "digest", "both"],
)
def test_copy_refuses_other_bytes_than_expected(tmp_path: Path, size: int | None, digest: str | None) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    (tmp_path / "b").write_bytes(b"old")
    with pytest.raises(CorruptError, match="has changed: expected"):
        fsio.copy_file(tmp_path / "a", tmp_path / "b", size_bytes=size, digest=digest)
    assert (tmp_path / "b").read_bytes() == b"old"
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]


def test_a_link_is_a_second_name(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    fsio.link_or_copy(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "a").stat().st_ino == (tmp_path / "b").stat().st_ino


def test_another_file_system_gets_a_copy(tmp_path: Path) -> None:
    here = tmp_path.stat().st_dev
    places = [Path(name) for name in ("/dev/shm", "/tmp", "/var/tmp", Path.cwd()) if os.access(name, os.W_OK)]
    elsewhere = next((place for place in places if place.stat().st_dev != here), None)
    if elsewhere is None:
        pytest.skip("there is no second file system here")
    (tmp_path / "a").write_bytes(b"x")
    with tempfile.TemporaryDirectory(prefix=".ckptsync-test-", dir=elsewhere) as folder:
        target = Path(folder) / "b"
        fsio.link_or_copy(tmp_path / "a", target)
        assert target.read_bytes() == b"x"
        assert target.stat().st_dev != here


def test_a_link_takes_no_others_name_and_follows_no_link(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a")
    (tmp_path / "b").write_bytes(b"b")
    (tmp_path / "c").symlink_to(tmp_path / "a")
    with pytest.raises(StorageError, match="exists"):
        fsio.link_or_copy(tmp_path / "a", tmp_path / "b")
    with pytest.raises(UnsafePathError):
        fsio.link_or_copy(tmp_path / "c", tmp_path / "d")
    with pytest.raises(NothingFoundError):
        fsio.link_or_copy(tmp_path / "none", tmp_path / "d")
    assert (tmp_path / "b").read_bytes() == b"b"


def test_rename_and_remove(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    fsio.make_folder(tmp_path / "f")
    fsio.rename(tmp_path / "a", tmp_path / "f" / "b")
    assert (tmp_path / "f" / "b").read_bytes() == b"x"
    fsio.remove_file(tmp_path / "f" / "b")
    fsio.remove_file(tmp_path / "f" / "b")
    assert os.listdir(tmp_path / "f") == []
    with pytest.raises(StorageError, match="cannot remove"):
        fsio.remove_file(tmp_path / "f")
    with pytest.raises(StorageError):
        fsio.rename(tmp_path / "none", tmp_path / "x")


def test_remove_folder_follows_no_links(tmp_path: Path) -> None:
    outside, folder = tmp_path / "outside", tmp_path / "folder"
    outside.mkdir()
    (outside / "precious").write_bytes(b"x")
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "a").write_bytes(b"x")
    (folder / "link").symlink_to(outside)
    fsio.remove_folder(folder)
    fsio.remove_folder(folder)
    assert not folder.exists()
    (tmp_path / "itself").symlink_to(outside)
    with pytest.raises(UnsafePathError):
        fsio.remove_folder(tmp_path / "itself")
    assert (outside / "precious").exists()


def test_sweep_takes_our_temporaries_alone(tmp_path: Path) -> None:
    for name in (".a.zip.0123abcd.tmp", ".keep.tmp", "a.tmp", ".a.zip.0123abcd"):
        (tmp_path / name).write_bytes(b"x")
    assert fsio.sweep_temporaries(tmp_path) == 1
    assert sorted(os.listdir(tmp_path)) == [".a.zip.0123abcd", ".keep.tmp", "a.tmp"]
    assert fsio.sweep_temporaries(tmp_path / "none") == 0


def test_names_are_listed_in_order(tmp_path: Path) -> None:
    for name in "cab":
        (tmp_path / name).write_bytes(b"")
    assert fsio.list_names(tmp_path) == ["a", "b", "c"]
    assert fsio.list_names(tmp_path / "none") == []
    with pytest.raises(StorageError, match="cannot list"):
        fsio.list_names(tmp_path / "a")


@pytest.mark.parametrize("kind", ["fifo", "folder", "link", "device"])
def test_only_regular_files_are_opened(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "link":
        (tmp_path / "real").write_bytes(b"x")
        path.symlink_to(tmp_path / "real")
    else:
        path = Path("/dev/zero")
    with pytest.raises(UnsafePathError):
        fsio.open_regular(path)
    with pytest.raises(UnsafePathError):
        fsio.sha256_file(path)


def test_a_link_that_a_person_typed_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(b"x")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with fsio.open_regular(tmp_path / "link", follow=True) as file:
        assert file.read() == b"x"


def test_what_cannot_be_read_says_so(tmp_path: Path) -> None:
    with pytest.raises(NothingFoundError, match="none"):
        fsio.open_regular(tmp_path / "none")
    (tmp_path / "a").write_bytes(b"x")
    with pytest.raises(StorageError, match="cannot read"):
        fsio.open_regular(tmp_path / "a" / "b")


def test_a_small_file_has_a_limit(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 100)
    assert fsio.read_bytes(tmp_path / "a", limit=100) == b"x" * 100
    with pytest.raises(CorruptError, match="larger than 99"):
        fsio.read_bytes(tmp_path / "a", limit=99)


def test_safe_join_stays_below(tmp_path: Path) -> None:
    assert fsio.safe_join(tmp_path, "a/b") == tmp_path / "a" / "b"
    for path in ("../a", "/a", "a/../../b", ""):
        with pytest.raises(UnsafePathError):
            fsio.safe_join(tmp_path, path)


def test_safe_join_goes_through_no_link_of_others_but_through_the_users_own(tmp_path: Path) -> None:
    (tmp_path / "big disk").mkdir()
    (tmp_path / "data").symlink_to(tmp_path / "big disk")
    assert fsio.safe_join(tmp_path / "data", "a") == tmp_path / "data" / "a"
    (tmp_path / "big disk" / "sub").symlink_to(tmp_path)
    with pytest.raises(UnsafePathError, match="is a link"):
        fsio.safe_join(tmp_path / "data", "sub/a")


def test_free_bytes_of_what_does_not_exist_yet(tmp_path: Path) -> None:
    assert fsio.free_bytes(tmp_path / "a" / "b") == pytest.approx(fsio.free_bytes(tmp_path), rel=0.1)


def test_receive_resumes_where_it_was_cut(tmp_path: Path) -> None:
    data, asked = os.urandom(1_000), []

    def read(offset: int, *, stop: int = 1_000) -> list[bytes]:
        asked.append(offset)
        return [data[at : min(at + 100, stop)] for at in range(offset, stop, 100)]

    def cut(offset: int):  # type: ignore[no-untyped-def]
        yield from read(offset, stop=450)
        raise ConnectionResetError("gone")

    with pytest.raises(StorageError):
        fsio.receive_file(tmp_path / "a", cut, limit=1_000, resume=True)
    assert os.listdir(tmp_path) == ["a.partial"]
    digest = fsio.receive_file(tmp_path / "a", lambda offset: iter(read(offset)), limit=1_000, resume=True)
    assert asked == [0, 450]
    assert (tmp_path / "a").read_bytes() == data
    assert digest == fsio.sha256_file(tmp_path / "a")
    assert os.listdir(tmp_path) == ["a"]


def test_receive_begins_anew_when_told_and_refuses_too_much(tmp_path: Path) -> None:
    (tmp_path / "a.partial").write_bytes(b"wrong")
    fsio.receive_file(tmp_path / "a", lambda offset: iter([b"right"[offset:]]), limit=5, resume=False)
    assert (tmp_path / "a").read_bytes() == b"right"
    with pytest.raises(CorruptError, match="larger than"):
        fsio.receive_file(tmp_path / "b", lambda offset: iter([b"123456"]), limit=5, resume=False)
    assert not (tmp_path / "b").exists()


def test_receive_takes_pieces_that_change_when_the_next_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fssync, "_EARLY_BYTES", 100_000)
    data, buffer = os.urandom(1_000_000), bytearray(50_000)

    def read(offset: int) -> Iterator[memoryview]:
        for at in range(offset, len(data), len(buffer)):
            buffer[:] = data[at : at + len(buffer)]
            yield memoryview(buffer)

    digest = fsio.receive_file(tmp_path / "a", read, limit=len(data), resume=True)
    assert (tmp_path / "a").read_bytes() == data
    assert digest == fsio.sha256_file(tmp_path / "a")


def test_a_disk_that_fails_early_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fssync, "_EARLY_BYTES", 1)
    ends = os.pipe()  # what cannot be synced
    try:
        with pytest.raises(OSError, match="Invalid argument"), fssync.EarlySync(ends[1]) as early:
            early.wrote(1)
        with pytest.raises(ValueError, match="first"), fssync.EarlySync(ends[1]) as early:
            early.wrote(1)
            raise ValueError("first")
    finally:
        for end in ends:
            os.close(end)


def test_a_lock_is_held_by_one(tmp_path: Path) -> None:
    lock = tmp_path / "deep" / "lock"
    with (
        fsio.locked(lock, what="the tree"),
        pytest.raises(LockedError, match=rf"the tree is in use .*\(process {os.getpid()}\)"),
        fsio.locked(lock, what="the tree"),
    ):
        pytest.fail("two hold it")
    with fsio.locked(lock, what="the tree"):
        pass


_HOLDER = """
import sys, time
from collections.abc import Iterator
from pathlib import Path
from ckptsync.core import fsio, fssync
with fsio.locked(Path(sys.argv[1]), what="x"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_the_lock_of_a_killed_process_is_free_at_once(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with subprocess.Popen([sys.executable, "-c", _HOLDER, str(lock)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(LockedError, match=str(holder.pid)), fsio.locked(lock, what="x"):
            pytest.fail("two hold it")
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        with fsio.locked(lock, what="x"):
            pass


_FORKING_HOLDER = """
import os, sys, time
from collections.abc import Iterator
from pathlib import Path
from ckptsync.core import fsio, fssync
with fsio.locked(Path(sys.argv[1]), what="x"):
    child = os.fork()
    if child:
        print(child, flush=True)
    time.sleep(60)
"""


def test_a_forked_child_does_not_hold_the_lock_of_its_killed_parent(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with subprocess.Popen([sys.executable, "-c", _FORKING_HOLDER, str(lock)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        child = int(holder.stdout.readline())
        try:
            with pytest.raises(LockedError, match=str(holder.pid)), fsio.locked(lock, what="x", wait_seconds=0.2):
                pytest.fail("the child has let go of its parent's lock")
            holder.send_signal(signal.SIGKILL)
            holder.wait()
            with fsio.locked(lock, what="x"):
                pass
        finally:
            os.kill(child, signal.SIGKILL)


def test_a_lock_is_waited_for(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    started = time.monotonic()
    with (
        fsio.locked(lock, what="x"),
        pytest.raises(LockedError),
        fsio.locked(lock, what="x", wait_seconds=0.2),
    ):
        pytest.fail("two hold it")
    assert time.monotonic() - started >= 0.2


def test_used_bytes_counts_files_below_a_folder_and_follows_no_link(tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/one").write_bytes(b"x" * 100)
    (tmp_path / "a/b/two").write_bytes(b"x" * 23)
    (tmp_path / "outside").write_bytes(b"x" * 10_000)
    link = tmp_path / "a/b/link"
    link.symlink_to(tmp_path / "outside")
    (tmp_path / "a/folder").symlink_to(tmp_path)
    assert fsio.used_bytes(tmp_path / "a") == 123 + link.lstat().st_size + (tmp_path / "a/folder").lstat().st_size
    assert fsio.used_bytes(tmp_path / "nothing") == 0
