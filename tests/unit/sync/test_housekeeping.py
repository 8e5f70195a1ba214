"""adopt, clean, init, doctor, cancel, logs, status."""

from __future__ import annotations

import re
import shutil
import time
from pathlib import Path

import pytest
from support import disks
from support.projects import CONFIG, Script, make_project, seal_set, set_head, write_model

from ckptsync.core import fsio, heads, sets
from ckptsync.core.errors import LockedError, NothingFoundError, UsageError
from ckptsync.project.config import load_project
from ckptsync.runners.base import SessionState, Submission
from ckptsync.sync import adopt as adopting
from ckptsync.sync import clean, control, doctor, init, launch, overview, roundtrip
from ckptsync.sync.launch import LaunchOptions
from ckptsync.sync.ledgers import known_records
from ckptsync.sync.verify import verify_run

pytestmark = pytest.mark.slow

THREE = CONFIG.replace("total_timesteps = 1000", "scenarios = { a = 1000, b = 1000 }")


def trip(bench, **options):
    return roundtrip.run(bench.project, bench.run, LaunchOptions(**options), reporter=bench.told)


def test_adopting_in_place_seals_and_picks_the_newest(bench):
    bench.tree.checkpoints.mkdir(parents=True)
    for steps in (9, 10, 100):
        write_model(bench.tree.checkpoints / f"a_checkpoint_{steps}_steps.zip", steps)
    dry = adopting.adopt(bench.project, bench.run, dry_run=True)
    assert heads.read_head(bench.tree, "a") is None
    report = adopting.adopt(bench.project, bench.run)
    assert (report.exit_code, len(report.adopted), dry.adopted) == (0, 3, report.adopted)
    assert heads.read_head(bench.tree, "a").num_timesteps == 100
    assert verify_run(bench.project, bench.run).exit_code == 0
    assert trip(bench).exit_code == 0  # and the run goes on from there
    assert heads.read_head(bench.tree, "a").num_timesteps == 300


def test_adopting_another_folder_copies_and_renames(bench, tmp_path: Path):
    write_model(tmp_path / "rl_model_50_steps.zip", 50)
    report = adopting.adopt(bench.project, bench.run, tmp_path)
    assert (tmp_path / "rl_model_50_steps.zip").exists()
    assert report.heads == {"a": "a_checkpoint_50_steps"}
    assert any("becomes a_checkpoint_50_steps.zip" in note for note in report.notes)
    assert sets.find(bench.tree.checkpoints, "a_checkpoint_50_steps").state is sets.SetState.SEALED


def test_the_content_says_n_where_the_name_lies(bench, tmp_path: Path):
    write_model(tmp_path / "a_checkpoint_999_steps.zip", 50)
    assert adopting.adopt(bench.project, bench.run, tmp_path).heads == {"a": "a_checkpoint_50_steps"}


def test_prefixes_must_be_clear(bench, tmp_path: Path):
    bench.reload(THREE)
    write_model(tmp_path / "first_50_steps.zip", 50)
    write_model(tmp_path / "second_60_steps.zip", 60)
    with pytest.raises(UsageError) as caught:
        adopting.adopt(bench.project, bench.run, tmp_path)
    assert "--scenario" in caught.value.hint
    mapping = {"first": "a", "second": "b"}
    report = adopting.adopt(bench.project, bench.run, tmp_path, scenarios=mapping)
    assert report.heads == {"a": "a_checkpoint_50_steps", "b": "b_checkpoint_60_steps"}
    with pytest.raises(UsageError, match="no scenario 'c'"):
        adopting.adopt(bench.project, bench.run, tmp_path, scenarios={"first": "c", "second": "b"})


def test_broken_files_are_not_adopted(bench, tmp_path: Path):
    write_model(tmp_path / "a_checkpoint_50_steps.zip", 50)
    (tmp_path / "a_checkpoint_60_steps.zip").write_bytes(b"broken")
    report = adopting.adopt(bench.project, bench.run, tmp_path)
    assert (report.exit_code, report.heads) == (3, {"a": "a_checkpoint_50_steps"})
    assert report.refused[0][0].name == "a_checkpoint_60_steps.zip"


def test_adopting_beside_a_head_is_refused(bench, tmp_path: Path):
    set_head(bench.tree, seal_set(bench.tree.checkpoints, 100))
    write_model(tmp_path / "a_checkpoint_50_steps.zip", 50)
    with pytest.raises(LockedError, match="has a head already"):
        adopting.adopt(bench.project, bench.run, tmp_path)
    with pytest.raises(NothingFoundError, match="have a seal already"):
        adopting.adopt(bench.project, bench.run)


def test_clean_removes_by_age_and_size_and_spares_what_is_under_way(bench):
    trip(bench)
    trip(bench)
    trip(bench, fresh=True)
    plan = launch.plan(bench.project, bench.run, LaunchOptions())
    launch.start(bench.project, plan, bench.told)
    assert clean.plan_clean(bench.project, 30).remove == ()
    later = clean.plan_clean(bench.project, 30, now=time.time() + 31 * 86_400)
    assert {item.kind for item in later.remove} == {"attic", "results"}
    assert all("s0004" not in str(item.path) for item in later.remove)
    by_size = clean.plan_clean(bench.project, 30, 0)
    assert (by_size.keep, len(by_size.remove)) == ((), len(later.remove))
    some = clean.plan_clean(bench.project, 30, by_size.freed_bytes // 2)
    assert 0 < len(some.remove) < len(later.remove)
    done = clean.apply_clean(bench.project, by_size)
    assert not done.dry_run
    assert all(not item.path.exists() for item in by_size.remove)
    assert sets.scan(bench.tree.checkpoints)


def test_clean_counts_a_file_with_several_names_once_and_one_that_the_tree_needs_never(bench):
    bench.runner.script = Script(rows=100)
    for _ in range(3):
        trip(bench)
    plan = clean.plan_clean(bench.project, 30, 0)
    attic = [item for item in plan.remove if item.kind == "attic"]
    assert len(attic) == 4
    statuses = [path.stat() for item in attic for path in item.path.rglob("*") if path.is_file()]
    sizes = {status.st_ino: status.st_size for status in statuses}
    needed = {path.stat().st_ino for path in (bench.tree.checkpoints / "a_replay").iterdir()}
    assert len(statuses) > len(sizes)
    assert sizes.keys() & needed
    assert sum(item.size_bytes for item in attic) == sum(sizes[inode] for inode in sizes.keys() - needed)
    assert clean.apply_clean(bench.project, plan).freed_bytes == plan.freed_bytes
    assert all(not sets.check_files(s.folder, s.manifest) for s in sets.scan(bench.tree.checkpoints))


@pytest.mark.parametrize("kernel", init.kernel_names())
def test_init_makes_a_project_that_loads(tmp_path: Path, kernel):
    report = init.init(tmp_path, kernel)
    project = load_project(tmp_path, environ={})
    assert project.run(None).name == kernel
    assert (project.kernel_folder(project.run(None)) / "train.py").is_file()
    assert set(report.files) >= {"ckptsync.toml", f"kernels/{kernel}/train.py", ".gitignore"}
    with pytest.raises(UsageError, match="there already"):
        init.init(tmp_path, kernel)


def test_init_keeps_what_is_there(tmp_path: Path):
    (tmp_path / ".gitignore").write_text("mine\ndata/")
    assert init.init(tmp_path, "toy", dry_run=True).dry_run
    assert not (tmp_path / "ckptsync.toml").exists()
    init.init(tmp_path, "toy")
    assert (tmp_path / ".gitignore").read_text() == "mine\ndata/\nresults/\n.ckptsync/\n__pycache__/\n"
    with pytest.raises(UsageError) as caught:
        init.init(tmp_path / "b", "cartpole")
    assert caught.value.hint == "did you mean 'cartpole_ppo'?"


def test_doctor_says_what_to_do(bench, tmp_path: Path):
    outside = checked(None, folder=tmp_path)
    assert (outside["project"].ok, outside["project"].fix) == (False, "ckptsync init")
    assert str(tmp_path) in outside["disk"].found
    names = ("python", "disk", "room", "project", "ledger", "kernel of a", "room for a", "tree of a")
    checks = checked(bench.project)
    assert [name for name in names if not checks[name].ok] == []
    assert [name for name in checks if "kaggle" in name] == []  # no run needs it
    assert checks["tree of a"].found.startswith("no checkpoints yet")
    trip(bench)
    assert checked(bench.project)["tree of a"].found == "a 200"
    bench.tree.head("a").write_text("{}")
    (bench.project.kernel_folder(bench.run) / "train.py").unlink()
    bad = [check.name for check in checked(bench.project).values() if not check.ok and check.name in names]
    assert bad == ["kernel of a", "tree of a"]


def checked(project, **where) -> dict[str, doctor.Check]:
    """Return what doctor finds, after a look that it says what to do where something is wrong, and there alone."""
    report = doctor.doctor(project, **where)
    assert report.exit_code == (0 if all(check.ok for check in report.checks) else 1)
    assert [check.name for check in report.checks if check.ok == bool(check.fix)] == []
    return {check.name: check for check in report.checks}


def test_doctor_says_where_there_is_no_room(bench, monkeypatch):
    trip(bench)
    assert checked(bench.project)["room for a"].ok
    monkeypatch.setattr(fsio, "free_bytes", lambda place: 10)
    checks = checked(bench.project)
    assert (checks["room"].ok, checks["room for a"].ok) == (False, False)
    assert "clean" in checks["room"].fix


def test_doctor_asks_for_torch_only_where_something_trains(bench, monkeypatch):
    monkeypatch.setattr(doctor, "installed_versions", dict)
    assert {"torch", "stable_baselines3"} <= {c.name for c in doctor.doctor(bench.project).checks if c.ok}
    bench.reload(CONFIG.replace('runner = "scripted"', 'runner = "local"'))
    checks = {check.name: check for check in doctor.doctor(bench.project).checks}
    assert not checks["torch"].ok and "ckptsync[train]" in checks["torch"].fix


def test_doctor_looks_for_packages_that_travel(bench):
    bench.reload(CONFIG.replace("packages = []", 'packages = ["not_here"]'))
    checks = {check.name: check for check in doctor.doctor(bench.project).checks}
    assert not checks["packages of a"].ok and "pip download" in checks["packages of a"].fix


def test_doctor_tells_what_it_has_found(bench):
    checks = checked(bench.project)
    assert checks["project"].found == f"{bench.project.root / 'ckptsync.toml'}: a"
    assert checks["ledger"].found == "0 session(s)"
    assert checks["packages of a"].found == "none travel in the script"
    assert checks["runner of a"].found == "scripted"
    assert checks["kernel of a"].found == str(bench.project.kernel_folder(bench.run) / "train.py")
    launch.fix(bench.project, launch.plan(bench.project, bench.run, LaunchOptions()), bench.told)
    assert checked(bench.project)["ledger"].found == "1 session(s); a/s0001 is under way (planned)"
    (bench.project.kernel_folder(bench.run) / "train.py").unlink()
    assert checked(bench.project)["kernel of a"].fix == "write it, or change 'kernel' and 'script' of run a"


def test_doctor_tells_which_code_and_packages_a_session_has(bench):
    bench.reload(CONFIG.replace("packages = []", 'packages = ["tqdm"]'))
    assert re.fullmatch(r"tqdm [\d.]+ in the script", checked(bench.project)["packages of a"].found)
    commit = "c0ffee" + "0" * 34
    bench.reload(CONFIG + f'[runs.a.code]\ngit = "https://example.org/r"\ncommit = "{commit}"\n')
    shutil.rmtree(bench.project.kernel_folder(bench.run))  # what a session has is of the commit
    assert checked(bench.project)["kernel of a"].found == f"commit {commit} of https://example.org/r"


def test_doctor_tells_of_a_folder_that_nothing_can_be_written_into(tmp_path: Path):
    with disks.small(tmp_path / "disk") as disk:
        project = make_project(disk)
        assert checked(project)["disk"].found == f"{disk} can be written, renamed and synced"
        with disks.read_only(disk):
            check = checked(project)["disk"]
        assert not check.ok
        assert str(disk) in check.found
        assert list(disk.glob(".ckptsync-check*")) == []


def test_cancel_finds_a_session_whose_start_was_not_written_down(bench):
    bench.runner.script = Script(state=SessionState.RUNNING)
    plan = launch.plan(bench.project, bench.run, LaunchOptions())
    record = launch.fix(bench.project, plan, bench.told)
    bench.runner.start(Submission(record.session, record.spec.generation, plan.code.script))
    report = control.cancel(bench.project, record.session)
    assert (report.state, report.asked) == ("running", True)
    assert not known_records(bench.project)[0].settled
    bench.runner.script = Script()
    assert (trip(bench).session, len(bench.runner.started)) == (record.session, 1)


def test_cancel_and_logs(bench):
    with pytest.raises(NothingFoundError):
        control.cancel(bench.project, "a/s0001")
    plan = launch.plan(bench.project, bench.run, LaunchOptions())
    record = launch.fix(bench.project, plan, bench.told)
    assert control.cancel(bench.project, record.session, dry_run=True).state == "planned"
    assert control.cancel(bench.project, record.session).asked
    assert overview.overview(bench.project).runs[0].running is None
    trip(bench)
    with pytest.raises(NothingFoundError, match="has ended already"):
        control.cancel(bench.project, "a/s0002")
    part, end = control.read_log(bench.project, "a/s0002", bench.told, offset=2)
    assert (part.data, part.next_offset, end.ended) == (b"llo\n", 6, True)


def test_status_tells_where_runs_stand(bench):
    before = overview.overview(bench.project).runs[0]
    assert (before.next_command, before.scenarios[0].num_timesteps) == ("ckptsync launch a --quick", 0)
    trip(bench)
    after = overview.overview(bench.project)
    assert (after.next_command, after.runs[0].scenarios[0].num_timesteps) == ("ckptsync launch a", 200)
    row = after.runs[0].sessions[0]
    assert (row.started_at, row.ended_at, row.checkpoints, row.state) == (0, 200, 2, "complete")
    assert after.to_json()["schema"] == "ckptsync.status/1"


def test_an_unknown_runner_is_a_usage_error(tmp_path: Path):
    project = make_project(tmp_path, CONFIG.replace("scripted", "kagle"))
    with pytest.raises(UsageError, match="no runner 'kagle'"):
        launch.plan(project, project.run(None), LaunchOptions())
