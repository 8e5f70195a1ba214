"""run-until, dispatch and collect as they are typed, on the local runner's place: a service that machines share."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.commands import run, run_json
from support.machines import Machine, Machines
from support.projects import CONFIG, Script, make_project

from ckptsync.cli.output import Output
from ckptsync.cli.series_text import Verdict, markdown
from ckptsync.runners.base import SessionState
from ckptsync.sync import launch
from ckptsync.sync.launch import LaunchOptions
from ckptsync.sync.overview import RunStatus, ScenarioStatus, SessionRow

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    project = make_project(tmp_path_factory.mktemp("packed"), CONFIG)
    launch.plan(project, project.run(None), LaunchOptions(runner="local"))
    return project.layout.cache


@pytest.fixture
def machines(fast_folder: Path, cache: Path) -> Iterator[Machines]:
    with Machines(fast_folder, cache).connected() as machines:
        yield machines


@pytest.fixture
def here(machines: Machines, monkeypatch: pytest.MonkeyPatch) -> Machine:
    machine = machines.machine("here")
    monkeypatch.chdir(machine.project.root)
    for variable in ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY"):
        monkeypatch.delenv(variable, raising=False)
    return machine


def test_run_until_says_what_its_first_session_would_be(machines, here, capsys):
    code, value = run_json("run-until", "--steps", "700", "--dry-run", capsys=capsys)
    assert (code, value["session"], value["spec"]["scenarios"]) == (
        0,
        "a/s0001",
        [{"name": "a", "total_timesteps": 700}],
    )
    assert "would start a/s0001 on remote" in run("run-until", "--dry-run", capsys=capsys)[1]


def test_dispatch_then_collect(machines, here, capsys):
    code, out, _ = run("dispatch", capsys=capsys)
    assert code == 0
    assert out.endswith(
        "a/s0001 runs on remote; 'ckptsync collect a' brings home what it makes\nnext: ckptsync collect a\n"
    )
    code, value = run_json("collect", "--dry-run", capsys=capsys)
    assert (code, value["state"], value["session"]) == (0, "running", "a/s0001")
    code, value = run_json("dispatch", capsys=capsys)
    assert (code, value["error"]["kind"], value["schema"]) == (9, "LockedError", "ckptsync.dispatch/1")
    machines.finish()
    assert "is to be collected" in run("collect", "--dry-run", capsys=capsys)[1]
    assert here.head is None
    code, value = run_json("collect", capsys=capsys)
    assert (code, value["state"], value["collected"]["session"]) == (0, "complete", "a/s0001")
    assert here.head.num_timesteps == 200
    code, value = run_json("dispatch", "--dry-run", "--steps", "7", capsys=capsys)
    assert (code, value["schema"], value["spec"]["max_steps"]) == (0, "ckptsync.launch-plan/1", 7)
    assert len(machines.versions) == 1


def test_run_until_says_why_it_stopped(machines, here, capsys):
    machines.script = Script(state=SessionState.ERROR)
    code, value = run_json("run-until", "--max-restarts", "0", capsys=capsys)
    assert (code, value["schema"], value["steps"], len(value["sessions"])) == (7, "ckptsync.run-until/1", 200, 1)
    machines.script = Script(state=SessionState.TIMED_OUT)
    code, out, _ = run("run-until", "--max-sessions", "1", capsys=capsys)
    assert code == 3
    assert "1 session, 200 steps more" in out


def test_the_summary_and_the_annotations_of_a_job(machines, here, capsys, monkeypatch, tmp_path):
    summary = tmp_path / "summary.md"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    _, _, err = run("dispatch", capsys=capsys)
    assert "::notice::a/s0001 runs on remote; 'ckptsync collect a' brings home what it makes\n" in err
    _, _, err = run("dispatch", capsys=capsys)
    assert "::notice::a/s0001 on remote has not ended: running, for 1.0 s%0Anext: ckptsync collect a\n" in err
    told = summary.read_text("utf-8")
    assert "| a | 0 | 1,000,000 |" in told
    assert "(exit 9: another process holds the lock, or another session is ahead)" in told
    _, out, _ = run("collect", "--summary", "-", capsys=capsys)
    assert out.startswith("### a on remote\n")
    assert summary.read_text("utf-8") == told
    assert json.loads(run("collect", "--summary", "-", "--json", capsys=capsys)[1])["state"] == "running"


def test_foreign_text_is_no_markup_and_no_annotation_of_its_own(monkeypatch, capsys):
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("KAGGLE_KEY", "very-secret-key")
    output = Output()
    output.warn("50%\n::error::forged very-secret-key \x1b[31m")
    err = capsys.readouterr().err
    assert err == "::warning::50%25%0A::error::forged [secret] \\x1b[31m\n"
    row = SessionRow("a/s0001", "<b>|x|", 0, 1, 1, 1.0, None, "complete", "`rm`")
    scenario = ScenarioStatus("[x](http://y)", 5, 10, None)
    status = RunStatus("a", "remote", "data", (scenario,), (row,), None, None, None, "next")
    text = "\n".join(markdown(status, Verdict("*bold*\n<script>", "ckptsync x", 4)))
    for hostile in ("<b>", "|x|", "[x](", "`rm`", "**bold**\n"):
        assert hostile not in text
    assert "    <script>" in text  # in a block of code, where nothing counts
    assert "50%" in text
