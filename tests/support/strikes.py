"""Runs a case with many strikes: the part of the crash tests that they share."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from itertools import count
from pathlib import Path

from support import crashpoints
from support.crashcases import Case
from support.crashpoints import Strike

_DISK_ERRORS = (errno.ENOSPC, errno.EIO)


class Sweep:
    """Runs one case with many strikes, each in a fresh copy of what was there before.

    Args:
        case: the case.
        folder: for the copies.
        harmless: calls that may fail without a word, of which some are of no consequence: by default those that note
            in a lock who holds it.
        retries: the operation may do once more what has failed; then it must have come to its end.
    """

    def __init__(
        self,
        case: Case,
        folder: Path,
        harmless: tuple[str, ...] = ("ftruncate", "pwrite"),
        *,
        retries: bool = False,
    ) -> None:
        self._harmless = harmless
        self._retries = retries
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
        # An error of the disk ends the operation with a StorageError that names a path, or was of no consequence
        if outcome.error is None:
            if outcome.calls[at - 1] not in self._harmless:
                assert self._retries, where
                self._case.complete(root)
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
