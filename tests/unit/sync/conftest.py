"""A project with a scripted runner."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.machines import Machines
from support.projects import CONFIG, Script, ScriptedRunner, Told, make_project

from ckptsync.core.layout import TrainingTree
from ckptsync.project.config import Project, RunConfig
from ckptsync.sync import launch, runners
from ckptsync.sync.launch import LaunchOptions
from ckptsync.sync.ledgers import find_record


class Bench:
    """A project, its runner and what was said."""

    def __init__(self, folder: Path, config: str) -> None:
        self.project: Project = make_project(folder / "project", config)
        self.told = Told()
        self.runner = ScriptedRunner(folder / "away", Script(), lambda s: find_record(self.project, s).spec)

    @property
    def run(self) -> RunConfig:
        """The only run."""
        return self.project.run(None)

    @property
    def tree(self) -> TrainingTree:
        """Its tree."""
        return self.project.tree(self.run)

    def reload(self, config: str) -> None:
        """Change the configuration."""
        self.project = make_project(self.project.root, config)


@pytest.fixture(scope="session")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a first launch has packed; packing it again for each test would take most of their time."""
    bench = Bench(tmp_path_factory.mktemp("packed"), CONFIG)
    launch.plan(bench.project, bench.run, LaunchOptions(runner="local"))
    return bench.project.layout.cache


@pytest.fixture
def bench(fast_folder: Path, packed: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """A bench with the usual configuration."""
    bench = Bench(fast_folder, CONFIG)
    shutil.copytree(packed, bench.project.layout.cache)
    monkeypatch.setitem(runners.RUNNERS, "scripted", lambda project, settings: bench.runner)
    return bench


@pytest.fixture
def machines(fast_folder: Path, packed: Path) -> Iterator[Machines]:
    """A service, and machines that share it."""
    with Machines(fast_folder, packed).connected() as machines:
        yield machines
