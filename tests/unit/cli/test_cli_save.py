"""`ckptsync save`: what a running session answers, and what is said where none can answer."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.projects import Script, ScriptedRunner

from ckptsync.cli import app
from ckptsync.core.session import ScenarioSpec, SessionSpec
from ckptsync.project.config import load_project
from ckptsync.sync import runners
from ckptsync.sync.ledgers import newest_record
from ckptsync.sync.reporting import NullReporter
from ckptsync.sync.runners import runner_for
from ckptsync.sync.wait import handle_of, wait

pytestmark = pytest.mark.slow  # real sessions

CONFIG = """\
[runs.toy]
total_timesteps = 1_000_000
packages = []
params = { pause = 0.01 }

[runs.toy.save]
every_steps = 0
every_time = 0
save_best = false
"""
DEAF = "import time\nprint('deaf', flush=True)\ntime.sleep(600)\n"
TOY = Path(__file__).resolve().parents[3] / "kernels" / "toy" / "train.py"


def make_project(folder: Path, script: str) -> Path:
    (folder / "kernels" / "toy").mkdir(parents=True)
    (folder / "kernels" / "toy" / "train.py").write_text(script)
    (folder / "ckptsync.toml").write_text(CONFIG)
    return folder


def launch(folder: Path, until: str) -> None:
    """Start a session and wait until it has printed something."""
    assert app.main(["-C", str(folder), "launch", "--detach", "--quiet"]) == 0
    project = load_project(folder)
    record = newest_record(project, "toy")
    runner, deadline = runner_for(project, "local"), time.monotonic() + 30
    while until.encode() not in runner.log(handle_of(record)):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def end(folder: Path) -> None:
    assert app.main(["-C", str(folder), "cancel", "--quiet"]) == 0
    wait(load_project(folder), "toy/s0001", reporter=NullReporter())


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A project whose only session trains, and saves only when it is asked."""
    folder = make_project(tmp_path_factory.mktemp("running"), TOY.read_text())
    launch(folder, "toy begins at 0")
    yield folder
    end(folder)


def run(folder: Path, *argv: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    capsys.readouterr()
    code = app.main(["-C", str(folder), "save", *argv])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_a_running_session_saves_and_goes_on(running: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(running, "--json", capsys=capsys)
    first = json.loads(out)
    assert (code, first["schema"], first["session"], first["asked"]) == (0, "ckptsync.save/1", "toy/s0001", True)
    assert (first["kind"], first["scenario"]) == ("request", "toy")
    assert first["set"] == f"toy_checkpoint_{first['num_timesteps']}_steps"
    code, out, _ = run(running, "toy/s0001", "--json", capsys=capsys)
    assert json.loads(out)["num_timesteps"] > first["num_timesteps"]
    code, out, _ = run(running, "toy", capsys=capsys)
    assert code == 0
    assert "toy/s0001 saved toy_checkpoint_" in out
    assert out.endswith("next: ckptsync fetch toy/s0001\n")
    assert not list(running.glob(".ckptsync/sessions/toy/s0001/working/ckptsync.save"))


def test_a_dry_run_asks_nothing(running: Path, capsys: pytest.CaptureFixture[str]) -> None:
    events = running / ".ckptsync/sessions/toy/s0001/working/events.jsonl"
    before = events.read_bytes()
    assert run(running, "--dry-run", capsys=capsys)[:2] == (0, "would ask toy/s0001 for a save\n")
    code, out, _ = run(running, "--dry-run", "--json", capsys=capsys)
    assert (code, json.loads(out)["asked"], json.loads(out)["set"]) == (0, False, None)
    time.sleep(0.2)
    assert events.read_bytes() == before


def test_who_does_not_answer_is_told_from_who_trains_long(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_project(tmp_path, DEAF)
    launch(folder, "deaf")
    code, _, err = run(folder, "--timeout", "0.3s", capsys=capsys)
    assert code == 1
    assert "has not saved within 0.3 s" in err and "does not use TrainingSession" in err
    assert "next: ckptsync logs toy/s0001" in err
    with (folder / ".ckptsync/sessions/toy/s0001/working/events.jsonl").open("a") as events:
        events.write('{"at":"","event":"start","num_timesteps":0,"scenario":"toy","session":"toy/s0001"}\n')
    code, _, err = run(folder, "--timeout", "0.3", capsys=capsys)
    assert "which may be a whole rollout away: the request stays" in err
    assert (folder / ".ckptsync/sessions/toy/s0001/working/ckptsync.save").exists()
    threading.Timer(0.5, lambda: app.main(["-C", str(folder), "cancel", "--quiet"])).start()
    code, _, err = run(folder, "--timeout", "30", capsys=capsys)
    assert (code, "toy/s0001 ended before it saved" in err) == (6, True)
    wait(load_project(folder), "toy/s0001", reporter=NullReporter())
    code, _, err = run(folder, capsys=capsys)
    assert code == 6
    assert "toy/s0001 has ended already (cancelled)" in err and "next: ckptsync launch toy --detach" in err


def test_without_a_session_there_is_nothing_to_save(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(make_project(tmp_path, DEAF), capsys=capsys)
    assert code == 6
    assert "next: ckptsync launch toy" in err


def test_a_runner_that_cannot_reach_its_sessions_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from ckptsync.runners.base import SessionState

    folder = make_project(tmp_path / "project", DEAF)
    spec = SessionSpec("toy", "toy/s0001", "l1", 1, (ScenarioSpec("toy", 100),))
    away = ScriptedRunner(tmp_path / "away", Script(state=SessionState.RUNNING), lambda session: spec)
    monkeypatch.setitem(runners.RUNNERS, "scripted", lambda project, settings: away)
    assert app.main(["-C", str(folder), "launch", "--on", "scripted", "--detach", "--quiet"]) == 0
    code, _, err = run(folder, capsys=capsys)
    assert code == 2
    assert "runs on scripted, which cannot be reached while a session runs" in err
    assert "[runs.toy.save]" in err


@pytest.mark.parametrize("word", ["0", "-1", "soon", "5w"])
def test_a_timeout_is_a_time_span(tmp_path: Path, word: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(make_project(tmp_path, DEAF), f"--timeout={word}", capsys=capsys)
    assert (code, "is no time span" in err) == (2, True)
