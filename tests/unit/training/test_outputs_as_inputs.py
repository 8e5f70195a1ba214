"""The outputs of an earlier session as inputs of the next: taken by digest, as a folder or as an archive."""

from __future__ import annotations

import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from support import chain
from support.toysets import spec_for, write_set

from ckptsync.core import heads, names, sets
from ckptsync.core.errors import CkptsyncError, CorruptError, NothingFoundError
from ckptsync.core.layout import TrainingTree
from ckptsync.core.manifest import Manifest
from ckptsync.core.pack import write_pack
from ckptsync.training import stub
from ckptsync.training.intake import lay_tree
from ckptsync.training.offers import search

pytestmark = pytest.mark.slow

PLACES = ("slug", "notebooks/owner/slug", "slug/_output_", "")
CHECKPOINTS = "data/models/checkpoints"


def mount_folder(output: Path, mount: Path) -> None:
    chain.mount(output, mount)
    (mount / "__script__.py").write_text("print()")


def mount_archive(output: Path, mount: Path) -> None:
    mount.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(mount / "_output_.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(output.rglob("*")):
            archive.write(path, path.relative_to(output))  # with entries for folders
        archive.writestr("../../evil", "never written")
        archive.comment = b"made by a service"


MOUNTS = pytest.mark.parametrize("mount", [mount_folder, mount_archive])
Mount = Callable[[Path, Path], None]


@pytest.fixture
def tree(tmp_path: Path) -> TrainingTree:
    return TrainingTree(tmp_path / "working" / "data" / "models")


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """What a session left: three sets that share segments, the first of them the best, and other files."""
    folder = tmp_path / "output"
    left = TrainingTree(folder / "data" / "models")
    best = write_set(left.checkpoints, "x", 900, rows=[0, 10, 20], metrics={"ep_rew_mean": 50.0})
    write_set(left.checkpoints, "x", 1500, rows=[0, 10, 20])
    head = write_set(left.checkpoints, "x", 2000, rows=[10, 20, 30], metrics={"ep_rew_mean": 30.0})
    heads.write_head(left, heads.Head.of(head, heads.Best(best.stem, best.digest, 50.0)))
    (folder / "empty").mkdir()
    (folder / "latest").symlink_to(left.checkpoints / head.model.path)
    (folder / "session_info.json").write_text("{}")
    return folder


@pytest.fixture
def head(output: Path) -> Manifest:
    return manifest_of(output, 2000)


def manifest_of(output: Path, steps: int) -> Manifest:
    stem = names.checkpoint_stem("x", steps)
    return sets.read_manifest(output / CHECKPOINTS / (stem + names.MANIFEST_SUFFIX))


@MOUNTS
@pytest.mark.parametrize("place", PLACES)
def test_the_head_and_the_best_come_out_of_it(
    output: Path, head: Manifest, tree: TrainingTree, tmp_path: Path, mount: Mount, place: str
) -> None:
    mount(output, tmp_path / "input" / place)
    laid = lay_tree(spec_for(head), tmp_path / "input", tree)
    assert laid == [manifest_of(output, 900), head]
    assert [s.state for s in sets.scan(tree.checkpoints)] == [sets.SetState.SEALED] * 2
    assert all(sets.check_files(tree.checkpoints, manifest) == () for manifest in laid)
    read = heads.read_head(tree, "x")
    assert read is not None
    assert (read.digest, read.best and read.best.stem) == (head.digest, laid[0].stem)
    assert {path.name for path in tree.root.parent.iterdir()} == {"models"}
    assert not list(tmp_path.rglob("evil"))


@MOUNTS
def test_a_later_or_another_session_beside_is_passed_over(
    output: Path, head: Manifest, tree: TrainingTree, tmp_path: Path, mount: Mount
) -> None:
    other = tmp_path / "other"
    left = TrainingTree(other / "data" / "models")
    stranger = write_set(left.checkpoints, "x", 2000, salt=1)
    heads.write_head(left, heads.Head.of(stranger))
    mount(other, tmp_path / "input" / "a")
    mount(output, tmp_path / "input" / "b")
    assert lay_tree(spec_for(head), tmp_path / "input", tree)[-1] == head
    shutil.rmtree(tmp_path / "input" / "b")
    with pytest.raises(NothingFoundError, match=rf"(?s)2000.*another one \({stranger.digest}\)"):
        lay_tree(spec_for(head), tmp_path / "input", TrainingTree(tmp_path / "again"))


@MOUNTS
def test_a_best_set_of_another_lineage_or_beyond_the_head_stays_there(
    output: Path, tree: TrainingTree, tmp_path: Path, mount: Mount
) -> None:
    mount(output, tmp_path / "input")
    promised = manifest_of(output, 900)
    assert lay_tree(spec_for(promised), tmp_path / "input", tree) == [promised]


@MOUNTS
@pytest.mark.parametrize("steps", [900, 2000])
@pytest.mark.parametrize("change", ["flip", "longer", "shorter", "gone"])
def test_a_damaged_file_ends_it(
    output: Path, head: Manifest, tree: TrainingTree, tmp_path: Path, mount: Mount, change: str, steps: int
) -> None:
    entry = manifest_of(output, steps).members[1]
    path = output / CHECKPOINTS / entry.path
    data = path.read_bytes()
    changed = {"flip": bytes([data[0] ^ 1]) + data[1:], "longer": data + b"x", "shorter": data[:-1]}
    if change == "gone":
        path.unlink()
    else:
        path.write_bytes(changed[change])
    mount(output, tmp_path / "input")
    with pytest.raises(CorruptError, match=entry.path):
        lay_tree(spec_for(head), tmp_path / "input", tree)
    assert not tree.checkpoints.exists()


@pytest.mark.parametrize("suffix", ["", ".zip"])
def test_a_model_that_was_unpacked_is_told_as_that(
    output: Path, head: Manifest, tree: TrainingTree, tmp_path: Path, suffix: str
) -> None:
    mount_folder(output, tmp_path / "input" / "slug")
    model = tmp_path / "input" / "slug" / CHECKPOINTS / head.model.path
    model.unlink()
    (model.with_suffix(suffix) / "data").mkdir(parents=True)
    with pytest.raises(CorruptError, match="was unpacked on its way here") as caught:
        lay_tree(spec_for(head), tmp_path / "input", tree)
    assert 'carrier = "dataset"' in str(caught.value.hint)
    assert not tree.checkpoints.exists()


@pytest.mark.parametrize("cut", [0.1, 0.5, 0.99])
def test_a_truncated_archive_ends_it(
    output: Path, head: Manifest, tree: TrainingTree, tmp_path: Path, cut: float
) -> None:
    mount_archive(output, tmp_path / "input")
    path = tmp_path / "input" / "_output_.zip"
    os.truncate(path, int(path.stat().st_size * cut))
    with pytest.raises(CorruptError, match=r"(?s)2000.*damaged: .*_output_\.zip"):
        lay_tree(spec_for(head), tmp_path / "input", tree)
    assert not tree.checkpoints.exists()


def test_a_link_in_the_place_of_a_file_is_not_followed(
    output: Path, head: Manifest, tree: TrainingTree, tmp_path: Path
) -> None:
    path = output / CHECKPOINTS / head.members[1].path
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CkptsyncError, match="link"):
        lay_tree(spec_for(head), output, tree)
    assert not tree.checkpoints.exists()


def test_a_pack_goes_before_outputs(output: Path, head: Manifest, tree: TrainingTree, tmp_path: Path) -> None:
    mount_folder(output, tmp_path / "input" / "a")
    (tmp_path / "input" / "a" / CHECKPOINTS / head.model.path).write_bytes(b"damaged")
    listed = [*(entry.path for entry in head.files), head.stem + names.MANIFEST_SUFFIX]
    (tmp_path / "input" / "z").mkdir()
    write_pack(tmp_path / "input" / "z" / "head.ckpt", {name: output / CHECKPOINTS / name for name in listed})
    assert head in lay_tree(spec_for(head), tmp_path / "input", tree)


def test_what_is_missing_is_told_with_what_is_there(
    output: Path, head: Manifest, tree: TrainingTree, tmp_path: Path
) -> None:
    mount_folder(output, tmp_path / "input" / "a")
    stem = head.stem
    for path in (tmp_path / "input" / "a" / CHECKPOINTS).glob(f"{stem}.*"):
        path.unlink()
    (tmp_path / "input" / "a" / "resnet.ckpt").write_bytes(b"weights of somebody else")
    for number in range(30):
        (tmp_path / "input" / f"more{number:02d}").mkdir()
    with pytest.raises(NothingFoundError) as caught:
        lay_tree(spec_for(head), tmp_path / "input", tree)
    told = caught.value.message
    assert f"holds no {stem} but x_checkpoint_1500_steps, x_checkpoint_900_steps" in told
    assert "resnet.ckpt is no pack" in told
    assert f"looked in: {tmp_path / 'input' / 'a'}\n" in told
    assert "more\n" in told + "\n"
    assert len(told.splitlines()) < 30


def test_a_mount_of_a_hundred_thousand_files_beside_costs_little(
    output: Path, head: Manifest, tree: TrainingTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted are the names that are looked at, not the time."""
    big = tmp_path / "input" / "aaa_big"
    for number in range(2_500):
        (big / f"{number:05d}" / "deep" / "er").mkdir(parents=True)
    mount_folder(output, tmp_path / "input" / "notebooks" / "owner" / "slug")
    real, looked = os.scandir, []

    def counting(folder: str) -> object:
        looked.append(folder)
        return real(folder)

    monkeypatch.setattr(stub.os, "scandir", counting)
    assert head.digest in search(spec_for(head), tmp_path / "input").by_digest
    assert len(looked) <= 5 * 200
