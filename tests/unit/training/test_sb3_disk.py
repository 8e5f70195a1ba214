"""How large the sets of SB3's models will be is known before the first one is written. One process, small models."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.loops import events

from ckptsync.core import sets
from ckptsync.core.errors import StorageError
from ckptsync.core.layout import TrainingTree
from ckptsync.core.manifest import Manifest
from ckptsync.training import TrainingSession
from ckptsync.training.disk import expected_size

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True, scope="module")
def quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def make(algorithm: str, session: TrainingSession, **arguments: Any) -> Any:
    import stable_baselines3
    from stable_baselines3.common.env_util import make_vec_env

    env = make_vec_env("Pendulum-v1" if algorithm == "SAC" else "CartPole-v1", n_envs=2, seed=0)
    settings = {"policy_kwargs": {"net_arch": [256, 256]}, "device": "cpu", **arguments}
    return session.load_or_create(getattr(stable_baselines3, algorithm), "MlpPolicy", env, **settings)


def newest(tree: TrainingTree) -> Manifest:
    manifest = sets.scan(tree.checkpoints)[-1].manifest
    assert manifest is not None
    return manifest


@pytest.mark.parametrize(
    ("algorithm", "arguments"),
    [
        ("PPO", {"n_steps": 32}),
        ("SAC", {"buffer_size": 400, "learning_starts": 100, "train_freq": 50, "gradient_steps": 1}),
        ("DQN", {"buffer_size": 100_000, "learning_starts": 100, "train_freq": 50}),
    ],
)
def test_the_estimate_is_near_what_is_written(algorithm: str, arguments: dict[str, Any], tree: TrainingTree) -> None:
    with TrainingSession(tree.root, "a", 600, seed=0) as session:
        model = make(algorithm, session, **arguments)
        expected = expected_size(model, None, 600)
        session.learn(model)
    written = newest(tree)
    own = sum(entry.size_bytes for entry in written.members)
    assert expected.own_bytes == pytest.approx(own, rel=0.1)
    segments = sum(entry.size_bytes for entry in written.segments)
    assert expected.shared_most_bytes == pytest.approx(segments, rel=0.35)
    assert (expected.shared_most_bytes > 0) == (algorithm != "PPO")


def test_a_replay_buffer_that_will_not_fit_is_refused_before_any_step(tree: TrainingTree, tmp_path: Path) -> None:
    with (
        pytest.raises(StorageError, match="will need") as caught,
        TrainingSession(tree.root, "a", 10**6, seed=0, max_output_bytes=20_000_000) as session,
    ):
        model = make("SAC", session, buffer_size=1_000_000)
        session.learn(model)
    assert model.num_timesteps == 0
    assert "free" in caught.value.message
    assert caught.value.hint
    assert sets.scan(tree.checkpoints) == []
    [error] = events("error")
    assert error["type"] == "StorageError"
