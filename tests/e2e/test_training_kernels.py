"""The kernels as they stand, each in a process of its own, outside any session and inside one."""

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

from ckptsync.core import sets
from ckptsync.core.session import SavePolicy, ScenarioSpec, SessionSpec, read_events, read_session_info

KERNELS = Path(__file__).parents[2] / "kernels"


def start(kernel: str, folder: Path, **fields: Any) -> subprocess.Popen[str]:
    """Start a kernel in a folder; with fields, as a session of a run."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CKPTSYNC_")}
    environment["OMP_NUM_THREADS"] = "1"
    if fields:
        given = {"run": kernel, "session": f"{kernel}/s0001", "lineage": "l1", "generation": 1, **fields}
        (folder / "spec.json").write_text(json.dumps(SessionSpec(**given).to_json()))
        environment["CKPTSYNC_SESSION"] = str(folder / "spec.json")
    command = [sys.executable, "-u", str(KERNELS / kernel / "train.py")]
    return subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    output, _ = process.communicate(timeout=200)
    return process.returncode, output


def toy(target: int, **fields: Any) -> dict[str, Any]:
    save = SavePolicy(every_steps=100, every_seconds=None, save_best=False)
    return {"scenarios": (ScenarioSpec("toy", target),), "save": save, **fields}


def saved(folder: Path) -> list[int]:
    return [event["num_timesteps"] for event in read_events(folder / "events.jsonl") if event["event"] == "save"]


def test_toy_saves_and_resumes(tmp_path: Path) -> None:
    assert finish(start("toy", tmp_path, **toy(300)))[0] == 0
    code, output = finish(start("toy", tmp_path, **toy(500, generation=2)))
    assert code == 0
    assert "toy begins at 300" in output
    assert saved(tmp_path) == [100, 200, 300, 400, 500]


def test_toy_crashes_as_told(tmp_path: Path) -> None:
    code, output = finish(start("toy", tmp_path, **toy(1000, params={"crash_at": 250})))
    assert code == 1
    assert "RuntimeError: crashed at 250, as told" in output
    assert saved(tmp_path) == [100, 200]
    assert read_session_info(tmp_path / "session_info.json")["cause"] == "error"


def test_toy_leaves_without_a_word_as_told(tmp_path: Path) -> None:
    assert finish(start("toy", tmp_path, **toy(1000, params={"exit_at": 250})))[0] == 1
    assert saved(tmp_path) == [100, 200]
    assert not (tmp_path / "session_info.json").exists()


def test_toy_saves_nothing_as_told(tmp_path: Path) -> None:
    assert finish(start("toy", tmp_path, **toy(300, params={"save": False})))[0] == 0
    assert sets.scan(tmp_path / "data/models/checkpoints") == []


def test_toy_with_other_layers_is_refused_by_name(tmp_path: Path) -> None:
    finish(start("toy", tmp_path, **toy(100)))
    code, output = finish(start("toy", tmp_path, **toy(200, params={"hidden": [32, 32]})))
    assert code == 5
    assert "- Architecture: checkpoint=[8, 8], current=[32, 32]" in output
    assert "mlp_extractor.policy_net.0.weight" in output


def test_toy_seals_when_terminated(tmp_path: Path) -> None:
    process = start("toy", tmp_path, **toy(10**9, params={"pause": 0.01}))
    while not (tmp_path / "data/models/checkpoints/toy_checkpoint_100_steps.manifest.json").exists():
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    assert finish(process)[0] == 143
    info = read_session_info(tmp_path / "session_info.json")
    assert (info["cause"], info["signal"], info["emergency_save"]) == ("signal", "SIGTERM", True)


@pytest.mark.slow
def test_cartpole_seals_when_terminated_and_goes_on(tmp_path: Path) -> None:
    scenario = {"save": SavePolicy(every_steps=512, save_best=False), "params": {"n_steps": 64}}
    process = start("cartpole_ppo", tmp_path, scenarios=(ScenarioSpec("cartpole_ppo", 10**9),), **scenario)
    while not (tmp_path / "data/models/checkpoints/cartpole_ppo_checkpoint_512_steps.manifest.json").exists():
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert finish(process)[0] == 143
    reached = saved(tmp_path)[-1]
    more = {**scenario, "generation": 2, "max_steps": 256}
    code, output = finish(start("cartpole_ppo", tmp_path, scenarios=(ScenarioSpec("cartpole_ppo", 10**9),), **more))
    assert code == 0
    assert f"Resuming cartpole_ppo at {reached:,} steps, fidelity exact" in output
    assert saved(tmp_path)[-1] == reached + 256


@pytest.mark.slow
def test_pendulum_saves_all_that_it_has(tmp_path: Path) -> None:
    fields = {"scenarios": (ScenarioSpec("pendulum_sac", 10**6),), "max_steps": 150}
    code, output = finish(start("pendulum_sac", tmp_path, **fields))
    assert code == 0, output
    [stored] = sets.scan(tmp_path / "data/models/checkpoints")
    assert stored.manifest is not None
    assert stored.manifest.captured == "exact"
    assert {entry.role for entry in stored.manifest.files} >= {"model", "resume", "replay", "vecnormalize"}
