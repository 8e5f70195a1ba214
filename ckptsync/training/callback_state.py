"""The state of users' callbacks: whatever training has changed in them since they were made.

What the script's code decides (`eval_freq`, paths) is equal before training and at the capture, so it
is not captured and a changed script takes effect. Plain values lie in the resume state; other objects
(a generator, a class of the user's own) are pickled with the environments.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from gymnasium import Env
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.vec_env import VecEnv

from .arrays import UnencodableError, comparable, decode, encode
from .objects import NamedObjects

_SET_BY_SB3 = frozenset({"model", "parent", "locals", "globals", "num_timesteps", "training_env", "logger"})
# Objects that are captured elsewhere or hold no state of the training
_ELSEWHERE: tuple[Any, ...] = (BaseAlgorithm, BaseCallback, VecEnv, Env, Logger, Callable)


def callbacks(root: BaseCallback | None, path: str = "callback") -> Iterator[tuple[str, BaseCallback]]:
    """Walk a callback and those inside it, with a path for each."""
    if root is None:
        return
    yield path, root
    for name, value in vars(root).items():
        inside = value if isinstance(value, list) else [value]
        for index, item in enumerate(inside):
            if isinstance(item, BaseCallback) and name not in _SET_BY_SB3:
                yield from callbacks(item, f"{path}/{name}.{index}")


def environments(root: BaseCallback | None) -> dict[str, Any]:
    """Return the environments that callbacks hold (EvalCallback's), by path."""
    return {
        f"{path}/eval_env": vars(callback)["eval_env"]
        for path, callback in callbacks(root)
        if isinstance(vars(callback).get("eval_env"), VecEnv)
    }


class CallbackState:
    """Captures and puts back the state of a tree of callbacks.

    Make it when the callbacks are made: what is different later is their state.

    Args:
        root: the user's callback; None: there is none.
        names: pickles the objects among their attributes.
    """

    def __init__(self, root: BaseCallback | None, names: NamedObjects) -> None:
        self._found = dict(callbacks(root))
        self._names = names
        self._initial = {path: _plain(callback)[0] for path, callback in self._found.items()}
        self._initial_objects = self._pickled()[0]
        self.reasons: tuple[str, ...] = ()

    def capture(self) -> dict[str, Any]:
        """Return what has changed among the plain values, by the callbacks' paths."""
        state: dict[str, Any] = {}
        for path, callback in self._found.items():
            encoded, initial = _plain(callback)[0], self._initial[path]
            changed = [name for name, value in encoded.items() if initial.get(name, _Missing) != value]
            state[path] = {"class": type(callback).__name__, "values": {n: _copy(vars(callback)[n]) for n in changed}}
        return state

    def capture_objects(self) -> dict[str, bytes]:
        """Return what has changed among the other objects, pickled; `reasons` then says what cannot be."""
        pickled, self.reasons = self._pickled()
        return {place: blob for place, blob in pickled.items() if self._initial_objects.get(place) != blob}

    def put_back(self, state: Mapping[str, Any]) -> tuple[str, ...]:
        """Put back what `capture` gave; return why some of it was not."""
        reasons = []
        for path, stored in state.items():
            callback = self._found.get(path)
            if callback is None or type(callback).__name__ != stored["class"]:
                if stored["values"]:
                    reasons.append(f"the callback {stored['class']} at {path} is not there")
            else:
                vars(callback).update({name: _copy(value) for name, value in stored["values"].items()})
        new = [type(callback).__name__ for path, callback in self._found.items() if path not in state]
        return (*reasons, *(f"the callback {name} is new" for name in new))

    def put_back_objects(self, pickled: Mapping[str, bytes]) -> tuple[str, ...]:
        """Put back what `capture_objects` gave; return why some of it was not."""
        reasons = []
        for place, blob in pickled.items():
            path, _, name = place.rpartition(".")
            if path not in self._found:
                continue  # `put_back` has told that the callback is not there
            try:
                vars(self._found[path])[name] = self._names.load(blob)
            except Exception as error:  # noqa: BLE001 - loading objects of users raises whatever they like
                reasons.append(f"{place} could not be put back ({type(error).__name__}: {error})")
        return tuple(reasons)

    def _pickled(self) -> tuple[dict[str, bytes], tuple[str, ...]]:
        pickled: dict[str, bytes] = {}
        reasons: list[str] = []
        for path, callback in self._found.items():
            for name in _plain(callback)[1]:
                try:
                    pickled[f"{path}.{name}"] = self._names.dump(vars(callback)[name])
                except Exception as error:  # noqa: BLE001 - see above
                    reasons.append(f"{type(callback).__name__}.{name} cannot be pickled ({error})")
        return pickled, tuple(reasons)


def _plain(callback: BaseCallback) -> tuple[dict[str, Any], list[str]]:
    """Encode the plain attributes of a callback for comparison; return the names of the other ones too."""
    encoded: dict[str, Any] = {}
    others: list[str] = []
    for name, value in vars(callback).items():
        if name in _SET_BY_SB3 or isinstance(value, _ELSEWHERE) or _is_callbacks(value):
            continue
        try:
            encoded[name] = comparable(value)
        except UnencodableError:
            others.append(name)
    return encoded, others


class _Missing:
    """Stands for an attribute that was not there; equal to nothing."""


def _is_callbacks(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, BaseCallback) for item in value)


def _copy(value: Any) -> Any:
    arrays: dict[str, Any] = {}
    return decode(encode(value, arrays), {name: array.copy() for name, array in arrays.items()})
