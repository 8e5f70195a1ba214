"""A resume to its first step, SAC with a full buffer of 1M transitions: ours beside plain load and load_replay_buffer.

Each measurement is a process of its own, for it gets its memory fresh; imports are not counted.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from stable_baselines3 import SAC
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from timing import Timing, heading, ratio, row

from ckptsync.core import fsio, sets
from ckptsync.core.layout import TrainingTree
from ckptsync.training import TrainingSession

_SLOTS = 1_000_000
_NEW = 10_000
_REPEATS = 5
_ARGUMENTS: dict[str, Any] = {"buffer_size": _SLOTS, "learning_starts": 10 * _SLOTS, "device": "cpu"}


class Walk(gymnasium.Env):
    """An environment that costs nothing: 24 numbers to see, 4 to choose."""

    observation_space = spaces.Box(-1, 1, (24,), np.float32)
    action_space = spaces.Box(-1, 1, (4,), np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        return np.zeros(24, np.float32), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        return np.zeros(24, np.float32), 0.0, False, False, {}


# When each step was. No attribute of the callback: what a callback holds comes back with the clean point
_STEPS: list[float] = []


class FirstStep(BaseCallback):
    """Stops after a number of steps."""

    def __init__(self, steps: int = 1) -> None:
        super().__init__()
        self.steps = steps

    def _on_step(self) -> bool:
        _STEPS.append(time.perf_counter())
        return self.n_calls < self.steps


def session(folder: Path) -> TrainingSession:
    return TrainingSession(folder / "tree", "walk", 10 * _SLOTS, every_steps=_NEW, every_seconds=None, seed=1)


def prepare(folder: Path) -> None:
    """Leave a full buffer in many segments, and SB3's own files of the same model."""
    rng = np.random.default_rng(1)
    with session(folder) as training:
        model = training.load_or_create(SAC, "MlpPolicy", make_vec_env(Walk), **_ARGUMENTS)
        buffer = model.replay_buffer
        for name in ("observations", "next_observations", "actions", "rewards"):
            array = getattr(buffer, name)
            array[:] = rng.random(array.shape, np.float32)
        buffer.pos, buffer.full = 0, True
        model.num_timesteps = _SLOTS
        training.learn(model, FirstStep(5 * _NEW))
    model.save(folder / "plain.zip")
    model.save_replay_buffer(folder / "plain.pkl")


def plain(folder: Path) -> float:
    """Load as SB3's documentation says, and step once."""
    env = make_vec_env(Walk)
    started = time.perf_counter()
    model = SAC.load(folder / "plain.zip", env=env, device="cpu")
    model.load_replay_buffer(folder / "plain.pkl")
    model.learn(_NEW, callback=FirstStep(), reset_num_timesteps=False)
    return _STEPS[0] - started


def resumed(folder: Path) -> float:
    """Resume in a session, and step once."""
    env = make_vec_env(Walk)
    with session(folder) as training:
        started = time.perf_counter()
        model = training.load_or_create(SAC, "MlpPolicy", env, **_ARGUMENTS)
        training.learn(model, FirstStep())
    return _STEPS[0] - started


def hashed(folder: Path) -> float:
    """Take the sha256 of every file of the newest set."""
    checkpoints = TrainingTree(folder / "tree").checkpoints
    newest = sets.newest(sets.scan(checkpoints), "walk")[0]
    started = time.perf_counter()
    for entry in newest.manifest.files if newest.manifest else ():
        fsio.sha256_file(checkpoints / entry.path)
    return time.perf_counter() - started


_PARTS: dict[str, Callable[[Path], float]] = {"plain": plain, "resumed": resumed, "hashed": hashed}


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory(dir=os.environ.get("CKPTSYNC_BENCH_DIR")) as name:
        folder = Path(name)
        measured(folder, "prepare")
        seconds: dict[str, list[float]] = {part: [] for part in _PARTS}
        for repeat in range(_REPEATS + 1):  # the first round is not counted
            for part in _PARTS:
                taken = measured(folder, part)
                seconds[part] += [taken] if repeat else []
        heading("resume to the first step: SAC, buffer of 1M transitions (24 + 4 numbers)")
        timings = {part: Timing(tuple(values)) for part, values in seconds.items()}
        row("SAC.load + load_replay_buffer", timings["plain"])
        row("load_or_create + learn", timings["resumed"])
        row("of that sha256 of the whole set", timings["hashed"])
        whole, checks = timings["resumed"].median, timings["hashed"].median
        ratio("ours / SB3's, sha256 not counted", (whole - checks) / timings["plain"].median, "at most 1.5")
        ratio("ours / SB3's, with sha256", whole / timings["plain"].median, "shown")


def measured(folder: Path, part: str) -> float:
    """Run a part of this file in a process of its own; return the seconds that it tells."""
    command = [sys.executable, __file__, part, str(folder)]
    done = subprocess.run(command, cwd=folder, check=True, stdout=subprocess.PIPE, text=True)
    return float(json.loads(done.stdout.splitlines()[-1]))


if __name__ == "__main__":
    if len(sys.argv) == 1:
        main()
    elif sys.argv[1] == "prepare":
        prepare(Path(sys.argv[2]))
        print(0.0)
    else:
        print(_PARTS[sys.argv[1]](Path(sys.argv[2])))
