"""PPO in many sessions of a Kaggle service that kills them and fails besides ends like one that was never cut."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

import pytest
from support import exact_results, figures
from support.kaggle_trips import quick_runner

from ckptsync.core import heads, sets
from ckptsync.core.errors import CkptsyncError
from ckptsync.project.config import load_project
from ckptsync.project.lineage import unsettled
from ckptsync.sync import roundtrip
from ckptsync.sync.launch import LaunchOptions
from ckptsync.sync.ledgers import known_records
from ckptsync.sync.reporting import NullReporter
from ckptsync.testing.kaggle import KaggleService
from ckptsync.testing.kaggle.runs import TOO_LONG

KERNEL = "tester/ckptsync-ppo"
_FAULTS = 0.15
_ATTEMPTS = 12
# Deadlines of their own are the only ends by the clock; a session that has not trained by then is followed by another
_CONFIG = """
[runs.ppo]
kernel = "ppo"
runner = "kaggle"
packages = []
total_timesteps = {total}
budget = "1h"
margin = "{margin}s"

[runs.ppo.save]
every_steps = 256

[runners.kaggle]
timeout = "2s"
patience = "10s"
dataset_wait = "30s"
poll_first = 0.05
poll_longest = 0.3
wait_patience = "60s"
fetch_patience = "30s"
"""
_MARGINS = {"deadline": 3588}
_TASK = """
import os

os.environ["OMP_NUM_THREADS"] = "1"

import torch
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.logger import configure
from stable_baselines3.common.vec_env import VecNormalize

torch.set_num_threads(1)
ARGUMENTS = {
    "n_steps": 64, "batch_size": 64, "n_epochs": 2, "policy_kwargs": {"net_arch": [8]}, "seed": 3, "device": "cpu"
}


def env():
    return VecNormalize(make_vec_env("CartPole-v1", n_envs=4, seed=5))


def log(model):
    model.set_logger(configure("logs", ["csv", "json"]))
"""
_UNCUT = """
import sys
from pathlib import Path

import exact_results
import task

model = task.PPO("MlpPolicy", task.env(), **task.ARGUMENTS)
task.log(model)
model.learn(int(sys.argv[1]))
exact_results.save(model, [], Path("uncut.npz"))
"""
# A session that is to be killed says when it has sealed something and holds still; one with a deadline goes on slowly
_TRAIN = """
import time
from pathlib import Path

import exact_results
import task
from stable_baselines3.common.callbacks import BaseCallback

from ckptsync.training import TrainingSession


def holder(how, begun):
    before = seals()

    class Holder(BaseCallback):
        # Keeps no state: it would be resumed too

        def _on_step(self):
            if how == "deadline" and self.num_timesteps >= begun + 600:
                time.sleep(0.05)
            if how == "limit" and self.num_timesteps >= begun + 600:
                while seals() <= before:
                    time.sleep(0.02)
                print("held at", self.num_timesteps, flush=True)
                time.sleep(3600)
            return True

    return Holder()


def seals():
    return {path.name for path in Path("data/models/checkpoints").glob("*.manifest.json")}


with TrainingSession.from_environment() as session:
    model = session.load_or_create(task.PPO, "MlpPolicy", task.env(), **task.ARGUMENTS)
    task.log(model)
    outcome = session.learn(model, holder(session.params.get("hold"), model.num_timesteps))
if outcome.cause == "target":
    exact_results.save(model, [], Path("cut.npz"))
"""


@dataclass
class Limiter:
    """Lets the time limit of runs pass as soon as all that go on hold still."""

    service: KaggleService

    def __enter__(self) -> None:
        self._left = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def __exit__(self, *exception: object) -> None:
        self._left.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._left.wait(0.1):
            on = [run for run in self.service.runs() if not run.status[0].last]
            if on and all("held at" in run.log.text() for run in on):
                self.service.settings.time_scale = 1e9
                for run in on:
                    run.wait(60)
                self.service.settings.time_scale = 1.0


def uncut(folder: Path, kernel: Path, total: int) -> Path:
    """Train without any of ckptsync; return what came of it."""
    folder.mkdir()
    script = folder / "uncut.py"
    script.write_text(_UNCUT)
    command = [sys.executable, script, str(total)]
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, "PYTHONPATH": str(kernel)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return folder / "uncut.npz"


class Training:
    """The run, in a project of its own.

    Args:
        folder: empty.
        total: its target.
    """

    def __init__(self, folder: Path, total: int) -> None:
        self.root = folder
        self.total = total
        self.kernel = folder / "kernels" / "ppo"
        self.kernel.mkdir(parents=True)
        (self.kernel / "task.py").write_text(_TASK)
        (self.kernel / "train.py").write_text(_TRAIN)
        shutil.copy(exact_results.__file__, self.kernel)

    def until(self, end: str | None, attempts: int = _ATTEMPTS) -> None:
        """Make trips until one session with such an end has brought home new steps and all is settled.

        Without an end: until the target is reached.
        """
        config = _CONFIG.format(total=self.total, margin=_MARGINS.get(end or "", 30))
        (self.root / "ckptsync.toml").write_text(config)
        self.project = load_project(self.root, environ={})
        run = self.project.run("ppo")
        goal = self.total if end is None else self.head() + 1
        told = []
        for _ in range(attempts):
            try:
                trip = roundtrip.run(
                    self.project, run, LaunchOptions(set={"hold": end} if end else {}), reporter=NullReporter()
                )
                told.append(trip.message)
            except CkptsyncError as error:
                told.append(str(error))
            if self.head() >= goal and unsettled(known_records(self.project, "ppo")) is None:
                return
        raise AssertionError("\n".join(told))

    def head(self) -> int:
        """Return N of the head."""
        head = heads.read_head(self.project.tree(self.project.run("ppo")), "ppo")
        return head.num_timesteps if head is not None else 0


def go(folder: Path, ends: tuple[str, ...], total: int, seed: int, monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Train in sessions with such ends and one to the target; compare with a training that was never cut."""
    training = Training(folder / "project", total)
    expected = uncut(folder / "uncut", training.kernel, total)
    quick_runner(monkeypatch)
    with KaggleService(folder / "service", retry_after_seconds=0, stall_seconds=3.0, slow_seconds=0.1) as service:
        for name, value in service.environment().items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("HOME", str(folder))
        service.faults.rate(_FAULTS, seed=seed)
        with Limiter(service):
            for end in (*ends, None):
                training.until(end)
        runs = service.runs()
        pushed = [service.version(KERNEL, number).request for number in range(1, len(runs) + 1)]
        assert service.failures == []
    left = {file.name: file.path for file in runs[-1].left if file.path is not None}
    tree = training.project.tree(training.project.run("ppo"))
    head = heads.read_head(tree, "ppo")
    assert head is not None and head.num_timesteps == total
    (final,) = [stored for stored in sets.scan(tree.checkpoints) if stored.stem == head.stem]
    assert final.manifest is not None
    for entry in final.manifest.files:
        away = left[f"data/models/checkpoints/{entry.path}"]
        assert (tree.checkpoints / entry.path).read_bytes() == away.read_bytes()
    arrays, largest, differing = exact_results.compare(expected, left["cut.npz"])
    assert differing == [], largest
    limited = sum(run.status[1] == TOO_LONG for run in runs)
    assert limited >= ends.count("limit")
    return {
        "sessions": len(known_records(training.project, "ppo")),
        "killed": limited,
        "by_dataset": sum(bool(request.get("datasetDataSources")) for request in pushed),
        "by_output": sum(bool(request.get("kernelDataSources")) for request in pushed),
        "faults": sum(service.faults.fired.values()),
        "arrays": arrays,
        "different": len(differing),
    }


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_three_sessions_end_like_one(fast_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = go(fast_folder, ("limit", "deadline"), 4096, 1, monkeypatch)
    assert counts["sessions"] >= 3
    assert counts["by_dataset"] + counts["by_output"] >= 2  # which of them, is up to the faults
    assert counts["faults"] > 0


@pytest.mark.prove
@pytest.mark.timeout(1_800)
def test_ten_sessions_end_like_one(fast_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ends = ("limit", "limit", "deadline", "limit", "limit", "limit", "deadline", "limit", "limit")
    counts = go(fast_folder, ends, 10_240, 2, monkeypatch)
    assert counts["sessions"] >= 10
    assert min(counts["by_dataset"], counts["by_output"], counts["faults"]) > 0
    figures.record("ten sessions of PPO on Kaggle", **counts)
