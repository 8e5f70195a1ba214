"""Saves beside the training of real SB3 models: written in the background, asked for, failing, cut off."""

from __future__ import annotations

import os
import resource
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.loops import events

from ckptsync.core import sets
from ckptsync.core.layout import TrainingTree
from ckptsync.core.manifest import Manifest
from ckptsync.training import Outcome, TrainingSession
from ckptsync.training.writer import SetKeeper

pytestmark = pytest.mark.slow
Callback = Any


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def kept_at_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ckptsync.training.snapshot._KEEP_SHARE", 1e9)


def train(
    tree: TrainingTree, target: int, callback: Callback = None, *, name: str = "PPO", env: Any = None, **policy: Any
) -> Outcome:
    import stable_baselines3
    from stable_baselines3.common.env_util import make_vec_env

    arguments: dict[str, Any] = {"n_steps": 32, "n_epochs": 1}
    if name == "SAC":
        arguments = {"learning_starts": 20, "buffer_size": 150, "batch_size": 16}
    with TrainingSession(tree.root, "a", target, seed=0, **{"every_steps": 64, **policy}) as session:
        built = env or make_vec_env("CartPole-v1" if name == "PPO" else "Pendulum-v1", n_envs=1, seed=0)
        algorithm = getattr(stable_baselines3, name)
        settings = {**arguments, "device": "cpu", "policy_kwargs": {"net_arch": [16]}}
        return session.learn(session.load_or_create(algorithm, "MlpPolicy", built, **settings), callback)


def newest(tree: TrainingTree) -> Manifest:
    manifest = sets.scan(tree.checkpoints)[-1].manifest
    assert manifest is not None
    assert sets.check_files(tree.checkpoints, manifest) == ()
    return manifest


def at(steps: int, act: Any) -> Callback:
    """Return a callback that does something once."""
    done: list[bool] = []

    def callback(locals_: dict[str, Any], globals_: dict[str, Any]) -> bool:
        if locals_["self"].num_timesteps >= steps and not done:
            done.append(True)
            act()
        return True

    return callback


@pytest.mark.parametrize("name", ["PPO", "SAC"])
def test_training_goes_on_while_a_set_is_written_and_the_set_is_of_its_own_moment(
    name: str, tree: TrainingTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The write is held until training is far ahead; going on from that set gives the weights of a run in one piece."""
    ahead, write = threading.Event(), SetKeeper.write
    held: list[int] = []

    def late(self: SetKeeper, draft: Any, kind: str, **more: Any) -> Any:
        if not held:
            held.append(draft.num_timesteps)
            assert ahead.wait(60)
        return write(self, draft, kind, **more)

    def crash(locals_: dict[str, Any], globals_: dict[str, Any]) -> bool:
        if locals_["self"].num_timesteps >= 110:
            ahead.set()
            raise KeyError("over")
        return True

    monkeypatch.setattr(SetKeeper, "write", late)
    with pytest.raises(KeyError):
        train(tree, 10_000, crash, name=name, keep_last=9)
    assert held == [64]
    assert events("save")[0]["num_timesteps"] == 64
    for stored in sets.scan(tree.checkpoints)[1:]:
        assert stored.manifest is not None
        sets.remove_set(tree.checkpoints, stored.manifest)
    train(tree, 128, at(0, lambda: None), name=name)
    assert events("start")[0]["num_timesteps"] == 64
    assert events("start")[0]["fidelity"]["resumed"] == "exact"
    whole = TrainingTree(tree.root.with_name("whole"))
    train(whole, 128, name=name)
    assert newest(tree).model.content == newest(whole).model.content


def test_while_a_write_is_under_way_no_other_begins(tree: TrainingTree, monkeypatch: pytest.MonkeyPatch) -> None:
    write, seen = SetKeeper.write, []

    def slow(self: SetKeeper, draft: Any, kind: str, **more: Any) -> Any:
        seen.append(threading.active_count())
        time.sleep(0.3)
        return write(self, draft, kind, **more)

    monkeypatch.setattr(SetKeeper, "write", slow)
    train(tree, 640, every_steps=32, save_best=False)
    saves = [event["num_timesteps"] for event in events("save")]
    assert saves[0] == 32
    assert saves[-1] == 640
    assert 2 <= len(saves) < 20
    assert len(set(seen)) == 1
    assert all(event["stall_seconds"] < event["seconds"] + 0.3 for event in events("save")[:-1])


def test_what_a_save_does_not_hold_is_told_once(tree: TrainingTree, capfd: pytest.CaptureFixture[str]) -> None:
    import gymnasium
    from stable_baselines3.common.vec_env import DummyVecEnv

    def build() -> Any:
        env = gymnasium.make("CartPole-v1")
        env.unwrapped.listener = threading.Lock()  # type: ignore[attr-defined]
        return env

    train(tree, 192, env=DummyVecEnv([build]), every_steps=32)
    assert {event["captured"] for event in events("save")} == {"state"}
    told = [line for line in capfd.readouterr().out.splitlines() if "will not be exact" in line]
    assert len(told) == 1
    assert "listener" in told[0]


@pytest.mark.parametrize("asks", ["file", "signal"])
def test_a_save_on_request_and_training_goes_on(asks: str, tree: TrainingTree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ckptsync.training.stop._FILE_CHECK_SECONDS", 0.0)
    request = Path("ckptsync.save")
    act = request.touch if asks == "file" else (lambda: os.kill(os.getpid(), signal.SIGUSR1))
    outcome = train(tree, 256, at(70, act), every_steps=None)
    assert outcome.cause == "target"
    assert [(event["num_timesteps"], event["kind"]) for event in events("save")] == [(96, "request"), (256, "final")]
    assert not request.exists()


def test_a_full_disk_is_counted_and_tried_again(tree: TrainingTree, monkeypatch: pytest.MonkeyPatch) -> None:
    """No file can grow beyond 8 kB for a while: the system itself says no, wherever it hits."""
    monkeypatch.setattr("ckptsync.training.saver._RETRY_SECONDS", 0.0)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit(bytes_: int) -> Any:
        return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_, before[1]))

    failing, healing = at(40, limit(8 << 10)), at(150, limit(before[0]))

    def both(locals_: dict[str, Any], globals_: dict[str, Any]) -> bool:
        if locals_["self"].num_timesteps in (97, 129):
            time.sleep(0.3)  # the write of the clean point before has its end
        return bool(failing(locals_, globals_) and healing(locals_, globals_))

    try:
        outcome = train(tree, 256, both)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    failed = events("failed-save")
    assert [event["failures"] for event in failed] == list(range(1, len(failed) + 1))
    assert len(failed) >= 2
    assert all("File too large" in event["error"] for event in failed), failed
    assert outcome.cause == "target"
    assert newest(tree).num_timesteps == 256
    assert not list(tree.checkpoints.glob("*.pending"))


@pytest.mark.parametrize("name", ["PPO", "SAC"])
def test_an_error_in_the_environment_seals_the_last_clean_point(name: str, tree: TrainingTree) -> None:
    import gymnasium
    from stable_baselines3.common.env_util import make_vec_env

    class Breaks(gymnasium.Wrapper):
        steps = 0

        def step(self, action: Any) -> Any:
            self.steps += 1
            if self.steps == 90:
                raise ConnectionError("the simulator went away")
            return self.env.step(action)

    env = make_vec_env("CartPole-v1" if name == "PPO" else "Pendulum-v1", seed=0, wrapper_class=Breaks)
    with pytest.raises(ConnectionError) as raised:
        train(tree, 1000, name=name, env=env, every_steps=None)
    assert not getattr(raised.value, "__notes__", [])
    assert newest(tree).num_timesteps == (64 if name == "PPO" else 89)
    assert (newest(tree).kind, events("end")[0]["cause"]) == ("emergency", "error")


def test_leaving_the_script_in_a_callback_seals_the_last_clean_point(tree: TrainingTree) -> None:
    def leave() -> None:
        raise SystemExit(3)

    with pytest.raises(SystemExit) as left:
        train(tree, 1000, at(70, leave), every_steps=None)
    assert left.value.code == 3
    assert (newest(tree).num_timesteps, events("end")[0]["cause"]) == (64, "exit")


def test_training_can_go_on_after_an_error(tree: TrainingTree) -> None:
    """The model is brought back to what was sealed, so a second call goes on exactly from there."""
    from stable_baselines3 import PPO
    from stable_baselines3.common.env_util import make_vec_env

    def crash() -> None:
        raise RuntimeError("for once")

    with TrainingSession(tree.root, "a", 256, every_steps=64, seed=0) as session:
        env = make_vec_env("CartPole-v1", n_envs=1, seed=0)
        settings = {"n_steps": 32, "n_epochs": 1, "device": "cpu", "policy_kwargs": {"net_arch": [16]}}
        model = session.load_or_create(PPO, "MlpPolicy", env, **settings)
        with pytest.raises(RuntimeError):
            session.learn(model, at(100, crash))
        assert model.num_timesteps == 96
        assert session.learn(model).cause == "target"
    whole = TrainingTree(tree.root.with_name("whole"))
    train(whole, 256)
    assert newest(tree).model.content == newest(whole).model.content


def test_nothing_lower_than_the_deadline_is_waited_for(tree: TrainingTree) -> None:
    """A rollout that would last far beyond the deadline is cut there."""
    outcome = train(tree, 10**9, at(40, lambda: time.sleep(1.5)), budget_seconds=6.0, every_steps=None)
    assert outcome.cause == "deadline"
    assert newest(tree).num_timesteps == outcome.num_timesteps > 0
