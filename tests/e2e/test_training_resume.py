"""Sessions in processes of their own: what survives a SIGKILL goes on as if nothing had happened.

Four processes with real SB3: an uncut run of both algorithms, a killed session of each, and one that
resumes both.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

SCRIPT = """
import hashlib, os, signal, sys
import torch
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecNormalize
from ckptsync.training import TrainingSession

torch.set_num_threads(1)
TARGETS = {"ppo": 384, "sac": 300}


def digest(model):
    found = hashlib.sha256()
    for name, state in sorted(model.get_parameters().items()):
        tensors = state.get("state", {}).values() if "state" in state else [state]
        for group in tensors:
            for key, tensor in group.items():
                found.update(f"{name} {key}".encode() + torch.as_tensor(tensor).numpy().tobytes())
    return found.hexdigest()


def train(name, tree, kill_at):
    def callback(locals_, globals_):
        if kill_at is not None and locals_["self"].num_timesteps >= kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return True

    with TrainingSession(tree, name, TARGETS[name], every_steps=64, seed=0) as session:
        if name == "ppo":
            env = make_vec_env("CartPole-v1", n_envs=2, seed=0)
            arguments = {"n_steps": 32, "use_sde": False}
            model = session.load_or_create(PPO, "MlpPolicy", env, device="cpu", **arguments)
        else:
            env = VecNormalize(make_vec_env("Pendulum-v1", n_envs=1, seed=0))
            arguments = {"learning_starts": 30, "buffer_size": 120, "batch_size": 16, "policy_kwargs": {"net_arch": [8]}}
            model = session.load_or_create(SAC, "MlpPolicy", env, device="cpu", **arguments)
        session.learn(model, callback)
    return digest(model)


tree, kill_at, *names = sys.argv[1:]
for name in names:
    print(name, train(name, tree, int(kill_at) if kill_at != "never" else None))
"""


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    script = folder / "script.py"
    script.write_text(SCRIPT)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(script), *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment, timeout=200)


def results(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    return {line[0]: line[1] for line in lines if line[:1] in (["ppo"], ["sac"])}


def test_a_killed_session_resumes_to_the_same_weights(tmp_path: Path) -> None:
    uncut = results(run(tmp_path, "uncut", "never", "ppo", "sac"))
    for name, kill_at in (("ppo", "210"), ("sac", "231")):
        assert run(tmp_path, "cut", kill_at, name).returncode == -signal.SIGKILL
    done = run(tmp_path, "cut", "never", "ppo", "sac")
    assert results(done) == uncut
    # Which save was the last to reach the disk before the kill is a matter of the machine's speed
    assert re.search(r"Resuming ppo at (64|128|192) steps, fidelity exact", done.stdout)
    assert re.search(r"Resuming sac at \d+ steps, fidelity exact", done.stdout)
    assert sorted(json.loads((tmp_path / "cut" / "training_metadata.json").read_text())["scenarios"]) == ["ppo", "sac"]
