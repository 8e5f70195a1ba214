"""The script as a child: its output, its signals, its deadline, how it ended."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

import pytest

from ckptsync.training.child import ChildEnd, run_child

pytestmark = pytest.mark.slow  # real processes that are waited for


def run(script: str, *, seconds: float | None = None, kill_seconds: float | None = None) -> ChildEnd:
    command = [sys.executable, "-S", "-u", "-c", script]
    return run_child(command, os.environ, seconds=seconds, kill_seconds=kill_seconds)


def test_output_passes_through_whole(capfd: pytest.CaptureFixture[str]) -> None:
    end = run("import sys\nfor i in range(3000): print('line', i)\nprint('last', file=sys.stderr)")
    assert end == ChildEnd(0, None, False, None)
    assert capfd.readouterr().out == "".join(f"line {i}\n" for i in range(3000)) + "last\n"


@pytest.mark.parametrize(
    ("script", "code", "error"),
    [
        ("raise ValueError('bad value')", 1, "ValueError: bad value"),
        ("import sys; sys.exit(7)", 7, "the script ended with exit code 7"),
        ("import os; os._exit(3)", 3, "the script ended with exit code 3"),
        ("import os; os.kill(os.getpid(), 11)", 139, "killed by SIGSEGV"),
        ("import os; os.kill(os.getpid(), 9)", 137, "killed by SIGKILL"),
        ("try:\n    1/0\nexcept Exception as e:\n    raise KeyError('x') from e", 1, "KeyError: 'x'"),
    ],
)
def test_how_it_ended(script: str, code: int, error: str | None, capfd: pytest.CaptureFixture[str]) -> None:
    end = run(script)
    assert (end.exit_code, end.error) == (code, error)


def test_a_traceback_of_a_script_that_went_on_is_no_error(capfd: pytest.CaptureFixture[str]) -> None:
    assert run("import traceback\ntry:\n    1/0\nexcept Exception:\n    traceback.print_exc()").error is None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_are_forwarded(number: signal.Signals, capfd: pytest.CaptureFixture[str]) -> None:
    script = (
        "import signal, sys, time\n"
        f"signal.signal({int(number)}, lambda n, f: sys.exit(128 + n))\n"
        "print('ready')\ntime.sleep(60)"
    )
    timer = threading.Timer(0.5, os.kill, (os.getpid(), number))
    timer.start()
    end = run(script)
    assert (end.exit_code, end.signal, end.deadline) == (128 + number, number.name, False)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_it_is_asked_to_stop_at_the_deadline(capfd: pytest.CaptureFixture[str]) -> None:
    begin = time.monotonic()
    end = run("import time; time.sleep(60)", seconds=0.3)
    assert time.monotonic() - begin < 10
    assert (end.exit_code, end.deadline, end.killed) == (143, True, False)


def test_a_process_that_stays_behind_does_not_hold_us(capfd: pytest.CaptureFixture[str]) -> None:
    begin = time.monotonic()
    end = run("import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(8)'])")
    assert end.exit_code == 0
    assert time.monotonic() - begin < 6


def test_one_that_does_not_listen_is_killed(capfd: pytest.CaptureFixture[str]) -> None:
    script = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"
    end = run(script, seconds=0.3, kill_seconds=0.6)
    assert (end.exit_code, end.deadline, end.killed) == (137, True, True)
    assert end.error == "the script did not end when it was asked to, and was killed"


def test_a_request_for_a_save_goes_to_who_waits_for_it(capfd: pytest.CaptureFixture[str]) -> None:
    listening = "import signal, sys, time; signal.signal(signal.SIGUSR1, lambda n, f: sys.exit(5)); time.sleep(60)"
    deaf = "import time; time.sleep(1)"
    for script, code in ((listening, 5), (deaf, 0)):
        timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGUSR1))
        timer.start()
        end = run(script)
        assert (end.exit_code, end.signal) == (code, None)
    assert signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL
