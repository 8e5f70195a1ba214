"""A disk that is full, or that nobody may write to: said by name, nothing half-written, the old state whole."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import disks
from support.crashcases import assert_sound
from support.toysets import payload, write_set

from ckptsync.core import fsio, heads, sets
from ckptsync.core.errors import LockedError, StorageError
from ckptsync.core.heads import Head
from ckptsync.core.layout import TrainingTree
from ckptsync.core.manifest import Manifest


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A small disk."""
    with disks.small(tmp_path / "disk") as disk:
        yield disk


@pytest.mark.parametrize("leave", range(0, disks.SIZE // 2, 4096))
def test_a_full_disk_stops_a_save_and_a_copy_wherever_it_is_full(small_disk: Path, tmp_path: Path, leave: int) -> None:
    tree = TrainingTree(small_disk / "models")
    old = write_set(tree.checkpoints, "cartpole", 100, members=1)
    heads.write_head(tree, Head.of(old))
    other = write_set(tmp_path / "session", "cartpole", 300, members=4)
    with disks.full(small_disk, leave=leave):
        _fail_and_check(tree, old, tmp_path / "session", other)
    for stored in sets.scan(tree.checkpoints):
        if stored.manifest is not None and stored.num_timesteps != 100:
            sets.remove_set(tree.checkpoints, stored.manifest)
    sets.copy_set(tmp_path / "session", other, tree.checkpoints)
    assert_sound(tree.checkpoints)


def _fail_and_check(tree: TrainingTree, old: Manifest, session: Path, other: Manifest) -> None:
    for act in (
        lambda: write_set(tree.checkpoints, "cartpole", 200, members=4),
        lambda: sets.copy_set(session, other, tree.checkpoints),
    ):
        try:
            act()
        except StorageError as error:
            assert str(tree.root) in error.message
            assert "space" in (error.hint or "")
        sets.sweep(tree.checkpoints)
        assert_sound(tree.checkpoints)
        head = heads.read_head(tree, "cartpole")
        assert head == Head.of(old)
        assert sets.check_files(tree.checkpoints, old) == ()


def test_a_full_disk_leaves_the_old_file_and_no_temporary(small_disk: Path) -> None:
    fsio.write_bytes(small_disk / "a", b"old")
    with pytest.raises(StorageError, match="No space left") as caught:
        fsio.write_bytes(small_disk / "a", payload("big", size=2 * disks.SIZE))
    assert "ckptsync clean" in (caught.value.hint or "")
    assert (small_disk / "a").read_bytes() == b"old"
    assert os.listdir(small_disk) == ["a"]


def test_a_full_disk_tears_no_line_of_a_log_for_good(small_disk: Path) -> None:
    log = small_disk / "log"
    fsio.append_line(log, b"one\n")
    with disks.full(small_disk, leave=0), pytest.raises(StorageError):
        fsio.append_line(log, b"x" * disks.SIZE + b"\n")
    fsio.append_line(log, b"two\n")
    lines = log.read_bytes().splitlines()
    assert (lines[0], lines[-1]) == (b"one", b"two")


def test_a_lock_can_be_taken_on_a_full_disk(small_disk: Path) -> None:
    with fsio.locked(small_disk / "lock", what="the tree"):
        pass
    with (
        disks.full(small_disk, leave=0),
        fsio.locked(small_disk / "lock", what="the tree"),
        pytest.raises(LockedError),
        fsio.locked(small_disk / "lock", what="the tree"),
    ):
        pytest.fail("two hold it")


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    """A tree on a file system that is mounted read-only."""
    with disks.small(tmp_path / "disk") as disk:
        tree = TrainingTree(disk / "models")
        heads.write_head(tree, Head.of(write_set(tree.checkpoints, "cartpole", 100)))
        with disks.read_only(disk):
            yield disk


def test_a_read_only_tree_can_be_read_and_says_why_it_cannot_be_written(read_only: Path, tmp_path: Path) -> None:
    tree = TrainingTree(read_only / "models")
    [stored] = sets.scan(tree.checkpoints)
    manifest = stored.manifest
    assert manifest is not None
    assert sets.check_files(tree.checkpoints, manifest) == ()
    assert heads.standing(tree, [stored], "cartpole").candidates == (stored,)
    other = write_set(tmp_path / "session", "cartpole", 200)
    acts = {
        "save": lambda: write_set(tree.checkpoints, "cartpole", 200),
        "copy": lambda: sets.copy_set(tmp_path / "session", other, tree.checkpoints),
        "remove": lambda: sets.remove_set(tree.checkpoints, manifest),
        "head": lambda: heads.write_head(tree, Head.of(manifest)),
        "append": lambda: fsio.append_line(tree.root / "events.jsonl", b"{}\n"),
        "folder": lambda: fsio.make_folder(tree.root / "new"),
        "lock": lambda: fsio.locked(tree.root / "lock", what="the tree").__enter__(),
    }
    for name, act in acts.items():
        with pytest.raises(StorageError, match="Read-only") as caught:
            act()
        assert str(read_only) in caught.value.message, name
        assert "read-only" in (caught.value.hint or ""), name
    assert sets.scan(tree.checkpoints) == [stored]


_WITHOUT_RIGHTS = """
import os, sys
from pathlib import Path
from ckptsync.core import fsio
from ckptsync.core.errors import StorageError
os.setuid(65534)
try:
    fsio.write_bytes(Path(sys.argv[1]) / "a", b"x")
except StorageError as error:
    print(error.message, "|", error.hint)
"""


def test_a_folder_without_rights_is_named(fast_folder: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can become somebody else")
    folder = fast_folder / "locked"
    fast_folder.chmod(0o755)
    folder.mkdir(mode=0o755)
    done = subprocess.run(
        [sys.executable, "-c", _WITHOUT_RIGHTS, str(folder)], capture_output=True, text=True, check=False
    )
    assert f"cannot write {folder / 'a'}: Permission denied | check the permissions" in done.stdout, done.stderr
