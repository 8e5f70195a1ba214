"""What a save costs the training: how long it holds it up, and what is left of the steps a second.

python benchmarks/bench_saves.py [stall] [throughput] [--seconds N] [--interval N]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from timing import heading, interleaved, ratio, row

_GOAL_MEMCPY, _GOAL_SAVE, _GOAL_THROUGHPUT = "at most 1.20 + fixed", "at most 0.25", "at least 0.98"


# --- how long training stands still -----------------------------------------------------------------------------------


def stall(folder: Path) -> None:
    """Time the snapshot of 100 MB beside torch.save with fsync and beside copying the same bytes."""
    from stable_baselines3 import PPO

    model = PPO(
        "MlpPolicy", "CartPole-v1", n_steps=64, n_epochs=1, device="cpu", policy_kwargs={"net_arch": [2048, 2048]}
    )
    model.learn(64)
    small = PPO("MlpPolicy", "CartPole-v1", n_steps=64, n_epochs=1, device="cpu", policy_kwargs={"net_arch": [8]})
    small.learn(64)
    tensors = [tensor.reshape(-1) for tensor in _tensors(model.get_parameters())]
    size = sum(tensor.nbytes for tensor in tensors)
    source, target = np.ones(size, np.uint8), np.zeros(size, np.uint8)

    def save() -> None:
        with (folder / "model.pt").open("wb") as file:
            torch.save(model.get_parameters(), file)
            file.flush()
            os.fsync(file.fileno())

    large_points, small_points = _snapshots(model), _snapshots(small)
    timed = interleaved(
        {
            "snapshot": lambda: large_points.take({}),
            "snapshot of a tiny model: the fixed cost": lambda: small_points.take({}),
            "memcpy of the same bytes": lambda: np.copyto(target, source),
            "torch.save + fsync": save,
        },
        repeats=15,
    )
    heading(f"stall of the training thread, {size / 1e6:.0f} MB of parameters and optimizer state")
    for name, timing in timed.items():
        row(name, timing)
    taken, fixed, copied, saved = (timing.median for timing in timed.values())
    ratio("snapshot / torch.save + fsync", taken / saved, _GOAL_SAVE)
    ratio("(snapshot - fixed cost) / memcpy", (taken - fixed) / copied, _GOAL_MEMCPY)
    ratio("snapshot / memcpy, the fixed cost counted in", taken / copied, "none")


def _snapshots(model: Any) -> Any:
    from ckptsync.training.built import Built
    from ckptsync.training.snapshot import Snapshots
    from ckptsync.training.state import TrainingState

    return Snapshots(model, TrainingState(model, None, Built(model), 64), None)


def _tensors(value: Any) -> list[Any]:
    if isinstance(value, torch.Tensor):
        return [value]
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return [tensor for item in inside for tensor in _tensors(item)]


# --- what is left of the steps a second -------------------------------------------------------------------------------

# One process takes turns, so that whatever else the machine does disturbs all alike: a rollout (PPO) or some steps (SAC)
# without saves, as many in the session's hands, as many with what CheckpointCallback does, as many without saves again
_RUN = """
import json, sys, time
import torch
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.callbacks import CheckpointCallback
from stable_baselines3.common.env_util import make_vec_env
from ckptsync.core.session import read_events
from ckptsync.training import TrainingSession, sb3
from pathlib import Path

torch.set_num_threads(1)
algorithm, seconds, interval = sys.argv[1], float(sys.argv[2]), float(sys.argv[3])
STEPS = 1024 if algorithm == "ppo" else 100
HOW = ["none", "session", "plain", "again"]
times = {how: [] for how in HOW}
turn = {"number": -1, "begun": 0.0, "at": 0, "saved": 0.0}
session_does = sb3.Trainer.on_clean_point


def on_clean_point(trainer):
    model, now = trainer.model, time.perf_counter()
    if turn["number"] < 0 or model.num_timesteps - turn["at"] >= STEPS:
        if turn["number"] >= len(HOW):  # the first round warms up
            times[HOW[turn["number"] % len(HOW)]].append(now - turn["begun"])
        turn.update(number=turn["number"] + 1, begun=now, at=model.num_timesteps)
    how = HOW[turn["number"] % len(HOW)]
    if how == "session" or turn["number"] == 0:
        session_does(trainer)
    elif how == "plain" and now - turn["saved"] >= interval:
        turn["saved"] = now
        plain.model, plain.num_timesteps = model, model.num_timesteps
        plain._on_step()


sb3.Trainer.on_clean_point = on_clean_point
plain = CheckpointCallback(1, "plain", save_replay_buffer=True, save_vecnormalize=True)
plain.n_calls = 1
Path("plain").mkdir()
until = time.perf_counter() + seconds
with TrainingSession("models", "a", 10**9, every_steps=None, every_seconds=interval, save_best=False) as session:
    network = {"policy_kwargs": {"net_arch": [256, 256]}, "device": "cpu"}
    if algorithm == "ppo":
        env = make_vec_env("CartPole-v1", n_envs=8, seed=0)
        model = session.load_or_create(PPO, "MlpPolicy", env, n_steps=128, **network)
    else:
        env = make_vec_env("Pendulum-v1", n_envs=1, seed=0)
        model = session.load_or_create(SAC, "MlpPolicy", env, buffer_size=100_000, **network)
    session.learn(model, lambda locals_, globals_: time.perf_counter() < until)
saves = [event for event in read_events(Path("events.jsonl")) if event["event"] == "save"]
stalls = [event["stall_seconds"] for event in saves if event["kind"] == "time"]
print(json.dumps({"times": times, "saves": len(stalls), "plain": len(list(Path("plain").glob("*.zip"))), "stalls": stalls}))
"""
_HOW = {"none": "no saves", "session": "saves of ckptsync", "plain": "CheckpointCallback", "again": "no saves, again"}


def throughput(folder: Path, seconds: float, interval: float) -> None:
    """Train in turns without saves, with ours, and with what SB3's CheckpointCallback does at the same interval."""
    (folder / "run.py").write_text(_RUN)
    for algorithm, unit in (("ppo", "a rollout of 1,024 steps"), ("sac", "100 steps")):
        place = folder / algorithm
        place.mkdir()
        done = _train(folder / "run.py", place, algorithm, seconds, interval)
        means = {how: statistics.mean(times) for how, times in done["times"].items()}
        heading(f"{algorithm.upper()}: {unit} in turns for {seconds:g} s, a save every {interval:g} s")
        for how, name in _HOW.items():
            times = done["times"][how]
            row(name, f"{means[how] * 1000:,.0f} ms  ({min(times) * 1000:,.0f} to {max(times) * 1000:,.0f})")
        row("saves, longest stall", f"{done['saves']}, {max(done['stalls']) * 1000:.1f} ms")
        row("saves of CheckpointCallback", done["plain"])
        row("training in the session's hands, for each save", f"{sum(done['times']['session']) / done['saves']:.1f} s")
        ratio("throughput with ckptsync / none", means["none"] / means["session"], _GOAL_THROUGHPUT)
        ratio("throughput with CheckpointCallback / none", means["none"] / means["plain"], "none")
        ratio("throughput of none again / none: the noise", means["none"] / means["again"], "none")


def _train(script: Path, place: Path, algorithm: str, seconds: float, interval: float) -> dict[str, Any]:
    command = [sys.executable, script, algorithm, str(seconds), str(interval)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=place, env=environment, check=True, capture_output=True, text=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def main(arguments: list[str]) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", default=["stall", "throughput"])
    parser.add_argument("--seconds", type=float, default=240.0)
    parser.add_argument("--interval", type=float, default=30.0)
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(dir=os.environ.get("CKPTSYNC_BENCH_DIR")) as folder:
        if "stall" in given.parts:
            stall(Path(folder))
        if "throughput" in given.parts:
            throughput(Path(folder), given.seconds, given.interval)


if __name__ == "__main__":
    main(sys.argv[1:])
