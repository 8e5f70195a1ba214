"""How long to train between two saves when failures come without warning: pure functions of seconds.

A save costs twice: it holds training up (the stall), and until its file is whole (the write) the one before
counts. Only the stall is paid again and again, so it is the cost that the interval balances against what a
failure loses. A write in the background adds the same loss to each failure whatever the interval is; it only
bounds the interval from below, for there is one write at a time.
"""

from __future__ import annotations

import math

# Nothing is measured before the first save: it comes soon, so that the second knows its cost
FIRST_INTERVAL_SECONDS = 30.0


def young_interval(cost_seconds: float, failure_seconds: float) -> float:
    """Return the first-order optimum of the training time between two saves, in seconds.

    Args:
        cost_seconds: how long a save holds training up.
        failure_seconds: mean time between failures.

    Source: J. W. Young, "A first order approximation to the optimum checkpoint interval", CACM 17(9), 1974.
    """
    return math.sqrt(2.0 * cost_seconds * failure_seconds)


def daly_interval(cost_seconds: float, failure_seconds: float) -> float:
    """Return the higher-order optimum of the training time between two saves, in seconds.

    It agrees with Young's where saves are cheap, and stays right where a save costs no small part of the
    time between failures.

    Args:
        cost_seconds: how long a save holds training up.
        failure_seconds: mean time between failures.

    Source: J. T. Daly, "A higher order estimate of the optimum checkpoint interval for restart dumps",
    Future Generation Computer Systems 22(3), 2006.
    """
    if cost_seconds >= 2.0 * failure_seconds:
        return failure_seconds
    ratio = cost_seconds / (2.0 * failure_seconds)
    terms = 1.0 + math.sqrt(ratio) / 3.0 + ratio / 9.0
    return young_interval(cost_seconds, failure_seconds) * terms - cost_seconds


def least_interval(stall_seconds: float, write_seconds: float, max_overhead: float) -> float:
    """Return the shortest time between two saves, in seconds, that keeps the overhead and lets a write end.

    Args:
        stall_seconds: how long a save holds training up.
        write_seconds: how long it is written in the background.
        max_overhead: the largest share of the time that stalls may take; above 0, below 1.
    """
    return max(stall_seconds * (1.0 - max_overhead) / max_overhead, write_seconds)


def best_interval(
    stall_seconds: float | None, write_seconds: float, failure_seconds: float, max_overhead: float
) -> float:
    """Return the time between two saves, in seconds, that loses least within the overhead that is allowed.

    Args:
        stall_seconds: how long a save holds training up; None: not measured yet.
        write_seconds: how long it is written in the background.
        failure_seconds: mean time between failures.
        max_overhead: the largest share of the time that stalls may take; above 0, below 1.
    """
    if stall_seconds is None:
        return FIRST_INTERVAL_SECONDS
    optimum = daly_interval(stall_seconds, failure_seconds)
    return max(optimum, least_interval(stall_seconds, write_seconds, max_overhead))
