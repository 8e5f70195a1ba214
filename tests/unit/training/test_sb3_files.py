"""Files in SB3's form, written without torch, are what torch and SB3 take them for."""

from __future__ import annotations

from pathlib import Path

import pytest

from ckptsync.core.readers import read_model
from ckptsync.testing.sb3_files import mlp_parameters, mlp_signature, write_sb3_zip


def test_the_reader_finds_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    parameters = mlp_parameters(hidden=(16, 8), seed=3)
    write_sb3_zip(path, parameters, num_timesteps=77, hidden=(16, 8))
    report = read_model(path, own=True)
    assert report.findings == ()
    assert report.num_timesteps == 77
    assert report.signature.parameters == mlp_signature(parameters).parameters
    assert report.signature.net_arch == {"pi": [16, 8], "vf": [16, 8]} or report.signature.net_arch == [16, 8]


def test_equal_seeds_give_equal_files(tmp_path: Path) -> None:
    for name in ("x", "y"):
        write_sb3_zip(tmp_path / name, mlp_parameters(seed=1), num_timesteps=1)
    assert (tmp_path / "x").read_bytes() == (tmp_path / "y").read_bytes()


@pytest.mark.slow
def test_sb3_accepts_the_tensors(tmp_path: Path) -> None:
    import torch
    from stable_baselines3 import PPO
    from stable_baselines3.common.save_util import load_from_zip_file

    path = tmp_path / "x.zip"
    parameters = mlp_parameters(hidden=(16, 8))
    write_sb3_zip(path, parameters, num_timesteps=77, hidden=(16, 8))
    model = PPO("MlpPolicy", "CartPole-v1", policy_kwargs={"net_arch": [16, 8]}, device="cpu")
    _, tensors, _ = load_from_zip_file(path, load_data=False)
    model.set_parameters(tensors)
    expected = torch.tensor(parameters["action_net.weight"][1]).reshape(2, 8)
    assert torch.equal(model.policy.state_dict()["action_net.weight"], expected)
