"""Strikes a whole restore and a whole undo: the tree is the old one or the new one, and the same command completes it."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from support import disks, figures
from support.crashcases import Case, assert_sound
from support.crashpoints import Ack, Strike
from support.projects import Script, ScriptedRunner, Told, make_project, seal_set
from support.strikes import Sweep, strikes
from support.toysets import segment_entry

from ckptsync.core import fsio, heads, sets
from ckptsync.core.errors import NothingFoundError, StorageError
from ckptsync.project.config import Project, load_project
from ckptsync.sync import launch, restore, runners, wait
from ckptsync.sync.fetch import fetch
from ckptsync.sync.launch import LaunchOptions
from ckptsync.sync.ledgers import find_record, open_ledger


def lay(root: Path) -> None:
    """Two sessions: the first is restored (head at 200), the second fetched (sets up to 400)."""
    project = make_project(root)
    away = ScriptedRunner(root.parent / "away", Script(rows=100), lambda session: find_record(project, session).spec)
    runners.RUNNERS["scripted"] = lambda _project, _settings: away
    try:
        for session in ("a/s0001", "a/s0002"):
            launch.start(project, launch.plan(project, project.run(None), LaunchOptions()), Told())
            wait.wait(project, session, reporter=Told())
            fetch(project, session, Told())
            if session == "a/s0001":
                _restore(root)
    finally:
        del runners.RUNNERS["scripted"]


def _restore(root: Path) -> None:
    project = load_project(root, environ={})
    restore.apply(project, restore.plan_restore(project, project.run(None)), Told())


def check(root: Path, acked: list[str], *, old: int, new: int) -> None:
    """Old or new, the head's set whole and first in line, nothing sealed broken; told is done."""
    project = load_project(root, environ={})
    tree = project.tree(project.run(None))
    head = heads.read_head(tree, "a")
    assert head is not None
    assert head.num_timesteps in ((new,) if acked else (old, new))
    standing = heads.standing(tree, sets.scan(tree.checkpoints), "a")
    assert (standing.head, standing.candidates[0].stem) == (head, head.stem)
    assert_sound(tree.checkpoints)
    for name in fsio.list_names(tree.attic):
        assert_sound(tree.attic / name)
    for steps in (100, 200, 300, 400):
        assert any(_everywhere(project, f"a_checkpoint_{steps}_steps")), f"the set at {steps} is gone"
    open_ledger(project).entries()


def _everywhere(project: Project, stem: str) -> list[Path]:
    return list(project.root.rglob(f"{stem}.manifest.json"))


def steps_in(root: Path) -> list[int]:
    """N of the sets in the tree."""
    return [stored.num_timesteps for stored in sets.scan(root / "data/models/checkpoints")]


def restoring() -> Case:
    """`ckptsync restore`."""

    def operate(root: Path, ack: Ack) -> None:
        _restore(root)
        ack("restored")

    def complete(root: Path) -> None:
        check(root, ["restored"], old=200, new=400)
        assert steps_in(root) == [300, 400]
        assert find_record(load_project(root, environ={}), "a/s0002").settled

    return Case("restore", lay, operate, lambda root, acked: check(root, acked, old=200, new=400), complete)


def undoing() -> Case:
    """`ckptsync restore --undo`."""

    def prepare(root: Path) -> None:
        lay(root)
        _restore(root)

    def operate(root: Path, ack: Ack) -> None:
        project = load_project(root, environ={})
        try:
            restore.undo(project, project.run(None))
        except NothingFoundError as error:
            if "undone already" not in error.message:
                raise
        ack("undone")

    def complete(root: Path) -> None:
        check(root, ["undone"], old=400, new=200)
        assert steps_in(root) == [100, 200]

    return Case("undo", prepare, operate, lambda root, acked: check(root, acked, old=400, new=200), complete)


# What a healing case finds damaged: the head's model, and a segment that all sets of the tree share
_DAMAGED = ("a_checkpoint_400_steps.zip", segment_entry("a", 100, 200).path)


def healing() -> Case:
    """`ckptsync restore` of a tree whose files are damaged: the head's set is there all the time."""

    def prepare(root: Path) -> None:
        lay(root)
        _restore(root)
        for name in _DAMAGED:
            path = root / "data/models/checkpoints" / name
            path.write_bytes(b"x" * path.stat().st_size)

    def operate(root: Path, ack: Ack) -> None:
        _restore(root)
        ack("restored")

    def look(root: Path, acked: list[str]) -> None:
        project = load_project(root, environ={})
        tree = project.tree(project.run(None))
        found = {s.num_timesteps: s.manifest for s in sets.scan(tree.checkpoints)}
        assert list(found) == [300, 400]
        head = heads.read_head(tree, "a")
        assert (head and head.digest) == (found[400] and found[400].digest)
        wrong = {
            f.subject for manifest in found.values() if manifest for f in sets.check_files(tree.checkpoints, manifest)
        }
        assert wrong <= (set() if acked else set(_DAMAGED))
        open_ledger(project).entries()

    def complete(root: Path) -> None:
        look(root, ["restored"])
        [kept] = {path.read_bytes() for path in (root / ".ckptsync/quarantine").rglob(_DAMAGED[0])}
        assert set(kept) == {ord("x")}

    return Case("heal", prepare, operate, look, complete)


def exchanging() -> Case:
    """`ckptsync restore --session` where the head is another set of the same N.

    Sets of one N have the same files' names, so for a moment the head names a set that is in the attic already; the
    same command completes it.
    """

    def prepare(root: Path) -> None:
        lay(root)
        project = load_project(root, environ={})
        tree = project.tree(project.run(None))
        mine = seal_set(tree.checkpoints, 400, seed=99, generation=9, rows=[200, 300, 400])
        heads.write_head(tree, heads.Head.of(mine))

    def operate(root: Path, ack: Ack) -> None:
        project = load_project(root, environ={})
        plan = restore.plan_restore(project, project.run(None), "a/s0002")
        restore.apply(project, plan, Told())
        ack("restored")

    def look(root: Path, acked: list[str]) -> None:
        project = load_project(root, environ={})
        tree = project.tree(project.run(None))
        places = [tree.checkpoints, *(tree.attic / name for name in fsio.list_names(tree.attic))]
        for place in places:
            assert_sound(place)
        kept = [s.manifest for place in places for s in sets.scan(place) if s.num_timesteps == 400]
        assert {9} <= {manifest.generation for manifest in kept if manifest is not None}
        head = heads.read_head(tree, "a")
        assert head is not None
        assert head.generation == 2 or not acked
        open_ledger(project).entries()

    def complete(root: Path) -> None:
        look(root, ["restored"])
        assert steps_in(root) == [300, 400]

    return Case("exchange", prepare, operate, look, complete)


CASES = pytest.mark.parametrize("case", [restoring(), undoing(), healing(), exchanging()], ids=lambda case: case.name)


@pytest.mark.slow
@pytest.mark.parametrize(("free", "hint"), [(0, "ckptsync clean"), (12 << 10, "ckptsync clean"), (None, "read-only")])
def test_a_restore_onto_a_full_or_read_only_disk_leaves_the_old_tree(
    fast_folder: Path, free: int | None, hint: str
) -> None:
    root = fast_folder / "project"
    with disks.small(root / "data") as data:
        lay(root)
        before = {path: path.read_bytes() for path in data.rglob("*") if path.is_file()}
        with (
            disks.read_only(data) if free is None else disks.full(data, leave=free),
            pytest.raises(StorageError) as caught,
        ):
            _restore(root)
        assert str(data) in caught.value.message
        assert hint in (caught.value.hint or "")
        check(root, [], old=200, new=200)
        assert {path: path.read_bytes() for path in before} == before
        _restore(root)
        check(root, ["restored"], old=200, new=400)


@CASES
@pytest.mark.slow
def test_a_struck_restore_is_old_or_new_and_completes(case: Case, fast_folder: Path) -> None:
    sweep = Sweep(case, fast_folder)
    for at in range(1, len(sweep.calls) + 1):
        sweep.strike(Strike(at, "kill") if at % 3 else Strike(at, "once", errno.ENOSPC))


@CASES
@pytest.mark.prove
@pytest.mark.timeout(3_600)
def test_a_restore_struck_in_every_way_is_old_or_new_and_completes(case: Case, fast_folder: Path) -> None:
    sweep = Sweep(case, fast_folder)
    every = list(strikes(sweep.calls))
    for strike in every:
        sweep.strike(strike)
    figures.record(f"strikes: {case.name}", calls=len(sweep.calls), points=len(every), broken=0)
