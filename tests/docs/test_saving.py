"""The page on saving names the intervals that the code takes."""

from __future__ import annotations

import re

from support import pages

from ckptsync.core.cadence import FIRST_INTERVAL_SECONDS, best_interval
from ckptsync.core.session import SavePolicy

_PAGE = pages.ROOT / "docs" / "how-to" / "saving.md"
_UNITS = {"s": 1, "min": 60, "h": 3600}


def seconds(text: str) -> float:
    """Return the first span in a cell, in seconds."""
    found = re.search(r"([0-9.]+) (s|min|h)\b", text)
    assert found is not None, text
    return float(found[1]) * _UNITS[found[2]]


def test_the_intervals_are_those_of_the_code() -> None:
    text = pages.read(_PAGE)
    lines = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("| ") and " s |" in line]
    head = next(line for line in text.splitlines() if line.startswith("| a save holds training up"))
    failures = [seconds(cell) for cell in head.strip("|").split("|")[1:]]
    assert len(lines) == 3
    for stall, *intervals in lines:
        for failure, interval in zip(failures, intervals, strict=True):
            expected = best_interval(seconds(stall), 0.0, failure, SavePolicy().max_overhead)
            assert abs(seconds(interval) - expected) <= 0.6
    assert f"after {FIRST_INTERVAL_SECONDS:.0f} seconds" in text.replace("\n", " ")
