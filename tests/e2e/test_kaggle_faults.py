"""Round trips to a Kaggle service that fails at 10 to 40 % of all requests, in every way, sessions failing besides."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import figures
from support.kaggle_trips import Chain, Counts, quick_runner

_CHAINS, _TRIPS = 50, 10
_SAMPLE, _SAMPLE_TRIPS = (3, 4), 4


def go(folder: Path, seed: int, trips: int, monkeypatch: pytest.MonkeyPatch) -> Counts:
    """Make a chain of trips."""
    folder.mkdir()
    quick_runner(monkeypatch)
    chain = Chain(folder, seed)
    for name, value in chain.service.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("HOME", str(folder))
    try:
        chain.go(trips)
    except AssertionError as error:
        raise AssertionError(f"{chain.told}: {error}") from error
    return chain.counts


@pytest.mark.parametrize("seed", _SAMPLE)
def test_trips_end_restored_or_with_a_named_error(
    seed: int, fast_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = go(fast_folder / "chain", seed, _SAMPLE_TRIPS, monkeypatch)
    assert counts.trips == _SAMPLE_TRIPS
    assert counts.faults > 0


@pytest.mark.prove
@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("seed", range(_CHAINS))
def test_five_hundred_trips(seed: int, fast_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = go(fast_folder / "chain", seed, _TRIPS, monkeypatch)
    named = counts.trips - counts.restored
    figures.record(
        f"trips to a failing Kaggle, chain {seed}",
        trips=counts.trips,
        restored=counts.restored,
        named_end=named,
        faults=counts.faults,
        lost_pushes=counts.lost,
        runs=counts.runs,
        doubles=counts.doubles,
    )
