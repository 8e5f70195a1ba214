"""What people see while a session trains, with a clock that the test turns."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from ckptsync.core.history import join
from ckptsync.core.metrics import Stretch, parse_metrics
from ckptsync.training.progress import SessionProgress
from ckptsync.training.screen import Limits


class Clock:
    """Seconds that the test lets pass."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def progress(clock: Clock, *, limits: Limits = Limits(), **targets: int) -> SessionProgress:
    return SessionProgress(targets or {"a": 1000}, {}, limits, Path("metrics.jsonl"), terminal=False, clock=clock)


def recorded() -> list[dict[str, float]]:
    lines = [json.loads(line) for line in Path("metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if "start" not in line]


def test_a_line_every_ten_seconds_says_it_all(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    shown = progress(clock, limits=Limits(deadline=1000.0 + 3600, every_steps=500), cart=100_000)
    scenario = shown.begin(Stretch("cart", 2000))
    for second in range(1, 22):
        clock.now = 1000.0 + second
        scenario.update(2000 + 100 * second, {"ep_rew_mean": 57.84, "train/loss": 0.1234})
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "[TRAIN] cart 3,000/100,000 steps · reward 57.8 · loss 0.123 · 100 steps/s · 16:10 to the target"
        " · 59:50 to the deadline · next save at 3,500",
        "[TRAIN] cart 4,000/100,000 steps · reward 57.8 · loss 0.123 · 100 steps/s · 16:00 to the target"
        " · 59:40 to the deadline · next save at 4,500",
    ]


def test_several_scenarios_and_a_limit_of_steps_are_told(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    shown = progress(clock, limits=Limits(max_steps=500), a=1000, b=3000)
    shown.begin(Stretch("a", 1000)).end(1000, {})
    second = shown.begin(Stretch("b", 100))
    clock.now += 10
    second.update(350, {"train/critic_loss": 12.0})
    assert capsys.readouterr().out.splitlines() == [
        "[TRAIN] b 350/3,000 steps · run 1,350/4,000 · session 250/500 · critic loss 12.0 · 25 steps/s"
        " · 1:46 to the target"
    ]


def test_the_speed_is_that_of_the_last_minute(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    scenario = progress(clock, a=10**6).begin(Stretch("a", 0))
    steps = 0
    for second in range(1, 201):
        clock.now += 1
        steps += 1000 if second <= 100 else 10
        scenario.update(steps, {})
    assert "10 steps/s" in capsys.readouterr().out.splitlines()[-1]


def test_nothing_stands_still_when_no_step_is_made(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    scenario = progress(clock).begin(Stretch("a", 0))
    clock.now += 10
    scenario.update(0, {})
    assert capsys.readouterr().out == "[TRAIN] a 0/1,000 steps · 0 steps/s\n"


def test_rows_come_at_their_times_and_the_last_one_always(clock: Clock) -> None:
    scenario = progress(clock).begin(Stretch("a", 0))
    for tick in range(1, 257):
        clock.now += 1 / 64
        scenario.update(tick, {"ep_rew_mean": 1.0 / 3})
    clock.now += 1 / 64
    scenario.end(257, {"ep_rew_mean": 2.0})
    rows = recorded()
    assert len(rows) == 9  # every half second of four, and the end
    assert rows[-1]["num_timesteps"] == 257
    assert rows[0]["ep_rew_mean"] == 0.33333333
    assert rows[0]["steps_per_second"] == 64.0


def test_a_long_session_keeps_its_history_small(clock: Clock) -> None:
    scenario = progress(clock).begin(Stretch("a", 0))
    for minute in range(12 * 60 * 4):
        clock.now += 15
        scenario.update(minute, {"x": 1.0})
    assert len(recorded()) < 3000


def test_a_start_line_joins_sessions(clock: Clock) -> None:
    for number, begun in enumerate((0, 10), start=1):
        scenario = progress(clock).begin(Stretch("a", begun, lineage="l", generation=number))
        clock.now += 5
        scenario.end(begun + 15, {"x": float(number)})
    stretches, senseless = parse_metrics(Path("metrics.jsonl").read_bytes())
    assert senseless == 0
    assert [(s.begun_at, s.generation) for s in stretches] == [(0, 1), (10, 2)]
    assert join(stretches, stretches[1]).points("x") == [(25, 2.0)]


def test_a_full_disk_is_told_once_and_ends_nothing(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    scenario = progress(clock).begin(Stretch("a", 0))
    Path("metrics.jsonl").unlink()
    Path("metrics.jsonl").mkdir()  # what cannot be appended to
    for tick in range(5):
        clock.now += 1
        scenario.update(tick + 1, {"x": 1.0})
    Path("metrics.jsonl").rmdir()
    clock.now += 1
    scenario.update(9, {"x": 1.0})
    told = capsys.readouterr().out
    assert told.count("training goes on without a row of its metric history") == 1
    assert [row["num_timesteps"] for row in recorded()] == [9]


_ON_A_TERMINAL = """
from pathlib import Path
from ckptsync.core.metrics import Stretch
from ckptsync.training.log import log
from ckptsync.training.progress import SessionProgress
from ckptsync.training.screen import Limits
import time
shown = SessionProgress({"cart": 1000}, {"cart": 400}, Limits(deadline=time.monotonic() + 600), Path("metrics.jsonl"))
scenario = shown.begin(Stretch("cart", 400))
time.sleep(0.6)
scenario.update(500, {"ep_rew_mean": 12.5, "train/loss": 0.5})
log("[CHECKPOINT] a line of the log")
time.sleep(0.6)
scenario.update(600, {"ep_rew_mean": 13.5, "train/loss": 0.25})
scenario.end(600, {})
print("a line of the script")
again = shown.begin(Stretch("cart", 600))
time.sleep(0.6)
again.update(700, {})
shown.close()
log("closed")
"""


@pytest.mark.slow
def test_two_bars_on_a_terminal_and_lines_above_them(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 120, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-c", _ON_A_TERMINAL],
        cwd=tmp_path,
        env={**os.environ, "TERM": "xterm"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    raw = b""
    try:
        while chunk := os.read(ours, 65536):
            raw += chunk
    except OSError:  # the terminal ends with its last process
        pass
    assert process.wait() == 0
    os.close(ours)
    drawn = re.split(r"[\r\n]|\x1b\[A", raw.decode())
    assert any(re.match(r"run +50%\|.*\| 500/1,000 steps · \d+ steps/s · 0:0\d to the target$", line) for line in drawn)
    assert any(re.match(r"session +0%\|.*\| 9:\d\d to the deadline · reward 13.5 · loss 0.25$", line) for line in drawn)
    assert "[CHECKPOINT] a line of the log" in drawn  # in a line of its own
    assert "a line of the script" in drawn
    assert any("| 700/1,000 steps" in line for line in drawn[drawn.index("a line of the script") :])
    assert [line for line in drawn if line.strip()][-1] == "closed"
