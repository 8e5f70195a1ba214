"""The saves of one scenario: written by a thread of its own, one at a time, counted and written down.

One rule keeps it simple: what a save changes (the keeper of the sets, the counters here) is changed by the
writer's thread alone, and the training thread reads it when no write is under way.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

from ..core.manifest import Manifest
from ..core.session import EventLog
from .log import log
from .outbox import Outbox
from .stop import StopWatch
from .writer import Draft, Saved, SetKeeper

# A failed save is tried again, though not at every step of an off-policy loop
_RETRY_SECONDS = 10.0
# Saves get slower as disks fill: leave room for one that takes this many times as long as the slowest so far
_SAVE_ALLOWANCE = 1.5


@dataclass(frozen=True)
class Order:
    """One save that is to be made.

    Args:
        num_timesteps: N.
        kind: one of the manifest's KINDS.
        draft: makes the set; called by the writer's thread.
        numbers: finite numbers at this moment.
        taken_at: when it was that moment, on the clock of `time.monotonic`.
        stall_seconds: how long training was held up for it before the order.
        waits: training also waits for the end of the save.
        last: training has ended, so no later save can make up for this one.
    """

    num_timesteps: int
    kind: str
    draft: Callable[[], Draft]
    numbers: Mapping[str, float]
    taken_at: float
    stall_seconds: float = 0.0
    waits: bool = False
    last: bool = False


class Saver:
    """Makes the saves of one scenario.

    Args:
        scenario: its name.
        keeper: of its sets.
        thread: the session's one writer.
        events: where saves and failures are written down.
        stop: is told how long a save takes, and that a request is answered.
        begun_at: N at the start of this session.
        trained_before: seconds of training in the sessions before.
        outbox: is offered every set; None: they stay here.
    """

    def __init__(
        self,
        scenario: str,
        keeper: SetKeeper,
        thread: ThreadPoolExecutor,
        events: EventLog,
        stop: StopWatch,
        *,
        begun_at: int,
        trained_before: float,
        outbox: Outbox | None = None,
    ) -> None:
        self._outbox = outbox
        self._scenario = scenario
        self._keeper = keeper
        self._thread = thread
        self._events = events
        self._stop = stop
        self._trained_before = trained_before
        self._begun = time.monotonic()
        self._under_way: Future[Manifest] | None = None
        self._failures = 0
        self._told_reasons: tuple[str, ...] = ()
        self.last_saved = begun_at
        self.saved_at = self._begun
        self.retry_at = 0.0
        self.count = 0
        self.stall_seconds: float | None = None
        self.write_seconds = 0.0

    @property
    def busy(self) -> bool:
        """Whether a write is under way."""
        return self._under_way is not None and not self._under_way.done()

    def settle(self) -> None:
        """Wait until no write is under way. A save that failed has been counted and told of."""
        if self._under_way is not None:
            self._under_way.exception()

    def save(self, order: Order) -> Future[Manifest]:
        """Begin a save; the result is its manifest, or raises what went wrong.

        What the draft's functions read must stay as it is until the result is there.
        """
        requested = self._stop.save_requested()
        self._under_way = self._thread.submit(self._write, order, requested)
        return self._under_way

    def _write(self, order: Order, requested: bool) -> Manifest:
        try:
            draft = order.draft()
            trained = round(self._trained_before + order.taken_at - self._begun, 3)
            metrics = {**order.numbers, **draft.metrics, "training_seconds": trained}
            saved = self._keeper.write(replace(draft, metrics=metrics), order.kind, last_chance=order.last)
            self._note(order, saved)
            if requested:
                self._stop.save_answered()
            return saved.manifest
        except Exception as error:
            self._note_failure(order, error)
            raise

    def _note(self, order: Order, saved: Saved) -> None:
        manifest = saved.manifest
        stall = order.stall_seconds + (saved.seconds if order.waits else 0.0)
        self.last_saved, self.saved_at = order.num_timesteps, order.taken_at
        # The mean: what all saves together cost is what the interval between them goes by
        self.stall_seconds = ((self.stall_seconds or 0.0) * self.count + stall) / (self.count + 1)
        self.write_seconds = max(saved.seconds, self.write_seconds)
        self._stop.reserve_seconds = max(self._stop.reserve_seconds, _SAVE_ALLOWANCE * saved.seconds)
        self.count += 1
        self._events.write(
            "save",
            scenario=self._scenario,
            stem=manifest.stem,
            num_timesteps=order.num_timesteps,
            kind=order.kind,
            digest=manifest.digest,
            seconds=round(saved.seconds, 4),
            stall_seconds=round(stall, 4),
            size_bytes=manifest.size_bytes,
            captured=manifest.captured,
            metrics=dict(manifest.metrics),
        )
        for stem in saved.removed:
            self._events.write("removed", scenario=self._scenario, stem=stem)
        size = manifest.size_bytes / 1e6
        log(f"[CHECKPOINT] Saved {manifest.stem} ({order.kind}, {size:.2f} MB, {saved.seconds:.2f} s)")
        self._tell_what_is_missing(manifest)
        self.note_exports(saved.problem)
        if self._outbox is not None:
            best = self._keeper.best
            self._outbox.offer(manifest, best=best is not None and best.digest == manifest.digest)

    def _tell_what_is_missing(self, manifest: Manifest) -> None:
        """Say why a resume from this set will not be exact: once, while there is time to mend the script."""
        reasons = manifest.captured_reasons
        if manifest.captured != "exact" and reasons != self._told_reasons:
            log(
                f"[CHECKPOINT] A resume from it will not be exact (it holds: {manifest.captured}): {'; '.join(reasons)}"
            )
        self._told_reasons = reasons

    def note_exports(self, problem: str | None) -> None:
        """Write down why exported copies of a sealed set could not be written; None: they were."""
        if problem is not None:
            message = f"the checkpoint is sealed, but its exported copies are not all written: {problem}"
            self._events.write("warning", scenario=self._scenario, message=message, code="export.failed")
            log(f"[CHECKPOINT] {message}")

    def _note_failure(self, order: Order, error: Exception) -> None:
        self._failures += 1
        self.retry_at = time.monotonic() + _RETRY_SECONDS
        log(f"[CHECKPOINT] Save at {order.num_timesteps:,} steps failed ({self._failures} so far): {error}")
        self._events.write(
            "failed-save",
            scenario=self._scenario,
            num_timesteps=order.num_timesteps,
            kind=order.kind,
            error=f"{type(error).__name__}: {error}",
            failures=self._failures,
        )
