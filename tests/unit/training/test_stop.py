"""Signals, deadlines and requests."""

from __future__ import annotations

import hashlib
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from ckptsync.training.stop import StopWatch, session_started


def test_nothing_asks_for_a_stop() -> None:
    with StopWatch() as stop:
        assert stop.cause() is None


def test_a_deadline_counts_what_is_still_needed() -> None:
    with StopWatch(deadline=time.monotonic() + 60) as stop:
        assert stop.cause(needed_seconds=50) is None
        assert stop.cause(needed_seconds=70) == "deadline"


@pytest.mark.slow
def test_a_signal_is_known_while_the_main_thread_sits_in_a_c_call() -> None:
    with StopWatch() as stop:
        killer = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGTERM))
        seen: list[float] = []

        def watch() -> None:
            while stop.signal_number is None:
                time.sleep(0.005)
            seen.append(time.monotonic())

        watcher = threading.Thread(target=watch)
        watcher.start()
        killer.start()
        hashlib.pbkdf2_hmac("sha256", b"", b"", 2_000_000)  # about a second in C; Python's handler runs at its end
        ended = time.monotonic()
        watcher.join(timeout=10)
        assert seen
        assert seen[0] < ended
        assert (stop.signal_name, stop.cause()) == ("SIGTERM", "signal")


def test_the_same_wish_twice_at_once_is_one(tmp_path: Path) -> None:
    with StopWatch() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.cause() == "signal"


def test_a_second_wish_later_interrupts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ckptsync.training.stop._ONE_WISH_SECONDS", 0.05)
    with StopWatch():
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.2)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(1)


def test_a_file_asks_for_a_stop(tmp_path: Path) -> None:
    request = tmp_path / "ckptsync.stop"
    with StopWatch(request=request) as stop:
        request.touch()
        assert stop.cause() == "request"


def test_a_thread_of_its_own_watches_no_signals() -> None:
    found: list[bool] = []

    def run() -> None:
        with StopWatch() as stop:
            found.append(stop.handles_signals)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert found == [False]


def test_the_session_began_when_boot_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CKPTSYNC_STARTED", repr(time.monotonic() - 100))
    assert time.monotonic() - session_started() == pytest.approx(100, abs=1)
    monkeypatch.delenv("CKPTSYNC_STARTED")
    assert time.monotonic() - session_started() == pytest.approx(0, abs=1)
