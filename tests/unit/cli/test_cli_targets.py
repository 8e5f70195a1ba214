from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import pytest

from ckptsync.cli import targets
from ckptsync.core.errors import ConfigError, NothingFoundError, UsageError
from ckptsync.core.session import ScenarioSpec, SessionSpec
from ckptsync.project.config import Project
from ckptsync.project.ledger import Ledger


def plan(project: Project, run: str, session: str) -> None:
    """Write a planned session into the ledger, as launch does before it starts anything."""
    spec = SessionSpec(run, session, "l0001-abcdef", 1, (ScenarioSpec(run, 500),))
    ledger = Ledger(project.layout.ledger, project.layout.lock)
    ledger.append("planned", run=run, session=session, spec=spec.to_json(), runner="local", inputs=[])


def test_a_path_that_exists_counts_before_a_run(project: Project) -> None:
    assert targets.resolve("cartpole", project) == targets.RunTarget(project, project.runs["cartpole"])
    Path("cartpole").touch()
    assert targets.resolve("cartpole", project) == Path("cartpole")


def test_a_broken_link_is_a_path_too(project: Project) -> None:
    Path("cartpole").symlink_to("nowhere")
    assert targets.resolve("cartpole", project) == Path("cartpole")


def test_nothing_means_the_only_run_and_never_one_of_several(project: Project) -> None:
    with pytest.raises(UsageError, match="has 2 runs"):
        targets.resolve(None, project)


def test_a_session_is_found_by_its_id_and_by_its_run(project: Project) -> None:
    plan(project, "cartpole", "cartpole/s0001")
    plan(project, "cartpole", "cartpole/s0002")
    plan(project, "walker", "walker/s0001")
    assert targets.session_of(project, "cartpole/s0001").session == "cartpole/s0001"
    assert targets.session_of(project, "cartpole").session == "cartpole/s0002"
    found = targets.resolve("walker/s0001", project)
    assert isinstance(found, targets.SessionTarget)
    assert found.record.session == "walker/s0001"


def test_what_is_not_there_says_what_might_be_meant(project: Project) -> None:
    with pytest.raises(NothingFoundError) as caught:
        targets.resolve("cartpol", project)
    assert caught.value.hint == "did you mean the run cartpole?"
    with pytest.raises(NothingFoundError) as caught:
        targets.resolve("xyz", project)
    assert caught.value.hint == "the runs are: cartpole, walker"
    with pytest.raises(NothingFoundError, match="no session cartpole/s0009"):
        targets.session_of(project, "cartpole/s0009")
    with pytest.raises(NothingFoundError, match="has no session yet"):
        targets.session_of(project, "walker")
    with pytest.raises(UsageError, match="no run 'walkr'"):
        targets.session_of(project, "walkr")


def test_outside_a_project_only_paths_count(outside: Path) -> None:
    (outside / "model.zip").touch()
    assert targets.project_or_none(Namespace(project=None)) is None
    assert targets.resolve("model.zip", None) == Path("model.zip")
    for word in (None, "missing.zip"):
        with pytest.raises(NothingFoundError):
            targets.resolve(word, None)


def test_a_project_that_is_named_must_be_there(outside: Path) -> None:
    for folder in (".", "missing"):
        with pytest.raises(NothingFoundError):
            targets.project_or_none(Namespace(project=folder))


def test_a_broken_configuration_is_no_missing_one(outside: Path) -> None:
    (outside / "ckptsync.toml").write_text("[runs.x]\nkernl = 'toy'\n")
    with pytest.raises(ConfigError, match="kernl"):
        targets.project_or_none(Namespace(project=None))
