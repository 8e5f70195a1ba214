"""repair: what is damaged in a store comes back from another one, or from files."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.projects import WITH_STORE, make_project, make_project_with_store, seal_set, set_head

from ckptsync.core.errors import ExitCode
from ckptsync.project.config import Project
from ckptsync.store.repository import keys
from ckptsync.sync.reporting import NullReporter
from ckptsync.sync.store.copy import copy
from ckptsync.sync.store.push import push
from ckptsync.sync.store.repair import RepairReport, repair
from ckptsync.sync.store.scrub import scrub
from ckptsync.sync.store.stores import init_store, opened
from ckptsync.sync.store.tagging import tag

pytestmark = pytest.mark.slow

REPORTER = NullReporter()
ALL = (keys.OBJECTS, keys.VERSIONS, keys.HEADS, keys.TAGS)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = make_project_with_store(tmp_path / "project")
    tree = project.tree(project.run("a"))
    for steps in (100, 200):
        set_head(tree, seal_set(tree.checkpoints, steps, extra={"resume": bytes(3_000_000)}))
    run = project.run("a")
    push(project, run, REPORTER)
    tag(project, run, "good", "100")
    init_store(project, "../far")
    copy(project, run, "../far", REPORTER)
    return project


@pytest.fixture
def elsewhere(tmp_path: Path, project: Project) -> Project:
    """The same project where no checkpoint is."""
    return make_project(tmp_path / "elsewhere", WITH_STORE)


def harm(project: Project, prefix: str, *, remove: bool) -> int:
    with opened(project) as repository:
        infos = list(repository.store.list(prefix))
        for info in infos:
            if remove:
                repository.store.delete(info.key)
            else:
                data = repository.store.read(info.key, limit=1 << 24).data
                repository.store.put(info.key, data[:-9] + bytes([data[-9] ^ 1]) + data[-8:])
        return len(infos)


def sources(report: RepairReport) -> set[str | None]:
    return {item.source for item in report.damage}


@pytest.mark.parametrize("prefix", ALL)
def test_everything_comes_back_from_another_store(project: Project, elsewhere: Project, prefix: str) -> None:
    harmed = harm(project, prefix, remove=False)
    planned = repair(elsewhere, REPORTER, other_url="../far", dry_run=True)
    assert sources(planned) == {"store"}
    assert scrub(project, REPORTER).damage
    assert sources(repair(elsewhere, REPORTER, other_url="../far")) == {"store"}
    assert len(planned.damage) >= harmed
    assert scrub(project, REPORTER).damage == ()


# A version that is gone leaves no name behind; push sends it again
@pytest.mark.parametrize(("prefix", "remove"), [(keys.OBJECTS, False), (keys.OBJECTS, True), (keys.VERSIONS, False)])
def test_objects_and_versions_come_back_from_files(project: Project, prefix: str, remove: bool) -> None:
    harm(project, prefix, remove=remove)
    assert sources(repair(project, REPORTER, dry_run=True)) == {"files"}
    assert repair(project, REPORTER).exit_code is ExitCode.OK
    assert scrub(project, REPORTER).damage == ()


def test_what_nobody_has_stays_as_it_was_and_is_told(project: Project, elsewhere: Project) -> None:
    harmed = harm(project, keys.OBJECTS, remove=False)
    report = repair(elsewhere, REPORTER)
    assert (len(report.damage), sources(report), report.exit_code) == (harmed, {None}, ExitCode.CORRUPT)
    assert len(scrub(project, REPORTER).damage) == harmed


def test_a_damaged_source_is_not_believed(project: Project, elsewhere: Project) -> None:
    harm(project, keys.OBJECTS, remove=True)
    with opened(project, "../far") as far:
        for info in list(far.store.list(keys.OBJECTS)):
            far.store.put(info.key, b"\1" * info.size_bytes)
    assert sources(repair(elsewhere, REPORTER, other_url="../far")) == {None}
    with opened(project) as repository:
        assert list(repository.store.list(keys.OBJECTS)) == []


def test_a_whole_store_is_left_alone(project: Project) -> None:
    assert repair(project, REPORTER).damage == ()
