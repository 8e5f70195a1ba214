"""One scenario's course through one session: when to save, when to stop, what is written down.

The same for SB3 and for loops of one's own: they differ in how a set is drafted, not in when.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..core.errors import CkptsyncError
from ..core.layout import TrainingTree
from ..core.metrics import Segment
from ..core.policy import Moment, kind_to_save
from ..core.session import EventLog, SavePolicy, ScenarioSpec
from .host import current_host
from .progress import SessionProgress, finite, log
from .resume import Resume
from .stop import StopWatch
from .versions import current_versions
from .writer import SCORE, Chain, Draft, SetKeeper

# Saves get slower as disks fill: leave room for one that takes this many times as long as the slowest so far
_SAVE_ALLOWANCE = 1.5
# A failed save is tried again, though not at every step of an off-policy loop
_RETRY_SECONDS = 10.0


@dataclass(frozen=True)
class Surroundings:
    """What the scenarios of a session share.

    Args:
        tree: the training tree, locked by this session.
        policy: when to save and what to keep.
        max_steps: end after this many transitions in this session; None: no such limit.
        events: where everything is written down.
        stop: why to stop.
        progress: what people see, and the metric history.
        alone: whether the session has this one scenario only.
    """

    tree: TrainingTree
    policy: SavePolicy
    max_steps: int | None
    events: EventLog
    stop: StopWatch
    progress: SessionProgress
    alone: bool


class Course:
    """Decides and records; `clean_point` is called wherever training can go on exactly.

    Args:
        spec: the scenario.
        surroundings: what it shares with the others.
        chain: where its sets belong.
        resume: what it starts from; None: from zero.
        fidelity: what the resume used, with reasons.
    """

    def __init__(
        self,
        spec: ScenarioSpec,
        surroundings: Surroundings,
        chain: Chain,
        resume: Resume | None,
        fidelity: tuple[str, tuple[str, ...]] | None,
    ) -> None:
        self._spec = spec
        self._around = surroundings
        parent = resume.stored.manifest if resume else None
        self._keeper = SetKeeper(
            surroundings.tree, spec.name, chain, surroundings.policy, parent, alone=surroundings.alone
        )
        self.begun_at = resume.num_timesteps if resume else 0
        self._trained_before = parent.metrics.get("training_seconds", 0.0) if parent else 0.0
        self._begun = self._passed = self._saved_at = time.monotonic()
        self.last_saved = self.begun_at
        self._slowest_save = 0.0
        self._failures = 0
        self._retry_at = 0.0
        self.checkpoints = 0
        self._progress = surroundings.progress.begin(
            Segment(
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
            training_seconds=round(self._trained_before, 3),
        )

    def cause(self, num_timesteps: int) -> str | None:
        """Return why training stops at this clean point, or None."""
        if num_timesteps >= self._spec.total_timesteps:
            return "target"
        if (stopping := self._around.stop.cause(needed_seconds=self._needed_seconds())) is not None:
            return stopping
        limit = self._around.max_steps
        return "steps" if limit is not None and num_timesteps - self.begun_at >= limit else None

    def clean_point(
        self,
        num_timesteps: int,
        draft: Callable[[], Draft],
        values: Mapping[str, Any],
        *,
        stopping: str | None = None,
    ) -> str | None:
        """Save when it is time to, and say why training stops here.

        Args:
            num_timesteps: N now.
            draft: makes the set that would be saved.
            values: `ep_rew_mean` and the numbers of the training log.
            stopping: why training has stopped already; None: decide it here.

        Returns:
            The cause, or None to go on.

        Raises:
            CkptsyncError: the last save of the scenario failed; an earlier one is tried again instead.
        """
        cause = stopping or self.cause(num_timesteps)
        numbers = finite(values)
        score = numbers.get(SCORE)
        best = self._keeper.best.score if self._keeper.best else None
        moment = Moment(num_timesteps, self.last_saved, time.monotonic() - self._saved_at, score, best, cause)
        kind = kind_to_save(self._around.policy, moment)
        if kind is not None and (cause is not None or time.monotonic() >= self._retry_at):
            try:
                self.save(num_timesteps, draft, kind, numbers)
            except (CkptsyncError, OSError):
                if cause is not None:  # the last chance; an earlier save has others, and what went wrong is told
                    raise
        self._passed = time.monotonic()
        self._progress.update(num_timesteps, numbers)
        return cause

    def end(self, cause: str, num_timesteps: int, values: Mapping[str, Any]) -> None:
        """Write down how the scenario ended in this session."""
        self._progress.end(num_timesteps, finite(values))
        if cause == "target":
            self._keeper.export_final()
        self._around.events.write(
            "end",
            scenario=self._spec.name,
            cause=cause,
            num_timesteps=num_timesteps,
            seconds=round(self._progress.seconds, 3),
            checkpoints=self.checkpoints,
            signal=self._around.stop.signal_name if cause == "signal" else None,
        )
        log(f"[TRAIN] {self._spec.name} stops at {num_timesteps:,}/{self._spec.total_timesteps:,} steps: {cause}")

    @property
    def sealed(self) -> str | None:
        """Digest of the newest sealed set's manifest, or None."""
        return self._keeper.latest.digest if self._keeper.latest else None

    def _needed_seconds(self) -> float:
        # Until the next clean point comes as long as since the last one, and then it must still be saved
        return (time.monotonic() - self._passed) + _SAVE_ALLOWANCE * self._slowest_save

    def save(self, num_timesteps: int, draft: Callable[[], Draft], kind: str, numbers: Mapping[str, float]) -> str:
        """Save now and write it down, also when it fails; return the manifest's digest.

        Args:
            num_timesteps: N now.
            draft: makes the set.
            kind: one of the manifest's KINDS.
            numbers: finite numbers at this moment.

        Raises:
            Exception: whatever went wrong.
        """
        try:
            made = draft()
            trained = round(self._trained_before + time.monotonic() - self._begun, 3)
            metrics = {**numbers, **made.metrics, "training_seconds": trained}
            saved = self._keeper.write(replace(made, metrics=metrics), kind)
        except Exception as error:
            self._failed(num_timesteps, kind, error)
            raise
        self.last_saved, self._saved_at = num_timesteps, time.monotonic()
        self._slowest_save = max(self._slowest_save, saved.seconds)
        self.checkpoints += 1
        manifest = saved.manifest
        self._around.events.write(
            "save",
            scenario=self._spec.name,
            stem=manifest.stem,
            num_timesteps=num_timesteps,
            kind=kind,
            digest=manifest.digest,
            seconds=round(saved.seconds, 4),
            size_bytes=manifest.size_bytes,
            metrics=dict(manifest.metrics),
        )
        for stem in saved.removed:
            self._around.events.write("removed", scenario=self._spec.name, stem=stem)
        size = manifest.size_bytes / 1e6
        log(f"[CHECKPOINT] Saved {manifest.stem} ({kind}, {size:.2f} MB, {saved.seconds:.2f} s)")
        return manifest.digest

    def _failed(self, num_timesteps: int, kind: str, error: Exception) -> None:
        self._failures += 1
        self._retry_at = time.monotonic() + _RETRY_SECONDS
        self._around.events.write(
            "failed-save",
            scenario=self._spec.name,
            num_timesteps=num_timesteps,
            kind=kind,
            error=f"{type(error).__name__}: {error}",
            failures=self._failures,
        )
        log(f"[CHECKPOINT] Save at {num_timesteps:,} steps failed ({self._failures} so far): {error}")
