"""Files that the installed SB3 and torch really write."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.hostile import blockers, verdict

from ckptsync.core.findings import Severity, Verdict
from ckptsync.core.readers import read_model

WRITE = """
import json, sys
from pathlib import Path
import numpy, torch
from stable_baselines3 import A2C, DDPG, DQN, PPO, SAC, TD3
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecNormalize

folder = Path(sys.argv[1])
truth = {}

def save(name, model):
    model.save(folder / name)
    truth[name] = {
        "algorithm": type(model).__name__,
        "policy": type(model.policy).__name__,
        "num_timesteps": model.num_timesteps,
        "parameters": [[key, list(value.shape), str(value.dtype).removeprefix("torch.")]
                       for key, value in model.policy.state_dict().items()],
    }

model = PPO("MlpPolicy", "CartPole-v1", n_steps=64, batch_size=64, policy_kwargs={"net_arch": [32, 16]})
model.learn(64)
save("ppo.zip", model)
model.start_time += 1
model.save(folder / "again.zip")
save("schedule.zip", PPO("MlpPolicy", "CartPole-v1", learning_rate=lambda progress: 3e-4 * progress))
save("sde.zip", PPO("MlpPolicy", "Pendulum-v1", use_sde=True))
save("a2c.zip", A2C("MlpPolicy", "CartPole-v1"))
save("dqn.zip", DQN("MlpPolicy", "CartPole-v1", policy_kwargs={"net_arch": [24]}, buffer_size=10))
for kind in (SAC, TD3, DDPG):
    save(kind.__name__.lower() + ".zip", kind("MlpPolicy", "Pendulum-v1", policy_kwargs={"net_arch": [24, 12]}, buffer_size=10))
with torch.no_grad():
    next(model.policy.parameters())[0, 0] = float("nan")
save("nan.zip", model)
torch.save(model.policy.state_dict(), folder / "plain.pt")
torch.save(model.policy.optimizer.state_dict(), folder / "old.pt", _use_new_zipfile_serialization=False)
VecNormalize(make_vec_env("CartPole-v1")).save(str(folder / "vecnormalize.pkl"))
print(json.dumps(truth))
"""


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, dict[str, Any]]]:
    if importlib.util.find_spec("stable_baselines3") is None:
        pytest.skip("needs SB3")
    folder = tmp_path_factory.mktemp("sb3")
    run = subprocess.run([sys.executable, "-c", WRITE, folder], capture_output=True, text=True, check=True)
    return folder, json.loads(run.stdout)


@pytest.mark.slow
def test_signatures_are_what_sb3_says(written: tuple[Path, dict[str, dict[str, Any]]]) -> None:
    folder, truth = written
    for name, expected in truth.items():
        report = read_model(folder / name, own=True)
        parameters = [[key, list(spec.shape), spec.dtype] for key, spec in report.signature.parameters.items()]
        assert parameters == expected["parameters"], name
        assert report.num_timesteps == expected["num_timesteps"], name
        assert (report.signature.algorithm, report.signature.policy) == (expected["algorithm"], expected["policy"]), (
            name
        )
        assert report.signature.observation_space is not None
        assert report.signature.observation_space["kind"] == "box"
        assert {"python", "stable_baselines3", "torch", "numpy", "gymnasium"} <= set(report.versions), name
        assert report.not_checked == (), name


@pytest.mark.slow
def test_verdicts(written: tuple[Path, dict[str, dict[str, Any]]]) -> None:
    folder, truth = written
    refused = {"schedule.zip": Verdict.UNSAFE, "nan.zip": Verdict.CORRUPT}
    for name in truth:
        report = read_model(folder / name)
        assert verdict(report) is refused.get(name, Verdict.VALID), (name, report.findings)
    layers = {
        name: read_model(folder / name).signature.net_arch for name in ("ppo.zip", "dqn.zip", "sac.zip", "td3.zip")
    }
    assert layers == {"ppo.zip": [32, 16], "dqn.zip": [24], "sac.zip": [24, 12], "td3.zip": [24, 12]}
    nan = read_model(folder / "nan.zip")
    assert {code for code, _ in blockers(nan)} == {"tensor.not-finite"}
    assert all(subject.startswith("policy.pth: ") for _, subject in blockers(nan))


@pytest.mark.slow
def test_users_schedule_is_a_note_in_an_own_file(written: tuple[Path, dict[str, dict[str, Any]]]) -> None:
    report = read_model(written[0] / "schedule.zip", own=True)
    assert {finding.severity for finding in report.findings} == {Severity.NOTE}
    assert {item.name for item in report.functions} == {"<lambda>"}
    trusted = read_model(written[0] / "schedule.zip", trusted={item.digest for item in report.functions})
    assert blockers(trusted) == []


@pytest.mark.slow
def test_two_saves_have_one_content(written: tuple[Path, dict[str, dict[str, Any]]]) -> None:
    first, again = (read_model(written[0] / name) for name in ("ppo.zip", "again.zip"))
    assert first.content == again.content
    assert first.digest != again.digest


@pytest.mark.slow
def test_torch_files_old_and_new_and_a_bare_pickle(written: tuple[Path, dict[str, dict[str, Any]]]) -> None:
    folder, truth = written
    plain = read_model(folder / "plain.pt")
    assert [key for key, _, _ in truth["nan.zip"]["parameters"]] == list(plain.signature.parameters)
    assert plain.format == "torch"
    old = read_model(folder / "old.pt")
    assert (old.format, old.findings) == ("torch-legacy", ())
    assert "state.0.exp_avg" in old.signature.parameters
    statistics = read_model(folder / "vecnormalize.pkl", own=True)
    assert (statistics.format, blockers(statistics)) == ("pickle", [])
