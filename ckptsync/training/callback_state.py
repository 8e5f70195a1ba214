"""The state of users' callbacks: whatever training has changed in them since they were made.

What the script's code decides (`eval_freq`, paths) is equal before training and at the capture, so it
is not captured and a changed script takes effect.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from gymnasium import Env
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.vec_env import VecEnv

from .arrays import UnencodableError, decode, encode

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
    """

    def __init__(self, root: BaseCallback | None) -> None:
        self._found = dict(callbacks(root))
        self._initial = {path: self._encoded(callback)[0] for path, callback in self._found.items()}
        self.reasons: tuple[str, ...] = ()

    def capture(self) -> dict[str, Any]:
        """Return what has changed; `reasons` then says what could not be captured."""
        state: dict[str, Any] = {}
        reasons: list[str] = []
        for path, callback in self._found.items():
            encoded, unknown = self._encoded(callback)
            initial = self._initial[path]
            changed = [name for name, value in encoded.items() if initial.get(name, _Missing) != value]
            state[path] = {"class": type(callback).__name__, "values": {n: _copy(vars(callback)[n]) for n in changed}}
            reasons += [f"{type(callback).__name__}.{name} is no plain value" for name in unknown]
        self.reasons = tuple(reasons)
        return state

    def put_back(self, state: Mapping[str, Any]) -> tuple[str, ...]:
        """Put back what `capture` gave; return why some of it was not."""
        reasons = []
        for path, stored in state.items():
            callback = self._found.get(path)
            if callback is None or type(callback).__name__ != stored["class"]:
                reasons.append(f"the callback {stored['class']} at {path} is not there")
            else:
                vars(callback).update({name: _copy(value) for name, value in stored["values"].items()})
        return tuple(reasons)

    def _encoded(self, callback: BaseCallback) -> tuple[dict[str, Any], list[str]]:
        encoded: dict[str, Any] = {}
        unknown: list[str] = []
        for name, value in vars(callback).items():
            if name in _SET_BY_SB3 or isinstance(value, _ELSEWHERE) or _is_callbacks(value):
                continue
            arrays: dict[str, Any] = {}
            try:
                text = encode(value, arrays)
                encoded[name] = (text, {key: (a.dtype.str, a.shape, a.tobytes()) for key, a in arrays.items()})
            except UnencodableError:
                unknown.append(name)
        return encoded, unknown


class _Missing:
    """Stands for an attribute that was not there; equal to nothing."""


def _is_callbacks(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, BaseCallback) for item in value)


def _copy(value: Any) -> Any:
    arrays: dict[str, Any] = {}
    return decode(encode(value, arrays), {name: array.copy() for name, array in arrays.items()})
