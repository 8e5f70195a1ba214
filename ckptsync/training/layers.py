"""The objects that chains of environments are made of, with a path for each."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

import gymnasium
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecEnv, VecEnvWrapper, VecNormalize

WORKER_ATTRIBUTE = "ckptsync_worker"
# Rebuilt by the script, or only for people's eyes; VecNormalize's statistics lie in the resume state
_STRUCTURE = frozenset(
    {"env", "venv", "envs", "env_fns", "class_attributes", "unwrapped", "_saved_kwargs", WORKER_ATTRIBUTE}
    | {"remotes", "work_remotes", "processes", "waiting", "closed"}
)
_FOR_PEOPLE = frozenset(
    {"spec", "_cached_spec", "metadata", "_metadata", "render_mode", "results_writer", "file_handler", "logger"}
    | {"screen", "clock", "window", "viewer", "surf", "screen_surface", "renderer", "mujoco_renderer", "t_start"}
)
_NORMALISED = frozenset({"obs_rms", "ret_rms", "returns", "old_obs", "old_reward"})
_CODE = (FunctionType, MethodType, BuiltinFunctionType, ModuleType, type)
_PLAIN = (bool, int, float, str, type(None))


@dataclass(frozen=True)
class Layer:
    """One object of a chain of environments.

    Args:
        path: its name in the capture, such as `training/env/0/1`.
        target: the object.
    """

    path: str
    target: Any

    @property
    def kind(self) -> str:
        """Its class, for comparison."""
        return f"{self.path} {type(self.target).__module__}.{type(self.target).__qualname__}"

    def attributes(self) -> dict[str, Any]:
        """What it holds and what is to be captured."""
        skipped = _STRUCTURE | _FOR_PEOPLE | (_NORMALISED if isinstance(self.target, VecNormalize) else frozenset())
        return {
            name: value
            for name, value in vars(self.target).items()
            if name not in skipped and not isinstance(value, _CODE)
        }

    def settings(self) -> dict[str, Any]:
        """Its plain attributes that are called like an argument of its class: what the script has decided."""
        arguments = _arguments(type(self.target))
        return {
            name: value
            for name, value in self.attributes().items()
            if name.lstrip("_") in arguments and isinstance(value, _PLAIN)
        }

    def exchange(self, held: Mapping[str, Any]) -> None:
        """Let it hold what `attributes` once gave, and nothing else of the kind."""
        for name in self.attributes().keys() - held.keys():
            delattr(self.target, name)
        vars(self.target).update(held)


@dataclass(frozen=True)
class Chains:
    """What some chains of environments are made of.

    Args:
        layers: the objects in this process.
        workers: path -> a VecEnv whose environments live in processes of their own.
        reasons: why something of them cannot be captured.
    """

    layers: tuple[Layer, ...]
    workers: Mapping[str, SubprocVecEnv]
    reasons: tuple[str, ...]


def walk(chains: Mapping[str, Any]) -> Chains:
    """Find the layers of chains of environments.

    Args:
        chains: name -> a VecEnv or a plain environment.
    """
    found: list[Layer] = []
    workers: dict[str, SubprocVecEnv] = {}
    reasons: list[str] = []
    for name, env in chains.items():
        depth = 0
        while isinstance(env, VecEnvWrapper):
            found.append(Layer(f"{name}/vec/{depth}", env))
            env, depth = env.venv, depth + 1
        if isinstance(env, VecEnv):
            found.append(Layer(f"{name}/vec/{depth}", env))
        if isinstance(env, DummyVecEnv):
            for index, inner in enumerate(env.envs):
                found += _inner_layers(f"{name}/env/{index}", inner)
        elif isinstance(env, SubprocVecEnv):
            workers[name] = env
        elif isinstance(env, VecEnv):
            reasons.append(f"{type(env).__name__} is of a kind whose environments cannot be reached")
        else:
            found += _inner_layers(f"{name}/env/0", env)
    return Chains(tuple(found), workers, tuple(reasons))


def _arguments(kind: type) -> set[str]:
    found: set[str] = set()
    for base in kind.__mro__:
        if isinstance(made := vars(base).get("__init__"), FunctionType):
            found.update(inspect.signature(made).parameters)
    return found


def _inner_layers(path: str, env: Any) -> Iterator[Layer]:
    depth = 0
    while isinstance(env, gymnasium.Wrapper):
        yield Layer(f"{path}/{depth}", env)
        env, depth = env.env, depth + 1
    yield Layer(f"{path}/{depth}", env)


def normalisers(chains: Mapping[str, Any]) -> dict[str, VecNormalize]:
    """Return every VecNormalize in some chains: the outermost of a chain as `training/0`, and so on."""
    found: dict[str, VecNormalize] = {}
    for name, env in chains.items():
        inside = [layer.target for layer in walk({name: env}).layers if isinstance(layer.target, VecNormalize)]
        found.update({f"{name}/{index}": layer for index, layer in enumerate(inside)})
    return found
