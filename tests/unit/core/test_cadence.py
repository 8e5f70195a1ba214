"""The interval between saves: the papers' formulas, and a simulation that knows neither of them."""

from __future__ import annotations

import math
import random

import pytest

from ckptsync.core.cadence import (
    FIRST_INTERVAL_SECONDS,
    best_interval,
    daly_interval,
    least_interval,
    young_interval,
)

HOUR = 3600.0


@pytest.mark.parametrize(
    ("cost", "failures", "seconds"),
    [(30.0, 24 * HOUR, 2276.84), (1.0, 12 * HOUR, 293.94), (0.02, 12 * HOUR, 41.57), (0.0, HOUR, 0.0)],
)
def test_young(cost: float, failures: float, seconds: float) -> None:
    assert young_interval(cost, failures) == pytest.approx(seconds, abs=0.01)


@pytest.mark.parametrize(
    ("cost", "failures", "minutes"),
    # With x = sqrt(C / 2M) the formula is 2M (x - 2/3 x^2 + 1/9 x^3); worked out from there
    [(5.0, 24 * 60.0, 116.690), (5.0, 6 * 60.0, 56.713), (5.0, 60.0, 21.275), (5.0, 15.0, 9.141)],
)
def test_daly(cost: float, failures: float, minutes: float) -> None:
    assert daly_interval(cost * 60, failures * 60) == pytest.approx(minutes * 60, abs=0.1)


def test_daly_meets_young_where_saves_are_cheap() -> None:
    assert daly_interval(0.01, 12 * HOUR) == pytest.approx(young_interval(0.01, 12 * HOUR), rel=1e-3)


@pytest.mark.parametrize("cost", [2.0, 3.0, 1e9])
def test_where_a_save_costs_more_than_a_failure_takes_the_interval_is_the_time_between_failures(cost: float) -> None:
    assert daly_interval(cost * HOUR, HOUR) == HOUR


def wall_clock(interval: float, cost: float, failures: float) -> float:
    """Expected wall clock for each second of training, with failures at random times and no time to restart.

    Source: the exact expectation of Daly 2006, which his higher-order optimum approximates.
    """
    return failures * math.expm1((interval + cost) / failures) / interval


@pytest.mark.parametrize("cost", [0.01, 1.0, 60.0, 600.0, 1800.0])
def test_daly_is_next_to_the_minimum_of_the_exact_expectation(cost: float) -> None:
    found = wall_clock(daly_interval(cost, HOUR), cost, HOUR)
    least = min(wall_clock(HOUR * 1.02**power, cost, HOUR) for power in range(-700, 120))
    assert found <= least * 1.001
    assert found <= wall_clock(young_interval(cost, HOUR), cost, HOUR)


def lost_time(interval: float, stall: float, write: float, failures: list[float]) -> float:
    """Train through failures at the given times apart; return the share of the time that was lost.

    A save holds training up for `stall`, and counts once it has also been written for `write`.
    """
    kept = clock = 0.0
    for apart in failures:
        clock += apart
        saves, rest = divmod(apart, interval + stall)
        # The last save counts only if its write has come to its end
        kept += interval * max(0, saves - (1 if saves and rest < write else 0))
    return 1.0 - kept / clock


@pytest.mark.parametrize(("stall", "write"), [(2.0, 0.0), (20.0, 0.0), (2.0, 60.0)])
def test_no_other_interval_loses_less_in_a_simulation(stall: float, write: float) -> None:
    chance = random.Random(7)
    failures = [chance.expovariate(1 / HOUR) for _ in range(40_000)]
    lost = {
        factor: lost_time(factor * daly_interval(stall, HOUR), stall, write, failures)
        for factor in (0.2, 0.4, 0.7, 1.0, 1.4, 2.5, 5.0)
    }
    assert lost[1.0] <= min(lost.values()) * 1.01
    assert lost[0.2] > 1.3 * lost[1.0] - write / HOUR
    assert lost[5.0] > 1.3 * lost[1.0]


def test_a_stall_never_takes_more_than_its_share() -> None:
    for stall in (0.001, 0.5, 90.0):
        for share in (0.001, 0.02, 0.5):
            interval = best_interval(stall, 0.0, 60.0, share)
            assert stall / (interval + stall) <= share * 1.000001


def test_a_write_ends_before_the_next_one_begins() -> None:
    assert least_interval(0.001, 45.0, 0.02) == 45.0
    assert best_interval(0.001, 4_500.0, HOUR, 0.02) == 4_500.0


def test_the_first_save_comes_soon_to_be_measured() -> None:
    assert best_interval(None, 0.0, 12 * HOUR, 0.02) == FIRST_INTERVAL_SECONDS


def test_what_twelve_hours_between_failures_ask_for() -> None:
    """A stall of 50 ms: a save a minute, though 2 % would allow one every 2.5 s."""
    assert best_interval(0.05, 0.5, 12 * HOUR, 0.02) == pytest.approx(65.7, abs=0.1)
