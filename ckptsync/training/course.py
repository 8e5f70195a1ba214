"""One scenario's course through one session: when to save, when to stop, what is written down.

The same for SB3 and for loops of one's own: they differ in how a set is drafted, not in when.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NoReturn

from ..core.errors import CkptsyncError
from ..core.forecast import SetSize
from ..core.layout import TrainingTree
from ..core.manifest import Manifest
from ..core.metrics import Stretch
from ..core.policy import SCORE, Moment, kind_to_save
from ..core.session import EventLog, SavePolicy, ScenarioSpec
from .disk import Disk, Room, expected_size
from .host import current_host
from .log import log
from .metrics import finite
from .outbox import Outbox
from .progress import SessionProgress
from .resume import Resume
from .saver import Order, Saver
from .stop import StopWatch
from .versions import current_versions
from .writer import Chain, Draft, SetKeeper


@dataclass(frozen=True)
class Surroundings:
    """What the scenarios of a session share.

    Args:
        tree: the training tree, locked by this session.
        policy: when to save and what to keep.
        max_steps: end after this many transitions in this session; None: no such limit.
        events: where everything is written down.
        stop: why to stop.
        writer: the thread that writes sets, one at a time.
        progress: what people see, and the metric history.
        disk: how much may be written.
        alone: whether the session has this one scenario only.
        leave: ends the process for a cause, from any thread, when training does not come back.
        outbox: sends sets to the store; None: none are sent.
    """

    tree: TrainingTree
    policy: SavePolicy
    max_steps: int | None
    events: EventLog
    stop: StopWatch
    writer: ThreadPoolExecutor
    progress: SessionProgress
    disk: Disk
    alone: bool
    leave: Callable[[str], NoReturn]
    outbox: Outbox | None = None

    def end_steps(self, spec: ScenarioSpec, begun_at: int) -> int:
        """Return the num_timesteps that a scenario may reach in this session."""
        most = spec.total_timesteps if self.max_steps is None else begun_at + self.max_steps
        return min(spec.total_timesteps, most)


@dataclass(frozen=True)
class Decision:
    """What happens at a clean point.

    Args:
        cause: why training stops here; None: it goes on.
        kind: under which a save is made now; None: none is made.
        numbers: finite numbers at this moment.
    """

    cause: str | None
    kind: str | None
    numbers: Mapping[str, float]


class Course:
    """Decides and records; to be asked wherever training can go on exactly.

    Args:
        spec: the scenario.
        surroundings: what it shares with the others.
        chain: where its sets belong.
        resume: what it starts from; None: from zero.
        fidelity: what the resume used, with reasons.
        model: the model of SB3 that it trains, by which the size of its sets is known; None: there is none.

    Raises:
        StorageError: what the policy keeps does not fit on the disk.
    """

    def __init__(
        self,
        spec: ScenarioSpec,
        surroundings: Surroundings,
        chain: Chain,
        resume: Resume | None,
        fidelity: tuple[str, tuple[str, ...]] | None,
        model: Any = None,
    ) -> None:
        self._spec = spec
        self._around = surroundings
        parent = resume.stored.manifest if resume else None
        self.begun_at = resume.num_timesteps if resume else 0
        end_steps = surroundings.end_steps(spec, self.begun_at)
        room = Room(
            surroundings.tree,
            spec.name,
            chain.lineage,
            surroundings.policy,
            surroundings.disk,
            surroundings.events,
            end_steps=end_steps,
        )
        self._keeper = SetKeeper(
            surroundings.tree, spec.name, chain, surroundings.policy, parent, alone=surroundings.alone, room=room
        )
        trained_before = parent.metrics.get("training_seconds", 0.0) if parent else 0.0
        self.saver = Saver(
            spec.name,
            self._keeper,
            surroundings.writer,
            surroundings.events,
            surroundings.stop,
            begun_at=self.begun_at,
            trained_before=trained_before,
            outbox=surroundings.outbox,
        )
        self._passed = time.monotonic()
        self._progress = surroundings.progress.begin(
            Stretch(
                scenario=spec.name,
                begun_at=self.begun_at,
                session=chain.session,
                lineage=chain.lineage,
                generation=chain.generation,
                target=spec.total_timesteps,
                resumed_from=chain.resumed_from,
            )
        )
        surroundings.events.write(
            "start",
            scenario=spec.name,
            num_timesteps=self.begun_at,
            target=spec.total_timesteps,
            resumed_from=chain.resumed_from.to_json() if chain.resumed_from else None,
            fidelity={"resumed": fidelity[0], "reasons": list(fidelity[1])} if fidelity else None,
            versions=current_versions(),
            host=current_host(),
            training_seconds=round(trained_before, 3),
        )
        if self.begun_at < spec.total_timesteps:
            if model is not None:
                room.expect(expected_size(model, parent, end_steps), self.begun_at)
            elif parent is not None:
                room.expect(SetSize.of(parent, end_steps=end_steps), self.begun_at)

    def cause(self, num_timesteps: int) -> str | None:
        """Return why training stops at this clean point, or None."""
        if num_timesteps >= self._spec.total_timesteps:
            return "target"
        # Until the next clean point comes as long as since the last one
        if (stopping := self._around.stop.cause(needed_seconds=time.monotonic() - self._passed)) is not None:
            return stopping
        limit = self._around.max_steps
        return "steps" if limit is not None and num_timesteps - self.begun_at >= limit else None

    def decide(self, num_timesteps: int, values: Mapping[str, Any], *, stopping: str | None = None) -> Decision:
        """Say what happens at this clean point.

        While a write is under way nothing else is begun: a save that is due waits for it, and the newest
        clean point of then is saved. A stop waits for that write here.

        Args:
            num_timesteps: N now.
            values: `ep_rew_mean` and the numbers of the training log.
            stopping: why training has stopped already; None: decide it here.
        """
        cause = stopping or self.cause(num_timesteps)
        numbers = finite(values)
        if cause is not None:
            self.saver.settle()
        elif self.saver.busy:
            return Decision(None, None, numbers)
        return Decision(cause, self._kind(num_timesteps, numbers, cause), numbers)

    def _kind(self, num_timesteps: int, numbers: Mapping[str, float], cause: str | None) -> str | None:
        saver, moment = self.saver, time.monotonic()
        if cause is None:
            if num_timesteps <= saver.last_saved or moment < saver.retry_at:
                return None
            if self._around.stop.save_requested():
                return "request"
        return kind_to_save(
            self._around.policy,
            Moment(
                num_timesteps,
                saver.last_saved,
                moment - saver.saved_at,
                score=numbers.get(SCORE),
                best_score=self._keeper.best.score if self._keeper.best else None,
                stopping=cause,
                stall_seconds=saver.stall_seconds,
                write_seconds=saver.write_seconds,
            ),
        )

    def passed(self, num_timesteps: int, numbers: Mapping[str, float]) -> None:
        """Take notice that a clean point is dealt with: training goes on."""
        self._passed = time.monotonic()
        self._progress.update(num_timesteps, numbers)

    def clean_point(self, num_timesteps: int, draft: Callable[[], Draft], values: Mapping[str, Any]) -> str | None:
        """Save when it is time to, wait for it, and say why training stops here.

        Args:
            num_timesteps: N now.
            draft: makes the set that would be saved.
            values: `ep_rew_mean` and further numbers.

        Returns:
            The cause, or None to go on.

        Raises:
            CkptsyncError: the last save of the scenario failed; an earlier one is tried again instead.
        """
        with self._around.stop.undisturbed():
            decision = self.decide(num_timesteps, values)
            if decision.kind is not None:
                try:
                    last = decision.cause is not None
                    self.save(num_timesteps, draft, decision.kind, decision.numbers, last=last).result()
                except (CkptsyncError, OSError):
                    if decision.cause is not None:  # the last chance; an earlier save has others, and it was told
                        raise
            self.passed(num_timesteps, decision.numbers)
            return decision.cause

    def save(
        self,
        num_timesteps: int,
        draft: Callable[[], Draft],
        kind: str,
        numbers: Mapping[str, float],
        *,
        last: bool = False,
    ) -> Future[Manifest]:
        """Begin a save for which training waits; see `Saver.save`."""
        return self.saver.save(Order(num_timesteps, kind, draft, numbers, time.monotonic(), waits=True, last=last))

    def end(self, cause: str, num_timesteps: int, values: Mapping[str, Any]) -> None:
        """Write down how the scenario ended in this session, behind the last write."""
        self.saver.settle()
        self._progress.end(num_timesteps, finite(values))
        if cause == "target":
            self.saver.note_exports(self._keeper.export_final())
        self._around.events.write(
            "end",
            scenario=self._spec.name,
            cause=cause,
            num_timesteps=num_timesteps,
            seconds=round(self._progress.seconds, 3),
            checkpoints=self.saver.count,
            signal=self._around.stop.signal_name if cause == "signal" else None,
        )
        log(f"[TRAIN] {self._spec.name} stops at {num_timesteps:,}/{self._spec.total_timesteps:,} steps: {cause}")

    @property
    def newest(self) -> Manifest | None:
        """The newest sealed set, or None; to be read when no write is under way."""
        return self._keeper.latest
