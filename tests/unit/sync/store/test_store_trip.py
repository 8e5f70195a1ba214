"""push and pull: from a tree into a store, and from there into an empty one."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from support.projects import CONFIG, WITH_STORE, make_project, make_project_with_store, seal_set, set_head

from ckptsync.core import fsio, heads, sets
from ckptsync.core.errors import ConfigError, CorruptError, LockedError, NothingFoundError
from ckptsync.core.manifest import Manifest
from ckptsync.project.config import Project
from ckptsync.store.folder import FolderStore
from ckptsync.store.repository import keys, open_repository
from ckptsync.sync import standing_at
from ckptsync.sync.reporting import NullReporter
from ckptsync.sync.store.pull import pull
from ckptsync.sync.store.push import push
from ckptsync.sync.store.stores import init_store, list_store
from ckptsync.sync.treework import head_in_file

REPORTER = NullReporter()


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return make_project_with_store(tmp_path / "project")


@pytest.fixture
def empty(tmp_path: Path, project: Project) -> Project:
    """Another machine: the same project, and nothing else."""
    return make_project(tmp_path / "elsewhere", WITH_STORE)


def checkpoints(project: Project) -> Path:
    return project.tree(project.run("a")).checkpoints


def sealed(project: Project, *steps: int, **fields: object) -> list[Manifest]:
    made = [seal_set(checkpoints(project), number, rows=(0, 50, number), **fields) for number in steps]  # type: ignore[arg-type]
    set_head(project.tree(project.run("a")), made[-1])
    return made


def test_from_one_machine_to_another(project: Project, empty: Project) -> None:
    made = sealed(project, 100, 200)
    report = push(project, project.run("a"), REPORTER)
    assert [item.manifest for item in report.pushed] == made
    assert [item.head for item in report.pushed] == [True, True]
    again = push(project, project.run("a"), REPORTER)
    assert (again.pushed, again.skipped) == ((), tuple(manifest.stem for manifest in made))

    (pulled,) = pull(empty, empty.run("a"), REPORTER).scenarios
    assert pulled.received_bytes == made[1].size_bytes
    (stored,) = sets.scan(checkpoints(empty))
    assert stored.manifest == made[1]
    assert sets.check_files(stored.folder, made[1]) == ()
    head = head_in_file(empty.tree(empty.run("a")), "a")
    assert head is not None
    assert head.digest == made[1].digest
    assert pull(empty, empty.run("a"), REPORTER).scenarios[0].behind
    assert not (empty.layout.staging / "pull").exists() or not any((empty.layout.staging / "pull").rglob("*.zip"))


def test_the_list_says_which_is_the_head(project: Project) -> None:
    sealed(project, 100, 200)
    push(project, project.run("a"), REPORTER)
    report = list_store(project, project.run("a"))
    assert [(item.key.num_timesteps, item.head) for item in report.versions] == [(100, False), (200, True)]
    assert report.to_json()["versions"][1]["set"] == "a_checkpoint_200_steps"


def test_a_dry_run_changes_nothing(project: Project, empty: Project) -> None:
    sealed(project, 100)
    report = push(project, project.run("a"), REPORTER, dry_run=True)
    assert [item.sent_bytes for item in report.pushed] == [None]
    assert list_store(project, project.run("a")).versions == ()
    push(project, project.run("a"), REPORTER)
    assert pull(empty, empty.run("a"), REPORTER, dry_run=True).scenarios[0].received_bytes is None
    assert not checkpoints(empty).exists()


def test_a_tree_that_is_ahead_is_left_alone(project: Project, empty: Project) -> None:
    sealed(project, 100)
    push(project, project.run("a"), REPORTER)
    sealed(empty, 300)
    before = sorted(os.listdir(checkpoints(empty)))
    assert pull(empty, empty.run("a"), REPORTER).scenarios[0].behind
    assert sorted(os.listdir(checkpoints(empty))) == before


def test_sets_that_gave_way_are_not_pushed(project: Project) -> None:
    old, new = sealed(project, 100, 200)
    set_head(project.tree(project.run("a")), old)
    report = push(project, project.run("a"), REPORTER)
    assert [item.manifest for item in report.pushed] == [old]
    assert new.stem not in report.skipped


def test_foreign_code_stays_out_unless_the_store_is_ones_own(project: Project, empty: Project) -> None:
    sealed(project, 100, extra={"environment": b"cos\nsystem\n(S'true'\ntR."})
    push(project, project.run("a"), REPORTER)
    with pytest.raises(CorruptError, match="the tree is as it was") as raised:
        pull(empty, empty.run("a"), REPORTER)
    assert "--mine" in (raised.value.hint or "")
    assert not checkpoints(empty).exists()
    assert pull(empty, empty.run("a"), REPORTER, mine=True).scenarios[0].received_bytes is not None


def test_a_damaged_object_is_not_installed_and_a_sound_one_is_later(project: Project, empty: Project) -> None:
    sealed(project, 100)
    push(project, project.run("a"), REPORTER)
    store = FolderStore(Path(project.root.parent / "store"))
    for info in list(store.list(keys.OBJECTS)):
        data = store.read(info.key, limit=1 << 20).data
        store.put(info.key, data[:-1] + bytes([data[-1] ^ 1]))
        with pytest.raises(CorruptError):
            pull(empty, empty.run("a"), REPORTER)
        assert head_in_file(empty.tree(empty.run("a")), "a") is None
        store.put(info.key, data)
    assert pull(empty, empty.run("a"), REPORTER).scenarios[0].received_bytes is not None


def test_two_pulls_at_once_are_one_too_many(project: Project, empty: Project) -> None:
    sealed(project, 100)
    push(project, project.run("a"), REPORTER)
    with fsio.locked(empty.layout.staging / "pull-a.lock", what="the pull"), pytest.raises(LockedError):
        pull(empty, empty.run("a"), REPORTER)


@pytest.mark.parametrize("after", ["copy_set", "write_head", "renew_exports"])
def test_a_pull_that_was_cut_short_is_completed(
    project: Project, empty: Project, monkeypatch: pytest.MonkeyPatch, after: str
) -> None:
    (manifest,) = sealed(project, 100)
    push(project, project.run("a"), REPORTER)
    place = {"copy_set": sets, "write_head": heads, "renew_exports": standing_at}[after]
    whole = getattr(place, after)

    def die(*arguments: object, **named: object) -> None:
        whole(*arguments, **named)
        raise KeyboardInterrupt

    monkeypatch.setattr(place, after, die)
    with pytest.raises(KeyboardInterrupt):
        pull(empty, empty.run("a"), REPORTER)
    monkeypatch.undo()
    pull(empty, empty.run("a"), REPORTER)
    head = head_in_file(empty.tree(empty.run("a")), "a")
    assert head is not None
    assert head.digest == manifest.digest
    assert sets.check_files(checkpoints(empty), manifest) == ()


def test_what_is_missing_is_told(tmp_path: Path, project: Project) -> None:
    with pytest.raises(NothingFoundError, match="no sealed checkpoint"):
        push(project, project.run("a"), REPORTER)
    with pytest.raises(NothingFoundError, match="no checkpoint of a"):
        pull(project, project.run("a"), REPORTER)
    sealed(project, 100)
    shutil.rmtree(tmp_path / "store")
    with pytest.raises(NothingFoundError, match="no repository") as raised:
        push(project, project.run("a"), REPORTER)
    assert "init-store" in (raised.value.hint or "")
    plain = make_project(tmp_path / "plain")
    sealed(plain, 100)
    with pytest.raises(ConfigError, match="no store"):
        push(plain, plain.run("a"), REPORTER)
    assert push(project, project.run("a"), REPORTER, url=init_store(project).url).pushed


def test_making_a_store_again_changes_nothing(project: Project) -> None:
    report = init_store(project)
    assert not report.made
    assert report.id == open_repository(FolderStore(Path(report.url))).id
    assert init_store(project, "../other", dry_run=True).id is None
    assert not (project.root.parent / "other").exists()


@pytest.mark.parametrize(("line", "said"), [("url = 5", "url"), ("uri = 'x'", "uri"), ("url = ''", r"\[store\]: url")])
def test_a_wrong_configuration_is_told(tmp_path: Path, line: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        make_project(tmp_path, f"{CONFIG}\n[store]\n{line}\n")
