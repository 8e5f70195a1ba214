"""When to save and what to keep."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ckptsync.core.policy import Moment, Retained, is_best, kind_to_save, to_remove
from ckptsync.core.session import SavePolicy

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
