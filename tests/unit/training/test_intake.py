"""Laying the tree: the promised heads exactly, or nothing at all."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest
from support.toysets import spec_for, write_set

from ckptsync.core import heads, names, sets
from ckptsync.core.errors import CorruptError, NothingFoundError
from ckptsync.core.layout import TrainingTree
from ckptsync.core.manifest import Manifest
from ckptsync.core.pack import write_pack
from ckptsync.training.intake import lay_tree
from ckptsync.training.offers import search


def pack_set(folder: Path, manifest: Manifest, target: Path) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    listed = [*(entry.path for entry in manifest.files), manifest.stem + names.MANIFEST_SUFFIX]
    write_pack(target, {name: folder / name for name in listed})
    return target


@pytest.fixture
def tree(tmp_path: Path) -> TrainingTree:
    return TrainingTree(tmp_path / "working" / "data" / "models")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    folder = tmp_path / "input"
    folder.mkdir()
    return folder


def test_without_heads_nothing_is_laid(tree: TrainingTree, home: Path, inputs: Path) -> None:
    pack_set(home, write_set(home, "x", 100), inputs / "x.ckpt")
    assert lay_tree(spec_for(), inputs, tree) == []
    assert not tree.root.exists()


def test_head_and_best_are_laid_in_order(tree: TrainingTree, home: Path, inputs: Path) -> None:
    best = write_set(home, "x", 900, metrics={"ep_rew_mean": 50.0}, kind="best")
    head = write_set(home, "x", 2000, metrics={"ep_rew_mean": 30.0})
    other = write_set(home, "y", 70)
    for number, manifest in enumerate((head, other, best)):
        pack_set(home, manifest, inputs / f"{number}.ckpt")
    laid = lay_tree(spec_for(head, other), inputs, tree)
    assert [manifest.num_timesteps for manifest in laid] == [70, 900, 2000]
    stored = sets.scan(tree.checkpoints)
    assert [s.state for s in stored] == [sets.SetState.SEALED] * 3
    assert all(s.manifest and not sets.check_files(tree.checkpoints, s.manifest) for s in stored)
    read = heads.read_head(tree, "x")
    assert read is not None
    assert read.digest == head.digest
    assert read.best == heads.Best(best.stem, best.digest, 50.0)
    times = [(tree.checkpoints / m.model.path).stat().st_mtime for m in laid]
    assert times == sorted(times)
    assert len(set(times)) == 3
    assert {path.name for path in tree.root.parent.iterdir()} == {"models"}


def test_a_promised_head_that_is_missing_ends_it(tree: TrainingTree, home: Path, inputs: Path) -> None:
    head = write_set(home, "x", 2000)
    pack_set(home, write_set(home, "x", 1000), inputs / "x.ckpt")
    with pytest.raises(NothingFoundError, match=r"(?s)2000 .*found: x_checkpoint_1000_steps .*x\.ckpt"):
        lay_tree(spec_for(head), inputs, tree)
    assert not tree.checkpoints.exists()
    with pytest.raises(NothingFoundError, match=r"(?s)found: no checkpoint at all.*looked in: nothing"):
        lay_tree(spec_for(head), inputs / "absent", tree)


def test_the_same_n_of_another_set_is_not_the_head(
    tree: TrainingTree, home: Path, inputs: Path, tmp_path: Path
) -> None:
    head = write_set(home, "x", 2000)
    impostor = write_set(tmp_path / "other", "x", 2000, salt=1)
    pack_set(tmp_path / "other", impostor, inputs / "x.ckpt")
    with pytest.raises(NothingFoundError):
        lay_tree(spec_for(head), inputs, tree)


@pytest.mark.parametrize("position", [300, 2_500, -1])
def test_a_damaged_pack_ends_it(tree: TrainingTree, home: Path, inputs: Path, position: int) -> None:
    head = write_set(home, "x", 2000)
    path = pack_set(home, head, inputs / "x.ckpt")
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)
    with pytest.raises(CorruptError, match=r"x\.ckpt"):
        lay_tree(spec_for(head), inputs, tree)
    assert not tree.checkpoints.exists()
    assert {p.name for p in tree.root.parent.glob("*")} <= {"models"}


def test_a_pack_with_other_files_than_its_manifest_ends_it(tree: TrainingTree, home: Path, inputs: Path) -> None:
    head = write_set(home, "x", 2000)
    seal = head.stem + names.MANIFEST_SUFFIX
    (home / "extra").write_bytes(b"x")
    cases = {
        "more": {
            **{e.path: home / e.path for e in head.files},
            seal: home / seal,
            f"{head.stem}.extra": home / "extra",
        },
        "fewer": {head.model.path: home / head.model.path, seal: home / seal},
        "changed": {**{e.path: home / "extra" for e in head.files}, seal: home / seal},
        "no manifest": {e.path: home / e.path for e in head.files},
        "renamed": {**{e.path: home / e.path for e in head.files}, "y_checkpoint_1_steps.manifest.json": home / seal},
    }
    for members in cases.values():
        write_pack(inputs / "x.ckpt", members)
        with pytest.raises(CorruptError, match=r"x\.ckpt"):
            lay_tree(spec_for(head), inputs, tree)
        assert not tree.checkpoints.exists()


def test_a_set_beyond_the_head_or_of_another_lineage_is_left_out(tree: TrainingTree, home: Path, inputs: Path) -> None:
    head = write_set(home, "x", 2000)
    pack_set(home, head, inputs / "a.ckpt")
    pack_set(home, write_set(home, "x", 3000), inputs / "b.ckpt")
    pack_set(home, write_set(home, "x", 500, lineage="another"), inputs / "c.ckpt")
    pack_set(home, write_set(home, "z", 10), inputs / "d.ckpt")
    assert lay_tree(spec_for(head), inputs, tree) == [head]


def test_the_same_pack_at_two_places_is_one(tree: TrainingTree, home: Path, inputs: Path) -> None:
    head = write_set(home, "x", 2000)
    path = pack_set(home, head, inputs / "a" / "x.ckpt")
    shutil.copytree(inputs / "a", inputs / "b")
    assert path.is_file()
    assert lay_tree(spec_for(head), inputs, tree) == [head]


def test_packs_are_found_where_services_mount_them(home: Path, inputs: Path) -> None:
    manifest = write_set(home, "x", 1)
    (inputs / "foreign.ckpt").write_bytes(b"a checkpoint of somebody else")
    path = pack_set(home, manifest, inputs / "datasets" / "owner" / "slug" / "x.ckpt")
    pack_set(home, manifest, inputs / "datasets" / "owner" / "slug" / "deeper" / "x.ckpt")
    assert [offer.where for offer in search(spec_for(manifest), inputs).by_digest.values()] == [str(path)]


def test_laying_again_after_a_crash_changes_nothing(tree: TrainingTree, home: Path, inputs: Path) -> None:
    head = write_set(home, "x", 2000)
    pack_set(home, head, inputs / "x.ckpt")
    lay_tree(spec_for(head), inputs, tree)
    before = {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in tree.checkpoints.iterdir()}
    assert lay_tree(spec_for(head), inputs, tree) == [head]
    assert {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in tree.checkpoints.iterdir()} == before


def tree_bytes(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_head_with_a_hundred_segments_arrives_byte_for_byte(tree: TrainingTree, home: Path, inputs: Path) -> None:
    head = write_set(home, "x", 2000, rows=range(0, 10_001, 100))
    assert len(head.segments) == 100
    pack_set(home, head, inputs / "x.ckpt")
    lay_tree(spec_for(head), inputs, tree)
    assert {name: data for name, data in tree_bytes(tree.checkpoints).items() if name != "x_head.json"} == tree_bytes(
        home
    )


def test_the_best_set_takes_segments_from_the_heads_pack(tree: TrainingTree, home: Path, inputs: Path) -> None:
    best = write_set(home, "x", 900, rows=[0, 10, 20], metrics={"ep_rew_mean": 50.0})
    head = write_set(home, "x", 2000, rows=[10, 20, 30])
    pack_set(home, head, inputs / "head.ckpt")
    seal = best.stem + names.MANIFEST_SUFFIX
    lean = [*(entry.path for entry in best.files if entry not in head.segments), seal]
    write_pack(inputs / "best.ckpt", {name: home / name for name in lean})
    assert lay_tree(spec_for(head), inputs, tree) == [best, head]
    for manifest in (best, head):
        assert sets.check_files(tree.checkpoints, manifest) == ()


def test_a_segment_that_no_pack_holds_ends_it(tree: TrainingTree, home: Path, inputs: Path) -> None:
    head = write_set(home, "x", 2000, rows=[0, 10, 20])
    names_of = [entry.path for entry in head.files if entry != head.segments[1]]
    write_pack(inputs / "x.ckpt", {name: home / name for name in [*names_of, head.stem + names.MANIFEST_SUFFIX]})
    with pytest.raises(CorruptError, match=r"x\.ckpt lacks x_replay/10-20-"):
        lay_tree(spec_for(head), inputs, tree)
    assert not tree.checkpoints.exists()


def test_a_pack_with_another_segment_than_its_manifest_names_ends_it(
    tree: TrainingTree, home: Path, inputs: Path
) -> None:
    head, other = write_set(home, "x", 2000, rows=[0, 10]), write_set(home, "x", 3000, rows=[10, 20])
    listed = [*(entry.path for entry in [*head.files, *other.segments]), head.stem + names.MANIFEST_SUFFIX]
    write_pack(inputs / "x.ckpt", {name: home / name for name in listed})
    with pytest.raises(CorruptError, match="other files than its manifest"):
        lay_tree(spec_for(head), inputs, tree)
