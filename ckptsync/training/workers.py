"""Environments in processes of their own (SubprocVecEnv): each worker captures its whole chain and puts it back.

SB3's worker answers a few messages only, and `get_attr` of something that cannot be pickled ends it. So
an object of ours is set as an attribute of the worker's environment and called by `env_method`; it works
inside the worker, catches what goes wrong there, and answers in plain values.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Mapping
from typing import Any

import gymnasium
from stable_baselines3.common.vec_env import SubprocVecEnv

from .layers import WORKER_ATTRIBUTE

_LOST = (EOFError, OSError)


class Workers:
    """The workers of one VecEnv, spoken to from the training process.

    Args:
        venv: the VecEnv.
    """

    def __init__(self, venv: SubprocVecEnv) -> None:
        self._venv = venv
        self.reasons: tuple[str, ...] = ()
        self.kinds: list[str] = []
        venv.set_attr(WORKER_ATTRIBUTE, WorkerSide())
        answers = self._ask("kinds")
        self.reasons = _reasons(answers)
        for index, answer in enumerate(answers):
            self.kinds += [f"{index}/{kind}" for kind in answer.get("kinds", [])]

    def capture(self) -> list[tuple[bytes, Mapping[str, Any]]] | None:
        """Return the pickle and the global generators of each worker; None, with `reasons`, when one cannot give them."""
        answers = self._ask("capture")
        self.reasons = _reasons(answers)
        return None if self.reasons else [(answer["blob"], answer["generators"]) for answer in answers]

    def put_back(self, held: list[tuple[bytes, Mapping[str, Any]]]) -> tuple[str, ...]:
        """Put back what `capture` gave; return what the script has changed, and what went wrong."""
        if self._venv.waiting:
            return ("the workers of the environments are in the middle of a step",)
        try:
            answers = [self._ask("put_back", *each, indices=[index])[0] for index, each in enumerate(held)]
        except _LOST as error:
            return (f"a worker of the environments is gone ({type(error).__name__})",)
        return _reasons(answers)

    def _ask(self, verb: str, *arguments: Any, indices: Any = None) -> list[dict[str, Any]]:
        answers: list[dict[str, Any]] = self._venv.env_method(WORKER_ATTRIBUTE, verb, *arguments, indices=indices)
        return answers


def _reasons(answers: list[dict[str, Any]]) -> tuple[str, ...]:
    return tuple(f"worker {index}: {why}" for index, answer in enumerate(answers) for why in answer["reasons"])


class WorkerSide:
    """What lies in a worker: called there with a verb, it answers with plain values and never raises."""

    def __reduce__(self) -> Any:
        return (WorkerSide, ())  # the chain that it has found belongs to the worker alone

    def __call__(self, verb: str, *arguments: Any) -> dict[str, Any]:
        """Do what `verb` says with the environment of the worker that calls this."""
        try:
            # SB3's worker keeps its environment in a variable and hands it to nobody
            env = sys._getframe(1).f_locals.get("env")
            if not isinstance(env, gymnasium.Env):
                return {"reasons": ["the worker's environment cannot be reached"]}
            chain = self.__dict__.setdefault("_chain", _Chain(env))
            answer: dict[str, Any] = getattr(chain, verb)(*arguments)
            return answer
        except Exception as error:  # noqa: BLE001 - an exception here would end the worker, and the training with it
            return {"reasons": [f"{type(error).__name__}: {error}"]}


class _Chain:
    """The chain of one worker, in that worker."""

    def __init__(self, env: gymnasium.Env) -> None:
        from .environment import EnvironmentCapture

        self._capture = EnvironmentCapture({"env": env})

    def kinds(self) -> dict[str, Any]:
        return {"kinds": self._capture.kinds, "reasons": list(self._capture.reasons)}

    def capture(self) -> dict[str, Any]:
        blob = self._capture.capture()
        return {"blob": blob, "generators": _generators(), "reasons": list(self._capture.reasons)}

    def put_back(self, blob: bytes, generators: Mapping[str, Any]) -> dict[str, Any]:
        reasons = self._capture.put_back(blob)
        _put_generators(generators)
        return {"reasons": list(reasons)}


def _generators() -> dict[str, Any]:
    """The worker's global generators: some environments draw from them."""
    found: dict[str, Any] = {"python": random.getstate()}
    if "numpy" in sys.modules:
        found["numpy"] = sys.modules["numpy"].random.get_state()
    if "torch" in sys.modules:
        found["torch"] = sys.modules["torch"].get_rng_state().numpy()
    return found


def _put_generators(stored: Mapping[str, Any]) -> None:
    random.setstate(stored["python"])
    if "numpy" in stored:
        import numpy

        numpy.random.set_state(stored["numpy"])
    if "torch" in stored:
        import torch

        torch.set_rng_state(torch.from_numpy(stored["torch"]))
