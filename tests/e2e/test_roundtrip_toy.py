"""Whole trips of the toy kernel on the local runner, through the command as a process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

COMMAND = [sys.executable, "-m", "ckptsync"]


def call(folder: Path, *arguments: str) -> tuple[int, dict[str, Any]]:
    """Run a command with `--json`; return its exit code and its object."""
    done = subprocess.run([*COMMAND, *arguments, "--json"], cwd=folder, capture_output=True, text=True, timeout=120)
    value = json.loads(done.stdout)
    assert value["exit_code"] == done.returncode, done.stderr
    return done.returncode, value


def begin(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start a command and return once its session has sealed something."""
    process = subprocess.Popen(
        [*COMMAND, *arguments], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 60
    while not list((folder / ".ckptsync" / "sessions").glob("*/*/working/data/models/checkpoints/*_head.json")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return process


def head(folder: Path) -> int | None:
    path = folder / "data/models/checkpoints/toy_head.json"
    return json.loads(path.read_text())["num_timesteps"] if path.exists() else None


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project of the toy kernel, as `init` makes it."""
    assert call(tmp_path, "init", "--kernel", "toy")[0] == 0
    return tmp_path


def test_the_main_job(project: Path):
    code, first = call(project, "launch", "--quick")
    assert (code, head(project), first["verdict"]) == (0, 200, "valid")
    code, second = call(project, "launch", "--steps", "300")
    assert (code, head(project), second["verdict"]) == (0, 500, "restorable")
    assert call(project, "verify", "toy/s0002")[0] == 0  # with the set that it was given among its outputs
    code, status = call(project, "status")
    rows = status["runs"][0]["sessions"]
    assert [(row["started_at"], row["ended_at"], row["fidelity"]) for row in rows] == [
        (0, 200, None),
        (200, 500, rows[1]["fidelity"]),
    ]
    assert rows[1]["fidelity"] is not None
    assert call(project, "launch")[0] == 0
    assert head(project) == 1000
    assert "has reached its target" in call(project, "launch")[1]["message"]
    assert call(project, "restore", "--undo")[0] == 0
    assert head(project) == 500
    assert call(project, "verify")[0] == 0


def test_a_kernel_that_crashes(project: Path):
    code, value = call(project, "launch", "--set", "crash_at=150")
    assert (code, head(project)) == (7, 150)
    assert value["next_command"] == "ckptsync logs toy/s0001"


def test_a_kernel_that_never_saves(project: Path):
    code, value = call(project, "launch", "--set", "save=false")
    assert (code, head(project)) == (11, None)
    assert "without a new checkpoint" in value["message"]


def test_a_kernel_that_exceeds_its_time_is_killed_and_what_it_sealed_comes_home(project: Path):
    config = project / "ckptsync.toml"
    config.write_text(config.read_text().replace('budget = "1h"', 'budget = "4s"\nmargin = "1s"'))
    script = project / "kernels/toy/train.py"
    # A script that is deaf to every request to stop
    deaf = "    import signal\n    signal.signal(signal.SIGTERM, signal.SIG_IGN)\n    time.sleep(100)\n"
    script.write_text(
        script.read_text().replace(
            "        for scenario in session.scenarios:\n            train(scenario)\n",
            "        for scenario in session.scenarios:\n            train(scenario)\n" + deaf,
        )
    )
    code, value = call(project, "launch", "--steps", "100")
    # With so small a margin either boot or the runner is the one that kills it
    assert value["state"] in ("error", "timed out")
    assert (code, head(project)) == (3, 100)
    assert "was killed at its time limit" in value["message"]


def test_another_architecture_is_refused_and_fresh_is_the_way_out(project: Path):
    assert call(project, "launch", "--quick")[0] == 0
    config = project / "ckptsync.toml"
    config.write_text(config.read_text() + "\n[runs.toy.expects]\nnet_arch = [16, 16]\n")
    code, value = call(project, "launch", "--quick", "--set", "hidden=[16,16]")
    assert (code, value["error"]["kind"]) == (5, "IncompatibleError")
    assert "checkpoint=[8, 8], current=[16, 16]" in value["error"]["message"]
    assert "--fresh" in value["error"]["hint"]
    assert call(project, "launch", "--quick", "--fresh", "--set", "hidden=[16,16]")[0] == 0
    assert head(project) == 200


def test_ctrl_c_leaves_the_session_running_and_wait_comes_back(project: Path):
    process = begin(project, "launch", "--set", "pause=0.02")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "ckptsync wait toy" in out + err
    assert head(project) is None
    assert call(project, "wait")[0] == 0
    assert head(project) == 1000


def test_a_killed_command_goes_on_where_it_was(project: Path):
    process = begin(project, "launch", "--set", "pause=0.02")
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    code, value = call(project, "launch")
    assert (code, value["session"], head(project)) == (0, "toy/s0001", 1000)


def test_a_cancelled_session_seals_what_it_has(project: Path):
    process = begin(project, "launch", "--set", "pause=0.02")
    assert call(project, "cancel")[0] == 0
    process.communicate(timeout=60)
    assert process.returncode == 3
    assert 0 < (head(project) or 0) < 1000
