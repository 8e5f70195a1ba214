"""A sealed replay buffer as SB3's own file: what `load_replay_buffer` makes of it is the buffer that was sealed."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.projects import seal_set
from support.replays import KINDS, Feeder, GoalEnv, assert_same, make
from support.rings import Ring, Shelf

from ckptsync.core.errors import CkptsyncError, NothingFoundError
from ckptsync.core.manifest import Manifest
from ckptsync.training.export import export_replay

pytestmark = pytest.mark.slow

OWN = ("unknown", "unknown2", "declared")


def sealed(folder: Path, buffer: Any) -> Manifest:
    """Seal a set with a model and this buffer."""
    shelf = Shelf(folder)
    log = shelf.log(buffer, added=lambda: 0)
    point = log.keep()
    assert point is not None
    state, *segments = shelf.write(log, point)
    manifest = seal_set(folder, 1)
    return Manifest(**{**vars(manifest), "files": (*manifest.files, state, *segments)})


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in OWN])
@pytest.mark.parametrize("rows", [5, 17])
def test_the_file_holds_the_buffer(kind: str, rows: int, tmp_path: Path) -> None:
    buffer = make(kind, 12)
    Feeder().add(buffer, rows)
    export_replay(tmp_path, sealed(tmp_path, buffer), tmp_path / "b.pkl")
    found = pickle.loads((tmp_path / "b.pkl").read_bytes())
    assert type(found) is type(buffer)
    if hasattr(found, "set_env"):
        found.set_env(GoalEnv())
    assert_same(found, buffer)
    for name in ("observation_space", "action_space", "n_envs", "buffer_size"):
        assert getattr(found, name) == getattr(buffer, name)
    for going_on in (found, buffer):
        Feeder(seed=3).add(going_on, 20)
    assert_same(found, buffer)


@pytest.mark.parametrize("goals", [False, True])
def test_sb3_loads_it_and_trains_on(goals: bool, tmp_path: Path) -> None:
    from stable_baselines3 import DQN, SAC, HerReplayBuffer
    from stable_baselines3.common.envs import BitFlippingEnv

    def build() -> Any:
        common = {
            "buffer_size": 60,
            "learning_starts": 10,
            "device": "cpu",
            "seed": 0,
            "policy_kwargs": {"net_arch": [4]},
        }
        if not goals:
            return SAC("MlpPolicy", "Pendulum-v1", **common)
        return DQN("MultiInputPolicy", BitFlippingEnv(n_bits=4), replay_buffer_class=HerReplayBuffer, **common)

    model = build()
    model.learn(80)
    export_replay(tmp_path, sealed(tmp_path, model.replay_buffer), tmp_path / "b.pkl")
    other = build()
    other.load_replay_buffer(tmp_path / "b.pkl", truncate_last_traj=False)
    assert_same(other.replay_buffer, model.replay_buffer)
    other.learn(20, reset_num_timesteps=False)


def test_what_cannot_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(NothingFoundError, match="holds no replay buffer"):
        export_replay(tmp_path, seal_set(tmp_path, 2), tmp_path / "b.pkl")
    with pytest.raises(CkptsyncError, match="is a Ring, which is no class of stable-baselines3"):
        export_replay(tmp_path, sealed(tmp_path, Ring(4)), tmp_path / "b.pkl")
    assert not (tmp_path / "b.pkl").exists()


def test_it_runs_as_a_process_of_its_own(tmp_path: Path) -> None:
    buffer = make("plain", 12)
    Feeder().add(buffer, 4)
    manifest = sealed(tmp_path, buffer)
    seal = tmp_path / f"{manifest.stem}.manifest.json"
    seal.write_bytes(manifest.serialise())
    words = [sys.executable, "-P", "-m", "ckptsync.training.export", str(seal), str(tmp_path / "b.pkl")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
    assert_same(pickle.loads((tmp_path / "b.pkl").read_bytes()), buffer)
