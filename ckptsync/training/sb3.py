"""Training an SB3 model in a session: build, put back, learn, save at clean points, stop."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..core.errors import CkptsyncError, UsageError
from .built import Built
from .callbacks import SessionCallback, StopTraining, as_callback
from .log import log
from .metrics import ModelNumbers
from .replay import ReplayLog
from .saver import Order
from .sb3_model import signature_of
from .snapshot import Snapshots
from .state import TrainingState
from .stored import Stored, read_stored
from .watcher import Watcher

if TYPE_CHECKING:
    from .scenario import Outcome, Scenario

# How a worker process of an environment that a signal has ended shows, and how long that signal may take to get here
_LOST_WORKER = (EOFError, ConnectionError)
_SIGNAL_SECONDS = 0.5


class Trainer:
    """One model of one scenario; made by `load_or_create`.

    Args:
        scenario: whose model.
        model: built by the script's arguments.
        built: the model as it was before anything was put back.
        stored: what is still to be put back; None: nothing.
    """

    def __init__(self, scenario: Scenario, model: Any, built: Built, stored: Stored | None) -> None:
        self.model = model
        self._values = ModelNumbers(model)
        self._scenario = scenario
        self._stop = scenario.surroundings.stop
        self._stored = stored
        self._built = built
        self._generators_due = False
        self._cause: str | None = None
        self._ended = False

    @classmethod
    def load_or_create(
        cls, scenario: Scenario, algorithm: type, policy: Any, env: Any, arguments: Mapping[str, Any]
    ) -> Trainer:
        """See `Scenario.load_or_create`."""
        seed = {"seed": scenario.seed} if scenario.seed is not None else {}
        model = algorithm(policy, env, **{**seed, **arguments})
        built = Built(model)
        resume = scenario.resume()
        if resume is None:
            return cls(scenario, model, built, None)
        resume.refuse_misfit(signature_of(model))
        model.num_timesteps = resume.num_timesteps
        return cls(scenario, model, built, read_stored(scenario, model, built, resume))

    def learn(self, given: Any, arguments: Mapping[str, Any]) -> Outcome:
        """See `Scenario.learn`."""
        for name in ("total_timesteps", "reset_num_timesteps"):
            if name in arguments:
                raise UsageError(f"learn() decides {name} itself", hint=f"leave {name} out")
        model, target = self.model, self._scenario.total_timesteps
        user = as_callback(given)
        self._state = TrainingState(model, user, self._built, target)
        self._snapshots = Snapshots(model, self._state, self._replay_log(model))
        self._cause, self._ended = None, False
        if model.num_timesteps >= target:
            self._begin()
            log(f"[TRAIN] {self._scenario.name}: the target of {target:,} steps is reached, nothing to train")
            return self._end("target")
        callback = SessionCallback(self, user)
        with Watcher(self._stop, seal=self._seal_for_watcher, leave=self._leave):
            try:
                left = {"total_timesteps": target - model.num_timesteps}
                self._train(callback, {**self._state.learn_arguments(arguments), **left})
            except CkptsyncError:
                raise  # a last save that failed: there is nothing better to try
            except BaseException as error:
                cause = self._cause_of(error)
                self._rescue(error, cause)
                if cause != "signal" or isinstance(error, KeyboardInterrupt):
                    raise
            return self._end(self._cause or "callback")

    def _replay_log(self, model: Any) -> ReplayLog | None:
        buffer = getattr(model, "replay_buffer", None)
        if buffer is None:
            return None
        latest = self._scenario.newest()
        return ReplayLog(
            buffer,
            self._scenario.surroundings.tree.checkpoints,
            latest.files if latest is not None else (),
            lambda: int(model.num_timesteps // model.n_envs),
        )

    def _train(self, callback: SessionCallback, arguments: Mapping[str, Any]) -> None:
        stopped = False
        try:
            self.model.learn(callback=callback, reset_num_timesteps=False, **arguments)
        except StopTraining:
            stopped = True
        if stopped:  # not above: what it raises would be told as raised while handling an exception of ours
            callback.end_user()
        if callback.user_stopped or callback.cut:
            self._cause = "callback" if callback.user_stopped else self._stop.urgent()
            with self._stop.undisturbed():
                self._stop_at_kept(self._cause or "callback")

    # --- what the callback calls --------------------------------------------------------------------------------

    def on_start(self) -> None:
        """Put the objects back and begin the scenario's course, now that it is known what was used."""
        self._begin()

    def on_clean_point(self) -> None:
        """Put the generators back once; then save, keep, or stop. Raises StopTraining."""
        with self._stop.undisturbed():
            if self._generators_due and self._stored is not None:
                self._state.put_back_generators(self._stored.state)
                self._generators_due = False
            course, num_timesteps = self._scenario.course, self.model.num_timesteps
            decision = course.decide(num_timesteps, self._values())
            if decision.kind is not None or self._snapshots.due():
                self._snapshots.take(decision.numbers)
            if decision.kind is not None:
                self._save_kept(decision.kind, last=decision.cause is not None)
            course.passed(num_timesteps, decision.numbers)
            self._cause = decision.cause
        if self._cause is not None:
            raise StopTraining

    def must_cut(self) -> bool:
        """Whether training has to stop in the middle of a rollout."""
        return self._snapshots.kept is not None and self._stop.urgent() is not None

    # --- putting back -------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        stored = self._stored
        if stored is None:
            self._scenario.start(None, self.model)
            return
        reasons = list(stored.reasons)
        if stored.state:
            reasons += self._state.resume(stored.state, stored.environment)
            self._generators_due = True
            fidelity = "state" if reasons else "exact"
        else:
            fidelity = "weights"
            if self._scenario.seed is not None:
                # Unlike the first session, so that it does not live through the same episodes again
                self.model.set_random_seed((self._scenario.seed + self.model.num_timesteps) % (1 << 32))
        self._scenario.start((fidelity, tuple(reasons)), self.model)
        log(
            f"[CHECKPOINT] Resuming {self._scenario.name} at {self.model.num_timesteps:,} steps, fidelity {fidelity}"
            + (f" ({'; '.join(reasons)})" if reasons else "")
        )

    # --- saving -------------------------------------------------------------------------------------------------

    def _save_kept(self, kind: str, *, last: bool) -> None:
        """Begin to write the kept point; the last save is waited for."""
        kept = self._snapshots.kept
        if kept is None:
            return
        order = Order(
            num_timesteps=kept.num_timesteps,
            kind=kind,
            draft=lambda: self._snapshots.draft(kept),
            numbers=kept.numbers,
            taken_at=kept.taken_at,
            stall_seconds=kept.seconds,
            waits=last,
            last=last,
        )
        kept.slot.write = self._scenario.course.saver.save(order)
        if last:
            kept.slot.write.result()

    def _seal_kept(self, cause: str) -> None:
        """Seal the kept point, unless what is sealed is as new, and wait for it."""
        kept = self._snapshots.kept
        if kept is None:
            log("[CHECKPOINT] Stopped between clean points with none kept: the last sealed checkpoint counts")
            return
        decision = self._scenario.course.decide(kept.num_timesteps, kept.numbers, stopping=cause)
        if decision.kind is not None:
            self._save_kept(decision.kind, last=True)

    def _stop_at_kept(self, cause: str) -> None:
        """Seal the kept point and bring the model back to it, so that what comes after `learn` meets what was saved."""
        self._seal_kept(cause)
        if cause != "signal":  # the process ends, and workers of environments may be gone already
            self._snapshots.roll_back()

    # --- ends of other kinds ------------------------------------------------------------------------------------

    def _cause_of(self, error: BaseException) -> str:
        if isinstance(error, _LOST_WORKER) and self._stop.wait_for_signal(_SIGNAL_SECONDS):
            return "signal"  # Ctrl-C reaches the workers of environments too
        if isinstance(error, KeyboardInterrupt) and self._stop.signal_number is not None:
            return "signal"
        return "exit" if isinstance(error, SystemExit) else "error"

    def _rescue(self, error: BaseException, cause: str) -> None:
        """Seal the kept point after an error in code of others; that error is what the user must see."""
        self._cause = cause
        if self._snapshots.kept is None:
            return
        try:
            with self._stop.undisturbed():
                self._stop_at_kept(cause)
                self._end(cause)
        except Exception as second:  # noqa: BLE001 - the first error is what the user must see; this one is added
            error.add_note(f"the last clean point could not be sealed and put back either: {second}")

    def _seal_for_watcher(self, cause: str) -> None:
        if self._ended:
            return
        log(f"[CHECKPOINT] Training does not come to a clean point ({cause}): the last one is sealed")
        try:
            self._seal_kept(cause)
        except Exception as error:  # noqa: BLE001 - the saver has told of it; `_leave` makes it the cause of the end
            log(f"[CHECKPOINT] It could not be sealed: {error}")

    def _leave(self, cause: str) -> None:
        """End the process in place of the training thread, from the watcher's."""
        if self._ended:
            return
        self._ended = True
        log("[TRAIN] Training does not come back: the process ends without it")
        if self._scenario.has_begun:
            kept, course = self._snapshots.kept, self._scenario.course
            course.saver.settle()
            if kept is not None and kept.num_timesteps > course.saver.last_saved:
                cause = "error"
            try:
                course.end(cause, course.saver.last_saved, kept.numbers if kept is not None else {})
            except CkptsyncError as error:
                log(f"[TRAIN] {error.message}")
        self._scenario.surroundings.leave(cause)

    def _end(self, cause: str) -> Outcome:
        from .scenario import Outcome

        with self._stop.undisturbed():
            course, kept = self._scenario.course, self._snapshots.kept
            if not self._ended:
                self._ended = True
                course.end(cause, course.saver.last_saved, kept.numbers if kept is not None else {})
            self._stored = None  # another learn() goes on from where this one stopped
            return Outcome(cause, course.saver.last_saved, course.newest.digest if course.newest else None)
