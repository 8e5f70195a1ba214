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


def run(script: str, *, seconds: float | None = None) -> ChildEnd:
    return run_child([sys.executable, "-S", "-u", "-c", script], os.environ, seconds=seconds)


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
    assert (end.exit_code, end.deadline) == (143, True)


def test_a_process_that_stays_behind_does_not_hold_us(capfd: pytest.CaptureFixture[str]) -> None:
    begin = time.monotonic()
    end = run("import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(8)'])")
    assert end.exit_code == 0
    assert time.monotonic() - begin < 6
