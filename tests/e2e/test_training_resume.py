"""Sessions in processes of their own: what survives a SIGKILL goes on as if nothing had happened.

Four processes with real SB3, forked from one that has only imported it: an uncut run of both algorithms, a killed
session of each, and one that resumes both.
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
import torch._dynamo  # the first optimizer would import it, in every process anew
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


for job in sys.argv[1:]:
    tree, kill_at, *names = job.split()
    child = os.fork()
    if child == 0:
        for name in names:
            print(name, train(name, tree, int(kill_at) if kill_at != "never" else None), flush=True)
        os._exit(0)
    print("left with", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


def run(folder: Path, *jobs: str) -> list[tuple[int, str]]:
    """Run sessions one after the other; return what each left with, and what it said."""
    script = folder / "script.py"
    script.write_text(SCRIPT)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(script), *jobs]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment, timeout=200)
    assert done.returncode == 0, done.stdout + done.stderr
    found = re.findall(r"(.*?)^left with (-?\d+)\n", done.stdout, re.DOTALL | re.MULTILINE)
    return [(int(status), said) for said, status in found]


def results(said: str) -> dict[str, str]:
    lines = [line.split() for line in said.splitlines()]
    return {line[0]: line[1] for line in lines if line[:1] in (["ppo"], ["sac"])}


def test_a_killed_session_resumes_to_the_same_weights(tmp_path: Path) -> None:
    sessions = run(tmp_path, "uncut never ppo sac", "cut 210 ppo", "cut 231 sac", "cut never ppo sac")
    assert [status for status, _said in sessions] == [0, -signal.SIGKILL, -signal.SIGKILL, 0], sessions
    uncut, resumed = sessions[0][1], sessions[-1][1]
    assert results(resumed) == results(uncut)
    assert set(results(uncut)) == {"ppo", "sac"}
    # Which save was the last to reach the disk before the kill is a matter of the machine's speed
    assert re.search(r"Resuming ppo at (64|128|192) steps, fidelity exact", resumed)
    assert re.search(r"Resuming sac at \d+ steps, fidelity exact", resumed)
    assert sorted(json.loads((tmp_path / "cut" / "training_metadata.json").read_text())["scenarios"]) == ["ppo", "sac"]
