"""How far the long commands over a store say that they are: in bytes, up to an end that they know."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.projects import CONFIG, make_project, seal_set, set_head

from ckptsync.project.config import Project
from ckptsync.sync.reporting import Meter, NullReporter
from ckptsync.sync.store.copy import copy
from ckptsync.sync.store.prune import prune
from ckptsync.sync.store.pull import pull
from ckptsync.sync.store.push import push
from ckptsync.sync.store.repair import repair
from ckptsync.sync.store.scrub import scrub
from ckptsync.sync.store.stores import init_store

pytestmark = pytest.mark.slow


class Written:
    """A meter that remembers."""

    def __init__(self, total: int | None, unit: str) -> None:
        self.total, self.unit, self.position = total, unit, 0

    def advance(self, amount: int) -> None:
        self.position += amount

    def set(self, position: int) -> None:
        self.position = position

    def expect(self, total: int) -> None:
        self.total = total

    def note(self, text: str) -> None:
        raise AssertionError("nobody notes anything")


class Watching(NullReporter):
    """Keeps the meters that were given out."""

    def __init__(self) -> None:
        self.meters: dict[str, Written] = {}

    @contextmanager
    def progress(self, label: str, total: int | None, unit: str = "B") -> Iterator[Meter]:
        self.meters[label] = Written(total, unit)
        yield self.meters[label]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = make_project(tmp_path / "project", CONFIG + '\n[store]\nurl = "../store"\n')
    init_store(project)
    init_store(project, "../far")
    tree = project.tree(project.run("a"))
    for steps in (100, 200, 300, 400):
        set_head(tree, seal_set(tree.checkpoints, steps, rows=(0, 50, steps)))
    push(project, project.run("a"), NullReporter())
    return project


@pytest.mark.parametrize(
    ("label", "command"),
    [
        ("scrubbing", lambda project, run, watching: scrub(project, watching)),
        ("looking for damage", lambda project, run, watching: repair(project, watching)),
        ("removing", lambda project, run, watching: prune(project, run, watching, keep_last=1)),
        ("copying", lambda project, run, watching: copy(project, run, "../far", watching)),
    ],
)
def test_the_end_is_known_and_reached(
    project: Project, label: str, command: Callable[[Project, object, Watching], object]
) -> None:
    watching = Watching()
    command(project, project.run("a"), watching)
    meter = watching.meters[label]
    assert meter.unit == "B"
    assert meter.total == meter.position > 0


def test_push_and_pull_count_the_bytes_of_checkpoints(project: Project, tmp_path: Path) -> None:
    watching = Watching()
    push(project, project.run("a"), watching, url="../far")
    assert watching.meters["pushing"].total == watching.meters["pushing"].position > 0
    elsewhere = make_project(tmp_path / "elsewhere", CONFIG + '\n[store]\nurl = "../store"\n')
    pull(elsewhere, elsewhere.run("a"), watching)
    meter = watching.meters["pulling a_checkpoint_400_steps"]
    assert meter.total == meter.position > 0


def test_a_part_of_a_scrub_has_an_end_of_its_own(project: Project) -> None:
    totals = []
    for number in (1, 2, 3):
        watching = Watching()
        scrub(project, watching, part=(number, 3))
        meter = watching.meters["scrubbing"]
        assert meter.total == meter.position
        totals.append(meter.position)
    watching = Watching()
    scrub(project, watching)
    assert sum(totals) == watching.meters["scrubbing"].position
