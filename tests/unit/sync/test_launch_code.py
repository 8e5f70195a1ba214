"""What a launch says of the code that it sends, and what it tells a session of the limits of its machine."""

from __future__ import annotations

import os

import pytest
from support.projects import CONFIG

from ckptsync.core.code_source import CodeSource
from ckptsync.core.errors import ConfigError
from ckptsync.core.layout import ProjectLayout
from ckptsync.core.pack import is_pack
from ckptsync.runners.bundle import MAX_SCRIPT_BYTES
from ckptsync.runners.local_folder import LocalFolder
from ckptsync.sync import launch
from ckptsync.sync.launch import LaunchOptions
from ckptsync.sync.wait import wait

COMMIT = "0123456789abcdef0123456789abcdef01234567"
CLONED = f'[runs.a.code]\ngit = "https://example.org/r"\ncommit = "{COMMIT}"\n'


@pytest.mark.slow
def test_code_that_is_too_large_for_a_script_is_an_input_and_is_told(bench):
    (bench.project.kernel_folder(bench.run) / "data.bin").write_bytes(os.urandom(MAX_SCRIPT_BYTES))
    plan = launch.plan(bench.project, bench.run, LaunchOptions(runner="local"))
    assert plan.code is not None
    ((name, pack),) = plan.code.inputs.items()
    assert is_pack(pack)
    assert any(f"travels as an input, {name} (" in note for note in plan.notes)
    assert plan.bundle_bytes < 50_000
    handle = launch.start(bench.project, plan, bench.told)
    wait(bench.project, handle.session, reporter=bench.told)
    folder = LocalFolder(ProjectLayout(bench.project.root).session(handle.session))
    assert (folder.inputs / name).read_bytes() == pack.read_bytes()


def test_code_from_a_commit_is_told_and_needs_no_kernel_folder(bench):
    bench.reload(CONFIG + CLONED)
    (bench.project.kernel_folder(bench.run) / "train.py").unlink()
    plan = launch.plan(bench.project, bench.run, LaunchOptions(runner="local"))
    assert plan.spec.code == CodeSource("https://example.org/r", COMMIT)
    assert f"the session fetches its code itself: commit {COMMIT} of https://example.org/r" in plan.notes


def test_code_from_a_commit_needs_the_internet_where_sessions_have_none(bench):
    bench.reload(CONFIG + CLONED)
    with pytest.raises(ConfigError, match="no internet") as caught:
        launch.plan(bench.project, bench.run, LaunchOptions(runner="kaggle"))
    assert "internet = true" in str(caught.value.hint)
    bench.reload(CONFIG + CLONED + "[runs.a.kaggle]\ninternet = true\n")
    assert launch.plan(bench.project, bench.run, LaunchOptions(runner="kaggle")).spec.code is not None


@pytest.mark.parametrize(
    ("more", "budget", "output"),
    [
        ("", 12 * 3600.0, 20 * 10**9),
        ('[runners.kaggle]\naccelerator = "tpu"\n', 9 * 3600.0, 20 * 10**9),
        ('[runners.kaggle]\nbudget = "1h"\n', 3600.0, 20 * 10**9),
        ('[runners.kaggle]\nbudget = "48h"\n', 12 * 3600.0, 20 * 10**9),
    ],
)
def test_a_session_on_kaggle_knows_the_limits_there(bench, more, budget, output):
    bench.reload(CONFIG + more)
    spec = launch.plan(bench.project, bench.run, LaunchOptions(runner="kaggle")).spec
    assert (spec.budget_seconds, spec.max_output_bytes) == (budget, output)


def test_a_runs_own_limits_count_where_they_are_smaller(bench):
    bench.reload(CONFIG.replace("packages = []", 'packages = []\nbudget = "30m"\nmax_output = "1GB"'))
    spec = launch.plan(bench.project, bench.run, LaunchOptions(runner="kaggle")).spec
    assert (spec.budget_seconds, spec.max_output_bytes) == (1800.0, 10**9)
    spec = launch.plan(bench.project, bench.run, LaunchOptions(runner="local")).spec
    assert (spec.budget_seconds, spec.max_output_bytes) == (1800.0, 10**9)
