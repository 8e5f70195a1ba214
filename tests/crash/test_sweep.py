"""Strikes operations at every call that changes a file: nothing acknowledged is lost, nothing torn is taken for good."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import crashcases, crashpoints, figures
from support.crashcases import Case
from support.crashpoints import Strike
from support.strikes import Sweep, strikes

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("case", crashcases.sample())
def test_no_strike_loses_or_tears_anything(case: Case, fast_folder: Path) -> None:
    sweep = Sweep(case, fast_folder)
    # Every call is struck in one way here, in turn; `make prove` strikes every call in every way
    ways = [list(group) for group in _by_call(sweep.calls)]
    for at, group in enumerate(ways):
        sweep.strike(group[at % len(group)])


def _by_call(calls: list[str]) -> Iterator[list[Strike]]:
    every = list(strikes(calls))
    for at in range(1, len(calls) + 1):
        yield [strike for strike in every if strike.at == at]


@pytest.mark.prove
@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("case", (*crashcases.SMALL, *crashcases.LARGE), ids=lambda case: case.name)
def test_no_strike_at_all_loses_or_tears_anything(case: Case, fast_folder: Path) -> None:
    sweep = Sweep(case, fast_folder)
    every = list(strikes(sweep.calls))
    broken = []
    for strike in every:
        try:
            sweep.strike(strike)
        except AssertionError as error:
            broken.append(str(error))
    figures.record(f"strikes: {case.name}", calls=len(sweep.calls), points=len(every), broken=len(broken))
    assert not broken, broken[0]


@pytest.mark.parametrize(
    "case",
    [
        crashcases.copy(members=2, link=False),
        pytest.param(crashcases.save(before=1, members=1), marks=pytest.mark.slow),
    ],
    ids=lambda case: case.name,
)
def test_a_kill_while_cleaning_up_after_an_error_loses_and_tears_nothing(case: Case, fast_folder: Path) -> None:
    sweep = Sweep(case, fast_folder)
    for at in range(1, len(sweep.calls) + 1):
        sweep.strike(Strike(at, "once", errno.EIO, kill_at=at + 1 + at % 4))


@pytest.mark.prove
def test_every_kill_while_cleaning_up_loses_and_tears_nothing(fast_folder: Path) -> None:
    case = crashcases.bring_home(count=1, members=3)
    sweep = Sweep(case, fast_folder)
    points = [(at, kill) for at in range(1, len(sweep.calls) + 1) for kill in range(at + 1, at + 9)]
    for at, kill in points:
        sweep.strike(Strike(at, "once", errno.EIO, kill_at=kill))
    figures.record("errors, then a kill", calls=len(sweep.calls), points=len(points), broken=0)


def test_a_killed_child_is_told_from_one_that_ended(fast_folder: Path) -> None:
    def operate(ack: crashpoints.Ack) -> None:
        from ckptsync.core import fsio

        fsio.write_bytes(fast_folder / "a", b"1")
        ack("a")
        fsio.write_bytes(fast_folder / "b", b"2")

    uncut = crashpoints.run(operate)
    assert (uncut.killed, uncut.acked, uncut.error) == (False, ["a"], None)
    assert uncut.calls == ["open", "write", "fsync", "rename", "fsync"] * 2
    os.unlink(fast_folder / "b")
    cut = crashpoints.run(operate, Strike(6, "kill"))
    assert (cut.killed, cut.acked) == (True, ["a"])
    assert not (fast_folder / "b").exists()
