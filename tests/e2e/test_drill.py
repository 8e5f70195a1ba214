"""Drills of real sessions: runs that are sound, scripts with a fault each, interruptions."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from ckptsync.cli import app

KERNELS = Path(__file__).resolve().parents[2] / "kernels"
CONFIG = """\
[runs.toy]
total_timesteps = 500
quick_steps = 200
packages = []
params = { pause = 0.01 }

[runs.toy.save]
every_steps = 100
save_best = false
"""
# Plain checkpoints, as SB3's callback writes them, without the second that importing SB3 takes
PLAIN = """\
import time
from pathlib import Path
from ckptsync.training.sb3_files import mlp_parameters, write_sb3_zip

folder = Path("data/models/checkpoints")
folder.mkdir(parents=True, exist_ok=True)
begun = 0
if {resumes}:
    for path in folder.glob("*.zip"):
        path.read_bytes()
        begun = max(begun, int(path.stem.split("_")[-2]))
for steps in range(begun + 50, begun + 250, 50):
    path = folder / f"toy_checkpoint_{{steps}}_steps.zip"
    write_sb3_zip(path, mlp_parameters(hidden=[8], seed=steps), num_timesteps=steps, hidden=[8])
    time.sleep(0.15)
"""
OWN_LOOP = """\
import time
from ckptsync.training import TrainingSession
from ckptsync.training.sb3_files import mlp_parameters, mlp_signature, write_sb3_zip

with TrainingSession.from_environment(scenario="toy", total_timesteps=500) as session:
    scenario = session.scenario
    steps = scenario.begin()

    def write(file):
        {writing}
        write_sb3_zip(file, mlp_parameters(hidden=[8], seed=steps), num_timesteps=steps, hidden=[8])

    while not scenario.clean_point(steps, write):
        time.sleep(0.02)
        steps += 10
"""
OWN_WORDS = OWN_LOOP.replace('.from_environment(scenario="toy", total_timesteps=500)', '("data/models", "toy", 100)')
WALKER = """\
import threading
import gymnasium
from stable_baselines3 import PPO
from ckptsync.training import TrainingSession

class Talking(gymnasium.Wrapper):
    def __init__(self, env):
        super().__init__(env)
        self.listener = threading.Lock()

with TrainingSession.from_environment() as session:
    env = Talking(gymnasium.make("CartPole-v1"))
    session.learn(session.load_or_create(PPO, "MlpPolicy", env, n_steps=64, batch_size=64, device="cpu"))
"""


def make_project(folder: Path, script: str | None = None, config: str = CONFIG) -> Path:
    """Write a project with the toy kernel, or a script of the test's own."""
    (folder / "kernels" / "toy").mkdir(parents=True)
    text = (KERNELS / "toy" / "train.py").read_text() if script is None else script
    (folder / "kernels" / "toy" / "train.py").write_text(text)
    (folder / "ckptsync.toml").write_text(config)
    return folder


def run(folder: Path, *argv: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    capsys.readouterr()
    code = app.main(["-C", str(folder), "drill", "--quiet", *argv])
    captured = capsys.readouterr()
    return code, captured.out + captured.err


def report(folder: Path, *argv: str, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    code, out = run(folder, "--json", *argv, capsys=capsys)
    value: dict[str, Any] = json.loads(out)
    assert value["exit_code"] == code
    assert value["schema"] == "ckptsync.drill/1"
    return value


def codes(value: dict[str, Any], *severities: str) -> list[str]:
    return [fault["code"] for fault in value["faults"] if not severities or fault["severity"] in severities]


def everything(folder: Path) -> dict[str, bytes]:
    """Every file but the cache and the lock of the drill."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and "cache" not in path.parts and path.name != "drill.lock"
    }


def lives(process: int) -> bool:
    """Whether a process runs; one that only waits to be reaped does not."""
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(process)], capture_output=True, text=True).stdout.strip()
    return bool(state) and not state.startswith("Z")


def test_a_sound_run_is_told_what_it_would_lose(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_project(tmp_path, config=CONFIG + '[store]\nurl = "store"\n')
    assert app.main(["-C", str(folder), "init-store", "--quiet"]) == 0
    assert app.main(["-C", str(folder), "launch", "--quick", "--quiet"]) == 0
    before = everything(folder)
    assert any(name.startswith("store/versions") for name in before)
    value = report(folder, capsys=capsys)
    assert (value["exit_code"], codes(value, "blocker", "warning")) == (0, [])
    first, second = value["sessions"]
    assert (first["interrupted"], first["state"], second["state"]) == (True, "cancelled", "complete")
    reached = first["scenarios"]["toy"]["ended_at"]
    assert second["scenarios"]["toy"]["started_at"] == reached > 0
    assert second["scenarios"]["toy"]["ended_at"] == reached + 200
    measured, projected = value["measured"], value["projected"]
    assert measured["saves"] == sum(one["scenarios"]["toy"]["checkpoints"] for one in value["sessions"])
    assert 0 < measured["save_seconds"] < 5 and measured["size_bytes"] > 1000
    assert 0 < measured["steps_per_second"] < 1100  # ten steps, then a hundredth of a second
    assert measured["captured"] == measured["resumed"] == "weights"
    assert projected["interval_steps"] == 100
    while_writing = measured["steps_per_second"] * measured["save_seconds"]
    assert 100 <= projected["lost_steps"] <= 100 + measured["clean_every"] + while_writing + 1
    assert everything(folder) == before
    assert not (folder / ".ckptsync/drill").exists()


def test_the_text_says_it_for_people(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out = run(make_project(tmp_path), capsys=capsys)
    assert code == 0
    for part in (
        "drill of toy on local\n",
        "  first session    toy: from zero, reached",
        "stopped in the middle,",
        "  second session   toy: resumed at",
        "  lost at worst    1",
        "  save and margin  ",
        "\nall good: the run survives its sessions\nnext: ckptsync launch toy\n",
    ):
        assert part in out


def test_a_plain_script_works_with_warnings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    value = report(make_project(tmp_path, PLAIN.format(resumes=True)), capsys=capsys)
    assert (value["exit_code"], codes(value, "warning")) == (3, ["stop.unsaved", "resume.fidelity"])
    assert value["projected"]["lost_steps"] == 50  # by its own interval, not by the run's


def test_a_script_that_never_resumes_is_found_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    value = report(make_project(tmp_path, PLAIN.format(resumes=False)), capsys=capsys)
    assert (value["exit_code"], codes(value, "blocker")) == (7, ["resume.none"])
    assert "steps and began from zero" in value["faults"][0]["message"]
    _code, out = run(tmp_path, capsys=capsys)
    assert "  second session   toy: given a checkpoint at" in out


def test_a_script_that_saves_nothing_is_found_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    value = report(make_project(tmp_path), "--set", "save=false", "--set", "pause=0", capsys=capsys)
    assert (value["exit_code"], codes(value)) == (7, ["save.none"])
    assert "session.learn(model)" in value["faults"][0]["hint"]


def test_a_script_that_saves_elsewhere_is_found_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    elsewhere = tmp_path / "elsewhere"
    script = f"import os\nos.makedirs({str(elsewhere)!r})\nopen({str(elsewhere / 'model.zip')!r}, 'wb').close()\n"
    value = report(make_project(tmp_path / "project", script), capsys=capsys)
    assert (value["exit_code"], codes(value)) == (7, ["output.outside", "save.none"])
    assert str(elsewhere / "model.zip") in value["faults"][0]["message"]
    inside = "open('model.zip', 'wb').write(b'weights')\n"
    value = report(make_project(tmp_path / "other", inside), capsys=capsys)
    assert (value["exit_code"], codes(value)) == (7, ["save.none"])
    assert "the script left model.zip" in value["faults"][0]["message"]


def test_a_loop_that_counts_from_zero_is_found_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    forgetful = OWN_LOOP.format(writing="pass").replace("steps = scenario.begin()", "scenario.begin(); steps = 0")
    value = report(make_project(tmp_path, forgetful), capsys=capsys)
    assert (value["exit_code"], codes(value, "blocker")) == (7, ["script.crash"])
    assert "was called at 0 steps, and begin() had said that it goes on from" in value["faults"][0]["message"]


def test_a_session_of_its_own_words_is_found_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    value = report(make_project(tmp_path, OWN_WORDS.format(writing="pass")), capsys=capsys)
    assert (value["exit_code"], codes(value, "blocker")) == (7, ["session.ignored"])


def test_a_crash_is_told_with_the_last_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out = run(make_project(tmp_path), "--set", "crash_at=30", capsys=capsys)
    assert code == 7
    assert "FAIL  the first session failed: RuntimeError: crashed at 30, as told" in out
    assert "the last lines of toy/s0001" in out and "  | RuntimeError: crashed at 30, as told" in out
    assert out.endswith("the run does not survive its sessions\nnext: ckptsync drill toy\n")


def test_a_save_longer_than_the_margin_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = CONFIG.replace("quick_steps", 'margin = "1s"\nquick_steps')
    folder = make_project(tmp_path, OWN_LOOP.format(writing="time.sleep(1.2)"), config)
    value = report(folder, "--steps", "40", capsys=capsys)
    assert (value["exit_code"], codes(value, "warning", "blocker")) == (3, ["stop.slow", "save.margin"])
    assert all('set margin = "' in fault["hint"] for fault in value["faults"][:2])


def test_a_drill_can_be_kept_and_the_next_one_begins_anew(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_project(tmp_path)
    kept = Path(report(folder, "--keep", capsys=capsys)["folder"])
    assert (kept / "results/toy/s0002/session_info.json").is_file()
    assert app.main(["-C", str(kept), "status", "--quiet"]) == 0
    assert report(folder, capsys=capsys)["folder"] is None
    assert not kept.exists()


def test_a_dry_run_starts_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_project(tmp_path)
    before = everything(folder)
    code, out = run(folder, "--dry-run", "--steps", "1234", capsys=capsys)
    assert code == 0 and out.startswith("would drill toy on local") and "1,234 steps" in out
    assert report(folder, "--dry-run", capsys=capsys)["sessions"] == []
    assert everything(folder) == before
    assert run(folder, "--dry-run", "--on", "nowhere", capsys=capsys)[0] == 2
    for words in (["--dry-run"], []):
        code, out = run(folder, "--limit", "30s", *words, capsys=capsys)
        assert code == 2 and "would have 30 s, and it begins to stop 30 s before its end" in out


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_drill_leaves_nothing(tmp_path: Path, number: int, code: int) -> None:
    folder = make_project(tmp_path)
    command = [sys.executable, "-m", "ckptsync", "-C", str(folder), "drill", "--set", "pause=0.5"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    started = folder / ".ckptsync/drill/.ckptsync/sessions/toy/s0001/started.json"
    deadline = time.monotonic() + 30
    while not started.exists():
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.02)
    supervisor = json.loads(started.read_text())["supervisor"]
    another = subprocess.run([*command[:5], "drill"], capture_output=True, text=True)
    assert another.returncode == 9 and "the drill in" in another.stderr
    process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == code, output
    assert not (folder / ".ckptsync/drill").exists()
    assert not (folder / "data").exists() and not (folder / ".ckptsync/ledger.jsonl").exists()
    assert not lives(supervisor)


def test_what_a_killed_drill_left_is_cleared_by_the_next(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_project(tmp_path)
    command = [sys.executable, "-m", "ckptsync", "-C", str(folder), "drill", "--set", "pause=0.5"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    started = folder / ".ckptsync/drill/.ckptsync/sessions/toy/s0001/started.json"
    while not started.exists():
        assert process.poll() is None
        time.sleep(0.02)
    process.kill()
    process.wait()
    supervisor = json.loads(started.read_text())["supervisor"]
    assert lives(supervisor)
    assert report(folder, capsys=capsys)["exit_code"] == 0
    assert not (folder / ".ckptsync/drill").exists()
    assert not lives(supervisor)


def test_an_environment_that_cannot_be_pickled_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    value = report(make_project(tmp_path, WALKER), "--steps", "256", capsys=capsys)
    assert (value["exit_code"], codes(value, "blocker", "warning")) == (3, ["env.not-picklable"])
    assert "attribute 'listener' cannot be pickled" in value["faults"][0]["message"]
    assert (value["measured"]["captured"], value["measured"]["resumed"]) == ("state", "state")
    assert value["measured"]["clean_every"] == 64
