"""tag and rollback: names of versions in a store, and heads that go back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from support.projects import WITH_STORE, make_project, make_project_with_store, seal_set, set_head

from ckptsync.core import fsio, heads, sets
from ckptsync.core.errors import CkptsyncError, LockedError, NothingFoundError, UsageError
from ckptsync.core.manifest import Manifest
from ckptsync.project.config import Project
from ckptsync.store.repository import push_set
from ckptsync.sync import standing_at
from ckptsync.sync.reporting import NullReporter
from ckptsync.sync.store.pull import pull
from ckptsync.sync.store.push import push
from ckptsync.sync.store.rollback import Local, RollbackReport, rollback
from ckptsync.sync.store.stores import list_store, opened
from ckptsync.sync.store.tagging import tag, untag
from ckptsync.sync.store.version_names import find_version
from ckptsync.sync.treework import head_in_file

pytestmark = pytest.mark.slow

REPORTER = NullReporter()


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Three versions, the second one the best, the last two of the second session."""
    project = make_project_with_store(tmp_path / "project")
    for steps, score, generation in ((100, 1.0, 1), (200, 9.0, 2), (300, 2.0, 2)):
        grow(project, steps, score, generation)
    return project


def grow(project: Project, steps: int, score: float, generation: int) -> Manifest:
    tree = project.tree(project.run("a"))
    made = seal_set(tree.checkpoints, steps, metrics={"ep_rew_mean": score}, generation=generation)
    set_head(tree, made)
    push(project, project.run("a"), REPORTER)
    return made


def local_head(project: Project) -> int | None:
    head = head_in_file(project.tree(project.run("a")), "a")
    return head.num_timesteps if head is not None else None


def store_head(project: Project) -> int:
    (found,) = (item.key.num_timesteps for item in list_store(project, project.run("a")).versions if item.head)
    return found


def stems(project: Project) -> list[int]:
    return sorted(stored.num_timesteps for stored in sets.scan(project.tree(project.run("a")).checkpoints))


def back(project: Project, word: str, **options: bool) -> RollbackReport:
    return rollback(project, project.run("a"), word, **options)


@pytest.mark.parametrize(
    ("word", "steps"), [("head", 300), ("best", 200), ("100", 100), ("a_checkpoint_200_steps", 200), ("mine", 100)]
)
def test_a_version_is_found_by_its_names(project: Project, word: str, steps: int) -> None:
    run = project.run("a")
    tag(project, run, "mine", "100")
    with opened(project) as repository:
        found = find_version(repository, run, word)
        assert found.num_timesteps == steps
        assert find_version(repository, run, found.digest) == found
        assert find_version(repository, run, found.digest[7:15]) == found


@pytest.mark.parametrize("word", ["400", "gone", "12ab", "../x", "", "\x1b[2J"])
def test_what_names_no_version_is_told(project: Project, word: str) -> None:
    with opened(project) as repository, pytest.raises(NothingFoundError, match="no version") as raised:
        find_version(repository, project.run("a"), word)
    assert "ls a --store" in (raised.value.hint or "")
    assert "\x1b" not in raised.value.message


def test_a_word_that_means_several_is_told(project: Project) -> None:
    with opened(project) as repository:
        push_again = seal_set(project.root / "other", 200, generation=5)
        push_set(repository, "a", project.root / "other", push_again.stem, advance=False)
        with pytest.raises(UsageError, match=push_again.digest[7:19]):
            find_version(repository, project.run("a"), "200")


def test_a_tag_is_given_moved_and_taken_away(project: Project) -> None:
    run = project.run("a")
    assert tag(project, run, "good", "best", dry_run=True).version.num_timesteps == 200
    assert tag(project, run, "good", "best").before is None
    assert tag(project, run, "good", "200").before is None
    with pytest.raises(UsageError, match="already"):
        tag(project, run, "good", "100")
    moved = tag(project, run, "good", "100", move=True)
    assert moved.before is not None
    assert moved.before.num_timesteps == 200
    assert untag(project, run, "good", dry_run=True).version.num_timesteps == 100
    assert [item.tags for item in list_store(project, run).versions] == [("good",), (), ()]
    assert untag(project, run, "good").removed
    with pytest.raises(NothingFoundError, match="no tag 'good'"):
        untag(project, run, "good")


@pytest.mark.parametrize("name", ["head", "best", "100", "a/b", "..", ""])
def test_some_names_cannot_be_tags(project: Project, name: str) -> None:
    with pytest.raises(CkptsyncError):
        tag(project, project.run("a"), name, "head")


def test_both_heads_go_back_and_nothing_is_erased(project: Project) -> None:
    report = back(project, "100")
    assert (report.local, report.gave_way) == (Local.MOVED, ("a_checkpoint_200_steps", "a_checkpoint_300_steps"))
    assert (store_head(project), local_head(project), stems(project)) == (100, 100, [100])
    assert len(list_store(project, project.run("a")).versions) == 3
    head = head_in_file(project.tree(project.run("a")), "a")
    assert head is not None
    assert head.best is not None
    assert head.best.score == 1.0
    again = back(project, "100")
    assert (again.before, again.local) == (again.version, Local.UNCHANGED)


def test_a_rollback_is_taken_back_by_another_one(project: Project) -> None:
    back(project, "100")
    assert back(project, "300").local is Local.MISSING
    pull(project, project.run("a"), REPORTER)
    assert (store_head(project), local_head(project)) == (300, 300)


def test_a_dry_run_changes_nothing(project: Project) -> None:
    report = back(project, "100", dry_run=True)
    assert (report.dry_run, report.local) == (True, Local.MOVED)
    assert (store_head(project), local_head(project), stems(project)) == (300, 300, [100, 200, 300])


def test_another_machine_follows_a_rollback(project: Project, tmp_path: Path) -> None:
    other = make_project(tmp_path / "other", WITH_STORE)
    run = other.run("a")
    pull(other, run, REPORTER)
    back(project, "100")
    (pulled,) = pull(other, run, REPORTER).scenarios
    assert not pulled.behind
    assert (local_head(other), stems(other)) == (100, [100])
    assert pull(other, run, REPORTER).scenarios[0].behind


def test_a_session_that_was_started_later_is_not_called_back(project: Project) -> None:
    back(project, "100")
    tree = project.tree(project.run("a"))
    set_head(tree, seal_set(tree.checkpoints, 150, generation=3))
    assert pull(project, project.run("a"), REPORTER).scenarios[0].behind
    push(project, project.run("a"), REPORTER)
    assert store_head(project) == 150


def test_two_rollbacks_in_a_row_leave_what_the_first_one_left(project: Project) -> None:
    back(project, "200")
    back(project, "100")
    tree = project.tree(project.run("a"))
    set_head(tree, seal_set(tree.checkpoints, 400, generation=2))  # a session that still ran
    push(project, project.run("a"), REPORTER)
    assert store_head(project) == 100
    back(project, "300")
    assert store_head(project) == 300


@pytest.mark.parametrize("place", ["write_head", "set_aside", "renew_exports"])
def test_a_rollback_that_was_cut_short_is_completed(
    project: Project, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    where: object = {"write_head": heads, "set_aside": sets, "renew_exports": standing_at}[place]
    whole: Callable[..., object] = getattr(where, place)

    def die(*arguments: object) -> None:
        whole(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(where, place, die)
        with pytest.raises(KeyboardInterrupt):
            back(project, "100")
    back(project, "100")
    assert (store_head(project), local_head(project), stems(project)) == (100, 100, [100])


def test_a_tree_at_work_is_not_touched(project: Project) -> None:
    tree = project.tree(project.run("a"))
    with fsio.locked(tree.lock, what="training"), pytest.raises(LockedError):
        back(project, "100")
    assert stems(project) == [100, 200, 300]
    assert back(project, "100").local is Local.MOVED
