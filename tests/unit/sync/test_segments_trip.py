"""Sets that share segments, through the whole trip: packed, fetched, judged, restored, undone, collected."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from support.projects import Script, rewrite_manifest
from support.toysets import segment_entry

from ckptsync.core import fsio, heads, names, sets
from ckptsync.core.errors import StorageError
from ckptsync.core.layout import TrainingTree
from ckptsync.core.manifest import FileEntry
from ckptsync.core.pack import read_index, unpack
from ckptsync.sync import fetch as fetching
from ckptsync.sync import launch, packing, restore, roundtrip, verify
from ckptsync.sync.launch import LaunchOptions
from ckptsync.sync.ledgers import find_record

pytestmark = pytest.mark.slow

BASE = "data/models/checkpoints"


@pytest.fixture
def trip(bench) -> Callable[..., roundtrip.RoundTrip]:
    """Launch a session whose sets hold segments of 100 rows, each set the last three."""

    def go(**options) -> roundtrip.RoundTrip:
        change = options.pop("change", lambda working: None)
        bench.runner.script = Script(rows=100, change=change)
        return roundtrip.run(bench.project, bench.run, LaunchOptions(**options), reporter=bench.told)

    return go


def segment(start: int, end: int) -> FileEntry:
    return segment_entry("a", start, end)


def rows_in(folder: Path) -> list[tuple[int, int]]:
    """The rows of the segments beside the sets of a folder."""
    place = folder / "a_replay"
    parsed = [names.parse_segment(name) for name in os.listdir(place)] if place.is_dir() else []
    return sorted((parts.start, parts.end) for parts in parsed if parts is not None)


def steps_in(folder: Path) -> list[int]:
    return [stored.num_timesteps for stored in sets.scan(folder)]


def head_of(tree: TrainingTree) -> int:
    head = heads.read_head(tree, "a")
    assert head is not None
    return head.num_timesteps


def assert_whole(folder: Path) -> None:
    for stored in sets.scan(folder):
        assert stored.manifest is not None
        assert stored.manifest.segments
        assert sets.check_files(folder, stored.manifest) == ()


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def folder(path: Path) -> None:
    path.unlink()
    (path / "inside").mkdir(parents=True)


def link(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere")


DAMAGES = pytest.mark.parametrize("damage", [flip, empty, Path.unlink, pipe, folder, link])


def test_two_sessions_leave_the_segments_that_their_sets_need(bench, trip):
    assert trip().exit_code == 0
    assert (steps_in(bench.tree.checkpoints), rows_in(bench.tree.checkpoints)) == ([100, 200], [(0, 100), (100, 200)])
    assert trip().exit_code == 0
    assert steps_in(bench.tree.checkpoints) == [300, 400]
    assert rows_in(bench.tree.checkpoints) == [(0, 100), (100, 200), (200, 300), (300, 400)]
    assert trip().exit_code == 0
    assert rows_in(bench.tree.checkpoints) == [(200, 300), (300, 400), (400, 500), (500, 600)]
    assert_whole(bench.tree.checkpoints)
    for name in os.listdir(bench.tree.attic):
        assert_whole(bench.tree.attic / name)


def test_a_pack_carries_the_segments_of_its_set(bench, trip, tmp_path: Path):
    trip()
    plan = launch.plan(bench.project, bench.run, LaunchOptions())
    record = launch.fix(bench.project, plan, bench.told)
    packs = packing.write_packs(bench.project, bench.run, record)
    assert packs is not None
    unpack(packs["a_checkpoint_200_steps.ckpt"], tmp_path / "out")
    assert_whole(tmp_path / "out")
    assert rows_in(tmp_path / "out") == [(0, 100), (100, 200)]


def test_the_best_sets_pack_leaves_out_what_the_heads_pack_carries(bench, trip):
    trip()
    head = heads.read_head(bench.tree, "a")
    best = sets.find(bench.tree.checkpoints, "a_checkpoint_100_steps").manifest
    heads.write_head(
        bench.tree,
        heads.Head.of(sets.find(bench.tree.checkpoints, head.stem).manifest, heads.Best(best.stem, best.digest, 9.0)),
    )
    record = launch.fix(bench.project, launch.plan(bench.project, bench.run, LaunchOptions()), bench.told)
    packs = packing.write_packs(bench.project, bench.run, record)
    assert launch.plan(bench.project, bench.run, LaunchOptions()).carried_bytes == sum(
        {entry.path: entry.size_bytes for s in sets.scan(bench.tree.checkpoints) for entry in s.manifest.files}.values()
    )
    carried = {name: [m.name for m in read_index(path).members] for name, path in packs.items()}
    assert segment(0, 100).path in carried["a_checkpoint_200_steps.ckpt"]
    assert sorted(carried["a_checkpoint_100_steps.ckpt"]) == [
        "a_checkpoint_100_steps.manifest.json",
        "a_checkpoint_100_steps.zip",
    ]


@DAMAGES
def test_a_damaged_segment_in_the_outputs_makes_the_older_set_count(bench, trip, damage):
    name = segment(100, 200).path
    assert trip(change=lambda working: damage(working / BASE / name)).exit_code == 3
    assert (head_of(bench.tree), steps_in(bench.tree.checkpoints)) == (100, [100])
    assert rows_in(bench.tree.checkpoints) == [(0, 100)]
    receipt = find_record(bench.project, "a/s0001").receipt
    [refused] = receipt["scenarios"]["a"]["refused"]
    assert refused["set"] == "a_checkpoint_200_steps"
    assert name in refused["reason"]
    [reason] = bench.project.layout.quarantine.glob("*/reason.json")
    assert (0, 100) in rows_in(reason.parent)


@DAMAGES
def test_a_damaged_segment_in_the_tree_is_passed_over_by_launch(bench, trip, damage):
    trip()
    damage(bench.tree.checkpoints / segment(100, 200).path)
    assert trip().exit_code == 3
    assert bench.runner.started[-1].inputs.keys() == {"a_checkpoint_100_steps.ckpt"}
    assert "a_checkpoint_200_steps is broken" in bench.told.text
    assert_whole(bench.tree.checkpoints)


@DAMAGES
@pytest.mark.parametrize("rows", [(0, 100), (100, 200)], ids=["shared by both", "of the newest"])
def test_restore_heals_a_segment_that_is_damaged_in_the_tree(bench, trip, damage, rows):
    trip()
    damage(bench.tree.checkpoints / segment(*rows).path)
    receipt = restore.apply(bench.project, restore.plan_restore(bench.project, bench.run), bench.told)
    assert receipt.exit_code == 0
    assert (head_of(bench.tree), steps_in(bench.tree.checkpoints)) == (200, [100, 200])
    assert_whole(bench.tree.checkpoints)
    assert restore.plan_restore(bench.project, bench.run).scenarios["a"].copies == ()
    assert verify.verify_run(bench.project, bench.run).exit_code == 0


def test_undo_brings_back_the_segments_that_were_collected(bench, trip):
    for _ in range(3):
        trip()
    assert (0, 100) not in rows_in(bench.tree.checkpoints)
    restore.undo(bench.project, bench.run)
    assert (head_of(bench.tree), steps_in(bench.tree.checkpoints)) == (400, [300, 400])
    assert rows_in(bench.tree.checkpoints) == [(0, 100), (100, 200), (200, 300), (300, 400)]
    assert_whole(bench.tree.checkpoints)


def test_a_fresh_start_takes_the_segments_along(bench, trip):
    trip()
    trip(fresh=True)
    assert_whole(bench.tree.checkpoints)
    kept = [bench.tree.attic / name for name in os.listdir(bench.tree.attic)]
    assert sorted(rows_in(place)[-1] for place in kept) == [(0, 100), (100, 200)]
    for place in kept:
        assert_whole(place)


def test_fetching_again_mends_a_segment(bench, trip):
    trip()
    broken = bench.project.layout.results("a/s0001") / BASE / segment(0, 100).path
    good = broken.read_bytes()
    flip(broken)
    again = fetching.fetch(bench.project, "a/s0001", bench.told)
    assert set(again.files) - set(again.skipped) == {f"{BASE}/{segment(0, 100).path}"}
    assert broken.read_bytes() == good


def test_a_segment_is_copied_and_hashed_once_for_all_sets_of_a_restore(bench, trip, monkeypatch):
    bench.runner.script = Script(rows=100)
    roundtrip.run(bench.project, bench.run, LaunchOptions(), reporter=bench.told, detach=True)
    fetching.fetch(bench.project, "a/s0001", bench.told)
    touched: list[str] = []
    copy_file, hash_file = fsio.copy_file, fsio.sha256_file
    monkeypatch.setattr(fsio, "copy_file", lambda s, t, **k: touched.append(f"copy {t.name}") or copy_file(s, t, **k))
    monkeypatch.setattr(fsio, "sha256_file", lambda path: touched.append(f"hash {path.name}") or hash_file(path))
    restore.apply(bench.project, restore.plan_restore(bench.project, bench.run), bench.told)
    shared = segment(0, 100).path.partition("/")[2]
    assert [act for act in touched if act.endswith(shared)] == [f"copy {shared}"]
    touched.clear()
    assert verify.verify_run(bench.project, bench.run).exit_code == 0
    assert [act for act in touched if act.endswith(shared)] == [f"hash {shared}"]


def test_a_restore_asks_for_the_room_of_each_segment_once(bench, trip, monkeypatch):
    trip()
    restore.undo(bench.project, bench.run)
    plan = restore.plan_restore(bench.project, bench.run)
    files = {entry for manifest in plan.scenarios["a"].copies for entry in manifest.files}
    needed = sum(entry.size_bytes for entry in files)
    monkeypatch.setattr(fsio, "free_bytes", lambda path: needed - 1)
    with pytest.raises(StorageError, match="for the new sets"):
        restore.apply(bench.project, plan, bench.told)
    monkeypatch.setattr(fsio, "free_bytes", lambda path: needed)
    assert restore.apply(bench.project, plan, bench.told).exit_code == 0


@pytest.mark.parametrize(
    "path",
    ["../../{name}", "/tmp/{name}", "b_replay/{name}", "A_replay/{name}", "a_replay/../{name}", "{name}"],
)
def test_a_manifest_that_names_segments_elsewhere_is_unsafe(bench, trip, path):
    def lie(working: Path) -> None:
        checkpoints = working / BASE
        manifest = sets.find(checkpoints, "a_checkpoint_200_steps").manifest
        wrong = FileEntry(path.format(name=Path(segment(0, 100).path).name), "segment", 1, segment(0, 100).digest)
        rewrite_manifest(checkpoints, manifest, files=(*manifest.members, wrong))

    assert trip(change=lie).exit_code == 3
    assert head_of(bench.tree) == 100
    report = verify.verify_session(bench.project, "a/s0001")
    [finding] = [f for c in report.checkpoints if c.num_timesteps == 200 for f in c.findings]
    assert (finding.code, str(report.verdict)) == ("path.escape", "unsafe")


def test_every_file_of_a_set_is_among_the_outputs_in_its_folder(bench, trip):
    trip()
    files = fetching.fetch(bench.project, "a/s0001", bench.told).files
    assert f"{BASE}/{segment(100, 200).path}" in files
