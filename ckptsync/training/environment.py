"""Environments: captured and put back attribute by attribute, in place.

The objects that the user's script has built stay: wrappers, environments and spaces. What they hold is
exchanged, because others hold references to them (the model its action space, the buffer its
environment), and because many wrappers cannot be pickled whole. All attributes travel in one pickle,
in which the objects themselves are names; so whatever two attributes share stays shared.

The one pickle that ckptsync ever loads: only in training, only from an intact set of the own lineage.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import gymnasium
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecEnvWrapper, VecNormalize

# Rebuilt by the script, or only for people's eyes; VecNormalize's statistics lie in the resume state
_STRUCTURE = frozenset({"env", "venv", "envs", "env_fns", "class_attributes", "unwrapped"})
_FOR_PEOPLE = frozenset(
    {"spec", "_cached_spec", "metadata", "_metadata", "render_mode", "results_writer", "file_handler", "logger"}
    | {"screen", "clock", "window", "viewer", "surf", "screen_surface", "renderer", "mujoco_renderer", "t_start"}
)
NORMALISED = frozenset({"obs_rms", "ret_rms", "returns", "old_obs", "old_reward"})


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
        skipped = _STRUCTURE | _FOR_PEOPLE | (NORMALISED if isinstance(self.target, VecNormalize) else frozenset())
        return {name: value for name, value in vars(self.target).items() if name not in skipped}


def layers(chains: Mapping[str, Any]) -> tuple[list[Layer], list[str]]:
    """Walk chains of environments; return their layers, and why some cannot be captured.

    Args:
        chains: name -> a VecEnv or a plain environment.
    """
    found: list[Layer] = []
    reasons: list[str] = []
    for name, env in chains.items():
        depth = 0
        while isinstance(env, VecEnvWrapper):
            found.append(Layer(f"{name}/vec/{depth}", env))
            env, depth = env.venv, depth + 1
        if isinstance(env, DummyVecEnv):
            found.append(Layer(f"{name}/vec/{depth}", env))
            for index, inner in enumerate(env.envs):
                found += _inner_layers(f"{name}/env/{index}", inner)
        elif isinstance(env, VecEnv):
            reasons.append(f"{type(env).__name__} keeps its environments in other processes")
        else:
            found += _inner_layers(f"{name}/env/0", env)
    return found, reasons


def _inner_layers(path: str, env: Any) -> Iterator[Layer]:
    depth = 0
    while isinstance(env, gymnasium.Wrapper):
        yield Layer(f"{path}/{depth}", env)
        env, depth = env.env, depth + 1
    yield Layer(f"{path}/{depth}", env)


def normalisers(chains: Mapping[str, Any]) -> dict[str, VecNormalize]:
    """Return every VecNormalize in some chains by its path."""
    return {layer.path: layer.target for layer in layers(chains)[0] if isinstance(layer.target, VecNormalize)}


class EnvironmentCapture:
    """Captures chains of environments again and again, and remembers what cannot be captured.

    Args:
        chains: name -> environment, as `layers` takes them.
    """

    def __init__(self, chains: Mapping[str, Any]) -> None:
        self._layers, self.reasons = layers(chains)
        self.kinds = [layer.kind for layer in self._layers]

    def capture(self) -> bytes | None:
        """Return the pickle of all that the environments hold; None, with `reasons`, when it cannot be made."""
        if self.reasons:
            return None
        held = {layer.path: layer.attributes() for layer in self._layers}
        names = _Names(self._layers)
        try:
            return names.dump({"held": held, "spaces": names.generators()})
        except Exception as error:  # noqa: BLE001 - objects of users raise whatever they like from __reduce__
            self.reasons = [_culprit(names, held) or f"the environment cannot be pickled: {error}"]
            return None

    def put_back(self, blob: bytes) -> None:
        """Exchange what the environments hold.

        Args:
            blob: what `capture` gave for chains of the same `kinds`; trusted, for loading it may run code.

        Raises:
            Exception: whatever loading a pickle raises; nothing has changed then.
        """
        names = _Names(self._layers)
        loaded = names.load(blob)
        for layer in self._layers:
            vars(layer.target).update(loaded["held"][layer.path])
        names.put_generators(loaded["spaces"])


def _culprit(names: _Names, held: Mapping[str, Mapping[str, Any]]) -> str | None:
    for path, attributes in held.items():
        for name, value in attributes.items():
            try:
                names.dump(value)
            except Exception as error:  # noqa: BLE001 - see above
                return f"{path}: attribute {name!r} cannot be pickled ({error})"
    return None


class _Names:
    """The objects that stay, by name: environments and wrappers by path, spaces by where they are found first."""

    def __init__(self, found: list[Layer]) -> None:
        self._targets: dict[str, Any] = {layer.path: layer.target for layer in found}
        self._spaces: dict[str, gymnasium.Space] = {}
        for layer in found:
            for name, value in vars(layer.target).items():
                if isinstance(value, gymnasium.Space) and not any(value is space for space in self._spaces.values()):
                    self._spaces[f"{layer.path}.{name}"] = value
        self._targets.update(self._spaces)
        self._by_id = {id(target): name for name, target in self._targets.items()}

    def dump(self, value: Any) -> bytes:
        buffer = io.BytesIO()
        pickler = _Pickler(buffer, protocol=5)
        pickler.by_id = self._by_id
        pickler.dump(value)
        return buffer.getvalue()

    def load(self, blob: bytes) -> Any:
        unpickler = _Unpickler(io.BytesIO(blob))
        unpickler.targets = self._targets
        return unpickler.load()

    def generators(self) -> dict[str, Any]:
        return {name: space_generators(space) for name, space in self._spaces.items()}

    def put_generators(self, stored: Mapping[str, Any]) -> None:
        for name, space in self._spaces.items():
            put_space_generators(space, stored[name])


class _Pickler(pickle.Pickler):
    by_id: Mapping[int, str]

    def persistent_id(self, obj: Any) -> str | None:
        return self.by_id.get(id(obj))


class _Unpickler(pickle.Unpickler):
    targets: Mapping[str, Any]

    def persistent_load(self, pid: Any) -> Any:
        return self.targets[pid]


def space_generators(space: gymnasium.Space) -> dict[str, Any]:
    """Return the random generators of a space and of the spaces in it."""
    inside = {str(key): space_generators(inner) for key, inner in _inner_spaces(space)}
    return {"own": space._np_random, "inside": inside}


def put_space_generators(space: gymnasium.Space, stored: Mapping[str, Any]) -> None:
    """Give a space and the spaces in it the generators that `space_generators` returned."""
    space._np_random = stored["own"]
    for key, inner in _inner_spaces(space):
        put_space_generators(inner, stored["inside"][str(key)])


def _inner_spaces(space: gymnasium.Space) -> list[tuple[Any, gymnasium.Space]]:
    inner = getattr(space, "spaces", None)
    if isinstance(inner, Mapping):
        return list(inner.items())
    if isinstance(inner, tuple | list):
        return list(enumerate(inner))
    feature = getattr(space, "feature_space", None)
    return [("feature", feature)] if isinstance(feature, gymnasium.Space) else []
