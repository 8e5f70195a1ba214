"""Segments: shared by several sets, never gone while a manifest names them, collected when none does."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from support.projects import rewrite_manifest
from support.toysets import files_of, manifest_of, segment_bytes, segment_entry, write_set

from ckptsync.core import fsio, names, sets
from ckptsync.core.errors import CorruptError, UnsafePathError, UsageError
from ckptsync.core.manifest import Manifest
from ckptsync.core.sets import SetState, SetWriter

STEM = "cartpole_checkpoint_100_steps"
BASE = "cartpole_replay"


def rows_in(folder: Path) -> list[str]:
    """The rows of the segments beside the sets of a folder, as `start-end`."""
    parsed = [names.parse_segment(name) for name in os.listdir(folder / BASE)] if (folder / BASE).is_dir() else []
    return sorted(f"{parts.start}-{parts.end}" for parts in parsed if parts is not None)


def fill(data: bytes):
    """What writes some bytes in two pieces."""

    def write(file) -> None:
        file.write(data[:5])
        file.write(memoryview(data)[5:])

    return write


def sealed(folder: Path, num_timesteps: int, rows: list[int], **options) -> Manifest:
    return write_set(folder, "cartpole", num_timesteps, rows=rows, **options)


def sound(folder: Path) -> bool:
    """Whether every set of a folder is sealed and whole."""
    stored = sets.scan(folder)
    return all(s.manifest is not None and not sets.check_files(folder, s.manifest) for s in stored)


def test_a_segment_is_hashed_while_it_is_written_and_named_by_its_bytes(tmp_path: Path) -> None:
    writer = SetWriter(tmp_path, STEM, [names.model_name(STEM)])
    data = segment_bytes(0, 40)
    entry = writer.share(0, 40, fill(data))
    assert entry == segment_entry("cartpole", 0, 40)
    assert (tmp_path / entry.path).read_bytes() == data
    assert writer.share(0, 40, fill(data)) == entry
    assert writer.refer(entry) == entry
    other = writer.share(0, 40, fill(data + b"1"))
    assert other.path != entry.path
    assert len(rows_in(tmp_path)) == 2


@pytest.mark.parametrize("rows", [(5, 5), (7, 3), (-1, 4), (0, 10**18)])
def test_rows_that_no_segment_can_hold(tmp_path: Path, rows: tuple[int, int]) -> None:
    with pytest.raises(UsageError):
        SetWriter(tmp_path, STEM, [names.model_name(STEM)]).share(*rows, fill(b"x"))
    assert rows_in(tmp_path) == []


def test_a_segment_that_is_gone_or_cut_off_cannot_be_referred_to(tmp_path: Path) -> None:
    before = sealed(tmp_path, 50, [0, 10, 20])
    writer = SetWriter(tmp_path, STEM, [names.model_name(STEM)])
    (tmp_path / before.segments[0].path).write_bytes(b"cut")
    (tmp_path / before.segments[1].path).unlink()
    for entry in before.segments:
        with pytest.raises(CorruptError, match=names.segment_folder("cartpole")):
            writer.refer(entry)


def test_a_manifest_may_name_only_segments_that_are_held(tmp_path: Path) -> None:
    files = files_of("cartpole", 100, members=1)
    writer = SetWriter(tmp_path, STEM, list(files))
    with pytest.raises(ValueError, match="nobody shared"):
        writer.seal(manifest_of("cartpole", 100, files, [0, 10]))


def test_sets_share_segments_and_what_nobody_needs_is_collected(tmp_path: Path) -> None:
    first = sealed(tmp_path, 100, [0, 10])
    second = sealed(tmp_path, 200, [0, 10, 20])
    third = sealed(tmp_path, 300, [10, 20, 30])
    assert rows_in(tmp_path) == ["0-10", "10-20", "20-30"]
    sets.remove_set(tmp_path, first)
    assert rows_in(tmp_path) == ["0-10", "10-20", "20-30"]
    sets.remove_set(tmp_path, second)
    assert rows_in(tmp_path) == ["10-20", "20-30"]
    assert sound(tmp_path)
    sets.remove_set(tmp_path, third)
    assert rows_in(tmp_path) == []


def test_abandoning_takes_new_segments_back_and_leaves_those_of_others(tmp_path: Path) -> None:
    before = sealed(tmp_path, 50, [0, 10])
    writer = SetWriter(tmp_path, STEM, [names.model_name(STEM)])
    writer.refer(before.segments[0])
    writer.share(10, 20, fill(b"new rows"))
    writer.abandon()
    assert rows_in(tmp_path) == ["0-10"]
    assert sound(tmp_path)


def test_a_sweep_takes_what_a_dead_writer_left_and_no_file_of_others(tmp_path: Path) -> None:
    sealed(tmp_path, 50, [0, 10])
    writer = SetWriter(tmp_path, STEM, [names.model_name(STEM)])
    writer.share(10, 20, fill(b"new rows"))
    temporary = names.temporary_name("content", "0123abcd")
    digest = "0123456789abcdef"
    foreign = ["notes.txt", f"0-10-{digest}.bin", f"00-10-{digest}.safetensors", f"0-10-{digest.upper()}.safetensors"]
    for name in [temporary, *foreign]:
        (tmp_path / BASE / name).write_bytes(b"x")
    (tmp_path / BASE / f"5-6-{digest}.safetensors").symlink_to(tmp_path / "nowhere")
    for folder in ("notes_replay", ".hidden_replay", "_replay"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "mine").write_bytes(b"x")
    assert sets.sweep(tmp_path) == [STEM]
    kept = set(os.listdir(tmp_path / BASE))
    assert temporary not in kept
    assert {*foreign, f"5-6-{digest}.safetensors"} < kept
    assert rows_in(tmp_path) == ["0-10", "5-6"]
    assert all((tmp_path / folder / "mine").exists() for folder in ("notes_replay", ".hidden_replay", "_replay"))


def test_nothing_is_collected_while_a_set_is_written_or_a_manifest_is_damaged(tmp_path: Path) -> None:
    old, kept = sealed(tmp_path, 50, [0, 10]), sealed(tmp_path, 60, [10, 20])
    SetWriter(tmp_path, STEM, [names.model_name(STEM)]).refer(old.segments[0])
    sets.remove_set(tmp_path, old)
    assert rows_in(tmp_path) == ["0-10", "10-20"]
    (tmp_path / (STEM + names.PENDING_SUFFIX)).unlink()
    seal = tmp_path / (kept.stem + names.MANIFEST_SUFFIX)
    data = seal.read_bytes()
    seal.write_bytes(b"{")
    sets.sweep(tmp_path)
    assert rows_in(tmp_path) == ["0-10", "10-20"]
    seal.write_bytes(data)
    sets.sweep(tmp_path)
    assert rows_in(tmp_path) == ["10-20"]


def test_another_scenarios_pending_set_keeps_nothing(tmp_path: Path) -> None:
    old = sealed(tmp_path, 50, [0, 10])
    SetWriter(tmp_path, "other_checkpoint_1_steps", ["other_checkpoint_1_steps.zip"])
    sets.remove_set(tmp_path, old)
    assert rows_in(tmp_path) == []


@pytest.mark.parametrize("link", [False, True])
def test_a_copy_brings_its_segments_and_shares_those_that_are_there(tmp_path: Path, link: bool) -> None:
    source, target = tmp_path / "a", tmp_path / "b"
    manifests = [sealed(source, 100, [0, 10, 20]), sealed(source, 200, [0, 10, 20, 30])]
    for manifest in manifests:
        sets.copy_set(source, manifest, target, link=link)
    assert rows_in(target) == ["0-10", "10-20", "20-30"]
    assert sound(target)
    assert ((target / manifests[0].segments[0].path).stat().st_nlink > 1) == link


def test_a_copy_heals_a_damaged_segment_for_all_that_share_it(tmp_path: Path) -> None:
    source, target = tmp_path / "a", tmp_path / "b"
    first, second = sealed(source, 100, [0, 10]), sealed(source, 200, [0, 10])
    sets.copy_set(source, first, target)
    damaged = target / first.segments[0].path
    damaged.write_bytes(b"x" * first.segments[0].size_bytes)
    assert not sound(target)
    sets.copy_set(source, second, target)
    assert sound(target)


def test_no_copy_takes_a_segment_from_a_set_that_needs_other_bytes(tmp_path: Path) -> None:
    # A name holds 64 bits of the digest: whoever finds two contents for one name may damage nothing by it
    source, target = tmp_path / "a", tmp_path / "b"
    asked, there = sealed(source, 100, [0, 10]), sealed(target, 200, [0, 10])
    entry = there.segments[0]
    other = replace(entry, digest=entry.digest[: len("sha256:") + 16] + "0" * 48)
    rewrite_manifest(target, there, files=(*there.members, other))
    (target / entry.path).write_bytes(b"x" * entry.size_bytes)
    before = (target / entry.path).read_bytes()
    with pytest.raises(CorruptError, match="two contents"):
        sets.copy_set(source, asked, target)
    assert (target / entry.path).read_bytes() == before
    assert [s.stem for s in sets.scan(target)] == [there.stem]


def test_nothing_is_read_or_written_through_a_linked_folder_of_segments(tmp_path: Path) -> None:
    source, target, elsewhere = tmp_path / "a", tmp_path / "b", tmp_path / "c"
    manifest = sealed(source, 100, [0, 10])
    target.mkdir()
    elsewhere.mkdir()
    (target / BASE).symlink_to(elsewhere)
    with pytest.raises(UnsafePathError):
        sets.copy_set(source, manifest, target)
    assert os.listdir(elsewhere) == []
    (target / BASE).unlink()
    sets.copy_set(source, manifest, target)
    os.rename(target / BASE, tmp_path / "moved")
    (target / BASE).symlink_to(tmp_path / "moved")
    [finding] = sets.check_files(target, manifest)
    assert (finding.code, finding.subject) == ("path.special-file", manifest.segments[0].path)
    assert sets.sweep(target) == []
    assert os.listdir(tmp_path / "moved")


def test_a_shared_segment_is_hashed_once_in_one_operation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifests = [sealed(tmp_path, steps, [0, 10, 20]) for steps in (100, 200, 300)]
    read: list[Path] = []
    hash_file = fsio.sha256_file
    monkeypatch.setattr(fsio, "sha256_file", lambda path: read.append(path) or hash_file(path))
    hashed: sets.Hashed = {}
    assert not any(sets.check_files(tmp_path, manifest, hashed) for manifest in manifests)
    assert len([path for path in read if path.parent.name == BASE]) == 2


def test_what_is_set_aside_is_whole_by_itself_and_comes_back(tmp_path: Path) -> None:
    folder, attic = tmp_path / "tree", tmp_path / "attic"
    gone = sealed(folder, 100, [0, 10, 20])
    sealed(folder, 200, [10, 20, 30])
    place = sets.set_aside(sets.scan(folder)[0], attic)
    assert rows_in(folder) == ["10-20", "20-30"]
    assert rows_in(place) == ["0-10", "10-20"]
    assert sound(place)
    sets.copy_set(place, gone, folder)
    assert rows_in(folder) == ["0-10", "10-20", "20-30"]
    assert sound(folder)


@pytest.mark.parametrize("lost", ["segment", "member"])
def test_an_incomplete_set_takes_along_what_it_has(tmp_path: Path, lost: str) -> None:
    folder, attic = tmp_path / "tree", tmp_path / "attic"
    manifest = sealed(folder, 100, [0, 10, 20])
    sealed(folder, 200, [10, 20])
    (folder / (manifest.segments[0].path if lost == "segment" else manifest.members[1].path)).unlink()
    place = sets.set_aside(sets.scan(folder)[0], attic)
    assert rows_in(place) == (["10-20"] if lost == "segment" else ["0-10", "10-20"])
    assert rows_in(folder) == ["10-20"]
    assert (place / (manifest.stem + names.MANIFEST_SUFFIX)).exists()
    assert [s.num_timesteps for s in sets.scan(folder)] == [200]


def test_a_set_with_a_damaged_manifest_takes_the_segments_that_nobody_else_needs(tmp_path: Path) -> None:
    folder, attic = tmp_path / "tree", tmp_path / "attic"
    manifest = sealed(folder, 100, [0, 10, 20])
    sealed(folder, 200, [10, 20])
    (folder / (manifest.stem + names.MANIFEST_SUFFIX)).write_bytes(b"{")
    place = sets.set_aside(sets.scan(folder)[0], attic)
    assert rows_in(place) == ["0-10"]
    assert rows_in(folder) == ["10-20"]
    assert sound(folder)


def test_a_removal_that_was_cut_short_never_takes_a_segment_for_its_own(tmp_path: Path) -> None:
    manifest = sealed(tmp_path, 100, [0, 10])
    sealed(tmp_path, 200, [0, 10])
    os.rename(tmp_path / (manifest.stem + names.MANIFEST_SUFFIX), tmp_path / (manifest.stem + names.DELETING_SUFFIX))
    assert {s.stem: s.state for s in sets.scan(tmp_path)}[manifest.stem] is SetState.TORN
    assert sets.sweep(tmp_path) == [manifest.stem]
    assert rows_in(tmp_path) == ["0-10"]
    assert sound(tmp_path)


def test_a_set_is_set_aside_whatever_became_of_the_folder_of_its_segments(tmp_path: Path) -> None:
    folder, attic, elsewhere = tmp_path / "tree", tmp_path / "attic", tmp_path / "elsewhere"
    sealed(folder, 100, [0, 10])
    os.rename(folder / BASE, elsewhere)
    (folder / BASE).symlink_to(elsewhere)
    sets.set_aside(sets.scan(folder)[0], attic)
    assert sets.scan(folder) == []
    assert len(os.listdir(elsewhere)) == 1


def test_a_damaged_manifest_of_what_no_scenario_can_be_called_is_set_aside(tmp_path: Path) -> None:
    folder = tmp_path / "tree"
    folder.mkdir()
    (folder / "-x_checkpoint_5_steps.manifest.json").write_bytes(b"{")
    place = sets.set_aside(sets.scan(folder)[0], tmp_path / "attic")
    assert os.listdir(place) == ["-x_checkpoint_5_steps.manifest.json"]
