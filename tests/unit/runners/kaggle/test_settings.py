"""What is configured: names that the service takes, and the error for those that it does not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ckptsync.core.errors import ConfigError
from ckptsync.project.config import load_project
from ckptsync.runners.kaggle.settings import KaggleSettings, default_slug, inputs_slug, title_of
from ckptsync.sync.runners import kaggle_settings, runner_for
from ckptsync.testing.kaggle.world import slugify


def settings_of(folder: Path, text: str) -> KaggleSettings:
    (folder / "ckptsync.toml").write_text(f"[runs.toy]\n{text}")
    project = load_project(folder, environ={})
    return kaggle_settings(project, project.runner_settings("kaggle", "toy"))


def test_the_defaults_are_careful(tmp_path: Path) -> None:
    found = settings_of(tmp_path, "")
    assert found == KaggleSettings()
    assert (found.private, found.internet, found.machine, found.machine_shape) == (True, False, "cpu", None)


def test_every_key(tmp_path: Path) -> None:
    found = settings_of(
        tmp_path,
        """
        [runners.kaggle]
        owner = "me"
        kernel = "my-kernel"
        accelerator = "NvidiaTeslaP100"
        internet = true
        private = false
        docker_image = "gcr.io/kaggle-images/python@sha256:0"
        competitions = ["titanic"]
        datasets = ["me/data"]
        kernels = ["me/other"]
        models = ["me/m/jax/v/1"]
        carrier = "dataset"
        budget = "9h"
        timeout = 5
        patience = "2m"
        dataset_wait = "1h"
        """,
    )
    assert found == KaggleSettings(
        owner="me",
        kernel="my-kernel",
        accelerator="NvidiaTeslaP100",
        internet=True,
        private=False,
        docker_image="gcr.io/kaggle-images/python@sha256:0",
        competitions=("titanic",),
        datasets=("me/data",),
        kernels=("me/other",),
        models=("me/m/jax/v/1",),
        carrier="dataset",
        budget_seconds=9 * 3600.0,
        timeout_seconds=5.0,
        patience_seconds=120.0,
        dataset_seconds=3600.0,
    )


def test_a_run_has_its_own(tmp_path: Path) -> None:
    text = '[runs.toy.kaggle]\naccelerator = "gpu"\n[runners.kaggle]\naccelerator = "tpu"\ninternet = true\n'
    found = settings_of(tmp_path, text)
    assert (found.machine, found.internet) == ("gpu", True)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("acelerator = 'gpu'", "did you mean 'accelerator'?"),
        ("internet = 'perhaps'", "internet: expected true or false"),
        ("accelerator = 'T4 x2'", "expected none, gpu, tpu"),
        ("carrier = 'pigeon'", "expected one of auto, dataset, output"),
        ("kernel = 'My Kernel'", "small letters"),
        ("kernel = 'abc'", "5 to 43"),
        (f"kernel = '{'a' * 44}'", "5 to 43"),
        ("owner = '../me'", "is no owner"),
        ("owner = 'm\u0000e'".replace("\u0000", "\\t"), "is no owner"),
        ("datasets = ['data']", "expected owner/slug"),
        ("datasets = ['datasets/me/data']", "expected owner/slug"),
        ("kernels = ['code/me/other']", "expected owner/slug"),
        ("competitions = ['me/x']", "is no competition"),
        ("budget = '-1h'", "budget: expected seconds"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, line: str, said: str) -> None:
    line = line if "\\t" not in line else line.replace("'", '"')
    (tmp_path / "ckptsync.toml").write_text(f"[runs.toy]\n[runners.kaggle]\n{line}\n")
    with pytest.raises(ConfigError) as refused:
        runner_for(load_project(tmp_path, environ={}), "kaggle", "toy")
    assert "[runners.kaggle]" in refused.value.message
    assert said in refused.value.message + (refused.value.hint or "")


@pytest.mark.parametrize("run", ["toy", "cartpole_ppo", "A", "a-b", "x" * 100, "日本", "run 7", "ünï"])
def test_a_title_gives_the_slug(run: str) -> None:
    slug = default_slug(run)
    assert slugify(title_of(slug)) == slug
    assert slugify(title_of(inputs_slug(slug))) == inputs_slug(slug)
    assert re.fullmatch("[a-z0-9-]{5,43}", slug)
    KaggleSettings(kernel=slug)


def test_runs_do_not_share_a_kernel() -> None:
    runs = ["a_b", "a-b", "a b", "A_b", "a__b", "_a_b", "ab", "x" * 90, "x" * 91, "ü", "ö"]
    assert len({default_slug(run) for run in runs}) == len(runs)
