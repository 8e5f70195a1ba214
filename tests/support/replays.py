"""Real replay buffers of every kind, rows to add to them, and comparing them; torch is imported with the first buffer."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from gymnasium import spaces

BOX = spaces.Box(-1, 1, (3,), np.float32)
IMAGE = spaces.Box(0, 255, (2, 4, 4), np.uint8)
ACTION = spaces.Box(-2, 2, (2,), np.float32)
GOALS = spaces.Dict({"observation": BOX, "achieved_goal": ACTION, "desired_goal": ACTION})


class GoalEnv:
    """As much of a VecEnv as HER needs."""

    def env_method(self, _name: str, achieved: Any, desired: Any, infos: Any, indices: Any = None) -> list[Any]:
        told = np.array([float(info.get("bonus", 0.0)) for info in infos])
        return [-np.abs(achieved - desired).sum(axis=-1) + told]


def make(kind: str, slots: int) -> Any:
    """Build an empty buffer; `2` at the end of a kind means two environments."""
    from stable_baselines3.common.buffers import DictReplayBuffer, NStepReplayBuffer, ReplayBuffer
    from stable_baselines3.her import HerReplayBuffer

    from support.own_buffers import Prioritised, Renamed

    n_envs = 2 if kind.endswith("2") else 1
    common = {"device": "cpu", "n_envs": n_envs}
    size = slots * n_envs
    match kind.rstrip("2"):
        case "plain":
            return ReplayBuffer(size, BOX, ACTION, **common)
        case "without-timeouts":
            return ReplayBuffer(size, BOX, ACTION, handle_timeout_termination=False, **common)
        case "optimised":
            flags = {"optimize_memory_usage": True, "handle_timeout_termination": False}
            return ReplayBuffer(size, IMAGE, spaces.Discrete(4), **flags, **common)
        case "discrete":
            return ReplayBuffer(size, spaces.Discrete(5), spaces.MultiDiscrete([3, 2]), **common)
        case "nstep":
            return NStepReplayBuffer(size, BOX, ACTION, n_steps=3, gamma=0.9, **common)
        case "dict":
            return DictReplayBuffer(size, spaces.Dict({"a/b": BOX, "image": IMAGE}), ACTION, **common)
        case "her":
            return HerReplayBuffer(size, GOALS, ACTION, env=GoalEnv(), **common)
        case "her-infos":
            options = {"copy_info_dict": True, "goal_selection_strategy": "episode"}
            return HerReplayBuffer(size, GOALS, ACTION, env=GoalEnv(), **options, **common)
        case "unknown":
            return Prioritised(size, BOX, ACTION, **common)
        case "declared":
            return Renamed(size, BOX, ACTION, **common)
    raise ValueError(kind)


KINDS = (
    *("plain", "plain2", "without-timeouts", "optimised", "optimised2", "discrete", "nstep", "dict", "dict2"),
    *("her", "her2", "her-infos", "her-infos2", "unknown", "unknown2", "declared"),
)


class Feeder:
    """Adds rows that all differ, in episodes of changing length; counts them."""

    def __init__(self, seed: int = 0) -> None:
        self.random = np.random.default_rng(seed)
        self.rows = 0

    def add(self, buffer: Any, rows: int) -> None:
        for _ in range(rows):
            self.rows += 1
            done = self.random.random(buffer.n_envs) < 0.3
            infos = [
                {"TimeLimit.truncated": bool(self.random.random() < 0.5), "bonus": np.float32(self.random.random())}
                for _ in range(buffer.n_envs)
            ]
            reward = self.random.random(buffer.n_envs)
            buffer.add(
                self._sample(buffer.observation_space, buffer.n_envs),
                self._sample(buffer.observation_space, buffer.n_envs),
                self._sample(buffer.action_space, buffer.n_envs),
                reward,
                done,
                infos,
            )

    def _sample(self, space: spaces.Space, n_envs: int) -> Any:
        if isinstance(space, spaces.Dict):
            return {key: self._sample(inner, n_envs) for key, inner in space.spaces.items()}
        if isinstance(space, spaces.Box):
            values = self.random.uniform(space.low, space.high, (n_envs, *space.shape))
            return values.astype(space.dtype)
        if isinstance(space, spaces.Discrete):
            return self.random.integers(0, space.n, n_envs)
        return self.random.integers(0, space.nvec, (n_envs, len(space.nvec)))


def snapshot(buffer: Any) -> Any:
    """Copy a buffer; its environment is shared."""
    twin = object.__new__(type(buffer))
    for name, value in vars(buffer).items():
        setattr(twin, name, value if name == "env" else copy.deepcopy(value))
    return twin


def used_rows(buffer: Any) -> dict[str, Any]:
    """Return all that counts in a buffer: used rows as bytes, the rest as it is."""
    found: dict[str, Any] = {}
    for name, value in vars(buffer).items():
        # The slot behind the last row holds its next observation there
        ahead = buffer.optimize_memory_usage and name == "observations"
        used = min(buffer.size() + ahead, buffer.buffer_size)
        for key, array in (value if isinstance(value, dict) else {"": value}).items():
            if not isinstance(array, np.ndarray):
                continue
            if array.dtype == object:
                found[f"{name}/{key}"] = array[:used].tolist()
            else:
                found[f"{name}/{key}"] = array[:used].tobytes()
    return {**found, "pos": buffer.pos, "full": buffer.full}


def batches(buffer: Any) -> list[bytes] | None:
    """Return what sampling gives, seeded; None while there is nothing to sample."""
    ready = (buffer.ep_length > 0).any() if hasattr(buffer, "ep_length") else buffer.size() > 1
    if not ready:
        return None
    np.random.seed(7)
    found = [buffer.sample(8) for _ in range(2)]
    return [
        tensor.numpy().tobytes()
        for batch in found
        for part in batch
        for tensor in (part.values() if isinstance(part, dict) else [part])
        if tensor is not None
    ]


def assert_same(found: Any, expected: Any) -> None:
    """Compare two buffers row for row, and by what they give."""
    left, right = used_rows(found), used_rows(expected)
    assert {name for name in left if left[name] != right[name]} == set()
    assert batches(found) == batches(expected)
