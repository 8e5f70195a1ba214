"""scrub: parts, and going on after it was cut short."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.projects import Told, make_project_with_store, seal_set, set_head

from ckptsync.project.config import Project
from ckptsync.store.folder import FolderStore
from ckptsync.store.repository import keys
from ckptsync.sync.reporting import NullReporter
from ckptsync.sync.store import scrub as scrubbing
from ckptsync.sync.store.push import push
from ckptsync.sync.store.scrub import scrub
from ckptsync.sync.store.stores import opened

pytestmark = pytest.mark.slow

REPORTER = NullReporter()


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = make_project_with_store(tmp_path / "project")
    tree = project.tree(project.run("a"))
    for steps in range(100, 1300, 100):
        set_head(tree, seal_set(tree.checkpoints, steps))
    push(project, project.run("a"), REPORTER)
    return project


def objects(project: Project) -> list[str]:
    with opened(project) as repository:
        return [info.key for info in repository.store.list(keys.OBJECTS)]


def flip(project: Project, key: str) -> None:
    with opened(project) as repository:
        data = repository.store.read(key, limit=1 << 24).data
        repository.store.put(key, bytes([data[0] ^ 1]) + data[1:])


def cut_short(project: Project, monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    whole = FolderStore.get

    def die(store: FolderStore, wanted: str, *rest: object) -> object:
        if wanted == key:
            raise KeyboardInterrupt
        return whole(store, wanted, *rest)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(scrubbing, "_OBJECTS_BETWEEN_MARKS", 1)
        patched.setattr(FolderStore, "get", die)
        with pytest.raises(KeyboardInterrupt):
            scrub(project, REPORTER)


def test_all_parts_together_are_everything(project: Project) -> None:
    there = objects(project)
    assert sum(scrub(project, REPORTER, part=(number, 3)).objects for number in (1, 2, 3)) == len(there)
    for key in there[:4]:
        flip(project, key)
        reports = [scrub(project, REPORTER, part=(n, 3)) for n in (1, 2, 3)]
        assert sorted((len(report.damage), report.exit_code) for report in reports) == [(0, 0), (0, 0), (1, 4)]
        flip(project, key)


def test_what_was_cut_short_goes_on(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    there = objects(project)
    cut_short(project, monkeypatch, there[8])
    assert scrub(project, REPORTER).objects == len(there) - 8
    assert scrub(project, REPORTER).objects == len(there)


def test_it_is_told_that_and_where_it_goes_on(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    there = objects(project)
    cut_short(project, monkeypatch, there[8])
    looks = [Told() for _ in range(3)]
    scrub(project, looks[0], structure=True)  # reads no object, and leaves the mark alone
    scrub(project, looks[1])
    scrub(project, looks[2])
    assert [told.lines for told in looks] == [[], [f"going on behind {there[7]}"], []]


def test_damage_before_the_cut_is_not_forgotten(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    there = objects(project)
    flip(project, there[3])
    cut_short(project, monkeypatch, there[8])
    report = scrub(project, REPORTER)
    assert [item.key for item in report.damage] == [there[3]]
    assert report.objects == len(there) - 3
    assert scrub(project, REPORTER).damage == report.damage
