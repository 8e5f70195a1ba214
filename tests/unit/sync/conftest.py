"""A project with a scripted runner."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.projects import CONFIG, Script, ScriptedRunner, Told, make_project

from ckptsync.project.config import Project
from ckptsync.sync import runners
from ckptsync.sync.ledgers import find_record


class Bench:
    """A project, its runner and what was said."""

    def __init__(self, folder: Path, config: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.project: Project = make_project(folder / "project", config)
        self.told = Told()
        self.runner = ScriptedRunner(folder / "away", Script(), lambda s: find_record(self.project, s).spec)
        monkeypatch.setitem(runners.RUNNERS, "scripted", lambda project, settings: self.runner)

    @property
    def run(self):
        """The only run."""
        return self.project.run(None)

    @property
    def tree(self):
        """Its tree."""
        return self.project.tree(self.run)

    def reload(self, config: str) -> None:
        """Change the configuration."""
        self.project = make_project(self.project.root, config)


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """A bench with the usual configuration."""
    return Bench(tmp_path, CONFIG, monkeypatch)
