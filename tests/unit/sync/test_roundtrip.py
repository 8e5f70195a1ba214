"""The whole trip over the scripted runner: outcomes, exit codes, crashes between the stages."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from support.hostile import code_object, function, sb3_file
from support.projects import CONFIG, Script, rewrite_manifest, seal_set, set_head, write_model

from ckptsync.core import heads, sets
from ckptsync.core.errors import CkptsyncError, CorruptError, IncompatibleError, LockedError, NothingFoundError
from ckptsync.core.layout import EVENTS_NAME, SESSION_INFO_NAME
from ckptsync.core.manifest import FileEntry
from ckptsync.core.readers import read_model
from ckptsync.core.session import EventLog, SessionInfo, write_session_info
from ckptsync.runners.base import SessionState
from ckptsync.sync import fetch as fetching
from ckptsync.sync import launch, overview, restore, roundtrip, verify
from ckptsync.sync.launch import LaunchOptions
from ckptsync.sync.ledgers import known_records, open_ledger

pytestmark = pytest.mark.slow


def trip(bench, options=None, **kwargs):
    return roundtrip.run(bench.project, bench.run, options or LaunchOptions(), reporter=bench.told, **kwargs)


def head(bench, scenario="a"):
    return heads.read_head(bench.tree, scenario)


def stems(folder: Path) -> list[str]:
    return [s.stem for s in sets.scan(folder)]


def test_two_trips_go_on_from_each_other(bench):
    first = trip(bench)
    assert (first.exit_code, head(bench).num_timesteps) == (0, 200)
    second = trip(bench)
    assert (second.exit_code, head(bench).num_timesteps) == (0, 400)
    assert head(bench).generation == 2
    assert [s.inputs.keys() for s in bench.runner.started] == [set(), {"a_checkpoint_200_steps.ckpt"}]
    assert stems(bench.tree.checkpoints) == ["a_checkpoint_300_steps", "a_checkpoint_400_steps"]  # keep_last = 2
    assert "Successfully restored 2 file(s)" in bench.told.text


def test_a_reached_target_starts_nothing(bench):
    set_head(bench.tree, seal_set(bench.tree.checkpoints, 1000))
    result = trip(bench)
    assert result.exit_code == 0
    assert "raise total_timesteps" in result.message
    assert bench.runner.started == []


def test_a_scenario_that_had_reached_its_target_before_is_not_asked_for_again(bench):
    bench.reload(CONFIG.replace("total_timesteps = 1000", "scenarios = { a = 400, b = 200 }"))
    assert trip(bench).next_command == "ckptsync launch a"

    def only_a(working: Path) -> None:
        for path in (working / "data/models/checkpoints").glob("b_*"):
            path.unlink()

    bench.runner.script = Script(change=only_a)
    assert trip(bench).next_command == "ckptsync ls a"


@pytest.mark.parametrize(
    ("state", "steps", "code"),
    [
        (SessionState.COMPLETE, (100,), 0),
        (SessionState.TIMED_OUT, (100,), 3),
        (SessionState.CANCELLED, (100,), 3),
        (SessionState.ERROR, (100,), 7),
        (SessionState.ERROR, (), 7),
        (SessionState.COMPLETE, (), 11),
        (SessionState.TIMED_OUT, (), 11),
    ],
)
def test_the_exit_code_says_how_it_ended(bench, state, steps, code):
    bench.runner.script = Script(steps=steps, state=state)
    assert trip(bench).exit_code == code
    assert (head(bench) is not None) == bool(steps)
    assert all(record.settled for record in known_records(bench.project))


def _without_end_marker(working: Path) -> None:
    (working / SESSION_INFO_NAME).unlink()


def _with_a_crash_in_its_end_marker(working: Path) -> None:
    info = SessionInfo("a/s0001", "error", 1, {}, seconds=1.0, total_training_time=1.0, error="ValueError: no")
    write_session_info(working / SESSION_INFO_NAME, info)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            _without_end_marker,
            "a/s0001 failed (scripted says that it is complete, and its own end marker, session_info.json, is missing); "
            "a is at 200 steps now",
        ),
        (_with_a_crash_in_its_end_marker, "a/s0001 failed (ValueError: no); a is at 200 steps now"),
    ],
)
def test_a_success_that_the_session_does_not_vouch_for_is_none(bench, change, said):
    bench.runner.script = Script(change=change)
    result = trip(bench)
    assert (result.exit_code, result.message, result.next_command) == (7, said, "ckptsync logs a/s0001")
    assert head(bench).num_timesteps == 200


def test_a_broken_newest_set_is_passed_over_and_kept_with_the_reason(bench):
    def flip(working: Path) -> None:
        path = working / "data/models/checkpoints/a_checkpoint_200_steps.zip"
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)

    bench.runner.script = Script(change=flip)
    result = trip(bench)
    assert (result.exit_code, head(bench).num_timesteps) == (3, 100)
    reasons = list(bench.project.layout.quarantine.glob("*/reason.json"))
    assert json.loads(reasons[0].read_text())["set"] == "a_checkpoint_200_steps"
    assert (bench.project.layout.results("a/s0001") / "data/models/checkpoints/a_checkpoint_200_steps.zip").exists()


def test_nothing_good_leaves_the_old_head(bench):
    trip(bench)
    before = bench.tree.head("a").read_bytes()

    def truncate(working: Path) -> None:
        for path in (working / "data/models/checkpoints").glob("*.zip"):
            path.write_bytes(path.read_bytes()[:-50])

    bench.runner.script = Script(change=truncate)
    assert trip(bench).exit_code == 4
    assert bench.tree.head("a").read_bytes() == before


def test_another_architecture_is_refused_by_name(bench):
    trip(bench)
    bench.runner.script = Script(hidden=(16, 16))
    result = trip(bench)
    assert (result.exit_code, head(bench).num_timesteps) == (5, 200)
    assert "refused a_checkpoint_400_steps" in bench.told.text


@pytest.mark.parametrize(
    ("error", "code", "said", "next_command"),
    [
        (IncompatibleError("x does not fit\n- Architecture: y", hint="z"), 5, "- Architecture: y", "launch a --fresh"),
        (CorruptError("x cannot be used", hint="fetch it again"), 4, "fetch it again", "logs a/s0002"),
        (LockedError("somebody holds x"), 7, "failed (LockedError: somebody holds x)", "logs a/s0002"),
        (RuntimeError("crash\nmore"), 7, "failed (RuntimeError: crash); it left nothing new", "logs a/s0002"),
    ],
)
def test_an_error_inside_the_session_is_told_as_what_it_is(bench, error, code, said, next_command):
    trip(bench)

    def fail(working: Path) -> None:
        EventLog(working / EVENTS_NAME, "a/s0002").write_error(error)
        text = f"{type(error).__name__}: {error}"
        info = SessionInfo("a/s0002", "error", 1, {}, seconds=1.0, total_training_time=1.0, error=text)
        write_session_info(working / SESSION_INFO_NAME, info)

    bench.runner.script = Script(steps=(), state=SessionState.ERROR, change=fail)
    result = trip(bench)
    assert (result.exit_code, result.next_command) == (code, f"ckptsync {next_command}")
    assert said in result.message
    assert "crashed" not in result.message
    bench.runner.script = Script()
    assert (trip(bench).exit_code, head(bench).num_timesteps) == (0, 400)


@pytest.mark.parametrize(
    ("steps", "code", "said"),
    [
        ((100, 200), 3, "a/s0001 was stopped by a signal; a is at 200 steps now"),
        ((), 7, "a/s0001 failed (as scripted); it left nothing new"),
    ],
)
def test_a_script_that_somebody_stopped_did_not_crash(bench, steps, code, said):
    def stop(working: Path) -> None:
        info = SessionInfo("a/s0001", "signal", 143, {}, seconds=1.0, total_training_time=1.0, error="exit code 143")
        write_session_info(working / SESSION_INFO_NAME, info)

    bench.runner.script = Script(steps=steps, state=SessionState.ERROR, change=stop)
    result = trip(bench)
    assert (result.exit_code, result.message, result.next_command) == (code, said, "ckptsync launch a")


def test_a_session_without_time_is_told_so(bench):
    bench.reload(CONFIG.replace("packages", 'budget = "20s"\npackages'))
    bench.runner.script = Script(steps=(), state=SessionState.TIMED_OUT)
    result = trip(bench)
    assert (result.exit_code, result.message) == (
        11,
        "a/s0001 ended (timed out) without a new checkpoint: its budget was over before there was anything new to save",
    )
    assert "the margin (30 s) takes all of the budget (20 s)" in bench.told.text


def test_an_error_event_that_makes_no_sense_is_not_believed(bench):
    trip(bench)

    def lie(working: Path) -> None:
        EventLog(working / EVENTS_NAME, "a/s0002").write("error", type=1, message=None, exit_code="5")

    bench.runner.script = Script(steps=(), state=SessionState.ERROR, change=lie)
    assert trip(bench).exit_code == 7


@pytest.mark.parametrize(
    "fields",
    [{"session": "a/s0009"}, {"lineage": "l0009-ffffff"}, {"generation": 9}, {"session": None}, {"resumed_from": None}],
)
def test_sets_of_another_session_never_become_the_head(bench, fields):
    trip(bench)
    bench.runner.script = Script(fields=fields)
    assert trip(bench).exit_code == 4
    assert head(bench).num_timesteps == 200


def test_a_foreign_scenario_is_refused(bench):
    def add(working: Path) -> None:
        seal_set(working / "data/models/checkpoints", 900, scenario="other")

    bench.runner.script = Script(change=add)
    result = trip(bench)
    assert (result.exit_code, head(bench).num_timesteps) == (3, 200)
    assert stems(bench.tree.checkpoints) == ["a_checkpoint_100_steps", "a_checkpoint_200_steps"]


def test_plain_files_of_a_session_are_not_restored(bench):
    bench.runner.script = Script(
        steps=(), change=lambda w: write_model(w / "data/models/checkpoints/a_checkpoint_9_steps.zip", 9) and None
    )
    assert trip(bench).exit_code == 11
    assert head(bench) is None


def test_fresh_moves_the_old_sets_to_the_attic(bench):
    trip(bench)
    old = head(bench)
    result = trip(bench, LaunchOptions(fresh=True))
    assert result.exit_code == 0
    assert head(bench).num_timesteps == 200
    assert head(bench).lineage > old.lineage
    assert bench.runner.started[-1].inputs == {}
    attic = [s.manifest.digest for f in bench.tree.attic.iterdir() for s in sets.scan(f)]
    assert old.digest in attic


def test_an_undo_brings_back_what_gave_way_to_a_fresh_start(bench):
    trip(bench)
    old, before = head(bench), {s.stem for s in sets.scan(bench.tree.checkpoints)}
    trip(bench, LaunchOptions(fresh=True))
    assert head(bench).digest != old.digest
    receipt = restore.undo(bench.project, bench.run)
    assert receipt.scenarios["a"].head_from == old
    assert head(bench) == old
    assert {s.stem for s in sets.scan(bench.tree.checkpoints)} == before
    with pytest.raises(NothingFoundError, match="undone already"):
        restore.undo(bench.project, bench.run)


def test_a_fresh_start_that_made_nothing_can_be_undone(bench):
    trip(bench)
    old = head(bench)
    bench.runner.script = Script(steps=())
    assert trip(bench, LaunchOptions(fresh=True)).exit_code == 11
    assert head(bench) is None
    restore.undo(bench.project, bench.run)
    assert head(bench) == old
    assert launch.plan(bench.project, bench.run, LaunchOptions()).resumes["a"] == (old.stem, old.num_timesteps)


def test_another_version_starts_a_new_lineage_and_says_so(bench):
    trip(bench)
    old = head(bench)
    bench.reload(CONFIG.replace("total_timesteps", 'version = "2"\ntotal_timesteps'))
    trip(bench)
    assert head(bench).lineage > old.lineage
    assert "version of run a changed from 1 to 2" in bench.told.text
    trip(bench)
    assert head(bench).num_timesteps == 400  # and the same version goes on


def test_a_broken_head_falls_back_and_says_so(bench):
    trip(bench)
    path = bench.tree.checkpoints / "a_checkpoint_200_steps.zip"
    path.write_bytes(path.read_bytes()[:-1])
    result = trip(bench)
    assert result.exit_code == 3
    assert bench.runner.started[-1].inputs.keys() == {"a_checkpoint_100_steps.ckpt"}
    assert "a_checkpoint_200_steps is broken" in bench.told.text
    assert "'ckptsync restore a --session a/s0001' may bring a sound copy back" in bench.told.text
    assert head(bench).num_timesteps == 300
    assert list(bench.project.layout.quarantine.glob("*/a_checkpoint_200_steps.zip"))


def test_a_head_file_that_is_gone_is_said(bench):
    trip(bench)
    bench.tree.head("a").unlink()
    assert trip(bench).exit_code == 0
    assert "there is no a_head.json; starting from the newest sealed set, a_checkpoint_200_steps" in bench.told.text


def test_nothing_good_is_an_error_not_a_start_from_zero(bench):
    trip(bench)
    for path in bench.tree.checkpoints.glob("*.zip"):
        path.write_bytes(b"")
    with pytest.raises(CorruptError, match="is good, and something is there"):
        trip(bench)
    assert len(bench.runner.started) == 1


def test_functions_in_sets_that_the_ledger_does_not_know_ask_for_trust(bench):
    folder = bench.tree.checkpoints

    def schedule():
        return function(code_object(b"\x97\0S\0", "my_schedule"))

    for num_timesteps in (100, 200):
        manifest = seal_set(folder, num_timesteps, session="a/s0007")
        model = folder / manifest.model.path
        (folder / f"{manifest.stem}.manifest.json").unlink()
        model.write_bytes(sb3_file(lr_schedule=schedule(), num_timesteps=num_timesteps))
        report = read_model(model)
        entry = FileEntry(model.name, "model", report.size_bytes, report.digest, report.content)
        sets.seal_in_place(folder, replace(manifest, files=(entry,), signature=report.signature, digest=""))
    with pytest.raises(CorruptError) as refused:
        trip(bench)
    assert "a_checkpoint_200_steps, a_checkpoint_100_steps: data: lr_schedule" in refused.value.message
    [digest] = [found.digest for found in report.functions]
    assert f'functions = ["{digest}"]' in refused.value.hint
    assert "restore" not in refused.value.hint


def test_sets_that_are_gone_are_missed(bench):
    trip(bench)
    for path in bench.tree.checkpoints.iterdir():
        path.unlink()
    with pytest.raises(CorruptError, match="the ledger knows a_checkpoint_200_steps"):
        trip(bench)


def test_plain_files_alone_ask_for_adopt(bench):
    bench.tree.checkpoints.mkdir(parents=True)
    write_model(bench.tree.checkpoints / "a_checkpoint_50_steps.zip", 50)
    with pytest.raises(NothingFoundError) as caught:
        trip(bench)
    assert "ckptsync adopt" in caught.value.hint


def test_other_scenarios_only_are_named(bench):
    set_head(bench.tree, seal_set(bench.tree.checkpoints, 100, scenario="b"))
    trip(bench)
    assert "starting scenario a from zero: the tree holds checkpoints of b only" in bench.told.text


def test_a_declaration_that_differs_stops_the_launch(bench):
    trip(bench)
    bench.reload(CONFIG + "[runs.a.expects]\nnet_arch = [128, 128]\n")
    with pytest.raises(IncompatibleError, match=r"checkpoint=\[8, 8\], current=\[128, 128\]"):
        trip(bench)


def test_quick_and_steps_reach_the_session(bench):
    plan = launch.plan(bench.project, bench.run, LaunchOptions(quick=True, set={"x": 1}, seed=7))
    assert (plan.spec.max_steps, plan.spec.save.every_steps, plan.spec.params["x"], plan.spec.seed) == (2000, 100, 1, 7)
    short = launch.plan(bench.project, bench.run, LaunchOptions(quick=True, steps=20)).spec
    assert (short.max_steps, short.save.every_steps) == (20, 5)  # four saves, however short it is
    assert not bench.project.layout.ledger.exists()


STAGES = [
    ("ckptsync.sync.trip.submit", "planned"),
    ("ckptsync.sync.trip.wait", "started"),
    ("ckptsync.sync.trip.fetch", "finished"),
    ("ckptsync.sync.trip.judge_outputs", "fetched"),
    ("ckptsync.sync.trip.plan_restore", "verified"),
    ("ckptsync.sync.restore.renew_exports", "restoring"),
]


@pytest.mark.parametrize(("place", "stage"), STAGES)
def test_a_crash_at_any_stage_goes_on_where_it_was(bench, monkeypatch, place, stage):
    class Crash(BaseException):
        pass

    def crash(*args, **kwargs):
        raise Crash

    with monkeypatch.context() as patch:
        patch.setattr(place, crash)
        with pytest.raises(Crash):
            trip(bench)
    assert known_records(bench.project)[0].stage == stage
    result = trip(bench)
    assert (result.exit_code, head(bench).num_timesteps, result.session) == (0, 200, "a/s0001")
    assert len(bench.runner.started) == 1
    assert restore.undo(bench.project, bench.run).scenarios["a"].head_from is None
    assert head(bench) is None


@pytest.mark.parametrize(("place", "stage"), STAGES)
def test_ctrl_c_at_any_stage_leaves_the_way_back(bench, monkeypatch, place, stage):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(place, interrupt)
        result = trip(bench)
    assert result.exit_code == 130
    assert "'ckptsync wait a' goes on from here" in result.message
    assert ("runs on by itself" in result.message) == (stage == "started")
    assert roundtrip.resume_unfinished(bench.project, bench.run, reporter=bench.told).exit_code == 0


def test_detach_returns_at_once_and_wait_brings_it_home(bench):
    result = trip(bench, detach=True)
    assert (result.exit_code, head(bench)) == (0, None)
    assert overview.overview(bench.project).next_command == "ckptsync wait a"
    assert roundtrip.resume_unfinished(bench.project, bench.run, reporter=bench.told).exit_code == 0
    with pytest.raises(NothingFoundError):
        roundtrip.resume_unfinished(bench.project, bench.run, reporter=bench.told)


def test_what_is_restored_while_the_session_runs_does_not_settle_it(bench):
    bench.runner.script = Script(state=SessionState.RUNNING)
    trip(bench, detach=True)
    fetching.fetch(bench.project, "a/s0001", bench.told)
    restore.apply(bench.project, restore.plan_restore(bench.project, bench.run), bench.told)
    assert head(bench).num_timesteps == 200
    bench.runner.go_on("a/s0001", 300)
    bench.runner.script = Script()
    result = trip(bench)
    assert (result.session, result.exit_code, head(bench).num_timesteps) == ("a/s0001", 0, 300)
    assert len(bench.runner.started) == 1


def test_an_ended_session_that_was_brought_home_by_hand_is_settled(bench):
    trip(bench, detach=True)
    fetching.fetch(bench.project, "a/s0001", bench.told)
    restore.apply(bench.project, restore.plan_restore(bench.project, bench.run), bench.told)
    assert (trip(bench).session, head(bench).num_timesteps) == ("a/s0002", 400)


def test_a_planned_session_whose_inputs_are_gone_is_closed(bench, monkeypatch):
    trip(bench)
    with monkeypatch.context() as patch:
        patch.setattr("ckptsync.sync.trip.submit", lambda *a, **k: (_ for _ in ()).throw(RuntimeError))
        with pytest.raises(RuntimeError):
            trip(bench)
    tree = bench.tree
    manifest = sets.find(tree.checkpoints, "a_checkpoint_200_steps").manifest
    sets.remove_set(tree.checkpoints, manifest)
    set_head(tree, sets.find(tree.checkpoints, "a_checkpoint_100_steps").manifest)
    result = trip(bench)
    assert (result.session, result.exit_code) == ("a/s0003", 0)
    assert known_records(bench.project)[1].reason == "never started, and its inputs are gone"


def test_two_launches_at_once_start_one_session(bench):
    first = launch.plan(bench.project, bench.run, LaunchOptions())
    second = launch.plan(bench.project, bench.run, LaunchOptions())
    launch.start(bench.project, first, bench.told)
    with pytest.raises(LockedError, match="came first"):
        launch.start(bench.project, second, bench.told)
    assert len(bench.runner.started) == 1


def test_a_dead_line_while_fetching_goes_on_where_it_stopped(bench):
    bench.runner.chunk = 1000
    bench.runner.fail_read_after = 3
    with pytest.raises(CkptsyncError):
        trip(bench)
    assert list(bench.project.layout.results("a/s0001").rglob("*.partial"))
    bench.runner.fail_read_after = None
    assert trip(bench).exit_code == 0
    assert not list(bench.project.layout.results("a/s0001").rglob("*.partial"))


def test_fetching_again_skips_what_is_here_and_mends_what_is_broken(bench):
    trip(bench)
    again = fetching.fetch(bench.project, "a/s0001", bench.told)
    assert (set(again.skipped), again.received_bytes) == (set(again.files), 0)
    broken = bench.project.layout.results("a/s0001") / "data/models/checkpoints/a_checkpoint_200_steps.zip"
    good = broken.read_bytes()
    broken.write_bytes(good[:-1] + b"x")
    fetching.fetch(bench.project, "a/s0001", bench.told)
    assert broken.read_bytes() == good
    events = [e for e in open_ledger(bench.project).entries() if e.event == "session"]
    assert len(events) == 3  # one start and two saves, each once


def test_a_late_branch_does_not_block_the_next_launch(bench):
    trip(bench)
    second = launch.plan(bench.project, bench.run, LaunchOptions())
    launch.start(bench.project, second, bench.told)
    fallen = sets.find(bench.tree.checkpoints, "a_checkpoint_100_steps").manifest
    other = seal_set(bench.tree.checkpoints, 700, generation=5, resumed_from=None, session=None, lineage=fallen.lineage)
    set_head(bench.tree, other)
    with pytest.raises(LockedError, match="does not go on from the head"):
        trip(bench)
    assert head(bench).digest == other.digest
    assert known_records(bench.project)[-1].stage == "closed"
    told = restore.plan_restore(bench.project, bench.run, "a/s0002")
    restore.apply(bench.project, told, bench.told)
    assert head(bench).num_timesteps == 400
    assert "a_checkpoint_700_steps" not in stems(bench.tree.checkpoints)
    restore.undo(bench.project, bench.run)
    assert head(bench).digest == other.digest
    assert sets.check_files(bench.tree.checkpoints, other) == ()


def test_restoring_again_finds_it_there(bench):
    trip(bench)
    plan = restore.plan_restore(bench.project, bench.run)
    assert (plan.moves, plan.exit_code) == (False, 0)
    receipt = restore.apply(bench.project, plan, bench.told)
    assert not receipt.progress
    assert "has it all already" in bench.told.text


def _flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def _emptied(path: Path) -> None:
    path.write_bytes(b"")


def _replaced_by_a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _replaced_by_a_folder(path: Path) -> None:
    path.unlink()
    (path / "inside").mkdir(parents=True)


def _replaced_by_a_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere")


DAMAGES = [_flipped, _emptied, Path.unlink, _replaced_by_a_pipe, _replaced_by_a_folder, _replaced_by_a_link]


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", ["a_checkpoint_200_steps.zip", "a_checkpoint_200_steps.manifest.json"])
def test_restore_heals_what_is_damaged_in_the_tree(bench, name, damage):
    trip(bench)
    before = head(bench)
    damage(bench.tree.checkpoints / name)
    receipt = restore.apply(bench.project, restore.plan_restore(bench.project, bench.run), bench.told)
    assert receipt.exit_code == 0
    assert head(bench) == before
    assert [(c.verdict, c.sealed) for c in verify.verify_run(bench.project, bench.run).checkpoints] == [
        ("restorable", True),
        ("restorable", True),
    ]
    assert restore.plan_restore(bench.project, bench.run).scenarios["a"].copies == ()


def test_what_was_healed_stays_when_the_restore_is_undone(bench):
    trip(bench)
    trip(bench)
    _flipped(bench.tree.checkpoints / "a_checkpoint_400_steps.zip")
    receipt = restore.apply(bench.project, restore.plan_restore(bench.project, bench.run), bench.told)
    assert [stem for stem, _ in receipt.scenarios["a"].healed] == ["a_checkpoint_400_steps"]
    assert "a_checkpoint_400_steps of the training tree was damaged" in bench.told.text
    restore.undo(bench.project, bench.run)
    assert head(bench).num_timesteps == 200
    assert verify.verify_run(bench.project, bench.run).exit_code == 0


@pytest.mark.parametrize("damage", DAMAGES[3:])
@pytest.mark.parametrize("name", ["a_checkpoint_200_steps.zip", "a_checkpoint_200_steps.manifest.json"])
def test_what_is_no_file_in_the_outputs_is_refused_and_passed_over(bench, name, damage):
    trip(bench)
    restore.undo(bench.project, bench.run)
    damage(bench.project.layout.results("a/s0001") / "data/models/checkpoints" / name)
    receipt = restore.apply(bench.project, restore.plan_restore(bench.project, bench.run), bench.told)
    assert (receipt.exit_code, head(bench).num_timesteps) == (3, 100)
    assert [stem for stem, _ in receipt.scenarios["a"].refused] == ["a_checkpoint_200_steps"]
    assert list(bench.project.layout.quarantine.glob("*/reason.json"))


def test_an_undo_is_not_undone(bench):
    trip(bench)
    trip(bench)
    restore.undo(bench.project, bench.run)
    assert head(bench).num_timesteps == 200
    assert stems(bench.tree.checkpoints) == ["a_checkpoint_100_steps", "a_checkpoint_200_steps"]
    with pytest.raises(NothingFoundError, match="undone already"):
        restore.undo(bench.project, bench.run)
    restore.apply(bench.project, restore.plan_restore(bench.project, bench.run), bench.told)
    assert head(bench).num_timesteps == 400


def test_an_undo_after_training_went_on_is_refused(bench):
    trip(bench)
    set_head(bench.tree, seal_set(bench.tree.checkpoints, 900))
    with pytest.raises(LockedError, match="the last restore did not put there"):
        restore.undo(bench.project, bench.run)


def test_a_plain_file_of_the_same_name_goes_to_the_attic(bench):
    bench.tree.checkpoints.mkdir(parents=True)
    plan = launch.plan(bench.project, bench.run, LaunchOptions(fresh=True))
    launch.start(bench.project, plan, bench.told)
    mine = write_model(bench.tree.checkpoints / "a_checkpoint_200_steps.zip", 200, seed=99).read_bytes()
    assert trip(bench).exit_code == 0
    assert mine in [path.read_bytes() for path in bench.tree.attic.rglob("*.zip")]


def test_a_tree_in_use_is_refused_quickly(bench):
    from ckptsync.core import fsio

    with fsio.locked(bench.tree.lock, what="it"), pytest.raises(LockedError):
        trip(bench)


def test_a_lying_manifest_in_the_outputs_is_refused(bench):
    def lie(working: Path) -> None:
        folder = working / "data/models/checkpoints"
        manifest = sets.find(folder, "a_checkpoint_200_steps").manifest
        from dataclasses import replace

        rewrite_manifest(folder, manifest, signature=replace(manifest.signature, net_arch=[9, 9]))

    bench.runner.script = Script(change=lie)
    assert trip(bench).exit_code == 3
    assert head(bench).num_timesteps == 100


def test_verify_refuses_what_restore_refuses_as_foreign(bench):
    def forge(working: Path) -> None:
        folder = working / "data/models/checkpoints"
        rewrite_manifest(folder, sets.find(folder, "a_checkpoint_200_steps").manifest, lineage="l0009-abcdef")

    bench.runner.script = Script(change=forge)
    assert trip(bench).exit_code == 3
    report = verify.verify_session(bench.project, "a/s0001")
    judged = {c.num_timesteps: (str(c.verdict), [f.code for f in c.findings if f.verdict]) for c in report.checkpoints}
    assert judged[200] == ("unsafe", ["lineage.foreign"])
    assert judged[100][1] == []
    assert report.exit_code == 4
