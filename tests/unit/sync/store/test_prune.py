"""prune: what nothing keeps goes from a store, and nothing else."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from support import disks
from support.projects import make_project_with_store, seal_set, set_head

from ckptsync.core import fsio
from ckptsync.core.errors import CorruptError, LockedError, StorageError
from ckptsync.project.config import Project
from ckptsync.store.repository import keys, pull_set, pushing
from ckptsync.sync.reporting import NullReporter
from ckptsync.sync.store import prune as pruning
from ckptsync.sync.store.prune import PruneReport, prune
from ckptsync.sync.store.push import push
from ckptsync.sync.store.rollback import rollback
from ckptsync.sync.store.scrub import scrub
from ckptsync.sync.store.stores import list_store, opened
from ckptsync.sync.store.tagging import tag, untag

pytestmark = pytest.mark.slow

REPORTER = NullReporter()


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Six versions; the second is the best, the third final."""
    project = make_project_with_store(tmp_path / "project")
    tree = project.tree(project.run("a"))
    for steps in range(100, 700, 100):
        kind = "final" if steps == 300 else "periodic"
        set_head(
            tree, seal_set(tree.checkpoints, steps, kind=kind, metrics={"ep_rew_mean": 9.0 if steps == 200 else 1.0})
        )
    push(project, project.run("a"), REPORTER)
    return project


def stored(project: Project) -> list[int]:
    return [item.key.num_timesteps for item in list_store(project, project.run("a")).versions]


def why(report: PruneReport) -> dict[int, tuple[str, ...]]:
    return {item.key.num_timesteps: item.why for item in report.versions}


def assert_whole(project: Project, tmp_path: Path) -> None:
    assert scrub(project, REPORTER).damage == ()
    with opened(project) as repository:
        needed = {d for key in repository.versions() for d in repository.read(key).objects()}
        assert {keys.parse_object(info.key) for info in repository.store.list(keys.OBJECTS)} == needed
        for key in repository.versions():
            pull_set(repository, key, tmp_path / "pulled")


def test_it_says_why_each_stays_or_goes(project: Project, tmp_path: Path) -> None:
    run = project.run("a")
    tag(project, run, "mine", "100")
    planned = prune(project, run, REPORTER, dry_run=True)
    assert why(planned) == {
        100: ("tag mine",),
        200: ("best",),
        300: ("final",),
        400: (),
        500: ("last",),
        600: ("head", "last"),
    }
    assert planned.freed_bytes is None
    assert stored(project) == [100, 200, 300, 400, 500, 600]
    done = prune(project, run, REPORTER)
    assert why(done) == why(planned)
    assert done.freed_bytes
    assert stored(project) == [100, 200, 300, 500, 600]
    assert_whole(project, tmp_path)
    untag(project, run, "mine")
    prune(project, run, REPORTER)
    assert stored(project) == [200, 300, 500, 600]


def test_rules_are_taken_from_the_command_else_from_the_run(project: Project) -> None:
    run, rules = project.run("a"), {"keep_last": 1, "keep_best": 2, "keep_every_steps": 400}
    kept = {
        100: ("best",),
        200: ("best",),
        300: ("final",),
        400: ("every",),
        500: (),
        600: ("head", "last"),
    }
    assert why(prune(project, run, REPORTER, **rules, dry_run=True)) == kept
    strict = replace(run, save=replace(run.save, **rules))
    assert why(prune(project, strict, REPORTER, dry_run=True)) == kept
    loose = {"keep_last": 5, "keep_best": 6, "keep_every_steps": 100}
    report = prune(project, strict, REPORTER, **loose, dry_run=True)
    assert why(report)[500] == ("last", "best", "every")


def test_what_a_rollback_left_stays_until_training_has_passed_it(project: Project, tmp_path: Path) -> None:
    run = project.run("a")
    rollback(project, run, "200")
    assert why(prune(project, run, REPORTER)) == {
        100: ("last",),
        200: ("head", "last", "best"),
        **dict.fromkeys((300, 400, 500, 600), ("ahead of the head",)),
    }
    tree = project.tree(run)
    set_head(tree, seal_set(tree.checkpoints, 250, generation=2))
    push(project, run, REPORTER)
    prune(project, run, REPORTER)
    assert stored(project) == [200, 300, 600, 250]
    assert_whole(project, tmp_path)


def test_nothing_goes_while_somebody_pushes(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pruning, "_WAIT_SECONDS", 0.0)
    with opened(project) as repository, pushing(repository), pytest.raises(LockedError):
        prune(project, project.run("a"), REPORTER)
    assert len(stored(project)) == 6


def test_nothing_goes_where_nobody_knows_what_is_needed(project: Project) -> None:
    with opened(project) as repository:
        before = {info.key for info in repository.store.list(keys.OBJECTS)}
        damaged = next(iter(repository.versions("a", "a"))).key
        repository.store.put(damaged, b"{}")
        tag_key = keys.tag_key("a", "a", "x")
        repository.store.put(tag_key, b"{}")
        with pytest.raises(CorruptError):
            prune(project, project.run("a"), REPORTER)
        assert len(list(repository.versions())) == 6
        repository.store.delete(tag_key)
        with pytest.raises(CorruptError, match="damaged version"):
            prune(project, project.run("a"), REPORTER, keep_last=100)
        assert {info.key for info in repository.store.list(keys.OBJECTS)} == before


@pytest.mark.parametrize("after", [1, 2, 3])
def test_a_prune_that_was_cut_short_is_completed(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    from ckptsync.store.folder import FolderStore

    whole, left = FolderStore.delete, [after]

    def die(store: FolderStore, key: str) -> None:
        if not key.startswith("claims/"):
            if not left[0]:
                raise KeyboardInterrupt
            left[0] -= 1
        whole(store, key)

    with monkeypatch.context() as patched:
        patched.setattr(FolderStore, "delete", die)
        with pytest.raises(KeyboardInterrupt):
            prune(project, project.run("a"), REPORTER, keep_last=1)
    assert scrub(project, REPORTER).damage == ()
    prune(project, project.run("a"), REPORTER, keep_last=1)
    assert stored(project) == [200, 300, 600]
    assert_whole(project, tmp_path)


def test_a_store_that_is_full_to_the_last_byte_can_be_pruned(project: Project, tmp_path: Path) -> None:
    run = project.run("a")
    with disks.small(tmp_path / "disk", size=1 << 20) as disk:
        shutil.copytree(tmp_path / "store", disk / "store")
        url = str(disk / "store")
        with disks.full(disk, leave=0):
            assert fsio.free_bytes(disk) == 0
            with pytest.raises(StorageError) as refused:
                tag(project, run, "name", "head", url=url)
            assert "ckptsync prune" in str(refused.value.hint)
            report = prune(project, run, REPORTER, keep_last=2, url=url)
            assert report.freed_bytes
            assert fsio.free_bytes(disk) > 0
            tag(project, run, "name", "head", url=url)
        assert scrub(project, REPORTER, url=url).damage == ()
