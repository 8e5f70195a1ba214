"""SB3 in a session: what is captured, put back and refused. One process, small models."""

from __future__ import annotations

import os
import pickle
import signal
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.loops import events

from ckptsync.core import sets
from ckptsync.core.errors import CorruptError, IncompatibleError, UsageError
from ckptsync.core.layout import TrainingTree
from ckptsync.core.manifest import FileEntry, Manifest
from ckptsync.training import Outcome, TrainingSession

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    torch.set_num_threads(before)


def cartpole(session: TrainingSession, **arguments: Any) -> Any:
    from stable_baselines3 import PPO
    from stable_baselines3.common.env_util import make_vec_env

    env = make_vec_env("CartPole-v1", n_envs=2, seed=session.seed)
    settings = {"n_steps": 32, "n_epochs": 2, "policy_kwargs": {"net_arch": [8]}, "device": "cpu", **arguments}
    return session.load_or_create(PPO, "MlpPolicy", env, **settings)


def pendulum(session: TrainingSession, **arguments: Any) -> Any:
    from stable_baselines3 import SAC
    from stable_baselines3.common.env_util import make_vec_env
    from stable_baselines3.common.vec_env import VecNormalize

    env = VecNormalize(make_vec_env("Pendulum-v1", n_envs=1, seed=session.seed))
    settings = {
        "learning_starts": 20,
        "buffer_size": 90,
        "batch_size": 16,
        "policy_kwargs": {"net_arch": [8]},
        "device": "cpu",
        **arguments,
    }
    return session.load_or_create(SAC, "MlpPolicy", env, **settings)


def weights(model: Any) -> bytes:
    return b"".join(tensor.detach().numpy().tobytes() for tensor in model.policy.state_dict().values())


def train(tree: TrainingTree, target: int, make: Any = cartpole, callback: Any = None, **arguments: Any) -> Outcome:
    with TrainingSession(tree.root, "a", target, every_steps=64, seed=0) as session:
        return session.learn(make(session, **arguments), callback)


def newest(tree: TrainingTree) -> Manifest:
    manifest = sets.scan(tree.checkpoints)[-1].manifest
    assert manifest is not None
    return manifest


@pytest.mark.parametrize("make", [cartpole, pendulum])
def test_two_sessions_give_the_weights_of_one(make: Any, tmp_path: Path) -> None:
    found = []
    for targets in ((256,), (128, 256)):
        tree = TrainingTree(tmp_path / f"m{len(targets)}")
        for target in targets:
            with TrainingSession(tree.root, "a", target, seed=0) as session:
                model = make(session)
                session.learn(model)
        found.append(weights(model))
    assert found[0] == found[1]
    assert events("start")[0]["fidelity"] == {"resumed": "exact", "reasons": []}


def test_a_set_holds_all_that_there_is(tree: TrainingTree) -> None:
    train(tree, 64, pendulum)
    manifest = newest(tree)
    assert [e.role for e in manifest.members] == ["model", "resume", "environment", "vecnormalize", "replay"]
    assert {entry.role for entry in manifest.segments} == {"segment"}
    assert (manifest.captured, manifest.captured_reasons) == ("exact", ())
    assert manifest.signature.algorithm == "SAC"
    from stable_baselines3 import SAC

    model = SAC.load(tree.checkpoints / manifest.model.path)
    assert model.num_timesteps == 64


def test_another_architecture_is_refused_before_anything_is_loaded(tree: TrainingTree) -> None:
    train(tree, 64)
    with (
        pytest.raises(IncompatibleError, match=r"mlp_extractor\.policy_net\.0\.weight"),
        TrainingSession(tree.root, "a", 128) as session,
    ):
        cartpole(session, policy_kwargs={"net_arch": [16]})


def test_changed_settings_take_effect_and_are_named(tree: TrainingTree) -> None:
    train(tree, 64)
    with TrainingSession(tree.root, "a", 128, seed=0) as session:
        model = cartpole(session, learning_rate=1e-5)
        session.learn(model)
    assert model.policy.optimizer.param_groups[0]["lr"] == 1e-5
    [start] = events("start")
    assert start["fidelity"] == {"resumed": "state", "reasons": ["learning_rate was 0.0003, is 1e-05"]}


class Bomb:
    def __reduce__(self) -> Any:
        return (Path.touch, (Path("exploded"),))


def test_a_changed_pickle_is_refused_before_it_is_unpickled(tree: TrainingTree) -> None:
    train(tree, 64)
    [environment] = tree.checkpoints.glob("*.environment.pkl")
    environment.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(CorruptError, match=r"environment\.pkl"):
        train(tree, 128)
    assert not Path("exploded").exists()


def test_a_set_of_another_lineage_is_not_unpickled(tree: TrainingTree, monkeypatch: pytest.MonkeyPatch) -> None:
    import json

    from ckptsync.core.session import ScenarioSpec, SessionSpec

    train(tree, 64)
    manifest = newest(tree)
    environment = tree.checkpoints / f"{manifest.stem}.environment.pkl"
    environment.write_bytes(pickle.dumps(Bomb()))
    entry = FileEntry(environment.name, "environment", environment.stat().st_size, _digest(environment))
    files = tuple(entry if old.role == "environment" else old for old in manifest.files)
    _reseal(tree, Manifest(**{**vars(manifest), "files": files, "digest": ""}))
    spec = SessionSpec("r", "r/s0001", "another", 2, (ScenarioSpec("a", 128),), tree="models")
    Path("spec.json").write_text(json.dumps(spec.to_json()))
    monkeypatch.setenv("CKPTSYNC_SESSION", "spec.json")
    with TrainingSession.from_environment() as session:
        session.learn(cartpole(session))
    assert not Path("exploded").exists()
    assert any("another lineage" in reason for reason in events("start")[-1]["fidelity"]["reasons"])


def _digest(path: Path) -> str:
    from ckptsync.core import fsio

    return fsio.sha256_file(path)


def _reseal(tree: TrainingTree, manifest: Manifest) -> None:
    (tree.checkpoints / f"{manifest.stem}.manifest.json").unlink()
    tree.head("a").unlink()
    sets.seal_in_place(tree.checkpoints, manifest)


def test_a_plain_file_gives_weights_and_says_so(tree: TrainingTree) -> None:
    from stable_baselines3 import PPO

    tree.checkpoints.mkdir(parents=True)
    plain = PPO("MlpPolicy", "CartPole-v1", n_steps=32, policy_kwargs={"net_arch": [8]}, device="cpu")
    plain.learn(32)
    plain.save(tree.checkpoints / "a_checkpoint_32_steps.zip")
    with TrainingSession(tree.root, "a", 128, seed=0) as session:
        model = cartpole(session)
        assert weights(model) == weights(plain)
        assert model.num_timesteps == 32
        session.learn(model)
    assert events("start")[0]["fidelity"]["resumed"] == "weights"


def test_another_number_of_environments_begins_new_episodes(tree: TrainingTree) -> None:
    from stable_baselines3 import PPO
    from stable_baselines3.common.env_util import make_vec_env

    train(tree, 64)
    with TrainingSession(tree.root, "a", 256, seed=0) as session:
        env = make_vec_env("CartPole-v1", n_envs=3, seed=0)
        model = session.load_or_create(PPO, "MlpPolicy", env, n_steps=32, policy_kwargs={"net_arch": [8]})
        session.learn(model)
    fidelity = events("start")[0]["fidelity"]
    assert fidelity["resumed"] == "state"
    assert any("built in another way" in reason for reason in fidelity["reasons"])


def test_a_callback_that_says_no_ends_at_the_kept_clean_point(tree: TrainingTree) -> None:
    def stop(locals_: dict[str, Any], globals_: dict[str, Any]) -> bool:
        return locals_["self"].num_timesteps < 100

    outcome = train(tree, 1000, callback=stop)
    assert (outcome.cause, outcome.num_timesteps) == ("callback", 64)
    assert newest(tree).digest == outcome.sealed
    assert train(tree, 128, callback=lambda locals_, globals_: True).cause == "target"
    assert events("start")[0]["fidelity"]["resumed"] == "exact"


def test_an_error_seals_the_kept_clean_point_and_goes_through(
    tree: TrainingTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ckptsync.training.snapshot._KEEP_SHARE", 1.0)

    def crash(locals_: dict[str, Any], globals_: dict[str, Any]) -> bool:
        if locals_["self"].num_timesteps >= 47:
            raise RuntimeError("the simulator broke")
        return True

    with pytest.raises(RuntimeError, match="the simulator broke"):
        train(tree, 1000, pendulum, callback=crash)
    manifest = newest(tree)
    assert (manifest.kind, events("end")[0]["cause"]) == ("emergency", "error")
    assert 0 < manifest.num_timesteps <= 47


def test_what_a_callback_raises_at_the_end_is_told_without_exceptions_of_ours(tree: TrainingTree) -> None:
    from stable_baselines3.common.callbacks import BaseCallback

    class Careless(BaseCallback):
        def _on_step(self) -> bool:
            return True

        def _on_training_end(self) -> None:
            raise ValueError("nothing to close")

    with pytest.raises(ValueError, match="nothing to close") as raised, TrainingSession(tree.root, "a", 64) as session:
        session.learn(cartpole(session), Careless())
    assert raised.value.__context__ is None
    assert [save["kind"] for save in events() if save["event"] == "save"] == ["final"]


def test_rolling_back_is_exact(tree: TrainingTree, tmp_path: Path) -> None:
    """What is sealed after a stop in mid-rollout goes on as if nothing had happened."""
    found = []
    for stop_at in (None, 75):
        here = TrainingTree(tmp_path / f"m{stop_at}")

        def stop(locals_: dict[str, Any], globals_: dict[str, Any], at: int | None = stop_at) -> bool:
            return at is None or locals_["self"].num_timesteps < at

        if stop_at is not None:
            with TrainingSession(here.root, "a", 160, every_steps=64, seed=0) as session:
                session.learn(pendulum(session), stop)
        with TrainingSession(here.root, "a", 160, every_steps=64, seed=0) as session:
            model = pendulum(session)
            session.learn(model)
        found.append(weights(model))
    assert found[0] == found[1]


def test_a_signal_ends_at_a_clean_point(tree: TrainingTree) -> None:
    def send(locals_: dict[str, Any], globals_: dict[str, Any]) -> bool:
        if locals_["self"].num_timesteps == 40:
            os.kill(os.getpid(), signal.SIGTERM)
        return True

    with pytest.raises(SystemExit) as left:
        train(tree, 10_000, callback=send)
    assert left.value.code == 143
    assert (newest(tree).kind, newest(tree).num_timesteps) == ("emergency", 64)


def test_users_callbacks_go_on_where_they_were(tree: TrainingTree) -> None:
    from stable_baselines3.common.callbacks import BaseCallback

    class Counter(BaseCallback):
        def __init__(self) -> None:
            super().__init__()
            self.seen = 0
            self.history: list[int] = []

        def _on_step(self) -> bool:
            self.seen += 1
            self.history.append(self.num_timesteps)
            return True

    train(tree, 64, callback=Counter())
    second = Counter()
    train(tree, 128, callback=[second])
    assert second.seen == 64 // 2  # a list is another place than a callback alone: it begins anew, and that is told
    third = Counter()
    train(tree, 192, callback=[third])
    assert (third.seen, third.n_calls) == (64, 64)
    assert third.history[0] == 66


def test_learning_decides_its_own_steps(tree: TrainingTree) -> None:
    with pytest.raises(UsageError, match="total_timesteps"), TrainingSession(tree.root, "a", 64) as session:
        session.learn(cartpole(session), total_timesteps=5)


def test_a_model_of_somebody_else_is_refused(tree: TrainingTree) -> None:
    with pytest.raises(UsageError, match="load_or_create"), TrainingSession(tree.root, "a", 64) as session:
        session.learn(object())


def test_evaluation_that_draws_from_the_same_generators_goes_on_exactly(tmp_path: Path) -> None:
    from stable_baselines3.common.callbacks import EvalCallback
    from stable_baselines3.common.env_util import make_vec_env

    found = []
    for targets in ((256,), (128, 256)):
        tree = TrainingTree(tmp_path / f"m{len(targets)}")
        for target in targets:
            with TrainingSession(tree.root, "a", target, seed=0) as session:
                model = cartpole(session)
                evaluation = make_vec_env("CartPole-v1", n_envs=1, seed=9)
                callback = EvalCallback(evaluation, eval_freq=25, n_eval_episodes=2, deterministic=False, verbose=0)
                session.learn(model, callback)
        found.append((weights(model), callback.best_mean_reward, callback.n_calls))
    assert found[0] == found[1]
