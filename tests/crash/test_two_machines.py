"""Two machines dispatch, collect, lose answers, die and forget, in any order: no head is lost, none goes back.

One acts in the middle of what the other does: at the moments at which a service is asked, the other machine may have
its turn, the answer may be lost, or the machine may die.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest
from support import figures
from support.machines import Machine, Machines, Version
from support.projects import CONFIG, Script, make_project

from ckptsync.core import sets
from ckptsync.core.errors import CkptsyncError
from ckptsync.core.heads import Head
from ckptsync.core.manifest import Manifest
from ckptsync.core.session import SessionSpec
from ckptsync.project.lineage import descends
from ckptsync.runners.base import SessionState
from ckptsync.sync import launch
from ckptsync.sync.launch import LaunchOptions
from ckptsync.testing.remote import Lost

SAMPLE = 20
PROVED = 500
_TURNS = 20
_ENDS = (SessionState.COMPLETE, SessionState.COMPLETE, SessionState.TIMED_OUT, SessionState.ERROR)


class Death(BaseException):
    """The process was killed."""


class World:
    """Two machines and what must be true of them.

    Args:
        folder: for all of it.
        cache: what a first launch has packed.
        seed: decides everything.
    """

    def __init__(self, folder: Path, cache: Path, seed: int) -> None:
        self.chance = random.Random(seed)
        self.machines = Machines(folder, cache)
        self.machines.service.fault = self._fault
        self.clones: dict[str, Machine] = {name: self.machines.machine(name) for name in ("one", "two")}
        self.heads: dict[str, Head | None] = dict.fromkeys(self.clones)
        self.held: dict[str, Head] = {}
        self.faults = 0
        self._acting: list[str] = []
        self._faulty = True

    def play(self) -> None:
        """Take turns, then let both machines come to the end of it."""
        for _ in range(_TURNS):
            self._turn(self.chance.choice(list(self.clones)))
        self._faulty = False
        self.machines.finish()
        for name in (*self.clones, *self.clones):
            self._act(name, "collect")
        self._check_end()

    def _turn(self, name: str) -> None:
        self.machines.script = Script(self.chance.choice([(), (100,), (100, 200)]), state=SessionState.RUNNING)
        act = self.chance.choices(["dispatch", "collect", "end", "forget"], [5, 3, 4, 1])[0]
        running = [version for version in self.machines.versions if version.running]
        if act == "end" and running:
            self.chance.choice(running).finish(self.chance.choice(_ENDS))
        elif act == "forget":
            self.clones[name] = self.machines.machine(name)
            self.heads[name] = None
        elif act != "end":
            self._act(name, act)

    def _act(self, name: str, act: str) -> None:
        self._acting.append(name)
        machine = self.clones[name]
        try:
            if act == "dispatch":
                machine.dispatch(seed=self.chance.randrange(3))
            else:
                machine.collect()
        except (CkptsyncError, Death):
            pass
        finally:
            self._acting.pop()
        self._check(name)

    def _fault(self, moment: str) -> None:
        if not self._faulty:
            return
        drawn = self.chance.random()
        if drawn < 0.03:
            self.faults += 1
            raise Lost(f"no answer at {moment}")
        if drawn < 0.06:
            self.faults += 1
            raise Death
        # Just before a push is the moment for a race
        if len(self._acting) == 1 and drawn < (0.5 if moment == "push" else 0.12):
            other = next(name for name in self.clones if name != self._acting[0])
            self._act(other, self.chance.choice(["dispatch", "dispatch", "collect"]))

    # --- what must be true

    @property
    def line(self) -> list[Version]:
        """The sessions: of those of one name, the first."""
        first: dict[str, Version] = {}
        for version in self.machines.versions:
            first.setdefault(version.told().session, version)
        return list(first.values())

    def _known(self) -> tuple[Mapping[str, Manifest], Mapping[str, SessionSpec]]:
        made = {m.digest: m for version in self.machines.versions for m in version.made()}
        return made, {version.told().session: version.told() for version in self.line}

    def _check(self, name: str) -> None:
        """The head is a set of the line, whole, and reached from the head before."""
        machine, before = self.clones[name], self.heads[name]
        head = self.heads[name] = machine.head
        if head is None:
            assert before is None, f"{name} has lost its head"
            return
        made, sessions = self._known()
        assert head.digest in {m.digest for version in self.line for m in version.made()}, "the head is of a branch"
        stored = sets.find(machine.project.tree(machine.run).checkpoints, head.stem)
        assert stored is not None
        assert stored.manifest == made[head.digest]
        assert sets.check_files(stored.folder, stored.manifest) == ()
        if before is not None:
            assert descends(made[head.digest], made[before.digest], known=made, sessions=sessions), "it went back"
        self.held[head.digest] = head

    def _check_end(self) -> None:
        """Both stand at the newest set of one chain, and every head that anybody ever had lies on it."""
        made, sessions = self._known()
        newest = max(
            (m for version in self.line for m in version.made()),
            key=lambda m: (m.lineage, m.generation, m.num_timesteps),
            default=None,
        )
        for name, machine in self.clones.items():
            head = machine.head
            assert (head.digest if head else None) == (newest.digest if newest else None), f"{name}: {head}"
        for head in self.held.values():
            assert newest is not None
            assert descends(newest, made[head.digest], known=made, sessions=sessions), f"{head} is lost"
        for version in self.machines.versions:
            for manifest in version.made():
                assert sets.check_files(next(version.folder.rglob("checkpoints")), manifest) == ()


def _played(folder: Path, cache: Path, seed: int) -> World:
    world = World(folder / str(seed), cache, seed)
    with world.machines.connected():
        world.play()
    return world


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a first launch has packed."""
    project = make_project(tmp_path_factory.mktemp("packed"), CONFIG)
    launch.plan(project, project.run(None), LaunchOptions(runner="local"))
    return project.layout.cache


@pytest.mark.slow
def test_two_machines_never_lose_a_head(fast_folder: Path, cache: Path) -> None:
    races = 0
    for seed in range(SAMPLE):
        world = _played(fast_folder, cache, seed)
        races += len(world.machines.versions) - len(world.line)
    assert races  # else nothing was tried


@pytest.mark.slow
def test_a_session_that_came_second_does_not_replace_one_that_lies_further_back(fast_folder: Path, cache: Path) -> None:
    _played(fast_folder, cache, 408)  # once, the newest two that were looked at were another's head and such a double


@pytest.mark.prove
@pytest.mark.timeout(3_600)
def test_two_machines_never_lose_a_head_in_any_order(fast_folder: Path, cache: Path) -> None:
    counts = dict.fromkeys(("orders", "pushes", "lost races", "faults", "heads", "lost", "went back"), 0)
    for seed in range(PROVED):
        world = _played(fast_folder, cache, seed)
        counts["orders"] += 1
        counts["pushes"] += len(world.machines.versions)
        counts["lost races"] += len(world.machines.versions) - len(world.line)
        counts["faults"] += world.faults
        counts["heads"] += len(world.held)
        shutil.rmtree(world.machines.folder)
    figures.record("two machines", **counts)
