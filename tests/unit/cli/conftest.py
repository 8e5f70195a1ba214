from __future__ import annotations

from pathlib import Path

import pytest

from ckptsync.project.config import Project, load_project

CONFIG = """\
[runs.cartpole]
kernel = "toy"
total_timesteps = 500

[runs.walker]
kernel = "toy"
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project with two runs, and the current folder is in it."""
    (tmp_path / "ckptsync.toml").write_text(CONFIG)
    monkeypatch.chdir(tmp_path)
    return load_project()


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, in no project."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
