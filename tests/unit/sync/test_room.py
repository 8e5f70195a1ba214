"""What a launch and doctor say of the room that checkpoints need: no session is started."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import disks
from support.projects import CONFIG, make_project, seal_set, set_head

from ckptsync.core.errors import ConfigError
from ckptsync.core.forecast import Fit
from ckptsync.core.session import AUTO
from ckptsync.sync import doctor, launch
from ckptsync.sync.launch import LaunchOptions

pytestmark = pytest.mark.slow

KB = 1 << 10


def grow(bench, *steps: int, size: int = 100 * KB) -> None:
    """Seal sets of a size and make the newest the head."""
    for n in steps:
        manifest = seal_set(bench.tree.checkpoints, n, extra={"resume": b"x" * size})
    set_head(bench.tree, manifest)


def plan(bench, **options):
    return launch.plan(bench.project, bench.run, LaunchOptions(**options))


def test_nothing_is_known_before_the_first_set(bench):
    [room] = plan(bench).rooms
    assert (room.set_bytes, room.ahead) == (None, None)
    assert plan(bench).to_json()["disk"] == [
        {"scenario": "a", "set_bytes": None, "least_bytes": None, "most_bytes": None, "free_bytes": None, "fit": None}
    ]


def test_a_plan_says_what_the_tree_will_need(bench):
    grow(bench, 100)
    [room] = plan(bench).rooms
    assert room.set_bytes > 100 * KB
    assert room.ahead.fit is Fit.ENOUGH
    assert room.ahead.least_bytes == pytest.approx(room.set_bytes + 64 * KB, rel=0.01)  # keep_last = 2
    assert room.notes == ()
    more = plan(bench, save={"keep_last": 10}).rooms[0].ahead
    assert more.least_bytes - room.ahead.least_bytes == 8 * room.set_bytes
    assert plan(bench, fresh=True).rooms[0].ahead.least_bytes == room.ahead.least_bytes + room.set_bytes


def test_the_policy_can_be_changed_for_one_session(bench):
    spec = plan(bench, save={"every_time": "auto", "keep_every_steps": 500}).spec
    assert (spec.save.every_seconds, spec.save.keep_every_steps, spec.save.keep_last) == (AUTO, 500, 2)
    assert bench.run.save.keep_every_steps is None
    with pytest.raises(ConfigError, match="--save: unknown key 'keep_first'"):
        plan(bench, save={"keep_first": 3})


def test_a_limit_of_output_that_is_too_small_is_noted(bench):
    bench.reload(CONFIG.replace("packages = []", 'packages = []\nmax_output = "150kB"'))
    grow(bench, 100)
    spec, [note] = plan(bench).spec, plan(bench).notes
    assert spec.max_output_bytes == 150_000
    assert "the checkpoints of a will need" in note
    assert "which may hold 150.0 kB" in note
    assert note.endswith("raise max_output")


def test_a_disk_that_is_too_small_is_noted_and_doctor_says_what_to_do(tmp_path: Path):
    with disks.small(tmp_path / "disk", size=800 * KB) as disk:
        project = make_project(disk, CONFIG.replace("keep_last = 2", "keep_last = 20"))
        run = project.run("a")
        manifest = seal_set(project.tree(run).checkpoints, 100, extra={"resume": b"x" * 100 * KB})
        set_head(project.tree(run), manifest)
        check = {check.name: check for check in doctor.doctor(project).checks}["room for a"]
        assert not check.ok
        assert "free" in check.found
        assert check.fix.startswith("set keep_last to ")
        [note] = launch.plan(project, run, LaunchOptions(runner="local")).notes
        assert check.fix in note


def test_doctor_is_content_with_room_enough(bench):
    checks = {check.name: check for check in doctor.doctor(bench.project).checks}
    assert checks["room for a"].found == "not known before the first checkpoint"
    grow(bench, 100)
    check = {check.name: check for check in doctor.doctor(bench.project).checks}["room for a"]
    assert (check.ok, check.fix) == (True, "")
    assert check.found.startswith("its checkpoints need ")
