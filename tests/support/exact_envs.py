"""Small environments for the proof of exactness: every draw comes from a seeded generator."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces


class Images(gymnasium.Env[np.ndarray, int]):
    """Images in channels-last order that depend on the action and on a generator of the environment's own."""

    def __init__(self, size: int = 36, length: int = 13) -> None:
        self.observation_space = spaces.Box(0, 255, (size, size, 1), np.uint8)
        self.action_space = spaces.Discrete(3)
        self._length = length
        self._step = 0

    def _look(self, action: int) -> np.ndarray:
        image = self.np_random.integers(0, 200, self.observation_space.shape)
        return (image + 20 * action).astype(np.uint8)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self._step = 0
        return self._look(0), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self._step += 1
        image = self._look(int(action))
        return image, float(image.mean() / 255), self._step >= self._length, False, {}


class Mixed(gymnasium.Env[dict[str, np.ndarray], Any]):
    """A dict of an image and a vector, with discrete or continuous actions."""

    def __init__(self, *, continuous: bool = False, image: bool = True, length: int = 11) -> None:
        inner: dict[str, spaces.Space] = {"vector": spaces.Box(-3, 3, (4,), np.float32)}
        if image:
            inner["image"] = spaces.Box(0, 255, (36, 36, 1), np.uint8)
        self.observation_space = spaces.Dict(inner)
        self.action_space = spaces.Box(-1, 1, (2,), np.float32) if continuous else spaces.Discrete(2)
        self._length = length
        self._step = 0
        self._drift = 0.0

    def _look(self, action: Any) -> dict[str, np.ndarray]:
        self._drift = 0.9 * self._drift + float(np.sum(action))
        seen = {"vector": np.clip(self.np_random.normal(self._drift, 1, 4), -3, 3).astype(np.float32)}
        if "image" in self.observation_space.spaces:
            seen["image"] = self.np_random.integers(0, 255, (36, 36, 1)).astype(np.uint8)
        return seen

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict, dict]:
        super().reset(seed=seed)
        self._step, self._drift = 0, 0.0
        return self._look(0), {}

    def step(self, action: Any) -> tuple[dict, float, bool, bool, dict[str, Any]]:
        self._step += 1
        seen = self._look(action)
        truncated = self._step >= self._length
        return seen, float(seen["vector"].sum()), self._drift > 6, truncated, {"is_success": self._drift > 2}


class Careless(gymnasium.Env[np.ndarray, int]):
    """Draws from numpy's global generator and from its action space, as environments should not."""

    def __init__(self, length: int = 17) -> None:
        self.observation_space = spaces.Box(-5, 5, (3,), np.float32)
        self.action_space = spaces.Discrete(2, seed=7)
        self._length = length
        self._place = np.zeros(3)
        self._left = length

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        if seed is not None:
            np.random.seed(seed)
        self._left = self._length
        self._place = np.random.uniform(-1, 1, 3)
        return self._place.astype(np.float32), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self._left -= 1
        push = (int(action) - 0.5) + 0.3 * int(self.action_space.sample())
        self._place = np.clip(self._place + push * np.random.uniform(0, 1, 3), -5, 5)
        return self._place.astype(np.float32), float(-np.abs(self._place).sum()), self._left == 0, False, {}


class Wind(gymnasium.Wrapper):
    """A wrapper with a state of its own between others: a gust that lasts over episodes, and a function."""

    def __init__(self, env: gymnasium.Env, shape: Any = None) -> None:
        super().__init__(env)
        self._shape = shape or (lambda reward: 0.5 * reward)
        self._gusts = np.random.default_rng(11)
        self.strength = 0.0

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        seen, reward, terminated, truncated, info = self.env.step(action)
        self.strength = 0.95 * self.strength + self._gusts.normal()
        return seen, self._shape(float(reward)) + 0.1 * self.strength, terminated, truncated, info


class Choices(gymnasium.Env[np.ndarray, int]):
    """Some of its actions are forbidden at each step."""

    def __init__(self, actions: int = 5, length: int = 15) -> None:
        self.observation_space = spaces.Box(0, 1, (actions,), np.float32)
        self.action_space = spaces.Discrete(actions)
        self._length = length
        self._left = length
        self._open = np.ones(actions, bool)

    def action_masks(self) -> np.ndarray:
        return self._open

    def _look(self) -> np.ndarray:
        self._open = self.np_random.uniform(size=self._open.size) < 0.6
        self._open[int(self.np_random.integers(self._open.size))] = True
        return self.np_random.uniform(size=self._open.size).astype(np.float32) * self._open

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self._left = self._length
        return self._look(), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        if not self._open[int(action)]:
            raise ValueError(f"action {action} is forbidden")
        self._left -= 1
        seen = self._look()
        return seen, float(seen[int(action)]), self._left == 0, False, {}
