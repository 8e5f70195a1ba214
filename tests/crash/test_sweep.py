"""Strikes operations at every call that changes a file: nothing acknowledged is lost, nothing torn is taken for good."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from support import crashcases, crashpoints, figures
from support.crashcases import Case
from support.crashpoints import Strike

_DISK_ERRORS = (errno.ENOSPC, errno.EIO)


class Sweep:
    """Runs one case with many strikes, each in a fresh copy of what was there before."""

    def __init__(self, case: Case, folder: Path) -> None:
        self._case = case
        self._folder = folder
        self._numbers = count()
        self._template = folder / "before"
        self._template.mkdir()
        case.prepare(self._template)
        self.calls = self._uncut()

    def strike(self, strike: Strike) -> None:
        """Strike once; check; go on as the next process would; check that it completes."""
        root = self._fresh()
        case = self._case
        outcome = crashpoints.run(lambda ack: case.operate(root, ack), strike)
        where = f"{case.name}: {strike} at {outcome.calls[-1:]}"
        if strike.mode in ("kill", "torn"):
            assert outcome.killed, where
        elif outcome.killed:
            assert strike.kill_at == len(outcome.calls), where
        else:
            self._assert_told(outcome, root, strike.at, where)
        try:
            case.check(root, outcome.acked)
            again = crashpoints.run(lambda ack: case.operate(root, ack))
            assert again.error is None, again.message
            case.complete(root)
        except AssertionError as error:
            raise AssertionError(f"{where}: {error}") from error
        shutil.rmtree(root)

    def _assert_told(self, outcome: crashpoints.Outcome, root: Path, at: int, where: str) -> None:
        # An error of the disk ends the operation with a StorageError that names a path, or was of no
        # consequence: the note in the lock about who holds it
        if outcome.error is None:
            assert outcome.calls[at - 1] in ("ftruncate", "pwrite"), where
        else:
            assert outcome.error == "StorageError", f"{where}: {outcome.message}"
            assert str(root) in outcome.message.splitlines()[0], outcome.message

    def _uncut(self) -> list[str]:
        root = self._fresh()
        outcome = crashpoints.run(lambda ack: self._case.operate(root, ack))
        assert outcome.error is None, outcome.message
        self._case.complete(root)
        return outcome.calls

    def _fresh(self) -> Path:
        root = self._folder / f"point-{next(self._numbers)}"
        shutil.copytree(self._template, root)
        return root


def strikes(calls: list[str]) -> Iterator[Strike]:
    """Every strike at every call."""
    for at, name in enumerate(calls, start=1):
        yield Strike(at, "kill")
        if name == "write":
            yield Strike(at, "torn")
        for number in _DISK_ERRORS:
            yield Strike(at, "once", number)
            yield Strike(at, "lasting", number)


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
    "case", [crashcases.copy(members=2, link=False), crashcases.save(before=1, members=1)], ids=lambda case: case.name
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
