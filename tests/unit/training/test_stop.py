"""Signals, deadlines and requests."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from ckptsync.training.stop import StopWatch, session_started

pytestmark = pytest.mark.slow


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


def test_our_own_code_is_not_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ckptsync.training.stop._ONE_WISH_SECONDS", 0.05)
    with StopWatch() as stop:
        for _ in range(3):
            with stop.undisturbed():
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(0.1)
        assert stop.urgent() == "signal"


def test_a_wish_is_urgent_when_its_patience_is_over_or_it_comes_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ckptsync.training.stop._PATIENCE_SECONDS", 0.2)
    with StopWatch() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.wait_for_signal(5)
        assert stop.urgent() is None
        time.sleep(0.3)
        assert stop.urgent() == "signal"


def test_the_deadline_leaves_room_for_the_last_save() -> None:
    with StopWatch(deadline=time.monotonic() + 60) as stop:
        assert stop.urgent() is None
        stop.reserve_seconds = 70
        assert (stop.urgent(), stop.cause()) == ("deadline", "deadline")


def test_a_third_wish_long_after_the_second_ends_the_process() -> None:
    script = """
import os, signal, time
from ckptsync.training import stop
stop._ONE_WISH_SECONDS = stop._CUT_SECONDS = 0.1
with stop.StopWatch() as watch, watch.undisturbed():
    for _ in range(3):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.3)
    print("still here")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 143
    assert "still here" not in done.stdout


@pytest.mark.parametrize("asks", ["file", "signal"])
def test_a_save_can_be_asked_for(asks: str, tmp_path: Path) -> None:
    request = tmp_path / "ckptsync.save"
    with StopWatch(save_request=request) as stop:
        if asks == "file":
            request.touch()
        else:
            os.kill(os.getpid(), signal.SIGUSR1)
            time.sleep(0.05)
        assert stop.save_requested()
        assert stop.cause() is None
        stop.save_answered()
        assert not stop.save_requested()
        assert not request.exists()


def test_a_forked_child_has_its_signals_for_itself() -> None:
    with StopWatch() as stop:
        child = os.fork()
        if child == 0:
            time.sleep(30)
            os._exit(0)
        os.kill(child, signal.SIGTERM)
        _, status = os.waitpid(child, 0)
        assert os.WTERMSIG(status) == signal.SIGTERM
        assert not stop.wait_for_signal(0.2)


def test_leaving_does_not_wait_for_a_forked_child() -> None:
    with StopWatch():
        child = os.fork()
        if child == 0:
            time.sleep(30)
            os._exit(0)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


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
