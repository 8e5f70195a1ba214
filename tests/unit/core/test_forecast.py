"""How much room sets will need: worked out by hand, and held against a simulated course."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.toysets import write_set

from ckptsync.core.forecast import Fit, SetSize, forecast
from ckptsync.core.manifest import SEGMENT, FileEntry
from ckptsync.core.policy import Retained, to_remove
from ckptsync.core.session import SavePolicy

MB = 10**6
SIZE = SetSize(own_bytes=10 * MB, model_bytes=8 * MB)
POLICY = SavePolicy(keep_last=5)


def look(size: SetSize = SIZE, policy: SavePolicy = POLICY, sets: int = 0, **fields: int):
    given = {"num_timesteps": 0, "end_steps": 1_000_000, "free_bytes": 10**12, **fields}
    return forecast(size, policy, stock(range(1, sets + 1), size), **given)


def stock(steps, size: SetSize = SIZE, kind: str = "periodic") -> list[Retained]:
    return [Retained(f"s{n}", ("l", 1, n), kind, size_bytes=size.own_bytes) for n in steps]


def test_what_is_certain_are_the_newest_sets() -> None:
    assert look().least_bytes == pytest.approx(50 * MB, rel=0.01)
    assert look(sets=3).least_bytes == pytest.approx(20 * MB, rel=0.01)
    assert look(sets=9).least_bytes == 0


def test_what_may_come_are_a_new_one_beside_them_the_best_and_copies_of_it() -> None:
    # 5 newest, 1 best, 1 that is being written; the copies of the best and final models
    assert look().most_bytes == pytest.approx((7 * 10 * 1.05 + 4 * 8) * MB, rel=0.01)
    assert look(exported_bytes=16 * MB).most_bytes == pytest.approx((7 * 10 * 1.05 + 2 * 8) * MB, rel=0.01)


def test_one_set_that_is_kept_needs_the_room_of_two() -> None:
    assert look(policy=SavePolicy(keep_last=1)).least_bytes == pytest.approx(20 * MB, rel=0.01)


def test_milestones_to_come_may_be_written_and_those_there_are_not_counted_again() -> None:
    policy = replace(POLICY, keep_every_steps=100_000)
    plain = look().most_bytes
    assert look(policy=policy).most_bytes - plain == pytest.approx(10 * 10.5 * MB, rel=0.01)
    assert look(policy=policy, num_timesteps=950_000).most_bytes - plain == pytest.approx(10.5 * MB, rel=0.01)
    assert look(policy=policy).least_bytes == look().least_bytes


def test_final_ones_stay_beside_the_newest() -> None:
    free = {"num_timesteps": 0, "end_steps": 10, "free_bytes": 10**12}
    beside = forecast(SIZE, POLICY, [*stock([1, 2], kind="final"), *stock([3])], **free)
    assert beside.least_bytes == pytest.approx(40 * MB, rel=0.01)


def test_a_replay_buffer_counts_as_full() -> None:
    size = replace(SIZE, shared_bytes=30 * MB, shared_least_bytes=400 * MB, shared_most_bytes=400 * MB)
    assert look(size).least_bytes == pytest.approx((50 + 370) * MB, rel=0.01)


@pytest.mark.parametrize(
    ("free_mb", "fit", "keep_last"),
    [(1_000, Fit.ENOUGH, 5), (60, Fit.TIGHT, 5), (49, Fit.SHORT, 4), (21, Fit.SHORT, 2), (19, Fit.SHORT, None)],
)
def test_fit_and_the_largest_keep_last_that_fits(free_mb: int, fit: Fit, keep_last: int | None) -> None:
    found = look(free_bytes=free_mb * MB)
    assert (found.fit, found.keep_last) == (fit, keep_last)


def test_the_next_save_needs_its_set_and_its_copies() -> None:
    assert SIZE.next_bytes() == pytest.approx(10.5 * MB, rel=0.01)
    assert SIZE.next_bytes(copies=2) == pytest.approx(26.5 * MB, rel=0.01)


def test_the_size_is_that_of_a_sealed_set(tmp_path: Path) -> None:
    manifest = write_set(tmp_path, "a", 100, members=2)
    size = SetSize.of(manifest, end_steps=1_000)
    assert (size.own_bytes, size.model_bytes, size.shared_bytes) == (6_000, 3_000, 0)


@pytest.mark.parametrize(("first_row", "most"), [(0, 10), (50, 1)])
def test_a_replay_buffer_grows_until_it_is_full(tmp_path: Path, first_row: int, most: int) -> None:
    segment = FileEntry(f"a_replay/{first_row}-100-{'0' * 16}.safetensors", SEGMENT, 700, "sha256:" + "0" * 64)
    manifest = replace(write_set(tmp_path, "a", 100, members=1), files=(*write_set(tmp_path, "a", 200).files, segment))
    size = SetSize.of(manifest, end_steps=1_000)
    assert (size.shared_bytes, size.shared_least_bytes, size.shared_most_bytes) == (700, 700, most * 700)


@given(
    keep_last=st.integers(1, 6),
    keep_best=st.integers(1, 3),
    milestone=st.none() | st.integers(50, 400),
    scores=st.lists(st.floats(-5, 5), min_size=1, max_size=60),
)
def test_no_course_needs_more_than_was_forecast(
    keep_last: int, keep_best: int, milestone: int | None, scores: list[float]
) -> None:
    policy = SavePolicy(keep_last=keep_last, keep_best=keep_best, keep_every_steps=milestone)
    end = 10 * len(scores)
    ahead = forecast(SIZE, policy, [], num_timesteps=0, end_steps=end, free_bytes=0)
    left: list[Retained] = []
    most = 0
    for n, score in enumerate(scores, start=1):
        left.append(replace(stock([10 * n])[0], score=score))
        most = max(most, sum(s.size_bytes for s in left))
        gone = to_remove(left, policy)
        left = [s for s in left if s.stem not in gone]
    assert most <= ahead.most_bytes
    if len(scores) > max(2, keep_last, keep_best):
        assert most >= ahead.least_bytes - (64 << 10)
