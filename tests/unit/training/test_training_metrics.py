"""The numbers of a model's training log: those of SB3, asked cheaply."""

from __future__ import annotations

from collections import deque
from typing import Any

import pytest

from ckptsync.training.metrics import ModelNumbers, finite


class _Logger:
    def __init__(self) -> None:
        self.name_to_value: dict[str, Any] = {}


class _Model:
    def __init__(self) -> None:
        self.logger = _Logger()
        self.ep_info_buffer: deque[dict[str, Any]] | None = deque(maxlen=3)


def test_means_follow_every_episode_and_what_is_logged() -> None:
    model = _Model()
    numbers = ModelNumbers(model)
    assert numbers() == {}
    model.logger.name_to_value = {"train/loss": 1.5, "time/fps": 100}
    for reward, mean in [(1.0, 1.0), (2.0, 1.5), (6.0, 3.0), (7.0, 5.0)]:
        model.ep_info_buffer.append({"r": reward, "l": int(reward) * 2, "t": 0.1})
        assert numbers() == {"train/loss": 1.5, "ep_rew_mean": mean, "ep_len_mean": 2 * mean}
        assert numbers() == {"train/loss": 1.5, "ep_rew_mean": mean, "ep_len_mean": 2 * mean}


def test_episodes_that_are_put_back_count() -> None:
    model = _Model()
    numbers = ModelNumbers(model)
    model.ep_info_buffer.append({"r": 1.0, "l": 1})
    assert numbers()["ep_rew_mean"] == 1.0
    model.ep_info_buffer = deque([{"r": 5.0, "l": 1}])
    assert numbers()["ep_rew_mean"] == 5.0
    model.ep_info_buffer = None
    assert numbers() == {}


def test_only_finite_numbers_are_kept() -> None:
    values = {"a": 1, "b": float("nan"), "c": float("inf"), "d": "text", "e": None, "f": "2.5"}
    assert finite(values) == {"a": 1.0, "f": 2.5}


@pytest.mark.slow
def test_the_means_are_those_of_sb3() -> None:
    from stable_baselines3 import PPO
    from stable_baselines3.common.utils import safe_mean

    model = PPO("MlpPolicy", "CartPole-v1", n_steps=64, seed=1)
    model.learn(256)
    numbers = ModelNumbers(model)()
    assert numbers["ep_rew_mean"] == pytest.approx(safe_mean([e["r"] for e in model.ep_info_buffer]))
    assert numbers["ep_len_mean"] == pytest.approx(safe_mean([e["l"] for e in model.ep_info_buffer]))
    assert "train/loss" in numbers
