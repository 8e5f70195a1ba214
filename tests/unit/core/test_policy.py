"""When to save and what to keep."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ckptsync.core.cadence import FIRST_INTERVAL_SECONDS, best_interval
from ckptsync.core.policy import Moment, Retained, is_best, kind_to_save, to_remove, to_remove_early
from ckptsync.core.session import AUTO, SavePolicy

POLICY = SavePolicy(every_steps=1_000, every_seconds=60.0, keep_last=3)
QUIET = Moment(num_timesteps=1_500, last_saved=1_100, seconds_since_save=5.0)


def test_a_quiet_moment_saves_nothing() -> None:
    assert kind_to_save(POLICY, QUIET) is None


@pytest.mark.parametrize(
    ("now", "last", "kind"),
    [(999, 0, None), (1_000, 0, "periodic"), (2_047, 0, "periodic"), (2_047, 2_000, None), (3_001, 2_999, "periodic")],
)
def test_by_steps_at_the_first_clean_point_behind_each_multiple(now: int, last: int, kind: str | None) -> None:
    assert kind_to_save(POLICY, replace(QUIET, num_timesteps=now, last_saved=last)) == kind


@pytest.mark.parametrize(("seconds", "kind"), [(59.9, None), (60.0, "time"), (1e9, "time")])
def test_by_seconds(seconds: float, kind: str | None) -> None:
    assert kind_to_save(POLICY, replace(QUIET, seconds_since_save=seconds)) == kind


def test_both_can_be_switched_off() -> None:
    policy = SavePolicy(every_steps=None, every_seconds=None, save_best=False)
    moment = Moment(10**9, 0, 1e9, score=1.0)
    assert kind_to_save(policy, moment) is None
    assert kind_to_save(replace(policy, save_best=True), moment) == "best"


@pytest.mark.parametrize(
    ("score", "best", "kind"),
    [(None, None, None), (1.0, None, "best"), (1.0, 1.0, None), (1.1, 1.0, "best"), (0.9, 1.0, None)],
)
def test_on_a_new_best(score: float | None, best: float | None, kind: str | None) -> None:
    assert kind_to_save(POLICY, replace(QUIET, last_saved=1_000, score=score, best_score=best)) == kind
    assert is_best(score, best) is (kind == "best")


def test_a_best_keeps_its_distance_from_the_last_save() -> None:
    close = replace(QUIET, last_saved=1_001, score=1.0)
    assert kind_to_save(POLICY, close) is None
    assert kind_to_save(POLICY, replace(close, last_saved=1_000)) == "best"


def test_a_best_keeps_its_distance_in_time_where_saves_go_by_time_alone() -> None:
    policy = replace(POLICY, every_steps=None)
    assert kind_to_save(policy, replace(QUIET, score=1.0, seconds_since_save=29.9)) is None
    assert kind_to_save(policy, replace(QUIET, score=1.0, seconds_since_save=30.0)) == "best"


def test_at_each_milestone_too() -> None:
    policy = SavePolicy(every_steps=None, every_seconds=None, save_best=False, keep_every_steps=5_000)
    assert kind_to_save(policy, Moment(4_999, 4_000, 0.0)) is None
    assert kind_to_save(policy, Moment(5_100, 4_999, 0.0)) == "periodic"
    assert kind_to_save(policy, Moment(9_999, 5_100, 1e9)) is None


def test_auto_goes_by_what_a_save_was_measured_to_cost() -> None:
    policy = SavePolicy(every_steps=None, every_seconds=AUTO, failure_seconds=3_600.0)
    first = replace(QUIET, seconds_since_save=FIRST_INTERVAL_SECONDS)
    assert kind_to_save(policy, first) == "time"
    assert kind_to_save(policy, replace(first, seconds_since_save=FIRST_INTERVAL_SECONDS - 0.1)) is None
    interval = best_interval(0.5, 2.0, 3_600.0, 0.02)
    measured = replace(QUIET, stall_seconds=0.5, write_seconds=2.0, seconds_since_save=interval - 0.1)
    assert kind_to_save(policy, measured) is None
    assert kind_to_save(policy, replace(measured, seconds_since_save=interval)) == "time"


def test_auto_keeps_new_bests_within_the_overhead_too() -> None:
    policy = SavePolicy(every_steps=10, every_seconds=AUTO, failure_seconds=1.0, max_overhead=0.1)
    costly = Moment(1_019, 1_010, 8.9, score=1.0, stall_seconds=1.0)
    assert kind_to_save(policy, costly) is None
    assert kind_to_save(policy, replace(costly, seconds_since_save=9.0)) == "time"
    assert kind_to_save(replace(policy, failure_seconds=1e6), replace(costly, seconds_since_save=9.0)) == "best"


@pytest.mark.parametrize(
    ("cause", "kind"),
    [
        ("target", "final"),
        ("signal", "emergency"),
        ("error", "emergency"),
        ("deadline", "request"),
        ("steps", "request"),
        ("request", "request"),
        ("callback", "request"),
    ],
)
def test_a_stop_saves_what_is_new(cause: str, kind: str) -> None:
    assert kind_to_save(POLICY, replace(QUIET, stopping=cause)) == kind
    assert kind_to_save(POLICY, replace(QUIET, stopping=cause, last_saved=1_500)) is None


def retained(*steps: int, kind: str = "periodic", lineage: str = "l1", generation: int = 1) -> list[Retained]:
    """Sets as retention sees them."""
    return [Retained(f"s{step}", (lineage, generation, step), kind) for step in steps]


def test_the_newest_stay() -> None:
    assert to_remove(retained(5, 1, 4, 2, 3), POLICY) == ["s1", "s2"]
    assert to_remove(retained(1, 2), POLICY) == []


def test_newest_is_by_generation_before_n() -> None:
    sets = retained(900, generation=1) + retained(10, 20, 30, generation=2)
    assert to_remove(sets, POLICY) == ["s900"]


def test_final_best_and_head_stay() -> None:
    sets = retained(1, kind="final") + retained(2, 3, 4, 5, 6, 7)
    assert to_remove(sets, POLICY, keep=["s3"]) == ["s2", "s4"]


def test_broken_ones_neither_count_nor_go() -> None:
    sets = [*retained(1, 2, 3), *(replace(s, good=False) for s in retained(4, 5, 6))]
    assert to_remove(sets, POLICY) == []


@pytest.mark.parametrize("keep_last", [1, 0, -5])
def test_at_least_one_stays(keep_last: int) -> None:
    assert to_remove(retained(1, 2, 3), replace(POLICY, keep_last=keep_last)) == ["s1", "s2"]


def scored(**scores: float | None) -> list[Retained]:
    """Sets in order, each with a score."""
    return [Retained(stem, ("l1", 1, n), "periodic", score=score) for n, (stem, score) in enumerate(scores.items())]


def test_the_best_stay_as_many_as_told() -> None:
    sets = scored(a=3.0, b=9.0, c=None, d=7.0, e=8.0, f=1.0)
    assert to_remove(sets, SavePolicy(keep_last=1)) == ["a", "c", "d", "e"]
    assert to_remove(sets, SavePolicy(keep_last=1, keep_best=3)) == ["a", "c"]
    assert to_remove(sets, SavePolicy(keep_last=1, keep_best=0)) == ["a", "c", "d", "e"]


def test_of_equal_scores_the_oldest_stays() -> None:
    assert to_remove(scored(a=1.0, b=1.0, c=1.0, d=0.0), SavePolicy(keep_last=1)) == ["b", "c"]


def test_milestones_are_the_first_sets_at_or_after_each_multiple() -> None:
    policy = SavePolicy(keep_last=1, keep_every_steps=100)
    sets = retained(50, 99, 104, 150, 199, 200, 210, 430, 470, 520)
    assert to_remove(sets, policy) == ["s50", "s99", "s150", "s199", "s210", "s470"]


def test_a_milestone_stays_one_when_a_later_session_comes_by_again() -> None:
    policy = SavePolicy(keep_last=1, keep_every_steps=100)
    sets = [*retained(110, 190), *(replace(s, stem=s.stem + "b") for s in retained(105, 170, generation=2))]
    assert to_remove(sets, policy) == ["s190", "s105b"]


def test_early_goes_what_would_go_anyway_and_no_more_than_needed() -> None:
    policy = SavePolicy(keep_last=3)
    sets = [replace(s, size_bytes=10) for s in retained(1, 2, 3, 4, 5)]
    assert to_remove_early(sets, policy, 0) == []
    assert to_remove_early(sets, policy, 5) == ["s1"]
    assert to_remove_early(sets, policy, 30) == ["s1", "s2", "s3"]
    assert to_remove_early(sets, policy, 31) == []
    assert to_remove_early(sets, policy, 31, last_chance=True) == ["s1", "s2", "s3", "s4"]
    assert to_remove_early(sets, policy, 20, keep=["s1"]) == ["s2", "s3"]


def test_early_never_takes_the_newest() -> None:
    sets = [replace(s, size_bytes=10) for s in retained(1)]
    for last_chance in (False, True):
        assert to_remove_early(sets, SavePolicy(keep_last=1), 1, last_chance=last_chance) == []
