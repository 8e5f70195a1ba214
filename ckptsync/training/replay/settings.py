"""How a replay buffer was built: enough to build one like it without the training script."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium import spaces

_PLAIN = (
    "optimize_memory_usage",
    "handle_timeout_termination",
    "n_steps",
    "gamma",
    "n_sampled_goal",
    "copy_info_dict",
)


def settings_of(buffer: Any) -> dict[str, Any]:
    """Return the arguments that a buffer was built with, as values that `arrays.encode` knows; no spaces, no env."""
    found = {"module": type(buffer).__module__} | {
        name: getattr(buffer, name) for name in _PLAIN if hasattr(buffer, name)
    }
    strategy = getattr(buffer, "goal_selection_strategy", None)
    return found if strategy is None else {**found, "goal_selection_strategy": strategy.name.lower()}


def space_values(space: spaces.Space) -> dict[str, Any]:
    """Return a space that a replay buffer can have, as values that `arrays.encode` knows."""
    if isinstance(space, spaces.Box):
        shape = list(space.shape)
        return {"kind": "box", "shape": shape, "low": _bound(space.low), "high": _bound(space.high)}
    if isinstance(space, spaces.Discrete):
        return {"kind": "discrete", "n": int(space.n), "start": int(space.start)}
    if isinstance(space, spaces.MultiDiscrete):
        return {"kind": "multi_discrete", "nvec": space.nvec}
    if isinstance(space, spaces.MultiBinary):
        return {"kind": "multi_binary", "n": space.n}
    if isinstance(space, spaces.Dict):
        return {"kind": "dict", "spaces": {key: space_values(inner) for key, inner in space.spaces.items()}}
    raise TypeError(f"a replay buffer cannot have the space {space}")


def build_space(values: Mapping[str, Any]) -> spaces.Space:
    """Build the space that `space_values` described. Raises KeyError, TypeError or ValueError when it is none."""
    kind = values["kind"]
    if kind == "box":
        low, high = values["low"], values["high"]
        shape = tuple(values["shape"])
        return spaces.Box(np.broadcast_to(low, shape), np.broadcast_to(high, shape), dtype=low.dtype.type)
    if kind == "discrete":
        return spaces.Discrete(values["n"], start=values["start"])
    if kind == "multi_discrete":
        return spaces.MultiDiscrete(values["nvec"])
    if kind == "multi_binary":
        return spaces.MultiBinary(values["n"])
    if kind == "dict":
        return spaces.Dict({key: build_space(inner) for key, inner in values["spaces"].items()})
    raise ValueError(f"unknown kind of space {kind!r}")


def _bound(bound: np.ndarray) -> np.ndarray:
    # Images have one bound everywhere
    first = bound.reshape(-1)[:1]
    return first if (bound == first).all() else bound
