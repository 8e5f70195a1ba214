"""dispatch and collect over a service that machines share, from clones that know nothing, and in races."""

from __future__ import annotations

import pytest
from support.machines import Machines
from support.projects import Script

from ckptsync.core import sets
from ckptsync.core.errors import CorruptError, LockedError, NothingFoundError
from ckptsync.runners.base import SessionState
from ckptsync.sync import control, restore
from ckptsync.sync.ledgers import known_records
from ckptsync.testing.remote import Lost

pytestmark = pytest.mark.slow


def cut(machines: Machines, moment: str, error: BaseException) -> None:
    """Let the service fail once at a moment."""

    def fault(now: str) -> None:
        if now == moment:
            machines.service.fault = None
            raise error

    machines.service.fault = fault


def in_between(machines: Machines, moment: str, act) -> None:
    """Let something happen once at a moment."""

    def fault(now: str) -> None:
        if now == moment:
            machines.service.fault = None
            act()

    machines.service.fault = fault


def test_a_run_without_sessions_has_nothing_to_collect(machines):
    report = machines.machine("here").collect()
    assert (report.exit_code, report.message, report.next_command) == (
        0,
        "run a has nothing to collect",
        "ckptsync dispatch a",
    )


def test_an_empty_clone_goes_on_where_another_was(machines):
    for number in range(1, 4):
        machine = machines.machine("clone")  # nothing is left of the one before
        report = machine.dispatch()
        assert (report.exit_code, report.session) == (0, f"a/s000{number}")
        running = machines.machine("clone").collect()
        assert (running.exit_code, running.state, running.session) == (0, "running", report.session)
        machines.finish()
        home = machines.machine("clone")
        report = home.collect()
        assert (report.exit_code, home.head.num_timesteps, home.head.generation) == (0, number * 200, number)
        assert [r.session for r in known_records(home.project)] == [f"a/s000{n}" for n in range(1, number + 1)]
        fetched = [n for n in range(1, 4) if home.project.layout.results(f"a/s000{n}").is_dir()]
        assert fetched == [number]  # what lies before it is closed without a download
    assert [version.submission.inputs.keys() for version in machines.service.versions] == [
        set(),
        {"a_checkpoint_200_steps.ckpt"},
        {"a_checkpoint_400_steps.ckpt"},
    ]


def test_with_a_running_session_nothing_is_started(machines):
    machines.machine("here").dispatch()
    there = machines.machine("there")
    for start in (there.dispatch, there.launch):
        with pytest.raises(LockedError, match=r"a/s0001"):
            start()
    assert len(machines.versions) == 1


def test_wait_brings_home_what_another_machine_has_started(machines):
    machines.machine("here").dispatch()
    there = machines.machine("there")
    in_between(machines, "status", machines.finish)
    result = there.wait()
    assert (result.exit_code, result.session, there.head.num_timesteps) == (0, "a/s0001", 200)
    with pytest.raises(NothingFoundError):
        there.wait()


def leave_nothing_in_the_second(machines):
    """One session leaves a checkpoint, the next one breaks before it has any."""
    here = machines.machine("here")
    here.dispatch()
    machines.finish()
    machines.script = Script(steps=(), state=SessionState.RUNNING)
    here.dispatch()
    machines.finish(SessionState.ERROR)


def test_the_newest_without_anything_good_gives_way_to_the_one_before(machines):
    leave_nothing_in_the_second(machines)
    there = machines.machine("there")
    report = there.collect()
    assert (report.exit_code, report.session, there.head.num_timesteps) == (7, "a/s0002", 200)
    assert "going back to a/s0001" in there.told.text
    machines.script = Script(state=SessionState.RUNNING)
    assert (there.dispatch().session, machines.versions[-1].told().heads["a"].num_timesteps) == ("a/s0003", 200)


def test_a_lost_checkpoint_is_no_start_from_zero(machines):
    leave_nothing_in_the_second(machines)
    for path in machines.versions[0].folder.rglob("*.zip"):
        path.write_bytes(b"")
    with pytest.raises(CorruptError, match="the ledger knows a_checkpoint_200_steps"):
        machines.machine("there").dispatch()


def test_what_a_session_was_given_counts_where_it_is_the_only_copy(machines):
    here = machines.machine("here")
    here.dispatch()
    machines.finish()
    first = machines.versions[0]
    machines.script = Script(
        steps=(),
        state=SessionState.RUNNING,
        change=lambda working: [
            sets.copy_set(next(first.folder.glob("*/data/models/checkpoints")), m, working / "data/models/checkpoints")
            for m in first.made()
        ],
    )
    here.dispatch()
    machines.finish(SessionState.TIMED_OUT)
    for path in first.folder.rglob("*.zip"):
        path.write_bytes(b"")
    there = machines.machine("there")
    there.collect()
    assert there.head.num_timesteps == 200


def test_a_set_of_nobody_in_the_outputs_is_refused_also_in_an_empty_clone(machines):
    machines.script = Script(state=SessionState.RUNNING, fields={"lineage": "l0009-ffffff"})
    machines.machine("here").dispatch()
    machines.finish()
    there = machines.machine("there")
    assert (there.collect().exit_code, there.head) == (4, None)


def test_two_first_sessions_at_once_are_one(machines):
    here, there = machines.machine("here"), machines.machine("there")
    in_between(machines, "push", lambda: there.dispatch(seed=7))
    with pytest.raises(LockedError, match="another machine has started a/s0001 first"):
        here.dispatch()
    [record] = known_records(here.project)
    assert (record.discovered, record.spec.seed) == (True, 7)
    assert [version.running for version in machines.versions] == [True, False]
    machines.finish()
    assert (here.collect().exit_code, there.collect().exit_code) == (0, 0)
    assert here.head.digest == there.head.digest == machines.versions[0].made()[-1].digest


def test_a_crash_between_a_lost_race_and_its_news_is_made_good(machines):
    here, there = machines.machine("here"), machines.machine("there")

    def race() -> None:
        there.dispatch(seed=7)
        cut(machines, "pushed", KeyError("power cut"))

    in_between(machines, "push", race)
    with pytest.raises(KeyError):
        here.dispatch()
    assert known_records(here.project)[0].handle is None
    assert here.collect().state == "running"
    for version in machines.versions:
        version.finish()
    assert here.collect().session == "a/s0001"
    assert here.head.digest == machines.versions[0].made()[-1].digest
    assert not any(m.digest == here.head.digest for m in machines.versions[1].made())


def test_a_push_whose_answer_is_lost_is_found_again(machines):
    here = machines.machine("here")
    cut(machines, "pushed", Lost("no answer"))
    with pytest.raises(Lost):
        here.dispatch()
    with pytest.raises(LockedError, match="has not ended"):
        here.dispatch()
    machines.finish()
    assert (here.collect().exit_code, here.head.num_timesteps, len(machines.versions)) == (0, 200, 1)


def test_another_machine_that_begins_anew_is_followed(machines):
    here, there = machines.machine("here"), machines.machine("there")
    here.dispatch()
    machines.finish()
    here.collect()
    old = here.head
    there.collect()
    there.dispatch(fresh=True)
    machines.finish()
    assert here.collect().exit_code == 0
    assert (here.head.num_timesteps, here.head.lineage) == (200, machines.versions[1].told().lineage)
    attic = here.project.tree(here.run).attic
    assert old.digest in [s.manifest.digest for folder in attic.iterdir() for s in sets.scan(folder)]
    restore.undo(here.project, here.run)
    assert here.head == old


def test_the_session_before_is_named_where_its_outputs_hold_all(machines):
    here = machines.machine("here")
    for state in (SessionState.COMPLETE, SessionState.TIMED_OUT, SessionState.COMPLETE):
        here.dispatch()
        machines.finish(state)
    here.dispatch()
    previous = [version.submission.previous for version in machines.service.versions]
    assert [p.reference["version"] if p is not None else None for p in previous] == [None, 1, None, 3]


def test_a_session_that_was_cancelled_before_it_started_stays_closed(machines):
    here = machines.machine("here")
    cut(machines, "push", Lost("no answer"))
    with pytest.raises(Lost):
        here.dispatch()
    assert control.cancel(here.project, "a/s0001").asked
    assert here.dispatch().session == "a/s0002"
