"""Sets on disk: what a stem is, what is refused, what a sweep takes and what it leaves."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

import pytest
from support.toysets import files_of, manifest_of, write_plain, write_set

from ckptsync.core import fsio, jsonio, names, sets
from ckptsync.core.errors import CorruptError, NothingFoundError
from ckptsync.core.manifest import ManifestError
from ckptsync.core.sets import SetState, SetWriter

STEM = "cartpole_checkpoint_100_steps"


def states(folder: Path) -> dict[str, SetState]:
    """The state of every stem in a folder."""
    return {stored.stem: stored.state for stored in sets.scan(folder)}


def listing(folder: Path) -> dict[str, bytes]:
    """Every file in a folder with its bytes."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def nothing(file: BinaryIO) -> None:
    """Write no bytes."""


def test_an_empty_or_missing_folder_has_no_sets(tmp_path: Path) -> None:
    assert sets.scan(tmp_path) == sets.scan(tmp_path / "none") == []


def test_what_a_stem_is(tmp_path: Path) -> None:
    write_set(tmp_path, "cartpole", 100)
    write_plain(tmp_path, "cartpole", 200)
    SetWriter(tmp_path, "cartpole_checkpoint_300_steps", ["cartpole_checkpoint_300_steps.zip"])
    write_set(tmp_path, "cartpole", 400)
    (tmp_path / "cartpole_checkpoint_400_steps.manifest.json").write_bytes(b"{")
    (tmp_path / "rl_model_500_steps.zip").write_bytes(b"x")
    for other in ("best_model.zip", "cartpole_head.json", "notes.txt", "cartpole_checkpoint_600_steps.txt", ".zip"):
        (tmp_path / other).write_bytes(b"x")
    assert states(tmp_path) == {
        "cartpole_checkpoint_100_steps": SetState.SEALED,
        "cartpole_checkpoint_200_steps": SetState.UNSEALED,
        "cartpole_checkpoint_300_steps": SetState.TORN,
        "cartpole_checkpoint_400_steps": SetState.CORRUPT,
        "rl_model_500_steps": SetState.UNSEALED,
    }
    torn, corrupt = (s.finding for s in sets.scan(tmp_path) if s.state in (SetState.TORN, SetState.CORRUPT))
    assert torn is not None
    assert corrupt is not None
    assert (torn.code, corrupt.code) == ("set.torn", "manifest.damaged")


def test_newest_is_by_lineage_generation_and_n_and_sealed_beats_unsealed(tmp_path: Path) -> None:
    write_set(tmp_path, "cartpole", 900, lineage="l0001-aaaaaa", generation=9)
    write_set(tmp_path, "cartpole", 300, lineage="l0002-aaaaaa", generation=1)
    write_set(tmp_path, "cartpole", 200, lineage="l0002-aaaaaa", generation=2)
    write_set(tmp_path, "cartpole", 250, lineage="l0002-aaaaaa", generation=2)
    write_plain(tmp_path, "cartpole", 5_000)
    write_set(tmp_path, "other", 10_000, lineage="l0009-aaaaaa")
    steps = [stored.num_timesteps for stored in sets.newest(sets.scan(tmp_path), "cartpole")]
    assert steps == [250, 200, 300, 900, 5_000]


def test_a_renamed_manifest_is_corrupt(tmp_path: Path) -> None:
    write_set(tmp_path, "cartpole", 100)
    os.rename(tmp_path / f"{STEM}.manifest.json", tmp_path / "cartpole_checkpoint_999_steps.manifest.json")
    with pytest.raises(ManifestError) as caught:
        sets.read_manifest(tmp_path / "cartpole_checkpoint_999_steps.manifest.json")
    assert caught.value.finding.hint == "it was renamed"
    assert states(tmp_path)["cartpole_checkpoint_999_steps"] is SetState.CORRUPT


@pytest.mark.parametrize("kind", ["link", "folder", "huge"])
def test_a_manifest_that_is_no_sensible_file_is_corrupt(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"{STEM}.manifest.json"
    if kind == "link":
        (tmp_path / "real").write_bytes(b"{}")
        path.symlink_to(tmp_path / "real")
    elif kind == "folder":
        path.mkdir()
    else:
        with path.open("wb") as file:
            file.truncate(1 << 30)
    assert states(tmp_path) == {STEM: SetState.CORRUPT}


@pytest.mark.parametrize(
    ("damage", "code"),
    [
        ("missing", "file.missing"),
        ("empty", "file.empty"),
        ("short", "file.size"),
        ("flipped", "file.digest"),
        ("link", "path.special-file"),
        ("folder", "path.special-file"),
        ("fifo", "path.special-file"),
    ],
)
@pytest.mark.parametrize("member", [0, 1])
def test_every_damage_of_a_member_is_named(tmp_path: Path, member: int, damage: str, code: str) -> None:
    manifest = write_set(tmp_path, "cartpole", 100, members=2)
    path = tmp_path / manifest.files[member].path
    data = bytearray(path.read_bytes())
    assert sets.check_files(tmp_path, manifest) == ()
    path.unlink()
    if damage == "empty":
        path.write_bytes(b"")
    elif damage == "short":
        path.write_bytes(data[:-1])
    elif damage == "flipped":
        data[len(data) // 2] ^= 4
        path.write_bytes(data)
    elif damage == "link":
        (tmp_path / "real").write_bytes(data)
        path.symlink_to(tmp_path / "real")
    elif damage == "folder":
        path.mkdir()
    elif damage == "fifo":
        os.mkfifo(path)
    [finding] = sets.check_files(tmp_path, manifest)
    assert (finding.code, finding.subject) == (code, manifest.files[member].path)


def test_until_the_seal_a_set_is_torn_and_abandoning_leaves_nothing(tmp_path: Path) -> None:
    files = files_of("cartpole", 100)
    writer = SetWriter(tmp_path, STEM, list(files))
    for name in files:
        writer.add(name, "model", nothing)
        assert states(tmp_path) == {STEM: SetState.TORN}
    writer.abandon()
    assert listing(tmp_path) == {}


def test_abandoning_a_sealed_set_does_nothing(tmp_path: Path) -> None:
    files = files_of("cartpole", 100, members=1)
    manifest = manifest_of("cartpole", 100, files)
    writer = SetWriter(tmp_path, STEM, list(files))
    writer.add(manifest.model.path, "model", lambda file: void(file.write(files[manifest.model.path])))
    writer.seal(manifest)
    before = listing(tmp_path)
    writer.abandon()
    assert listing(tmp_path) == before
    assert states(tmp_path) == {STEM: SetState.SEALED}


def void(_value: object) -> None:
    """Drop a value."""


@pytest.mark.parametrize("what", ["sealed", "plain", "member", "link"])
def test_a_writer_never_writes_over_anothers_files(tmp_path: Path, what: str) -> None:
    if what == "sealed":
        write_set(tmp_path, "cartpole", 100, members=1)
    elif what == "plain":
        write_plain(tmp_path, "cartpole", 100)
    elif what == "member":
        (tmp_path / f"{STEM}.resume.safetensors").write_bytes(b"x")
    else:
        (tmp_path / f"{STEM}.zip").symlink_to(tmp_path / "nowhere")
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(CorruptError, match="is there already"):
        SetWriter(tmp_path, STEM, [f"{STEM}.zip", f"{STEM}.resume.safetensors"])
    assert sorted(os.listdir(tmp_path)) == before


def test_a_writer_takes_over_from_one_that_died(tmp_path: Path) -> None:
    first = SetWriter(tmp_path, STEM, [f"{STEM}.zip", f"{STEM}.replay.safetensors"])
    first.add(f"{STEM}.replay.safetensors", "replay", nothing)
    write_set(tmp_path, "cartpole", 100, members=1)
    assert sorted(os.listdir(tmp_path)) == [f"{STEM}.manifest.json", f"{STEM}.zip"]


@pytest.mark.parametrize("name", ["cartpole_checkpoint_200_steps.zip", f"{STEM}.a/b", "../x", STEM])
def test_a_writer_announces_files_of_its_own_set_alone(tmp_path: Path, name: str) -> None:
    with pytest.raises(CorruptError):
        SetWriter(tmp_path, STEM, [name])
    assert listing(tmp_path) == {}


def test_a_writer_adds_and_seals_what_was_announced(tmp_path: Path) -> None:
    files = files_of("cartpole", 100)
    writer = SetWriter(tmp_path, STEM, list(files))
    with pytest.raises(ValueError, match="not announced"):
        writer.add(f"{STEM}.other.bin", "replay", nothing)
    for wrong in (
        manifest_of("cartpole", 100, dict(list(files.items())[:1])),
        manifest_of("cartpole", 200, files_of("cartpole", 200)),
    ):
        with pytest.raises(ValueError, match="other files"):
            writer.seal(wrong)
    assert states(tmp_path) == {STEM: SetState.TORN}


def test_sealing_in_place_changes_no_byte(tmp_path: Path) -> None:
    files = files_of("cartpole", 100, members=1)
    path = write_plain(tmp_path, "cartpole", 100, files[f"{STEM}.zip"])
    sealed = sets.seal_in_place(tmp_path, manifest_of("cartpole", 100, files, kind="adopted"))
    assert path.read_bytes() == files[f"{STEM}.zip"]
    assert sets.read_manifest(tmp_path / f"{STEM}.manifest.json") == sealed
    assert sets.check_files(tmp_path, sealed) == ()
    with pytest.raises(CorruptError, match="is there already"):
        sets.seal_in_place(tmp_path, manifest_of("cartpole", 100, files))


def test_what_is_not_there_cannot_be_sealed(tmp_path: Path) -> None:
    with pytest.raises(NothingFoundError):
        sets.seal_in_place(tmp_path, manifest_of("cartpole", 100, files_of("cartpole", 100)))
    assert listing(tmp_path) == {}


@pytest.mark.parametrize("link", [False, True])
def test_a_copy_is_the_same_set_with_the_same_digest(tmp_path: Path, link: bool) -> None:
    source, target = tmp_path / "a", tmp_path / "b" / "c"
    manifest = write_set(source, "cartpole", 100, members=4, metrics={"episodes": 3, "ep_rew_mean": 1e-7})
    sets.copy_set(source, manifest, target, link=link)
    sets.copy_set(source, manifest, target, link=link)
    assert listing(source) == listing(target)


def test_a_copy_keeps_fields_that_this_version_does_not_know(tmp_path: Path) -> None:
    import hashlib

    source = tmp_path / "a"
    manifest = write_set(source, "cartpole", 100)
    body = manifest.body()
    body["files"][0]["compression"] = "future"
    digest = "sha256:" + hashlib.sha256(jsonio.canonical(body)).hexdigest()
    seal = source / f"{STEM}.manifest.json"
    seal.write_bytes(jsonio.canonical({**body, "digest": digest}))
    sets.copy_set(source, sets.read_manifest(seal), tmp_path / "b")
    assert (tmp_path / "b" / seal.name).read_bytes() == seal.read_bytes()


def test_a_damaged_member_is_not_copied(tmp_path: Path) -> None:
    source, target = tmp_path / "a", tmp_path / "b"
    manifest = write_set(source, "cartpole", 100, members=3)
    (source / manifest.files[2].path).write_bytes(b"x" * manifest.files[2].size_bytes)
    with pytest.raises(CorruptError, match="has changed"):
        sets.copy_set(source, manifest, target)
    assert listing(target) == {}


def test_a_copy_takes_nobodys_place(tmp_path: Path) -> None:
    source, target = tmp_path / "a", tmp_path / "b"
    manifest = write_set(source, "cartpole", 100)
    write_set(target, "cartpole", 100, salt="another")
    before = listing(target)
    with pytest.raises(CorruptError, match="already holds another set"):
        sets.copy_set(source, manifest, target)
    assert listing(target) == before
    write_plain(tmp_path / "c", "cartpole", 100)
    with pytest.raises(CorruptError, match="is there already"):
        sets.copy_set(source, manifest, tmp_path / "c")
    assert listing(tmp_path / "c") == {f"{STEM}.zip": b"plain SB3"}


def test_a_copy_is_of_the_set_that_was_asked_for(tmp_path: Path) -> None:
    asked = write_set(tmp_path / "a", "cartpole", 100, salt="asked")
    write_set(tmp_path / "b", "cartpole", 100, salt="another")
    with pytest.raises(CorruptError, match="has changed since"):
        sets.copy_set(tmp_path / "b", asked, tmp_path / "c")
    assert sets.scan(tmp_path / "c") == []


def test_remove_and_move(tmp_path: Path) -> None:
    source, target = tmp_path / "a", tmp_path / "b"
    keep, gone = write_set(source, "cartpole", 1), write_set(source, "cartpole", 10, members=3)
    before = listing(source)
    sets.move_set(source, gone, target)
    assert {**listing(source), **listing(target)} == before
    assert states(source) == {keep.stem: SetState.SEALED}
    sets.remove_set(target, gone)
    assert listing(target) == {}


def test_a_set_with_missing_files_can_be_removed(tmp_path: Path) -> None:
    manifest = write_set(tmp_path, "cartpole", 100)
    (tmp_path / manifest.model.path).unlink()
    sets.remove_set(tmp_path, manifest)
    assert listing(tmp_path) == {}


def test_whatever_is_set_aside_is_kept_whole_in_a_folder_of_its_own(tmp_path: Path) -> None:
    folder, attic = tmp_path / "tree", tmp_path / "attic"
    places = set()
    for kind in ("first", "second", "plain", "corrupt", "incomplete"):
        if kind == "plain":
            write_plain(folder, "cartpole", 100)
        else:
            write_set(folder, "cartpole", 100, salt=kind)
        if kind == "corrupt":
            (folder / f"{STEM}.manifest.json").write_bytes(b"{")
        if kind == "incomplete":
            (folder / f"{STEM}.resume.safetensors").unlink()
        before = listing(folder)
        [stored] = sets.scan(folder)
        place = sets.set_aside(stored, attic)
        assert listing(folder) == {}
        assert listing(place) == before
        places.add(place)
    assert len(places) == 5


def test_setting_aside_twice_is_once(tmp_path: Path) -> None:
    folder, attic = tmp_path / "tree", tmp_path / "attic"
    for _ in range(2):
        write_plain(folder, "cartpole", 100)
        [stored] = sets.scan(folder)
        place = sets.set_aside(stored, attic)
    assert os.listdir(attic) == [place.name]


def test_a_sweep_takes_what_is_torn_and_nothing_else(tmp_path: Path) -> None:
    write_set(tmp_path, "cartpole", 100)
    write_plain(tmp_path, "cartpole", 200)
    kept = listing(tmp_path)
    (tmp_path / "notes.pending").write_bytes(b"a user's own")
    writer = SetWriter(tmp_path, "cartpole_checkpoint_300_steps", ["cartpole_checkpoint_300_steps.zip"])
    writer.add("cartpole_checkpoint_300_steps.zip", "model", nothing)
    removed = write_set(tmp_path, "cartpole", 400, members=4)
    os.rename(tmp_path / f"{removed.stem}.manifest.json", tmp_path / f"{removed.stem}.deleting")
    (tmp_path / removed.files[1].path).unlink()
    assert sets.sweep(tmp_path) == ["cartpole_checkpoint_300_steps", "cartpole_checkpoint_400_steps"]
    assert listing(tmp_path) == {**kept, "notes.pending": b"a user's own"}
    assert sets.sweep(tmp_path) == []
    assert sets.sweep(tmp_path / "none") == []


@pytest.mark.parametrize("suffix", [names.PENDING_SUFFIX, names.DELETING_SUFFIX])
def test_an_intent_beside_a_seal_is_old_news(tmp_path: Path, suffix: str) -> None:
    manifest = write_set(tmp_path, "cartpole", 100)
    before = listing(tmp_path)
    intent = jsonio.canonical({"files": [entry.path for entry in manifest.files]})
    fsio.write_bytes(tmp_path / (STEM + suffix), intent)
    assert sets.sweep(tmp_path) == []
    assert listing(tmp_path) == before


@pytest.mark.parametrize(
    "intent",
    [
        b"",
        b"{}",
        b"[]",
        b'{"files":5}',
        b'{"files":[5]}',
        b'{"files":["../precious"]}',
        b'{"files":["cartpole_checkpoint_200_steps.zip"]}',
    ],
)
def test_a_damaged_or_hostile_intent_removes_nothing_and_stays_torn(tmp_path: Path, intent: bytes) -> None:
    folder = tmp_path / "tree"
    write_plain(folder, "cartpole", 200)
    write_plain(folder, "cartpole", 100)
    (tmp_path / "precious").write_bytes(b"x")
    (folder / f"{STEM}.pending").write_bytes(intent)
    assert sets.sweep(folder) == []
    assert (tmp_path / "precious").exists()
    assert states(folder) == {STEM: SetState.TORN, "cartpole_checkpoint_200_steps": SetState.UNSEALED}
    with pytest.raises(CorruptError, match="cannot be read"):
        SetWriter(folder, STEM, [f"{STEM}.zip"])
