"""A course of saves, crashes and tight disks, checked after every step: what must stay is there, and whole."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from ckptsync.core import fsio, heads, sets
from ckptsync.core.errors import StorageError
from ckptsync.core.layout import TrainingTree
from ckptsync.core.manifest import Manifest
from ckptsync.core.policy import SCORE
from ckptsync.core.session import EventLog, SavePolicy
from ckptsync.core.sets import SetState
from ckptsync.training.disk import Disk, Room
from ckptsync.training.resume import choose, roll_forward
from ckptsync.training.writer import Chain, Draft, Member, SetKeeper
from support.loops import model_writer
from support.watched import Call, WatchedOs, watching

_MEMORY = Path("/dev/shm")
_STEPS = st.integers(1, 60)
_SCORES = st.none() | st.integers(0, 20).map(float)
_KINDS = st.sampled_from(["periodic", "periodic", "periodic", "time", "request", "final"])


class Died(BaseException):
    """The process is gone: from here on it changes nothing."""


@dataclass(frozen=True)
class Sealed:
    """A set that was sealed and is to stay or may go."""

    num_timesteps: int
    generation: int
    score: float | None
    kind: str

    @property
    def order(self) -> tuple[int, int]:
        return (self.generation, self.num_timesteps)


class KeepingMachine(RuleBasedStateMachine):
    """Saves with the real keeper of sets, in a real folder; the model beside it knows what may never go."""

    steps = 0

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="ckptsync-test-", dir=_MEMORY if _MEMORY.is_dir() else None))
        self.tree = TrainingTree(self.folder / "models")
        fsio.make_folder(self.tree.checkpoints)
        self.there: dict[int, Sealed] = {}
        self.for_ever: set[int] = set()
        self.buckets: set[int] = set()
        self.damaged: set[int] = set()
        self.guaranteed = 0
        self.now = 0
        self.generation = 0

    def teardown(self) -> None:
        shutil.rmtree(self.folder)

    # --- what happens -------------------------------------------------------------------------------------------

    @initialize(
        keep_last=st.integers(1, 4), keep_best=st.integers(1, 3), keep_every_steps=st.none() | st.integers(50, 300)
    )
    def begin(self, keep_last: int, keep_best: int, keep_every_steps: int | None) -> None:
        self.policy = SavePolicy(keep_last=keep_last, keep_best=keep_best, keep_every_steps=keep_every_steps)
        self.best_due = keep_best
        self._new_session()
        self._resume()

    @rule(steps=_STEPS, score=_SCORES, kind=_KINDS)
    def save(self, steps: int, score: float | None, kind: str) -> None:
        self._advance(steps)
        self._write(score, kind)
        self._sealed(self.now, score, kind)

    @rule(steps=_STEPS, score=_SCORES, kind=_KINDS, at=st.integers(1, 60))
    def die_in_a_save(self, steps: int, score: float | None, kind: str, at: int) -> None:
        self._advance(steps)
        calls = 0

        def before(call: Call) -> None:
            nonlocal calls
            calls += 1
            if calls >= at:
                raise Died

        try:
            with watching(WatchedOs(before)):
                self._write(score, kind)
        except Died:
            pass
        self._new_session()
        if any(s.num_timesteps == self.now and s.state is SetState.SEALED for s in sets.scan(self.tree.checkpoints)):
            self._sealed(self.now, score, kind)
        self._resume()

    @rule(steps=_STEPS, score=_SCORES, kind=_KINDS, room=st.integers(0, 40_000), last_chance=st.booleans())
    def save_on_a_tight_disk(self, steps: int, score: float | None, kind: str, room: int, last_chance: bool) -> None:
        self._advance(steps)
        limit = fsio.used_bytes(self.folder) + 65_536 + room
        disk = Disk(self.folder, limit)
        events = EventLog(self.folder / "events.jsonl", None)
        self.keeper._room = Room(self.tree, "a", "l1", self.policy, disk, events, end_steps=10**6)
        # Before the new set is sealed those may be gone that it pushes out
        floor = 1 if last_chance else max(1, self.policy.keep_last - 1)
        self.guaranteed = min(self.guaranteed, floor)
        self.best_due = 1 if last_chance else self.policy.keep_best
        try:
            self._write(score, kind, last_chance=last_chance)
        except StorageError:
            return
        finally:
            self.keeper._room = None
        self._sealed(self.now, score, kind)

    @rule()
    def another_session(self) -> None:
        self._new_session()
        self._resume()

    @rule(data=st.data())
    def damage_an_old_seal(self, data: st.DataObject) -> None:
        head = heads.read_head(self.tree, "a")
        spared = {head.num_timesteps, *([self._n(head.best.stem)] if head.best else [])} if head else set()
        present = {s.num_timesteps for s in sets.scan(self.tree.checkpoints) if s.state is SetState.SEALED}
        may_break = sorted(present - spared)
        if len(may_break) < 3:
            return
        broken = data.draw(st.sampled_from(may_break[:-1]))
        (self.tree.checkpoints / f"a_checkpoint_{broken}_steps.manifest.json").write_bytes(b"{}")
        self.there.pop(broken, None)
        self.for_ever.discard(broken)
        self.damaged.add(broken)
        self.guaranteed = max(1, self.guaranteed - 1)

    # --- what must hold -----------------------------------------------------------------------------------------

    @invariant()
    def all_that_must_stay_is_there_and_whole(self) -> None:
        KeepingMachine.steps += 1
        found = sets.scan(self.tree.checkpoints)
        whole = {s.num_timesteps for s in found if s.state is SetState.SEALED}
        for stored in found:
            if stored.manifest is not None:
                assert sets.check_files(self.tree.checkpoints, stored.manifest) == ()
        assert {s.num_timesteps for s in found if s.state is SetState.CORRUPT} == self.damaged
        assert len(whole) >= self.guaranteed, f"fewer than {self.guaranteed}: {sorted(whole)}"
        assert self.for_ever <= whole, f"final ones and milestones went: {self.for_ever - whole}"
        if self.there:
            newest = sorted(self.there.values(), key=lambda s: s.order)[-max(1, self.guaranteed) :]
            assert {s.num_timesteps for s in newest} <= whole
            best = {s.num_timesteps for s in self._best()}
            assert best <= whole, f"the best went: {best - whole}"
            resume = choose(self.tree, "a")
            assert resume is not None
            assert resume.num_timesteps == newest[-1].num_timesteps
        # What has gone was free to go; it no longer counts among what is there
        self.best_due = self.policy.keep_best
        self.there = {n: sealed for n, sealed in self.there.items() if n in whole}

    # --- the model ----------------------------------------------------------------------------------------------

    def _advance(self, steps: int) -> None:
        self.now += steps

    def _sealed(self, num_timesteps: int, score: float | None, kind: str) -> None:
        self.there[num_timesteps] = Sealed(num_timesteps, self.generation_of_write, score, kind)
        self.guaranteed = min(self.policy.keep_last, self.guaranteed + 1)
        if kind == "final":
            self.for_ever.add(num_timesteps)
        every = self.policy.keep_every_steps
        if every and num_timesteps >= every and num_timesteps // every not in self.buckets:
            self.buckets.add(num_timesteps // every)
            self.for_ever.add(num_timesteps)

    def _best(self) -> list[Sealed]:
        scored = [s for s in sorted(self.there.values(), key=lambda s: s.order) if s.score is not None]
        return sorted(scored, key=lambda s: -(s.score or 0.0))[: self.best_due]

    # --- the keeper ---------------------------------------------------------------------------------------------

    def _write(self, score: float | None, kind: str, *, last_chance: bool = False) -> None:
        self.generation_of_write = self.generation
        metrics = {} if score is None else {SCORE: score}
        model = Member("model", "zip", model_writer(self.now, hidden=(2,)))
        self.keeper.write(Draft(self.now, (model,), metrics=metrics), kind, last_chance=last_chance)

    def _new_session(self) -> None:
        self.generation += 1
        sets.sweep(self.tree.checkpoints)
        roll_forward(self.tree, "a")

    def _resume(self) -> None:
        resume = choose(self.tree, "a")
        parent: Manifest | None = resume.stored.manifest if resume is not None else None
        self.now = max([self.now, *self.there, *self.damaged])
        self.keeper = SetKeeper(self.tree, "a", Chain("l1", self.generation), self.policy, parent)

    @staticmethod
    def _n(stem: str) -> int:
        return int(stem.split("_")[2])
