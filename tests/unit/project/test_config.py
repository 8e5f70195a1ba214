"""ckptsync.toml, variables and flags."""

from __future__ import annotations

from pathlib import Path

import pytest

from ckptsync.core.errors import ConfigError, NothingFoundError, UsageError
from ckptsync.core.layout import find_root
from ckptsync.core.session import AUTO, SavePolicy, ScenarioSpec
from ckptsync.project.config import changed_policy, load_project


def load(folder: Path, text: str, environ=None, flags=None):
    (folder / "ckptsync.toml").write_text(text)
    return load_project(folder, environ=environ or {}, flags=flags)


def test_defaults_and_origins(tmp_path: Path):
    run = load(tmp_path, "[runs.x]\nkernel = 'toy'\n").run(None)
    assert (run.kernel, run.script, run.runner, run.tree) == ("toy", "train.py", "local", "data/models")
    assert run.scenarios == (ScenarioSpec("x", 100_000),)
    assert (run.origins["kernel"], run.origins["seed"]) == ("ckptsync.toml", "default")


def test_everything_can_be_said(tmp_path: Path):
    project = load(
        tmp_path,
        """
results = "out"
[runs.x]
version = "2"
tree = "my/models"
budget = "12h"
margin = "90s"
max_output = "20GB"
seed = "none"
packages = []
[runs.x.scenarios]
warm_up = 5_000
full = 100_000
[runs.x.save]
every_steps = 0
every_time = "3m"
keep_last = 2
save_best = false
keep_best = 3
keep_every_steps = 1_000
failure_time = "2h"
max_overhead = "1 %"
[runs.x.params]
rate = 0.1
layers = [64, 64]
[runs.x.expects]
algorithm = "PPO"
net_arch = [64, 64]
[trust]
functions = ["sha256:aa"]
files = ["sha256:bb"]
[runners.local]
budget = "1h"
""",
    )
    run = project.run("x")
    assert (run.budget_seconds, run.margin_seconds, run.seed) == (43_200.0, 90.0, None)
    assert run.scenario_names == ("warm_up", "full")
    assert run.save == SavePolicy(None, 180.0, 2, False, 3, 1_000, 7_200.0, 0.01)
    assert run.max_output_bytes == 20 * 10**9
    assert run.params == {"rate": 0.1, "layers": [64, 64]}
    assert (run.expects.algorithm, run.expects.net_arch) == ("PPO", [64, 64])
    assert project.trusted == {"sha256:aa", "sha256:bb"}
    assert project.layout.results("x/s0001") == tmp_path / "out/x/s0001"


def test_later_ones_win(tmp_path: Path):
    text = "[runs.x]\nseed = 1\ntotal_timesteps = 10\n"
    run = load(tmp_path, text, {"CKPTSYNC_SEED": "2", "CKPTSYNC_TOTAL_TIMESTEPS": "1_000"}, {"seed": 3}).run(None)
    assert (run.seed, run.scenarios[0].total_timesteps) == (3, 1000)
    assert (run.origins["seed"], run.origins["total_timesteps"]) == ("flag", "CKPTSYNC_TOTAL_TIMESTEPS")


@pytest.mark.parametrize(
    ("text", "key", "hint"),
    [
        ("[runs.x]\nkernal = 'a'\n", "kernal", "did you mean 'kernel'?"),
        ("[runs.x.save]\nkeep = 1\n", "keep", "did you mean 'keep_last'?"),
        ("[run.x]\n", "run", "did you mean 'runs'?"),
        ("[runs.x]\n[trust]\nfunction = []\n", "function", "did you mean 'functions'?"),
    ],
)
def test_an_unknown_key_is_an_error_with_the_key_that_was_meant(tmp_path: Path, text, key, hint):
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    assert f"unknown key '{key}'" in caught.value.message
    assert "ckptsync.toml" in caught.value.message
    assert caught.value.hint == hint


@pytest.mark.parametrize(
    "text",
    [
        "[runs.x]\ntotal_timesteps = 'many'\n",
        "[runs.x]\ntotal_timesteps = 0\n",
        "[runs.x]\ntotal_timesteps = true\n",
        "[runs.x]\nseed = -1\n",
        "[runs.x]\nbudget = 'soon'\n",
        "[runs.x]\ntree = '../elsewhere'\n",
        "[runs.x]\ntree = '/data'\n",
        "[runs.x]\npackages = 'torch'\n",
        "[runs.x]\nexpects = {network = 1}\n",
        "[runs.x]\nscenarios = {}\n",
        "[runs.x]\nscenarios = {a = 1}\ntotal_timesteps = 2\n",
        "[runs.x]\nsave = 3\n",
        "[runs.x.save]\nsave_best = 'perhaps'\n",
        "[runs.x.save]\nevery_time = 'sometimes'\n",
        "[runs.x.save]\nkeep_best = 0\n",
        "[runs.x.save]\nkeep_every_steps = -1\n",
        "[runs.x.save]\nfailure_time = 0\n",
        "[runs.x.save]\nmax_overhead = 2\n",
        "[runs.x.save]\nmax_overhead = '100 %'\n",
        "[runs.x.save]\nmax_overhead = true\n",
        "[runs.x]\nmax_output = 'all'\n",
        "[runs.x]\nmax_output = 0\n",
        "[runs.'a/b']\n",
        "[runs]\nx = 1\n",
        "runs = 1\n",
        "[runs.x]\nparams = {when = 1979-05-27}\n",
        "[trust]\n",
        "[runs.x\n",
    ],
)
def test_a_wrong_value_is_an_error_that_names_the_file(tmp_path: Path, text):
    with pytest.raises(ConfigError, match=r"ckptsync\.toml"):
        load(tmp_path, text)


def test_the_interval_may_be_left_to_what_saves_cost(tmp_path: Path):
    text = "[runs.x.save]\nevery_time = 'auto'\nmax_overhead = 0.05\n"
    save = load(tmp_path, text, {"CKPTSYNC_FAILURE_TIME": "30m"}).run(None).save
    assert (save.every_seconds, save.failure_seconds, save.max_overhead) == (AUTO, 1_800.0, 0.05)


def test_a_policy_can_be_changed_for_once():
    policy = changed_policy(SavePolicy(), {"every_time": "5m", "keep_last": 2, "keep_every_steps": 0}, "--save")
    assert policy == SavePolicy(every_seconds=300.0, keep_last=2)
    with pytest.raises(ConfigError) as unknown:
        changed_policy(SavePolicy(), {"keep": 1}, "--save")
    assert (unknown.value.message, unknown.value.hint) == ("--save: unknown key 'keep'", "did you mean 'keep_last'?")
    with pytest.raises(
        ConfigError, match="--save every_steps: expected a whole number of at least 1, or 0 for never, found '-5'"
    ):
        changed_policy(SavePolicy(), {"every_steps": "-5"}, "--save")
    with pytest.raises(ConfigError, match='"30m" or "12h", "auto", or 0 for never, found'):
        changed_policy(SavePolicy(), {"every_time": "x"}, "--save")
    with pytest.raises(ConfigError, match="--save keep_last: expected a whole number"):
        changed_policy(SavePolicy(), {"keep_last": 0}, "--save")


def test_a_wrong_variable_names_itself(tmp_path: Path):
    with pytest.raises(ConfigError, match="CKPTSYNC_BUDGET"):
        load(tmp_path, "[runs.x]\n", {"CKPTSYNC_BUDGET": "long"})


def test_runs_are_found_by_name(tmp_path: Path):
    project = load(tmp_path, "[runs.cartpole]\n[runs.pendulum]\n")
    assert project.run("cartpole").name == "cartpole"
    with pytest.raises(UsageError) as unknown:
        project.run("cartpol")
    assert unknown.value.hint == "did you mean 'cartpole'?"
    with pytest.raises(UsageError) as several:
        project.run(None)
    assert "cartpole, pendulum" in several.value.hint


def test_the_project_is_found_from_below(tmp_path: Path):
    load(tmp_path, "[runs.x]\n")
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    assert find_root(below) == tmp_path
    assert load_project(below, environ={}).root == tmp_path


def test_without_a_project_the_way_on_is_told(tmp_path: Path):
    with pytest.raises(NothingFoundError) as caught:
        load_project(tmp_path, environ={})
    assert "ckptsync init" in caught.value.hint


def test_two_runs_cannot_train_one_scenario_in_one_tree(tmp_path: Path):
    both = "[runs.x]\nkernel = 'toy'\nscenarios = { walk = 10 }\n[runs.y]\nkernel = 'toy'\nscenarios = { walk = 20 }\n"
    with pytest.raises(ConfigError, match="the runs x and y both train scenario walk in data/models"):
        load(tmp_path, both)
    assert len(load(tmp_path, both + "tree = 'other/models'\n").runs) == 2
