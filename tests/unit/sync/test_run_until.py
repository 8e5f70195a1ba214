"""run-until: what each kind of end leads to, over the scripted runner; and waiting until a session is possible."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from support.machines import Machines
from support.projects import Script, Told

from ckptsync.core.errors import LimitError
from ckptsync.core.heads import read_head
from ckptsync.runners.base import Allowance, SessionState
from ckptsync.runners.base import Limits as ServiceLimits
from ckptsync.sync import control
from ckptsync.sync.availability import hours_left, on_any_machine, seconds_until, when_possible
from ckptsync.sync.launch import LaunchOptions
from ckptsync.sync.run_until import Limits, Series, run_until
from ckptsync.testing.remote import Lost

pytestmark = pytest.mark.slow

CRASH = Script(steps=(), state=SessionState.ERROR)
SAVES = Script(steps=(100,), state=SessionState.TIMED_OUT)
NOTHING = Script(steps=())


class Clock:
    """A clock that moves when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def go(bench, scripts: list[Script], *, limits: Limits | None = None, clock: Clock | None = None) -> Series:
    """Let each session do what the next script says; the last one says it for all that follow."""
    start, clock, left = bench.runner.start, clock or Clock(), list(scripts)

    def scripted(submission):
        bench.runner.script = left.pop(0) if len(left) > 1 else left[0]
        return start(submission)

    bench.runner.start = scripted
    asked = limits or Limits()
    return run_until(
        bench.project, bench.run, LaunchOptions(), asked, reporter=bench.told, sleep=clock.sleep, clock=clock
    )


def test_sessions_follow_until_the_steps_are_reached(bench):
    series = go(bench, [SAVES], limits=Limits(steps=350))
    assert (series.exit_code, len(series.trips), series.steps) == (0, 4, 400)
    assert series.message == "the steps are reached: a at 400"
    assert bench.runner.spec_of("a/s0001").scenarios[0].total_timesteps == 350
    again = go(bench, [SAVES], limits=Limits(steps=350))
    assert (again.exit_code, again.trips) == (0, ())


def test_at_most_so_many_sessions(bench):
    series = go(bench, [SAVES], limits=Limits(sessions=2))
    assert (series.exit_code, len(series.trips), series.steps) == (3, 2, 200)


def test_crashes_are_tried_again_with_growing_pauses_within_the_budget(bench):
    clock = Clock()
    series = go(bench, [SAVES, CRASH], clock=clock)
    assert (series.exit_code, len(series.trips), clock.slept) == (7, 4, [10.0, 20.0])
    assert "3 sessions in a row did not end by themselves" in series.message


def test_a_good_session_gives_the_restarts_back(bench):
    series = go(bench, [CRASH, CRASH, SAVES, CRASH, SAVES], limits=Limits(steps=200))
    assert (series.exit_code, len(series.trips)) == (0, 5)


def test_two_sessions_without_steps_are_enough(bench):
    series = go(bench, [SAVES, NOTHING])
    assert (series.exit_code, len(series.trips)) == (11, 3)


def test_what_may_not_be_used_ends_it_at_once(bench):
    def truncate(working: Path) -> None:
        for path in working.rglob("*.zip"):
            path.write_bytes(path.read_bytes()[:-50])

    series = go(bench, [SAVES, Script(change=truncate)])
    assert (series.exit_code, len(series.trips)) == (4, 2)


def test_a_session_that_is_cancelled_from_here_is_the_last(bench):
    def cancel(working: Path) -> None:
        control.open_ledger(bench.project).append("cancelled", run="a", session="a/s0001")

    series = go(bench, [Script(steps=(100,), state=SessionState.CANCELLED, change=cancel)])
    assert (series.exit_code, len(series.trips)) == (3, 1)
    assert "it was asked to stop from here" in series.message


def test_ctrl_c_leaves_all_and_the_same_command_goes_on(bench, monkeypatch):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("ckptsync.sync.trip.fetch", interrupt)
        series = go(bench, [SAVES], limits=Limits(steps=200))
    assert (series.exit_code, series.next_command) == (130, "ckptsync run-until a")
    series = go(bench, [SAVES], limits=Limits(steps=200))
    assert (series.exit_code, [trip.session for trip in series.trips]) == (0, ["a/s0001", "a/s0002"])


def refusing(times: int, available_at: str | None = "2026-01-01T00:05:00Z") -> Callable[[], str]:
    """Return what is refused so many times."""
    left = [LimitError("no hours", available_at=available_at)] * times

    def start() -> str:
        if left:
            raise left.pop()
        return "started"

    return start


def test_a_limit_without_waiting_ends_it_with_the_time(bench):
    start = bench.runner.start
    calls: list[int] = []

    def limited(submission):
        calls.append(1)
        if len(calls) == 2:
            refusing(1)()
        return start(submission)

    bench.runner.start = limited
    bench.runner.script = SAVES
    series = run_until(bench.project, bench.run, LaunchOptions(), Limits(), reporter=bench.told)
    assert (series.exit_code, series.message) == (8, "no hours; possible again at 2026-01-01T00:05:00Z")
    assert series.next_command == "ckptsync run-until a --when-possible"


def test_waiting_lasts_until_it_is_possible_and_says_so():
    clock, told = Clock(), Told()
    clock.now = 1767225600.0  # 2026-01-01
    started = when_possible(refusing(2), told, sleep=clock.sleep, clock=clock, chance=lambda: 0.0)
    assert (started, clock.slept) == ("started", [300.0, 60.0])
    assert "no hours; waiting until 2026-01-01T00:05:00Z" in told.text


def test_a_clock_that_is_off_by_a_day_is_not_believed_for_long():
    clock = Clock()
    when_possible(refusing(3), Told(), sleep=clock.sleep, clock=clock, chance=lambda: 0.0)
    assert clock.slept == [3600.0, 3600.0, 3600.0]


def test_waiting_for_what_no_time_mends_is_refused():
    with pytest.raises(LimitError):
        when_possible(refusing(1, None), Told(), sleep=lambda _seconds: pytest.fail("it waited"))


@pytest.mark.parametrize(
    ("moment", "seconds"),
    [("2026-01-01T00:05:00Z", 300.0), ("2026-01-01T01:05:00+01:00", 300.0), ("2025-01-01T00:00:00", 0.0), ("x", 0.0)],
)
def test_how_long_it_is_until_a_moment(moment, seconds):
    assert seconds_until(moment, 1767225600.0) == seconds


def test_the_next_kind_of_machine_is_taken_where_the_first_is_used_up(bench):
    bench.reload(
        'runners = { local = { accelerator = ["gpu", "none"] } }\n' + (bench.project.layout.config).read_text("utf-8")
    )
    tried: list[str] = []

    def start(project) -> str:
        tried.append(project.runner_settings("local", "a")["accelerator"])
        if len(tried) == 1:
            raise LimitError("no GPU hours", available_at="2026-01-01T00:05:00Z")
        return tried[-1]

    assert on_any_machine(bench.project, "local", "a", start, bench.told) == "none"
    assert "no GPU hours; taking none instead" in bench.told.text


def test_a_session_of_another_machine_is_waited_for(machines: Machines):
    here, there = machines.machine("here"), machines.machine("there")
    there.dispatch()

    looks: list[str] = []

    def end(moment: str) -> None:
        looks.append(moment)
        if looks.count("status") > 1:
            machines.finish()

    machines.service.fault = end
    series = run_until(here.project, here.run, LaunchOptions(), Limits(sessions=2), reporter=here.told)
    assert [trip.session for trip in series.trips] == ["a/s0001", "a/s0002"]
    head = read_head(here.project.tree(here.run), "a")
    assert (series.exit_code, head.num_timesteps if head else None) == (3, 400)


def test_the_hours_left_are_told_and_trouble_is_a_line(machines: Machines):
    here = machines.machine("here")
    machines.service.limits = ServiceLimits(allowances=(Allowance("gpu", 7200.0, 1800.0),))
    assert [each.left_seconds for each in hours_left(here.project, here.run)[0]] == [5400.0]

    def fail(moment: str) -> None:
        raise Lost(f"no answer at {moment}")

    machines.service.fault = fail
    assert hours_left(here.project, here.run) == ((), "no answer at limits")


def test_a_place_that_nobody_knows_the_time_of_is_asked_for_again():
    clock, told = Clock(), Told()
    left = [LimitError("two sessions run", transient=True)] * 2

    def start() -> str:
        if left:
            raise left.pop()
        return "started"

    assert when_possible(start, told, sleep=clock.sleep, clock=clock, chance=lambda: 0.0) == "started"
    assert clock.slept == [30.0, 60.0]
    assert "two sessions run; asking again in 30.0 s" in told.text
