"""What a save costs the training: how long it holds it up, and what is left of the steps a second.

python benchmarks/bench_saves.py [stall] [throughput] [--seconds N] [--interval N] [--repeats N]
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

_RUN = """
import json, sys, time
import torch
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.callbacks import BaseCallback, CheckpointCallback, CallbackList
from stable_baselines3.common.env_util import make_vec_env

torch.set_num_threads(1)
algorithm, how, seconds, interval = sys.argv[1], sys.argv[2], float(sys.argv[3]), float(sys.argv[4])


class Clock(BaseCallback):
    # Counts from the end of a second's warming up
    def _on_training_start(self):
        self.begun, self.counted, self.at = time.monotonic(), None, None

    def _on_step(self):
        now = time.monotonic()
        if self.counted is None and now - self.begun >= 1:
            self.counted, self.at = now, self.num_timesteps
        self.passed = now
        return self.counted is None or now - self.counted < seconds


class Saver(BaseCallback):
    # SB3's CheckpointCallback, every so many seconds in place of steps
    def __init__(self):
        super().__init__()
        self.inner = CheckpointCallback(1, "plain", save_replay_buffer=True, save_vecnormalize=True)

    def _init_callback(self):
        self.inner.init_callback(self.model)
        self.last = time.monotonic()

    def _on_step(self):
        if time.monotonic() - self.last >= interval:
            self.inner.num_timesteps = self.num_timesteps
            self.inner._on_step()
            self.last = time.monotonic()
        return True


def build(make):
    if algorithm == "ppo":
        env = make_vec_env("CartPole-v1", n_envs=8, seed=0)
        return make(PPO, "MlpPolicy", env, n_steps=256, device="cpu", policy_kwargs={"net_arch": [256, 256]})
    env = make_vec_env("Pendulum-v1", n_envs=1, seed=0)
    return make(SAC, "MlpPolicy", env, device="cpu", buffer_size=100_000, policy_kwargs={"net_arch": [256, 256]})


clock = Clock()
if how == "session":
    from ckptsync.training import TrainingSession
    from ckptsync.core.session import read_events
    from pathlib import Path

    with TrainingSession("models", "a", 10**9, every_steps=None, every_seconds=interval, save_best=False) as session:
        session.learn(build(session.load_or_create), clock)
    saves = [event for event in read_events(Path("events.jsonl")) if event["event"] == "save"]
    told = [len(saves), max(event["stall_seconds"] for event in saves[:-1])]
else:
    callback = CallbackList([clock, Saver()]) if how == "plain" else clock
    build(lambda algorithm, *given, **named: algorithm(*given, **named)).learn(10**9, callback)
    told = None
print(json.dumps({"rate": (clock.num_timesteps - clock.at) / (clock.passed - clock.counted), "told": told}))
"""
_HOW = {"none": "no saves", "session": "saves of ckptsync", "plain": "CheckpointCallback"}


def throughput(folder: Path, seconds: float, interval: float, repeats: int) -> None:
    """Train for some seconds without saves, with ours, and with SB3's CheckpointCallback at the same interval."""
    (folder / "run.py").write_text(_RUN)
    for algorithm in ("ppo", "sac"):
        heading(f"{algorithm.upper()}, steps a second over {seconds:g} s, a save every {interval:g} s")
        rates: dict[str, list[float]] = {how: [] for how in _HOW}
        told: list[Any] = []
        for number in range(repeats):
            for how in _HOW:
                place = folder / f"{algorithm}-{how}-{number}"
                place.mkdir()
                done = _train(folder / "run.py", place, algorithm, how, seconds, interval)
                rates[how].append(done["rate"])
                told += [done["told"]] if done["told"] else []
        for how, name in _HOW.items():
            found = rates[how]
            row(name, f"{statistics.median(found):,.0f} /s  ({min(found):,.0f} to {max(found):,.0f})")
        row("saves in a run, longest stall", f"{told[0][0]}, {max(stall for _, stall in told) * 1000:.1f} ms")
        pairs = {how: [one / none for one, none in zip(rates[how], rates["none"], strict=True)] for how in _HOW}
        ratio("ckptsync / no saves", statistics.median(pairs["session"]), _GOAL_THROUGHPUT)
        ratio("CheckpointCallback / no saves", statistics.median(pairs["plain"]), "none")


def _train(script: Path, place: Path, algorithm: str, how: str, seconds: float, interval: float) -> dict[str, Any]:
    command = [sys.executable, script, algorithm, how, str(seconds), str(interval)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=place, env=environment, check=True, capture_output=True, text=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def main(arguments: list[str]) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", default=["stall", "throughput"])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--interval", type=float, default=30.0)
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(dir=os.environ.get("CKPTSYNC_BENCH_DIR")) as folder:
        if "stall" in given.parts:
            stall(Path(folder))
        if "throughput" in given.parts:
            throughput(Path(folder), given.seconds, given.interval, given.repeats)


if __name__ == "__main__":
    main(sys.argv[1:])
