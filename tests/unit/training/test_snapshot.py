"""Clean points in memory: equal to what SB3 would save, in memory that is used again. Small models, one process."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def trained(name: str) -> Any:
    import stable_baselines3
    from stable_baselines3.common.env_util import make_vec_env
    from stable_baselines3.common.vec_env import VecNormalize

    arguments = {"policy_kwargs": {"net_arch": [8]}, "device": "cpu", "seed": 0}
    if name == "PPO":
        env = make_vec_env("CartPole-v1", n_envs=2, seed=0)
        model = stable_baselines3.PPO("MlpPolicy", env, n_steps=32, clip_range=lambda left: 0.2 * left, **arguments)
    else:
        env = VecNormalize(make_vec_env("Pendulum-v1", n_envs=1, seed=0))
        more = {"learning_starts": 10, "buffer_size": 100, "batch_size": 8}
        model = getattr(stable_baselines3, name)("MlpPolicy", env, **more, **arguments)
    return model.learn(64)


def snapshots(model: Any) -> Any:
    from ckptsync.training.built import Built
    from ckptsync.training.snapshot import Snapshots
    from ckptsync.training.state import TrainingState

    return Snapshots(model, TrainingState(model, None, Built(model), 64), None)


def members(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.mark.parametrize("name", ["PPO", "SAC", "TD3"])
def test_the_model_is_what_sb3_itself_would_save_to_the_byte(name: str, tmp_path: Path) -> None:
    model = trained(name)
    points = snapshots(model)
    draft = points.draft(points.take({}))
    model.save(tmp_path / "theirs.zip")
    model.learn(32, reset_num_timesteps=False)  # what comes later must not show
    with (tmp_path / "ours.zip").open("wb") as file:
        draft.members[0].write(file)
    ours, theirs = members(tmp_path / "ours.zip"), members(tmp_path / "theirs.zip")
    assert list(ours) == list(theirs)
    assert {name for name in ours if ours[name] != theirs[name]} == set()


def test_memory_is_allocated_once_for_each_of_two_slots() -> None:
    points = snapshots(trained("PPO"))

    def places(point: Any) -> list[int]:
        return [tensor.data_ptr() for tensor in point.parameters["policy"].values()]

    first, second, third, fourth = (places(points.take({})) for _ in range(4))
    assert first == third != second == fourth


def test_a_point_that_is_being_written_is_not_touched() -> None:
    from concurrent.futures import Future

    points = snapshots(trained("PPO"))
    written = points.take({})
    written.slot.write = Future()
    taken = {points.take({}).slot is written.slot for _ in range(5)}
    assert taken == {False}
    written.slot.write.set_result(None)
    assert points.take({}).slot is written.slot


def test_a_point_whose_capture_fails_leaves_the_one_before(monkeypatch: pytest.MonkeyPatch) -> None:
    points = snapshots(trained("PPO"))
    before = points.take({})

    def fail(model: Any) -> str:
        raise RuntimeError("cannot be pickled")

    monkeypatch.setattr("ckptsync.training.snapshot.data_of", fail)
    with pytest.raises(RuntimeError):
        points.take({})
    assert points.kept is before


def test_tensors_of_many_kinds_are_copied_as_they_are() -> None:
    import torch

    from ckptsync.training.snapshot import TensorMemory

    shared = torch.arange(6.0)
    value = {
        "transposed": torch.arange(12.0).reshape(3, 4).t(),
        "half": torch.ones(3, dtype=torch.float16),
        "whole": torch.tensor(7),
        "empty": torch.empty(0),
        "also empty": torch.empty(0, dtype=torch.int64),
        "wanted": torch.zeros(2, requires_grad=True),
        "twins": [shared, shared.detach()],
        "plain": (1, None, "text"),
    }
    memory = TensorMemory()
    for _ in range(2):
        copied = memory.copy(value)
        for name in ("transposed", "half", "whole", "empty", "also empty", "wanted"):
            assert torch.equal(copied[name], value[name])
            assert copied[name].dtype == value[name].dtype
            assert copied[name].stride() == value[name].stride()
            assert copied[name].requires_grad == value[name].requires_grad
            assert not copied[name].numel() or copied[name].data_ptr() != value[name].data_ptr()
        assert copied["twins"][0].data_ptr() == copied["twins"][1].data_ptr() != shared.data_ptr()
        assert copied["plain"] == value["plain"]


def test_a_structure_that_grows_gets_more_memory() -> None:
    import torch

    from ckptsync.training.snapshot import TensorMemory

    memory = TensorMemory()
    small = memory.copy({"a": torch.ones(3)})
    large = memory.copy({"a": torch.ones(3), "b": torch.zeros(2, 2)})
    assert small["a"].data_ptr() == large["a"].data_ptr()
    assert torch.equal(large["b"], torch.zeros(2, 2))
    assert memory.copy({}) == {}
