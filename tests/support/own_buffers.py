"""Replay buffers of a user's own, built on SB3's."""

from __future__ import annotations

from typing import Any

import numpy as np
from stable_baselines3.common.buffers import ReplayBuffer


class Prioritised(ReplayBuffer):
    """A class of a user's own that writes into old rows, with an array of SB3's and one of its own."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.priorities = np.ones((self.buffer_size, self.n_envs), np.float64)
        self.notes = np.array([[None] * self.n_envs for _ in range(self.buffer_size)], dtype=object)
        self.highest = 1.0

    def add(self, obs: Any, next_obs: Any, action: Any, reward: Any, done: Any, infos: Any) -> None:
        self.notes[self.pos] = {"at": self.pos}
        self.priorities[self.pos] = self.highest
        super().add(obs, next_obs, action, reward, done, infos)
        self.rewards[: self.pos] += 1.0
        self.priorities[::3] *= 1.5
        self.highest += 0.5


class Renamed(ReplayBuffer):
    """A class of a user's own that never writes into old rows, and says so."""

    rows_are_final = True
