from __future__ import annotations

import io

import pytest

from ckptsync.cli.output import Output
from ckptsync.cli.progress import Reporter


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_without_a_terminal_a_line_every_ten_seconds() -> None:
    err, clock = io.StringIO(), Clock()
    reporter = Reporter(Output(out=io.StringIO(), err=err), clock=clock)
    with reporter.progress("fetch", 4_000_000) as meter:
        for second in range(1, 26):
            clock.seconds = second
            meter.advance(100_000)
    assert err.getvalue().splitlines() == [
        "fetch: 1.0 MB of 4.0 MB (25 %)",
        "fetch: 2.0 MB of 4.0 MB (50 %)",
    ]


def test_an_unknown_end_has_no_share() -> None:
    err, clock = io.StringIO(), Clock()
    with Reporter(Output(out=io.StringIO(), err=err), clock=clock).progress("train", None, unit="steps") as meter:
        clock.seconds = 11
        meter.set(2048)
    assert err.getvalue() == "train: 2,048 steps\n"


def test_an_end_that_becomes_known_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    err, clock = io.StringIO(), Clock()
    with Reporter(Output(out=io.StringIO(), err=err), clock=clock).progress("scrubbing", None) as meter:
        meter.expect(4_000_000)
        clock.seconds = 11
        meter.advance(1_000_000)
    assert err.getvalue() == "scrubbing: 1.0 MB of 4.0 MB (25 %)\n"
    monkeypatch.setenv("TERM", "xterm")
    terminal = Terminal()
    with Reporter(Output(out=io.StringIO(), err=terminal), bar_delay=0).progress("scrubbing", None) as meter:
        meter.expect(4_000_000)
        meter.set(1_000_000)
    assert "/4.00M [" in terminal.getvalue()


def test_quiet_means_no_progress() -> None:
    err, clock = io.StringIO(), Clock()
    with Reporter(Output(quiet=True, out=io.StringIO(), err=err), clock=clock).progress("fetch", 10) as meter:
        clock.seconds = 100
        meter.advance(10)
    assert err.getvalue() == ""


def test_a_terminal_gets_a_bar_and_lines_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    err = Terminal()
    reporter = Reporter(Output(out=io.StringIO(), err=err), bar_delay=0)
    with reporter.progress("evil\nlabel", 10, unit="steps") as meter:
        meter.set(5)
        reporter.line("a line")
        meter.advance(5)
    assert "evil\\nlabel" in err.getvalue()
    assert "a line\n" in err.getvalue()
    assert "5/10" in err.getvalue()


def test_what_is_quick_gets_no_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    err = Terminal()
    with Reporter(Output(out=io.StringIO(), err=err)).progress("quick", 10) as meter:
        meter.advance(10)
    assert "quick" not in err.getvalue()


def test_a_note_stands_beside_it() -> None:
    err, clock = io.StringIO(), Clock()
    with Reporter(Output(out=io.StringIO(), err=err), clock=clock).progress("a/s0001", 200, unit="steps") as meter:
        clock.seconds = 11
        meter.note("reward 5 · 3:00 to the target")
        meter.set(100)
    assert err.getvalue() == "a/s0001: 100 steps of 200 steps (50 %) · reward 5 · 3:00 to the target\n"


def test_a_note_replaces_the_guess_of_a_bar_and_cannot_move_the_cursor() -> None:
    terminal = Terminal()
    reporter = Reporter(Output(out=io.StringIO(), err=terminal), bar_delay=0)
    with reporter.progress("a/s0001", 2000, unit="steps") as meter:
        meter.note("reward {5} \x1b[2J")
        meter.set(1000)
        reporter.line("x")  # draws it anew
    assert "| 1,000/2,000 steps · reward {5} \\x1b[2J" in terminal.getvalue()
    assert "\x1b[2J" not in terminal.getvalue()
