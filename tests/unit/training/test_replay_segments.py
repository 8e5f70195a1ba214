"""Rows of replay buffers as segments: what is written, merged, refused and healed. No torch."""

from __future__ import annotations

import gc
import os
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.rings import Ring, Shelf

from ckptsync.core import fsio, names
from ckptsync.core.errors import CorruptError
from ckptsync.core.manifest import SEGMENT, FileEntry
from ckptsync.training.arrays import write_arrays
from ckptsync.training.replay import read_replay
from ckptsync.training.replay.plan import MAX_SEGMENTS


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """What reaches the disk when is not the matter here, and hundreds of saves take their time."""
    monkeypatch.setattr(os, "fsync", lambda _descriptor: None)


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path)


def rows_of(files: list[FileEntry]) -> list[tuple[int, int]]:
    """The rows of the segments among files."""
    parts = [names.check_segment("a", entry.path) for entry in files if entry.role == SEGMENT]
    return [(part.start, part.end) for part in parts]


def loaded(shelf: Shelf, files: list[FileEntry], slots: int, **options: Any) -> Ring:
    ring = Ring(slots, **options)
    shelf.load(files, ring)
    return ring


def sealed(shelf: Shelf, ring: Ring, log: Any, rows: int) -> list[FileEntry]:
    ring.add(rows)
    return shelf.seal(log, log.keep())


# --- what a save writes -----------------------------------------------------------------------------------------------


def test_a_save_writes_the_new_rows_alone(shelf: Shelf) -> None:
    ring = Ring(1000)
    log = shelf.log(ring)
    first = sealed(shelf, ring, log, 100)
    second = sealed(shelf, ring, log, 20)
    assert rows_of(second) == [(0, 100), (100, 120)]
    assert second[1] == first[1]
    assert second[2].size_bytes < first[1].size_bytes


def test_a_save_without_new_rows_writes_no_segment(shelf: Shelf) -> None:
    ring = Ring(100)
    log = shelf.log(ring)
    first = sealed(shelf, ring, log, 5)
    before = sorted(shelf.folder.rglob("*-*"))
    assert sealed(shelf, ring, log, 0)[1:] == first[1:]
    assert sorted(shelf.folder.rglob("*-*")) == before


def test_an_empty_buffer_has_no_segments(shelf: Shelf) -> None:
    files = sealed(shelf, ring := Ring(10), shelf.log(ring), 0)
    assert rows_of(files) == []
    assert loaded(shelf, files, 10).rows == []


def test_segments_that_the_ring_has_overwritten_are_not_named(shelf: Shelf) -> None:
    ring = Ring(10)
    log = shelf.log(ring)
    for _ in range(5):
        files = sealed(shelf, ring, log, 4)
    assert rows_of(files)[0][1] > 10
    assert loaded(shelf, files, 10).rows == [-float(row) for row in range(11, 21)]


def test_a_large_first_save_is_split_so_that_its_rows_can_be_let_go(shelf: Shelf) -> None:
    ring = Ring(80)
    files = sealed(shelf, ring, shelf.log(ring), 80)
    assert rows_of(files) == [(start, start + 10) for start in range(0, 80, 10)]


@pytest.mark.slow
def test_many_small_saves_are_merged_and_cost_a_few_times_their_rows(shelf: Shelf) -> None:
    ring = Ring(1600)
    log = shelf.log(ring)
    written, seen = 0, set()
    for _ in range(400):
        files = sealed(shelf, ring, log, 5)
        assert len(files) - 1 <= MAX_SEGMENTS
        written += sum(end - start for start, end in set(rows_of(files)) - seen)
        seen |= set(rows_of(files))
        shelf.collect(files)
    assert written <= 4 * 400 * 5
    assert max(end - start for start, end in rows_of(files)) <= 1600 // 8
    assert loaded(shelf, files, 1600).rows == ring.rows


@pytest.mark.slow
def test_memory_is_let_go_once_rows_are_sealed(shelf: Shelf) -> None:
    ring = Ring(20_000, width=64)
    log = shelf.log(ring)
    tracemalloc.start()
    try:
        for _ in range(4):
            ring.add(5000)
            files = shelf.seal(log, log.keep())
            gc.collect()
            after = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert rows_of(files)[-1][1] == 20_000
    # At most the blocks that wait to be used again, not four times 1.3 MB more at each save
    assert after < 4 * (4 << 20) + (1 << 20)


# --- going round ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [9, 10, 11, 25, 40])
def test_rounds_between_two_points_are_told_by_the_count_of_training(rows: int, shelf: Shelf) -> None:
    ring = Ring(10)
    log = shelf.log(ring)
    sealed(shelf, ring, log, 10)
    assert loaded(shelf, sealed(shelf, ring, log, rows), 10).rows == ring.rows
    assert loaded(shelf, sealed(shelf, ring, log, 3), 10).rows == ring.rows


def test_a_buffer_that_was_emptied_is_written_anew(shelf: Shelf) -> None:
    ring = Ring(10)
    log = shelf.log(ring)
    sealed(shelf, ring, log, 7)
    ring.reset()
    files = sealed(shelf, ring, log, 3)
    assert rows_of(files) == [(10, 12), (12, 13)]
    assert loaded(shelf, files, 10).rows == [-8.0, -9.0, -10.0]


def test_a_full_buffer_that_was_emptied_is_written_anew(shelf: Shelf) -> None:
    ring = Ring(4)
    log = shelf.log(ring)
    sealed(shelf, ring, log, 6)
    ring.reset()
    assert loaded(shelf, sealed(shelf, ring, log, 3), 4).rows == [-7.0, -8.0, -9.0]


# --- going on from a set ----------------------------------------------------------------------------------------------


def test_after_a_resume_only_new_rows_are_written(shelf: Shelf) -> None:
    ring = Ring(100)
    files = sealed(shelf, ring, shelf.log(ring), 30)
    again = loaded(shelf, files, 100)
    again.added = 30
    more = sealed(shelf, again, shelf.log(again, files), 5)
    assert more[1:-1] == files[1:]
    assert rows_of(more)[-1] == (30, 35)


def test_rows_that_were_added_or_changed_since_the_set_count_as_new(shelf: Shelf) -> None:
    ring = Ring(100)
    files = sealed(shelf, ring, shelf.log(ring), 30)
    for change in (lambda other: other.add(1), lambda other: other.put(29, 7.5)):
        other = loaded(shelf, files, 100)
        change(other)
        assert loaded(shelf, sealed(shelf, other, shelf.log(other, files), 0), 100).rows == other.rows


def test_files_of_a_buffer_of_another_size_count_as_none(shelf: Shelf) -> None:
    ring = Ring(100)
    files = sealed(shelf, ring, shelf.log(ring), 30)
    other = Ring(50)
    other.add(30)
    assert rows_of(sealed(shelf, other, shelf.log(other, files), 0))[0] == (0, 7)


# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (Ring(50), "its buffer_size was 100, is 50"),
        (Ring(100, n_envs=2), "its n_envs was 1, is 2"),
        (Ring(100, width=3), "its rows 'observations' were float32 of shape (1, 2), are float32 of shape (1, 3)"),
        (type("Other", (Ring,), {})(100), "its class was Ring, is Other"),
    ],
)
def test_a_buffer_that_does_not_fit_is_left_as_it_is(other: Ring, words: str, shelf: Shelf) -> None:
    ring = Ring(100)
    files = sealed(shelf, ring, shelf.log(ring), 30)
    assert read_replay(shelf.folder, files, other) == f"the replay buffer was left out: {words}"
    assert other.size() == 0


def test_a_set_without_a_replay_buffer_says_so(shelf: Shelf) -> None:
    assert read_replay(shelf.folder, [], Ring(3)) == "the set holds no replay buffer"


def test_what_cannot_be_stored_is_told_and_nothing_is_kept(shelf: Shelf) -> None:
    ring = Ring(10)
    ring.helper = object()  # type: ignore[attr-defined]
    log = shelf.log(ring)
    assert log.problem == "the replay buffer was left out: it holds builtins.object"
    assert log.keep() is None


def test_an_object_row_that_cannot_be_stored_is_told_when_it_comes(shelf: Shelf) -> None:
    ring = Ring(10)
    ring.infos = np.array([[{}] for _ in range(10)], dtype=object)  # type: ignore[attr-defined]
    log = shelf.log(ring)
    assert log.keep() is not None
    ring.add(1)
    ring.infos[0, 0] = {"window": object()}  # type: ignore[attr-defined]
    assert log.keep() is None
    assert log.problem is not None and "builtins.object" in log.problem


def test_a_large_class_that_may_change_its_rows_is_left_out(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ckptsync.training.replay.columns._MAX_COPIED_BYTES", 100)
    ring = type("Mine", (Ring,), {"rows_are_final": False})(100)
    problem = shelf.log(ring).problem
    assert problem is not None
    assert "Mine may change rows" in problem and "rows_are_final = True" in problem


# --- rows that change -------------------------------------------------------------------------------------------------


def test_every_bit_of_changing_columns_comes_back(shelf: Shelf) -> None:
    def build() -> Ring:
        ring = type("Mine", (Ring,), {"rows_are_final": False})(8)
        ring.priorities = np.zeros(8)
        ring.lengths = np.zeros((8, 1), np.int64)
        return ring

    ring = build()
    ring.add(8)
    ring.priorities[:] = [0.0, -0.0, np.nan, np.nan, np.inf, 1.0, 1.0, 5e-324]
    ring.lengths[:, 0] = [3, 3, 3, 0, 0, 0, 0, 2]
    files = shelf.seal(shelf.log(ring), shelf.log(ring).keep())
    assert rows_of(files) == []
    again = build()
    shelf.load(files, again)
    assert again.priorities.tobytes() == ring.priorities.tobytes()
    assert again.lengths.tobytes() == ring.lengths.tobytes()
    assert again.rows == ring.rows


def test_runs_of_equal_rows_take_little_room(shelf: Shelf) -> None:
    def size(values: Any) -> int:
        ring = type("Mine", (Ring,), {"rows_are_final": False})(10_000)
        ring.lengths = np.zeros((10_000, 1), np.int64)
        ring.add(10_000)
        ring.lengths[:, 0] = values
        log = shelf.log(ring)
        return shelf.seal(log, log.keep())[0].size_bytes

    assert size(np.arange(10_000) // 50) < size(np.arange(10_000)) - 60_000


# --- damage -----------------------------------------------------------------------------------------------------------


def damage(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("how", ["missing", "cut", "other rows", "other columns", "no segment"])
def test_a_bad_segment_is_named(how: str, shelf: Shelf) -> None:
    ring = Ring(100)
    files = sealed(shelf, ring, shelf.log(ring), 8)
    path = shelf.folder / files[1].path
    if how == "missing":
        path.unlink()
    elif how == "cut":
        path.write_bytes(path.read_bytes()[:-4])
    elif how == "other rows":
        fsio.write_file(path, lambda file: write_arrays(file, {"rows": [1, 9]}, {}))
    elif how == "other columns":
        fsio.write_file(path, lambda file: write_arrays(file, {"rows": [0, 8]}, {"rows:rewards": np.zeros((8, 1))}))
    else:
        path.write_bytes(b"nothing")
    with pytest.raises(CorruptError, match=path.name):
        read_replay(shelf.folder, files, Ring(100))


def test_rows_that_no_segment_holds_are_missed(shelf: Shelf) -> None:
    ring = Ring(100)
    log = shelf.log(ring)
    sealed(shelf, ring, log, 8)
    state, first, second = sealed(shelf, ring, log, 8)
    for left in ([first], [second], []):
        with pytest.raises(CorruptError, match="no segment has row"):
            read_replay(shelf.folder, [state, *left], Ring(100))


@pytest.mark.parametrize(
    "state",
    [
        {},
        [],
        {"used": "2"},
        {"used": -1},
        {"used": 2, "count": 1.5},
        {"used": 2, "rest": {"pos": {"$": "array", "at": "9"}}},
        {"used": 2, "rest": {"pos": {"$": "nonsense", "items": []}}},
    ],
)
def test_a_bad_state_is_refused(state: Any, shelf: Shelf) -> None:
    path = shelf.folder / "a_checkpoint_1_steps.replay.safetensors"
    arrays = {"rows:observations": np.zeros((2, 1, 2), np.float32), "rows:rewards": np.zeros((2, 1), np.float32)}
    value = {"class": "Ring", "buffer_size": 5, "n_envs": 1, **state} if isinstance(state, dict) else state
    fsio.write_file(path, lambda file: write_arrays(file, value, arrays))
    entry = FileEntry(path.name, "replay", path.stat().st_size, fsio.sha256_file(path))
    with pytest.raises(CorruptError, match=path.name):
        read_replay(shelf.folder, [entry], Ring(5))


def test_a_segment_that_is_lost_while_training_is_written_again(shelf: Shelf) -> None:
    ring = Ring(100)
    log = shelf.log(ring)
    files = sealed(shelf, ring, log, 8)
    (shelf.folder / files[1].path).unlink()
    ring.add(4)
    with pytest.raises(CorruptError, match="missing"):
        shelf.seal(log, log.keep())
    assert loaded(shelf, sealed(shelf, ring, log, 1), 100).rows == ring.rows


def test_damage_is_never_merged_into_a_new_segment(shelf: Shelf) -> None:
    ring = Ring(4000)
    log = shelf.log(ring)
    for _ in range(MAX_SEGMENTS):
        files = sealed(shelf, ring, log, 2)
    damage(shelf.folder / files[60].path)
    ring.add(2)
    with pytest.raises(CorruptError, match="has changed"):
        shelf.seal(log, log.keep())
    assert loaded(shelf, sealed(shelf, ring, log, 2), 4000).rows == ring.rows


def test_damage_of_rows_that_would_be_rolled_back_leaves_the_buffer_alone(shelf: Shelf) -> None:
    ring = Ring(10)
    log = shelf.log(ring)
    files = sealed(shelf, ring, log, 10)
    point = log.keep()
    ring.add(3)
    rows = ring.rows
    damage(shelf.folder / files[1].path)
    assert not log.roll_back(point)
    assert ring.rows == rows


# --- rolling back -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("more", [0, 1, 9, 10, 11, 35])
@pytest.mark.parametrize("before", [0, 4, 10, 17])
def test_a_buffer_can_be_rolled_back_from_any_distance(before: int, more: int, shelf: Shelf) -> None:
    ring = Ring(10)
    log = shelf.log(ring)
    sealed(shelf, ring, log, before // 2)
    ring.add(before - before // 2)
    point, rows = log.keep(), ring.rows
    ring.add(more)
    assert log.roll_back(point)
    assert ring.rows == rows
    ring.added = point.added
    files = sealed(shelf, ring, log, 3)
    assert loaded(shelf, files, 10).rows == ring.rows


def test_a_write_that_ends_after_rolling_back_counts_as_far_as_its_rows_are_still_there(shelf: Shelf) -> None:
    ring = Ring(100)
    log = shelf.log(ring)
    sealed(shelf, ring, log, 10)
    ring.add(5)
    kept = log.keep()
    ring.add(5)
    written = log.keep()
    files = shelf.write(log, written)
    assert log.roll_back(kept)
    log.sealed(written, files)
    shelf.collect(files)
    ring.added = 1000
    files = sealed(shelf, ring, log, 2)
    assert rows_of(files) == [(0, 10), (10, 15), (15, 17)]
    assert loaded(shelf, files, 100).rows == [*(-float(row) for row in range(1, 16)), -1001.0, -1002.0]


def test_a_point_stays_good_after_it_was_rolled_back_to(shelf: Shelf) -> None:
    ring = Ring(10)
    ring.starts = np.zeros(3, np.int64)  # type: ignore[attr-defined]
    log = shelf.log(ring)
    ring.add(4)
    point = log.keep()
    for _ in range(2):
        ring.add(2)
        ring.starts += 5  # type: ignore[attr-defined]
        assert log.roll_back(point)
        assert ring.starts.tolist() == [0, 0, 0]  # type: ignore[attr-defined]
    ring.starts += 5  # type: ignore[attr-defined]
    again = Ring(10)
    again.starts = np.ones(3, np.int64)  # type: ignore[attr-defined]
    shelf.load(shelf.seal(log, point), again)
    assert again.starts.tolist() == [0, 0, 0]  # type: ignore[attr-defined]


def test_a_thread_writes_moments_while_rows_are_added(shelf: Shelf) -> None:
    ring = Ring(300, width=16)
    ring.lengths = np.zeros((300, 2), np.int64)  # type: ignore[attr-defined]
    log = shelf.log(ring)

    def write(point: Any, rows: list[float], lengths: bytes) -> None:
        again = Ring(300, width=16)
        again.lengths = np.zeros((300, 2), np.int64)  # type: ignore[attr-defined]
        shelf.load(shelf.seal(log, point), again)
        assert again.rows == rows
        used = again.size()
        assert again.lengths[:used].tobytes() == lengths  # type: ignore[attr-defined]

    written, turn = 0, 0
    with ThreadPoolExecutor(1) as thread:
        under_way = thread.submit(write, log.keep(), ring.rows, b"")
        while written < 12:  # as long as that takes: a busy machine gives the thread its time late
            turn += 1
            time.sleep(0.0005)  # training lets go of the interpreter too, in torch and in environments
            ring.add(1 + turn % 7)
            ring.lengths += 1  # type: ignore[attr-defined]
            point = log.keep()
            if under_way.done():
                under_way.result()
                written += 1
                lengths = ring.lengths[: ring.size()].tobytes()  # type: ignore[attr-defined]
                under_way = thread.submit(write, point, ring.rows, lengths)
        under_way.result()
    assert turn > written


# --- earlier versions -------------------------------------------------------------------------------------------------


def test_a_buffer_that_an_earlier_version_wrote_whole_is_read(shelf: Shelf) -> None:
    ring = Ring(10)
    ring.add(4)
    ring.infos = np.array([[{"at": slot}] for slot in range(10)], dtype=object)  # type: ignore[attr-defined]
    path = shelf.folder / "a_checkpoint_4_steps.replay.safetensors"
    state = {
        "class": "Ring",
        "buffer_size": 10,
        "n_envs": 1,
        "used": 5,
        "rest": {"pos": 4, "full": False, "added": 4},
        "objects": {"infos": [[{"at": slot}] for slot in range(5)]},
    }
    arrays = {"rows:observations": ring.observations[:5], "rows:rewards": ring.rewards[:5]}
    fsio.write_file(path, lambda file: write_arrays(file, state, arrays))
    entry = FileEntry(path.name, "replay", path.stat().st_size, fsio.sha256_file(path))
    again = Ring(10)
    again.infos = np.array([[{}] for _ in range(10)], dtype=object)  # type: ignore[attr-defined]
    shelf.load([entry], again)
    assert again.rows == ring.rows
    assert again.infos[:5].tolist() == ring.infos[:5].tolist()  # type: ignore[attr-defined]
    # From here on it is kept as segments
    files = sealed(shelf, again, shelf.log(again, [entry]), 2)
    assert rows_of(files) == [(0, 2), (2, 4), (4, 6)]
