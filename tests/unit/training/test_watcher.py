"""The thread that acts for a training thread that does not come back."""

from __future__ import annotations

import threading
import time

import pytest

from ckptsync.training.stop import StopWatch
from ckptsync.training.watcher import Watcher


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ckptsync.training.watcher._PATIENCE_SECONDS", 0.05)
    monkeypatch.setattr("ckptsync.training.watcher._GRACE_SECONDS", 0.1)
    monkeypatch.setattr("ckptsync.training.watcher._LOOK_SECONDS", 0.01)


class Recorder:
    """What the watcher did, in order."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.left = threading.Event()

    def seal(self, cause: str) -> None:
        self.done.append(f"seal {cause}")

    def leave(self, cause: str) -> None:
        self.done.append(f"leave {cause}")
        self.left.set()


def test_training_that_does_not_come_back_is_sealed_and_left() -> None:
    seen = Recorder()
    with StopWatch(deadline=time.monotonic() + 0.1, margin_seconds=60) as stop:
        with Watcher(stop, seal=seen.seal, leave=seen.leave):
            assert seen.left.wait(10)
        assert seen.done == ["seal deadline", "leave deadline"]


def test_training_that_ends_by_itself_is_left_alone() -> None:
    seen = Recorder()
    with StopWatch(deadline=time.monotonic() + 60) as stop:
        with Watcher(stop, seal=seen.seal, leave=seen.leave):
            time.sleep(0.1)
        assert seen.done == []


def test_training_that_comes_back_after_the_seal_ends_by_itself() -> None:
    seen = Recorder()
    sealed = threading.Event()

    def seal(cause: str) -> None:
        seen.seal(cause)
        sealed.set()

    with StopWatch(deadline=time.monotonic(), margin_seconds=60) as stop:
        with Watcher(stop, seal=seal, leave=seen.leave):
            assert sealed.wait(10)
        assert seen.done == ["seal deadline"]


def test_nobody_ends_the_process_while_training_is_at_work_on_the_end() -> None:
    seen = Recorder()
    with StopWatch(deadline=time.monotonic() + 0.05, margin_seconds=60) as stop:
        with Watcher(stop, seal=seen.seal, leave=seen.leave):
            with stop.undisturbed():
                time.sleep(0.5)
                assert seen.done == []
            assert seen.left.wait(10)
        assert seen.done == ["seal deadline", "leave deadline"]


def test_little_margin_means_little_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ckptsync.training.watcher._GRACE_SECONDS", 60.0)
    monkeypatch.setattr("ckptsync.training.watcher._LEAST_SHARE", 0.001)
    seen = Recorder()
    with (
        StopWatch(deadline=time.monotonic(), margin_seconds=0.1) as stop,
        Watcher(stop, seal=seen.seal, leave=seen.leave),
    ):
        assert seen.left.wait(10)
