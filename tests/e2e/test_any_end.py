"""Ends of every kind, in processes of their own with real SB3: what was kept in memory is sealed before they end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ckptsync.core import sets
from ckptsync.core.layout import TrainingTree
from ckptsync.core.manifest import Manifest
from ckptsync.core.session import read_events, read_session_info

pytestmark = pytest.mark.slow

# What the training thread is in when its end comes
SCRIPT = """
import os, sys, time
import gymnasium, torch
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.callbacks import EvalCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv
from ckptsync.training import TrainingSession, saver, watcher

torch.set_num_threads(1)
watcher._GRACE_SECONDS = 1.0
WHERE, BUDGET = sys.argv[1], float(sys.argv[2]) or None


def stuck(seconds=600.0):
    print("stuck", flush=True)
    time.sleep(seconds)


class Sticky(gymnasium.Wrapper):
    def __init__(self, env, at, seconds):
        super().__init__(env)
        self.at, self.steps, self.seconds = at, 0, seconds

    def step(self, action):
        self.steps += 1
        if self.steps == 1:
            self.until = time.monotonic() + self.seconds
        if self.steps >= self.at and time.monotonic() >= self.until:
            stuck()
        return self.env.step(action)


def slow_step(name, at, seconds=0):
    return make_vec_env(name, n_envs=1, seed=0, wrapper_class=Sticky, wrapper_kwargs={"at": at, "seconds": seconds})


def main():
    PPO_ARGUMENTS = {"n_steps": 32, "n_epochs": 1, "device": "cpu", "policy_kwargs": {"net_arch": [8]}}
    with TrainingSession("models", "a", 10**6, every_steps=None, budget_seconds=BUDGET, seed=0) as session:
        callback = None
        if WHERE == "step":
            model = session.load_or_create(PPO, "MlpPolicy", slow_step("CartPole-v1", 80), **PPO_ARGUMENTS)
        elif WHERE == "off-policy":
            arguments = {"learning_starts": 10, "batch_size": 8, "device": "cpu", "policy_kwargs": {"net_arch": [8]}}
            model = session.load_or_create(SAC, "MlpPolicy", slow_step("Pendulum-v1", 300, 3), buffer_size=200, **arguments)
        elif WHERE == "evaluation":
            model = session.load_or_create(PPO, "MlpPolicy", make_vec_env("CartPole-v1", seed=0), **PPO_ARGUMENTS)
            callback = EvalCallback(slow_step("CartPole-v1", 5), eval_freq=80, n_eval_episodes=500, verbose=0)
        elif WHERE == "workers":
            env = make_vec_env("CartPole-v1", n_envs=2, seed=0, vec_env_cls=SubprocVecEnv)
            model = session.load_or_create(PPO, "MlpPolicy", env, **PPO_ARGUMENTS)
            callback = lambda locals_, globals_: print("stuck", flush=True) or True
        elif WHERE == "save":
            model = session.load_or_create(PPO, "MlpPolicy", make_vec_env("CartPole-v1", seed=0), **PPO_ARGUMENTS)
            callback = lambda locals_, globals_: locals_["self"].num_timesteps < 80 or print("stuck", flush=True) or True
            write = saver.SetKeeper.write

            def slow(*arguments, **named):
                print("saving", flush=True)
                time.sleep(4)
                return write(*arguments, **named)

            saver.SetKeeper.write = slow
        session.learn(model, callback)
    print("the script went on")


if __name__ == "__main__":
    main()
"""


class Running:
    """One such process."""

    def __init__(self, folder: Path, where: str, *, budget: float = 0.0) -> None:
        (folder / "script.py").write_text(SCRIPT)
        self.folder = folder
        self.output = ""
        self.process = subprocess.Popen(
            [sys.executable, "script.py", where, str(budget)],
            cwd=folder,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def wait_for(self, word: str) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.output += line
            if line.strip() == word:
                return
        raise AssertionError(self.output)

    def end(self) -> int:
        assert self.process.stdout is not None
        try:
            code = self.process.wait(timeout=60)
        finally:
            if self.process.poll() is None:
                os.killpg(self.process.pid, signal.SIGKILL)
        self.output += self.process.stdout.read()
        return code

    def newest(self) -> Manifest:
        found = sets.scan(TrainingTree(self.folder / "models").checkpoints)
        assert found, self.output
        assert [stored.state for stored in found] == ["sealed"] * len(found), self.output
        manifest = found[-1].manifest
        assert manifest is not None
        assert sets.check_files(TrainingTree(self.folder / "models").checkpoints, manifest) == ()
        return manifest

    def causes(self) -> list[str]:
        return [event["cause"] for event in read_events(self.folder / "events.jsonl") if event["event"] == "end"]


@pytest.mark.parametrize(("where", "kept"), [("step", 64), ("off-policy", 0), ("evaluation", 64)])
def test_a_signal_while_training_does_not_come_back(where: str, kept: int, tmp_path: Path) -> None:
    running = Running(tmp_path, where)
    running.wait_for("stuck")
    running.process.terminate()
    assert running.end() == 143, running.output
    manifest = running.newest()
    assert manifest.kind == "emergency"
    assert manifest.captured == "exact", manifest.captured_reasons
    assert manifest.num_timesteps == kept or (where == "off-policy" and manifest.num_timesteps > 0)
    assert running.causes() == ["signal"]
    told = read_session_info(tmp_path / "session_info.json")
    assert (told["cause"], told["exit_code"], told["signal"]) == ("signal", 143, "SIGTERM")
    assert "Training does not come back: the process ends without it" in running.output


def test_the_deadline_while_training_does_not_come_back(tmp_path: Path) -> None:
    running = Running(tmp_path, "step", budget=14.0)
    running.wait_for("stuck")
    begun = time.monotonic()
    assert running.end() == 0, running.output
    assert time.monotonic() - begun < 14
    assert (running.newest().num_timesteps, running.causes()) == (64, ["deadline"])
    assert "the script went on" not in running.output


def test_ctrl_c_that_ends_the_workers_too_is_a_signal(tmp_path: Path) -> None:
    running = Running(tmp_path, "workers")
    for _ in range(40):
        running.wait_for("stuck")
    os.killpg(running.process.pid, signal.SIGINT)
    assert running.end() == 130, running.output
    assert running.newest().num_timesteps >= 64
    assert running.causes() == ["signal"]
    assert "Traceback" not in running.output, running.output


def test_a_second_signal_does_not_cut_the_save(tmp_path: Path) -> None:
    running = Running(tmp_path, "save")
    running.wait_for("stuck")
    running.process.send_signal(signal.SIGINT)
    running.wait_for("saving")
    time.sleep(1.5)
    running.process.send_signal(signal.SIGINT)
    assert running.end() == 130, running.output
    assert running.newest().kind == "emergency"
    assert running.causes() == ["signal"]


def test_a_second_signal_ends_a_long_step_at_once(tmp_path: Path) -> None:
    running = Running(tmp_path, "step")
    running.wait_for("stuck")
    running.process.terminate()
    time.sleep(1.5)
    running.process.terminate()
    assert running.end() == 143, running.output
    assert (running.newest().num_timesteps, running.causes()) == (64, ["signal"])
    assert "Traceback" not in running.output, running.output
