"""Training an SB3 model in a session: build, put back, learn, save at clean points, stop."""

from __future__ import annotations

import pickle
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

from ..core.errors import CkptsyncError, UsageError
from .arrays import UnencodableError, encode, write_arrays
from .callback_state import CallbackState, environments
from .callbacks import SessionCallback, StopTraining, as_callback
from .capture import capture, put_back_generators, put_back_objects
from .environment import EnvironmentCapture
from .metrics import ModelNumbers
from .progress import log
from .replay import ReplayMark, can_write, mark, roll_back, write_replay
from .sb3_model import copied_tensors, load_tensors, put_tensors, signature_of
from .stored import Stored, read_stored
from .versions import current_versions
from .writer import Draft, Member

if TYPE_CHECKING:
    from .scenario import Outcome, Scenario

# A point is kept in memory at every rollout of an on-policy algorithm. Off-policy rollouts are a few steps, so
# there it costs at most about this share of the time ...
_KEEP_SHARE = 0.02
# ... but comes often enough that a full replay buffer can be rolled back by these rows
_KEEP_ROWS = 256
# How long a signal waits for the next clean point before training stops at the kept one
_SIGNAL_PATIENCE = 2.0


@dataclass(frozen=True)
class _Kept:
    """A clean point in memory, from which a set can be written when training has left it."""

    num_timesteps: int
    tensors: tuple[dict[str, Any], dict[str, Any]]
    state: dict[str, Any]
    environment: bytes | None
    replay: ReplayMark | None


class Trainer:
    """One model of one scenario; made by `load_or_create`.

    Args:
        scenario: whose model.
        model: built by the script's arguments.
        stored: what is still to be put back; None: nothing.
    """

    def __init__(self, scenario: Scenario, model: Any, stored: Stored | None) -> None:
        self.model = model
        self._values = ModelNumbers(model)
        self._scenario = scenario
        self._stored = stored
        self._generators_due = False
        self._kept: _Kept | None = None
        self._keep_at = 0.0
        self._cause: str | None = None

    @classmethod
    def load_or_create(
        cls, scenario: Scenario, algorithm: type, policy: Any, env: Any, arguments: Mapping[str, Any]
    ) -> Trainer:
        """See `Scenario.load_or_create`."""
        seed = {"seed": scenario.seed} if scenario.seed is not None else {}
        model = algorithm(policy, env, **{**seed, **arguments})
        resume = scenario.resume()
        if resume is None:
            return cls(scenario, model, None)
        resume.refuse_misfit(signature_of(model))
        load_tensors(model, resume.stored.model_path)
        model.num_timesteps = resume.num_timesteps
        return cls(scenario, model, read_stored(scenario, model, resume))

    def learn(self, given: Any, arguments: Mapping[str, Any]) -> Outcome:
        """See `Scenario.learn`."""
        for name in ("total_timesteps", "reset_num_timesteps"):
            if name in arguments:
                raise UsageError(f"learn() decides {name} itself", hint=f"leave {name} out")
        model, target = self.model, self._scenario.total_timesteps
        user = as_callback(given)
        self._callback_state = CallbackState(user)
        self._chains = {"training": model.get_env(), **environments(user)}
        self._environment = EnvironmentCapture(self._chains)
        self._cause = None
        if model.num_timesteps >= target:
            self._begin()
            log(f"[TRAIN] {self._scenario.name}: the target of {target:,} steps is reached, nothing to train")
            return self._end("target")
        callback = SessionCallback(self, user)
        try:
            model.learn(target - model.num_timesteps, callback=callback, reset_num_timesteps=False, **arguments)
        except StopTraining:
            callback.end_user()
        except Exception as error:
            self._rescue(error)
            raise
        if callback.user_stopped or callback.cut:
            self._save_kept("callback" if callback.user_stopped else self._cut_cause())
        return self._end(self._cause or "callback")

    # --- what the callback calls --------------------------------------------------------------------------------

    def on_start(self) -> None:
        """Put the objects back and begin the scenario's course, now that it is known what was used."""
        self._begin()

    def on_clean_point(self) -> None:
        """Put the generators back once; then save, keep, or stop. Raises StopTraining."""
        if self._generators_due and self._stored is not None:
            put_back_generators(self.model, self._stored.state)
            self._generators_due = False
        course = self._scenario.course
        self._cause = course.clean_point(self.model.num_timesteps, self._draft, self._values())
        if self._cause is not None:
            raise StopTraining
        self._keep()

    def must_cut(self) -> bool:
        """Whether a signal has waited too long for a clean point, or the deadline is here."""
        stop = self._scenario.surroundings.stop
        late = stop.deadline is not None and time.monotonic() >= stop.deadline
        return self._kept is not None and (late or stop.seconds_since_signal() > _SIGNAL_PATIENCE)

    # --- putting back -------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        stored = self._stored
        if stored is None:
            self._scenario.start(None)
            return
        reasons = list(stored.reasons)
        if stored.state:
            reasons += self._put_back(stored)
            self._generators_due = True
            fidelity = "state" if reasons else "exact"
        else:
            fidelity = "weights"
            if self._scenario.seed is not None:
                # Unlike the first session, so that it does not live through the same episodes again
                self.model.set_random_seed((self._scenario.seed + self.model.num_timesteps) % (1 << 32))
        self._scenario.start((fidelity, tuple(reasons)))
        log(
            f"[CHECKPOINT] Resuming {self._scenario.name} at {self.model.num_timesteps:,} steps, fidelity {fidelity}"
            + (f" ({'; '.join(reasons)})" if reasons else "")
        )

    def _put_back(self, stored: Stored) -> list[str]:
        state, reasons = stored.state, []
        whole = stored.environment is not None
        if whole and state["environment"] != self._environment.kinds:
            whole = False
            reasons.append("the environments are built in another way, so they begin a new episode")
        if whole:
            try:
                self._environment.put_back(stored.environment or b"")
            except Exception as error:  # noqa: BLE001 - loading objects of users raises whatever they like
                whole = False
                reasons.append(f"the environments could not be put back, so they begin a new episode: {error}")
        put_back_objects(self.model, state, self._chains, observations=whole)
        return [*reasons, *self._callback_state.put_back(state["callbacks"])]

    # --- capturing ----------------------------------------------------------------------------------------------

    def _captured(self) -> tuple[dict[str, Any], bytes | None]:
        blob = self._environment.capture()
        state = capture(self.model, self._chains)
        return {**state, "environment": self._environment.kinds, "callbacks": self._callback_state.capture()}, blob

    def _draft(self) -> Draft:
        model = self.model
        state, blob = self._captured()
        reasons = [*self._environment.reasons, *self._callback_state.reasons]
        arrays: dict[str, Any] = {}
        try:
            encoded = encode(state, arrays)
        except UnencodableError as error:
            reasons.append(f"the state holds {error}")
            encoded = None
        members = [Member("model", "zip", model.save)]
        if encoded is not None:
            members.append(Member("resume", "safetensors", lambda file: write_arrays(file, encoded, arrays)))
        if blob is not None:
            members.append(Member("environment", "pkl", lambda file: _write(file, blob)))
        normaliser = model.get_vec_normalize_env()
        if normaliser is not None:
            members.append(Member("vecnormalize", "pkl", lambda file: _pickle(file, normaliser)))
        buffer = getattr(model, "replay_buffer", None)
        if buffer is not None:
            problem = can_write(buffer)
            if problem is None:
                members.append(Member("replay", "safetensors", lambda file: write_replay(file, buffer)))
            else:
                reasons.append(problem)
        captured = "weights" if encoded is None else "state" if reasons else "exact"
        return Draft(
            model.num_timesteps, tuple(members), signature_of(model), captured, tuple(reasons), current_versions()
        )

    # --- the kept point -----------------------------------------------------------------------------------------

    def _keep(self) -> None:
        buffer = getattr(self.model, "replay_buffer", None)
        if buffer is not None and self._kept is not None and not self._keep_is_due(self._kept):
            return
        started = time.monotonic()
        moment = None
        if buffer is not None and (moment := mark(buffer, _KEEP_ROWS)) is None:
            self._kept = None
            return
        state, blob = self._captured()
        self._kept = _Kept(self.model.num_timesteps, copied_tensors(self.model), state, blob, moment)
        ended = time.monotonic()
        self._keep_at = ended + (ended - started) / _KEEP_SHARE

    def _keep_is_due(self, kept: _Kept) -> bool:
        # Never older than the newest sealed set: rolling back must not lose what is on disk
        sealed_here = self._scenario.course.last_saved == self.model.num_timesteps
        return sealed_here or time.monotonic() >= self._keep_at or self._rows_since(kept) >= _KEEP_ROWS // 2

    def _rows_since(self, kept: _Kept) -> int:
        return int((self.model.num_timesteps - kept.num_timesteps) // self.model.n_envs)

    def _save_kept(self, cause: str) -> None:
        """Bring the model back to the kept clean point and end there."""
        kept = self._kept
        if kept is not None and self._roll_back(kept):
            self._scenario.course.clean_point(kept.num_timesteps, self._draft, self._values(), stopping=cause)
        else:
            log("[CHECKPOINT] Stopped between clean points with none kept: the last sealed checkpoint counts")
        self._cause = cause

    def _roll_back(self, kept: _Kept) -> bool:
        model = self.model
        if kept.replay is not None and not roll_back(model.replay_buffer, kept.replay, self._rows_since(kept)):
            return False
        put_tensors(model, *kept.tensors, "the kept point")
        if kept.environment is not None:
            self._environment.put_back(kept.environment)
        self._callback_state.put_back(kept.state["callbacks"])
        put_back_objects(model, kept.state, self._chains, observations=kept.environment is not None)
        put_back_generators(model, kept.state)
        model.num_timesteps = kept.num_timesteps
        return True

    def _rescue(self, error: Exception) -> None:
        """Seal the kept point after an error in an environment or a callback; that error is what is raised."""
        if isinstance(error, CkptsyncError):
            return
        try:
            if self._kept is not None:
                self._save_kept("error")
                self._end("error")
        except Exception as second:  # noqa: BLE001 - the first error is what the user must see; this one is added
            error.add_note(f"the last clean point could not be sealed either: {second}")

    def _cut_cause(self) -> str:
        return "signal" if self._scenario.surroundings.stop.signal_number is not None else "deadline"

    def _end(self, cause: str) -> Outcome:
        from .scenario import Outcome

        course = self._scenario.course
        course.end(cause, self.model.num_timesteps, self._values() if hasattr(self.model, "_logger") else {})
        self._stored = None  # another learn() goes on from where this one stopped
        return Outcome(cause, self.model.num_timesteps, course.sealed)


def _write(file: BinaryIO, data: bytes) -> None:
    file.write(data)


def _pickle(file: BinaryIO, value: Any) -> None:
    pickle.dump(value, file)
