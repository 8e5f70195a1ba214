"""Everything around a model's tensors that a resume needs, captured and put back as one.

Two parts: values in the resume state, and objects of users (what environments hold, objects in
callbacks) in a pickle, so that what they share stays shared.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stable_baselines3.common.callbacks import BaseCallback

from .built import Built
from .callback_state import CallbackState, callbacks, environments
from .capture import capture, checked, put_back_generators, put_back_objects
from .environment import NEW_EPISODES, EnvironmentCapture
from .loggers import TrainingLog


@dataclass(frozen=True)
class Captured:
    """One clean point of everything around the tensors.

    Args:
        state: values that `arrays.encode` knows.
        objects: the pickle of users' objects; None: there are none that can be pickled.
        reasons: why something is missing.
    """

    state: Mapping[str, Any]
    objects: bytes | None
    reasons: tuple[str, ...]


class TrainingState:
    """Captures and puts back the state of one call of `learn`; make it before training begins.

    Args:
        model: an SB3 algorithm with its environment.
        user: the user's callback, or None.
        built: what the script has built the model with.
        total_timesteps: the target.
    """

    def __init__(self, model: Any, user: BaseCallback | None, built: Built, total_timesteps: int) -> None:
        self._model = model
        self._built = built
        self._total_timesteps = total_timesteps
        self._chains = {"training": model.get_env(), **environments(user)}
        others = {"model": model, "policy": model.policy, **dict(callbacks(user))}
        self._environment = EnvironmentCapture(self._chains, others)
        self._callbacks = CallbackState(user, self._environment.names)
        self._log = TrainingLog(model)

    def learn_arguments(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments for `learn`: its log goes on counting where the session before stopped."""
        return self._log.learn_arguments(arguments)

    def capture(self) -> Captured:
        """Capture a clean point; everything is copied."""
        state = {
            **capture(self._model, self._chains, self._built),
            "total_timesteps": self._total_timesteps,
            "environment": self._environment.kinds,
            "callbacks": self._callbacks.capture(),
            "log": self._log.capture(),
        }
        objects = self._objects()
        reasons = (*self._environment.reasons, *self._callbacks.reasons, *self._built.reasons(self._model))
        return Captured(state, objects, reasons)

    def _objects(self) -> bytes | None:
        environments = self._environment.capture()
        callbacks = self._callbacks.capture_objects()
        if environments is None and not callbacks:
            return None
        return self._environment.names.dump({"environments": environments, "callbacks": callbacks})

    def resume(self, state: Mapping[str, Any], objects: bytes | None) -> tuple[str, ...]:
        """Put a stored point back at `on_training_start`, the training's log too; return what is not as it was.

        Raises:
            CorruptError: the state is damaged.
        """
        reasons = self.put_back(state, objects)
        with checked("the training's log"):
            self._log.put_back(state.get("log"))
        return reasons

    def put_back(self, state: Mapping[str, Any], objects: bytes | None) -> tuple[str, ...]:
        """Put everything but generators and log back; return what is not as it was.

        Raises:
            CorruptError: the state is damaged.
        """
        loaded, reasons = self._load(objects)
        held = loaded["environments"]
        if held is not None and state["environment"] != self._environment.kinds:
            held = None
            reasons.append(f"the environments are built in another way, {NEW_EPISODES}")
        if held is not None:
            try:
                reasons += self._environment.put_back(held)
            except Exception as error:  # noqa: BLE001 - loading objects of users raises whatever they like
                held = None
                reasons.append(f"the environments could not be put back, {NEW_EPISODES} ({_told(error)})")
        reasons += put_back_objects(self._model, state, self._chains, observations=held is not None)
        with checked("the state of callbacks"):
            reasons += self._callbacks.put_back(state["callbacks"])
        return (*reasons, *self._callbacks.put_back_objects(loaded["callbacks"]))

    def put_back_generators(self, state: Mapping[str, Any]) -> None:
        """Put the generators back, at the first `on_rollout_start`."""
        put_back_generators(self._model, state)

    def _load(self, objects: bytes | None) -> tuple[dict[str, Any], list[str]]:
        nothing: dict[str, Any] = {"environments": None, "callbacks": {}}
        if objects is None:
            return nothing, []
        try:
            loaded = self._environment.names.load(objects)
        except Exception as error:  # noqa: BLE001 - see above
            return nothing, [f"the environments could not be loaded, {NEW_EPISODES} ({_told(error)})"]
        if not isinstance(loaded, dict) or not nothing.keys() <= loaded.keys():
            return nothing, [f"an older version of ckptsync has saved the environments, {NEW_EPISODES}"]
        return loaded, []


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
