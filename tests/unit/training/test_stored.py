"""What a set holds beside its tensors: damaged, of others, or of objects that cannot be loaded."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.loops import events

from ckptsync.core import fsio, sets
from ckptsync.core.errors import CorruptError
from ckptsync.core.layout import TrainingTree
from ckptsync.core.manifest import FileEntry, Manifest
from ckptsync.training import Outcome, TrainingSession
from ckptsync.training.arrays import ArrayFile, write_arrays

pytestmark = pytest.mark.slow


def train(tree: TrainingTree, target: int, make: Any = None, callback: Any = None) -> Outcome:
    from stable_baselines3 import PPO
    from support.exact_cases import gym

    with TrainingSession(tree.root, "a", target, every_steps=32, seed=0) as session:
        env = make() if make else gym("CartPole-v1", 2)
        model = session.load_or_create(PPO, "MlpPolicy", env, n_steps=16, batch_size=16, n_epochs=1, device="cpu")
        return session.learn(model, callback)


def fidelity() -> tuple[str, list[str]]:
    told = events("start")[0]["fidelity"]
    return told["resumed"], told["reasons"]


def reseal(tree: TrainingTree, change: Any) -> Path:
    """Change the resume state of the newest set and seal it again: what only another version can have written."""
    stored = sets.scan(tree.checkpoints)[-1]
    manifest = stored.manifest
    assert manifest is not None
    entry = manifest.entry("resume")
    assert entry is not None
    path = tree.checkpoints / entry.path
    source = ArrayFile(path)
    state, arrays = source.state, source.read_all()
    change(state, arrays)
    with path.open("wb") as file:
        write_arrays(file, state, arrays)
    new = FileEntry(path.name, "resume", path.stat().st_size, fsio.sha256_file(path))
    files = tuple(new if old.role == "resume" else old for old in manifest.files)
    (tree.checkpoints / f"{manifest.stem}.manifest.json").unlink()
    tree.head("a").unlink()
    sets.seal_in_place(tree.checkpoints, Manifest(**{**vars(manifest), "files": files, "digest": ""}))
    return path


@pytest.mark.parametrize(
    "name", ["counters", "observations", "noise", "normalisation", "sde", "generators", "environment", "callbacks"]
)
def test_a_state_without_one_of_its_parts_is_named(name: str, tree: TrainingTree) -> None:
    train(tree, 32)
    path = reseal(tree, lambda state, arrays: state.pop(name))
    with pytest.raises(CorruptError, match=f"lacks '{name}'") as refused:
        train(tree, 64)
    assert path.name in str(refused.value)
    assert refused.value.hint


def _no_torch(state: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    del state["generators"]["torch"]


def _short_generator(state: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    name = state["generators"]["torch"]["at"]
    arrays[name] = arrays[name][:10]


def _array_gone(state: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    state["observations"]["_last_obs"]["at"] = "999"


def _unknown_kind(state: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    state["counters"]["_n_updates"] = {"$": "magic", "items": []}


def _callback_of_text(state: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    state["callbacks"] = {"callback": "text"}


@pytest.mark.parametrize("change", [_no_torch, _short_generator, _array_gone, _unknown_kind, _callback_of_text])
def test_a_state_that_is_damaged_inside_is_an_error_in_words(change: Any, tree: TrainingTree) -> None:
    train(tree, 32)
    reseal(tree, change)
    with pytest.raises(CorruptError, match="resume state") as refused:
        train(tree, 64)
    assert "rollback" in (refused.value.hint or "")


def test_a_state_of_an_older_version_is_used_and_told(tree: TrainingTree) -> None:
    train(tree, 32)

    def older(state: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        del state["settings"], state["log"]

    reseal(tree, older)
    assert train(tree, 64).num_timesteps == 64
    resumed, [reason] = fidelity()
    assert resumed == "state"
    assert reason.startswith("an older version of ckptsync")


def test_other_versions_and_machines_are_told_in_words(tree: TrainingTree, monkeypatch: pytest.MonkeyPatch) -> None:
    from ckptsync.training import snapshot

    train(tree, 32)
    real = snapshot.current_versions()
    there = {**real, "machine": "x86_64 Abacus", "torch": "1.0", "torch_threads": "64"}
    with monkeypatch.context() as patch:
        patch.setattr(snapshot, "current_versions", lambda: there)
        train(tree, 64)
    train(tree, 96)
    resumed, reasons = fidelity()
    assert resumed == "state"
    assert reasons == [
        f"the processor was x86_64 Abacus, is {real['machine']}",
        f"torch was 1.0, is {real['torch']}",
        f"the number of torch's threads was 64, is {real['torch_threads']}",
    ]


class Moody:
    """An attribute of an environment that raises when it is pickled, or when it is unpickled."""

    def __init__(self, when: str) -> None:
        self.when = when

    def __getstate__(self) -> dict[str, Any]:
        if self.when == "pickling":
            raise RuntimeError("not now")
        return vars(self)

    def __setstate__(self, state: dict[str, Any]) -> None:
        raise RuntimeError("not here")


def moody(when: str, start: str | None = None) -> Any:
    from support.exact_cases import gym

    def wrap(env: Any) -> Any:
        env.unwrapped.mood = Moody(when)
        return env

    return gym("CartPole-v1", 2, wrap, start=start)


@pytest.mark.parametrize("start", [None, "fork"], ids=["in place", "workers"])
def test_an_environment_that_raises_while_pickling_lowers_the_fidelity(start: str | None, tree: TrainingTree) -> None:
    train(tree, 32, lambda: moody("pickling", start))
    manifest = sets.scan(tree.checkpoints)[-1].manifest
    assert manifest is not None
    assert manifest.captured == "state"
    assert any("attribute 'mood' cannot be pickled (RuntimeError: not now)" in why for why in manifest.captured_reasons)
    assert train(tree, 64, lambda: moody("pickling", start)).num_timesteps == 64
    assert fidelity()[0] == "state"


@pytest.mark.parametrize("start", [None, "fork"], ids=["in place", "workers"])
def test_an_environment_that_raises_while_unpickling_begins_new_episodes(start: str | None, tree: TrainingTree) -> None:
    train(tree, 32, lambda: moody("unpickling", start))
    assert train(tree, 64, lambda: moody("unpickling", start)).num_timesteps == 64
    resumed, reasons = fidelity()
    assert resumed == "state"
    assert any("not here" in reason for reason in reasons)


def test_a_target_that_is_reached_is_no_work_and_no_error(tree: TrainingTree) -> None:
    train(tree, 32)
    script = f"""
from stable_baselines3 import PPO
from ckptsync.training import TrainingSession
with TrainingSession({str(tree.root)!r}, "a", 32, seed=0) as session:
    model = session.load_or_create(PPO, "MlpPolicy", "CartPole-v1", n_steps=16, device="cpu")
    print(session.learn(model))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr
    assert "the target of 32 steps is reached, nothing to train" in done.stdout
    assert "cause='target', num_timesteps=32" in done.stdout


def test_objects_of_callbacks_go_on(tree: TrainingTree) -> None:
    from stable_baselines3.common.callbacks import BaseCallback

    class Dice(BaseCallback):
        def __init__(self) -> None:
            super().__init__()
            self.dice = np.random.default_rng(4)
            self.thrown: list[int] = []

        def _on_step(self) -> bool:
            self.thrown.append(int(self.dice.integers(100)))
            return True

    train(tree, 96, callback=(uncut := Dice()))
    other = TrainingTree(tree.root.with_name("other"))
    train(other, 32, callback=Dice())
    train(other, 96, callback=(cut := Dice()))
    assert cut.thrown == uncut.thrown
    assert fidelity() == ("exact", [])


def test_an_object_of_a_callback_that_cannot_be_pickled_is_named(tree: TrainingTree) -> None:
    import threading

    from stable_baselines3.common.callbacks import BaseCallback

    class Held(BaseCallback):
        def __init__(self) -> None:
            super().__init__()
            self.gate = threading.Lock()

        def _on_step(self) -> bool:
            return True

    train(tree, 32, callback=Held())
    manifest = sets.scan(tree.checkpoints)[-1].manifest
    assert manifest is not None
    assert manifest.captured == "state"
    assert manifest.captured_reasons[0].startswith("Held.gate cannot be pickled")
