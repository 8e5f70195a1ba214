"""What a script changes between sessions: what counts, what begins anew, what is refused."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from support.loops import events

from ckptsync.core.errors import IncompatibleError, UsageError
from ckptsync.core.layout import TrainingTree
from ckptsync.training import TrainingSession

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def train(
    tree: TrainingTree, target: int, name: str = "PPO", make: Any = None, callback: Any = None, **changes: Any
) -> Any:
    """Run one session; `changes` are arguments of the algorithm in place of the usual ones."""
    import sb3_contrib
    import stable_baselines3
    from support.exact_cases import gym

    algorithm = getattr(stable_baselines3, name, None) or getattr(sb3_contrib, name)
    usual: dict[str, Any] = {"policy_kwargs": {"net_arch": [4]}, "device": "cpu"}
    if name in ("PPO", "RecurrentPPO"):
        usual |= {"n_steps": 16, "batch_size": 16, "n_epochs": 1}
    if name in ("SAC", "DQN", "TD3"):
        usual |= {"learning_starts": 8, "buffer_size": 64, "batch_size": 8}
    policy = changes.pop("policy", "MlpPolicy")
    with TrainingSession(tree.root, "a", target, every_steps=32, seed=0) as session:
        env = (
            make()
            if make
            else gym("CartPole-v1" if name in ("PPO", "DQN", "A2C", "RecurrentPPO") else "Pendulum-v1", 2)
        )
        model = session.load_or_create(algorithm, policy, env, **{**usual, **changes})
        session.learn(model, callback)
    return model


def fidelity() -> tuple[str, list[str]]:
    told = events("start")[0]["fidelity"]
    return told["resumed"], told["reasons"]


def test_nothing_changed_is_exact_for_every_kind_of_setting(tree: TrainingTree) -> None:
    arguments = {"learning_rate": lambda left: 1e-3 * left, "clip_range": lambda left: 0.2, "target_kl": 0.1}
    train(tree, 64, **arguments)
    train(tree, 64, **arguments)
    assert fidelity() == ("exact", [])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"learning_rate": 1e-5}, "learning_rate was 0.0003, is 1e-05"),
        ({"clip_range": 0.1}, "clip_range was 0.2, is 0.1"),
        ({"batch_size": 8}, "batch_size was 16, is 8"),
        ({"n_steps": 32}, "n_steps was 16, is 32"),
        ({"gamma": 0.9}, "gamma was 0.99, is 0.9"),
        ({"ent_coef": 0.01}, "ent_coef was 0.0, is 0.01"),
        ({"target_kl": 0.5}, "target_kl was not set, is 0.5"),
    ],
)
def test_a_setting_takes_effect_and_is_told(change: dict[str, Any], told: str, tree: TrainingTree) -> None:
    train(tree, 64)
    model = train(tree, 128, **change)
    assert fidelity() == ("state", [told])
    [(name, value)] = change.items()
    live = getattr(model, name)
    assert (live(1.0) if callable(live) else live) == value
    if name == "learning_rate":
        assert model.policy.optimizer.param_groups[0]["lr"] == value


def test_a_custom_schedule_is_told_by_its_values(tree: TrainingTree) -> None:
    train(tree, 64, learning_rate=lambda left: 1e-3 * left)
    train(tree, 128, learning_rate=lambda left: 2e-3 * left)
    resumed, reasons = fidelity()
    assert resumed == "state"
    assert reasons[0].startswith("learning_rate was [0.001, 0.00075")
    assert reasons[1] == "total_timesteps was 64, is 128, and a schedule depends on it"


def test_a_longer_target_without_schedules_is_exact(tree: TrainingTree) -> None:
    train(tree, 64)
    train(tree, 128)
    assert fidelity() == ("exact", [])


def test_options_of_an_optimizer_take_effect_and_its_moments_stay(tree: TrainingTree) -> None:
    first = train(tree, 64)
    steps = first.policy.optimizer.state_dict()["state"][0]["step"]
    changed = {"net_arch": [4], "optimizer_kwargs": {"weight_decay": 0.3, "eps": 1e-5}}
    model = train(tree, 96, policy_kwargs=changed)
    assert model.policy.optimizer.param_groups[0]["weight_decay"] == 0.3
    assert model.policy.optimizer.state_dict()["state"][0]["step"] > steps
    resumed, reasons = fidelity()
    assert resumed == "state"
    assert "policy.optimizer.weight_decay was 0, is 0.3" in reasons


def test_another_optimizer_begins_without_moments(tree: TrainingTree) -> None:
    import torch

    train(tree, 64)
    model = train(tree, 96, policy_kwargs={"net_arch": [4], "optimizer_class": torch.optim.RMSprop})
    assert set(model.policy.optimizer.state_dict()["state"][0]) >= {"square_avg"}
    assert any("the optimizer begins without moments" in reason for reason in fidelity()[1])


def test_an_entropy_coefficient_that_is_no_longer_learned(tree: TrainingTree) -> None:
    train(tree, 32, "SAC")
    model = train(tree, 64, "SAC", ent_coef=0.2)
    assert model.ent_coef_optimizer is None
    assert "ent_coef was auto, is 0.2" in fidelity()[1]
    train(tree, 96, "SAC")
    assert {"ent_coef was 0.2, is auto", "log_ent_coef begins anew"} <= set(fidelity()[1])


def test_fewer_environments_and_another_buffer_lower_the_fidelity(tree: TrainingTree) -> None:
    from support.exact_cases import gym

    train(tree, 64, "DQN")
    train(tree, 96, "DQN", make=lambda: gym("CartPole-v1", 1), buffer_size=80)
    resumed, reasons = fidelity()
    assert resumed == "state"
    text = "; ".join(reasons)
    assert "n_envs was 2, is 1" in text
    assert "buffer_size was 64, is 80" in text
    assert "the environments are built in another way, so they begin new episodes" in text
    assert "the replay buffer was left out" in text


def test_normalisation_switched_off_and_on_is_told(tree: TrainingTree) -> None:
    from support.exact_cases import gym, normalised

    make = lambda: gym("CartPole-v1", 2)  # noqa: E731
    train(tree, 64, make=lambda: normalised(make))
    train(tree, 96, make=make)
    assert "training/0: VecNormalize is gone, and its statistics with it" in fidelity()[1]
    train(tree, 128, make=lambda: normalised(make))
    assert "training/0: VecNormalize is new, its statistics begin anew" in fidelity()[1]


def test_statistics_stay_when_other_wrappers_come(tree: TrainingTree) -> None:
    from stable_baselines3.common.vec_env import VecCheckNan
    from support.exact_cases import gym, normalised

    first = train(tree, 64, make=lambda: normalised(lambda: gym("CartPole-v1", 2)))
    count = first.get_vec_normalize_env().obs_rms.count
    second = train(tree, 96, make=lambda: VecCheckNan(normalised(lambda: gym("CartPole-v1", 2))))
    assert second.get_vec_normalize_env().obs_rms.count > count
    assert fidelity()[0] == "state"


def test_settings_of_wrappers_take_effect(tree: TrainingTree) -> None:
    from support.exact_cases import gym, normalised

    train(tree, 64, make=lambda: normalised(lambda: gym("CartPole-v1", 2)))
    model = train(tree, 96, make=lambda: normalised(lambda: gym("CartPole-v1", 2), clip_obs=3.0))
    assert model.get_vec_normalize_env().clip_obs == 3.0
    assert "training/vec/0: clip_obs was 10.0, is 3.0" in fidelity()[1]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"policy_kwargs": {"net_arch": [8]}}, "Architecture: checkpoint=[4], current=[8]"),
        ({"name": "A2C"}, "Algorithm: checkpoint=PPO, current=A2C"),
        ({"make": "Careless"}, "Observation space"),
        ({"make": "Pendulum-v1"}, "Action space"),
        ({"name": "RecurrentPPO", "policy": "MlpLstmPolicy"}, "Policy"),
    ],
)
def test_what_cannot_change_is_refused_by_name(changes: dict[str, Any], told: str, tree: TrainingTree) -> None:
    from support.exact_cases import gym

    train(tree, 64)
    if "make" in changes:
        kind = changes["make"]
        changes = {**changes, "make": lambda: gym(kind, 2)}
    with pytest.raises(IncompatibleError) as refused:
        train(tree, 96, **changes)
    assert told in str(refused.value)
    assert "--fresh" in (refused.value.hint or "")


def test_state_dependent_exploration_cannot_be_switched(tree: TrainingTree) -> None:
    from support.exact_cases import gym

    train(tree, 64, make=lambda: gym("Pendulum-v1", 2))
    with pytest.raises(IncompatibleError, match="log_std"):
        train(tree, 96, make=lambda: gym("Pendulum-v1", 2), use_sde=True)


def test_an_algorithm_without_rollouts_is_refused(tree: TrainingTree) -> None:
    with pytest.raises(UsageError, match="ARS collects no rollouts"):
        train(tree, 64, "ARS", policy="LinearPolicy", policy_kwargs=None, n_delta=2)


def test_another_callback_is_told(tree: TrainingTree) -> None:
    from support.exact_cases import own_checkpoints, recorder

    train(tree, 64, callback=recorder()[0])
    train(tree, 96, callback=own_checkpoints()[0])
    assert "the callback Recorder at callback is not there" in fidelity()[1]


def test_a_class_of_ones_own_keeps_its_attributes(tree: TrainingTree) -> None:
    from stable_baselines3 import PPO
    from support.exact_cases import gym

    class Mine(PPO):
        def __init__(self, *arguments: Any, **more: Any) -> None:
            super().__init__(*arguments, **more)
            self.updates_of_mine = 0

        def train(self) -> None:
            super().train()
            self.updates_of_mine += 1

    def run(target: int) -> Any:
        with TrainingSession(tree.root, "a", target, every_steps=32, seed=0) as session:
            model = session.load_or_create(Mine, "MlpPolicy", gym("CartPole-v1", 2), n_steps=16, device="cpu")
            session.learn(model)
        return model

    assert run(96).updates_of_mine == 3
    assert run(160).updates_of_mine == 5
    assert fidelity() == ("exact", [])


def test_a_class_of_ones_own_with_a_network_is_no_more_than_state(tree: TrainingTree) -> None:
    import torch
    from stable_baselines3 import PPO
    from support.exact_cases import gym

    class Curious(PPO):
        def __init__(self, *arguments: Any, **more: Any) -> None:
            super().__init__(*arguments, **more)
            self.predictor = torch.nn.Linear(2, 2)

    for target in (64, 96):
        with TrainingSession(tree.root, "a", target, every_steps=32, seed=0) as session:
            session.learn(session.load_or_create(Curious, "MlpPolicy", gym("CartPole-v1", 2), n_steps=16, device="cpu"))
    assert fidelity() == ("state", ["Curious.predictor is a Linear, which is not captured"])
