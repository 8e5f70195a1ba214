"""The state of an SB3 model and all around it, beyond what its zip holds: captured as values, put back in place.

Concerns, each with a capture and a put-back: counters, observations, action noise, normalisation
statistics, gSDE matrices and random generators. Callbacks, environments and the log have modules of their
own, and `state` puts all of it together. Replay buffers lie in files of their own (module replay).

Right only at clean points: `on_rollout_start` and `on_training_end`. Put back in two steps, because
SB3 touches some of it in between: `put_back_objects` at `on_training_start` (before it,
`_setup_learn` resets the action noise and the environment), `put_back_generators` at the first
`on_rollout_start` (before it, gSDE draws new matrices).
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.noise import ActionNoise, VectorizedActionNoise

from ..core.errors import CorruptError
from .arrays import copied
from .built import Built
from .layers import normalisers
from .objects import put_space_generators, space_generators

# Attributes of an algorithm that training changes and its zip's loader does not put back
_COUNTERS = (
    "_n_updates",
    "_n_calls",
    "_episode_num",
    "_current_progress_remaining",
    "exploration_rate",
    "ep_info_buffer",
    "ep_success_buffer",
)
_OBSERVATIONS = ("_last_obs", "_last_original_obs", "_last_episode_starts", "_last_lstm_states")


def capture(model: Any, chains: Mapping[str, Any], built: Built) -> dict[str, Any]:
    """Return the state around a model as values that `arrays.encode` knows; copies, not references.

    Args:
        model: an SB3 algorithm at a clean point.
        chains: the environments, by name; those of VecNormalize give their statistics.
        built: what the script has built the model with.
    """
    counters = {name: getattr(model, name) for name in _COUNTERS if hasattr(model, name)}
    return {
        "settings": built.settings,
        "counters": _copied({**counters, **built.own_attributes(model)}),
        "observations": {name: _copied(getattr(model, name)) for name in _OBSERVATIONS if hasattr(model, name)},
        "noise": [_copied(vars(noise).get("noise_prev")) for noise in _noises(model.action_noise)],
        "normalisation": {path: _statistics(layer) for path, layer in normalisers(chains).items()},
        "sde": [_sde(dist) for dist in _sde_distributions(model)],
        "generators": _generators(model),
    }


@contextmanager
def checked(what: str) -> Iterator[None]:
    """Turn what a damaged state gives when it is put back into an error that says so.

    Raises:
        CorruptError: something is missing in the state, or is of another kind.
    """
    try:
        yield
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise CorruptError(
            f"the resume state is damaged, or of an unknown version: {what} cannot be put back ({error!r})",
            hint="use an earlier checkpoint: 'ckptsync ls' lists them, 'ckptsync rollback' goes back",
        ) from error


def put_back_counters(model: Any, state: Mapping[str, Any]) -> None:
    """Put back what can be at any time: counters and the buffers of episode statistics."""
    with checked("the counters"):
        for name, value in state["counters"].items():
            if not hasattr(model, name):
                continue
            # How many episodes the means are taken over is a setting of the script
            kept = deque(value, model._stats_window_size) if isinstance(value, deque) else _copied(value)
            setattr(model, name, kept)


def put_back_objects(
    model: Any, state: Mapping[str, Any], chains: Mapping[str, Any], *, observations: bool
) -> tuple[str, ...]:
    """Put back everything but the generators; call it at `on_training_start`.

    Args:
        model: built by the script, tensors loaded.
        state: what `capture` returned.
        chains: the environments, by name.
        observations: whether the environments were put back too; else what `reset` returned stays.

    Returns:
        What is normalised in another way than it was.

    Raises:
        CorruptError: the state is damaged.
    """
    put_back_counters(model, state)
    with checked("the action noise"):
        for noise, previous in zip(_noises(model.action_noise), state["noise"], strict=False):
            if previous is not None and hasattr(noise, "noise_prev") and noise.noise_prev.shape == previous.shape:
                noise.noise_prev = _copied(previous)
    with checked("the statistics of VecNormalize"):
        reasons = _put_normalisation(state["normalisation"], normalisers(chains), transient=observations)
    with checked("the last observations"):
        for name, value in state["observations"].items() if observations else ():
            setattr(model, name, _like(getattr(model, name, None), _copied(value), model.device))
    return reasons


def _put_normalisation(stored: Mapping[str, Any], found: Mapping[str, Any], *, transient: bool) -> tuple[str, ...]:
    for path, layer in found.items():
        if path in stored:
            _put_statistics(layer, stored[path], transient=transient)
    new = [f"{path}: VecNormalize is new, its statistics begin anew" for path in found if path not in stored]
    gone = [f"{path}: VecNormalize is gone, and its statistics with it" for path in stored if path not in found]
    return (*new, *gone)


def put_back_generators(model: Any, state: Mapping[str, Any]) -> None:
    """Put back the gSDE matrices and the random generators; call it at the first `on_rollout_start`.

    Raises:
        CorruptError: the state is damaged.
    """
    with checked("the exploration matrices"):
        for dist, matrices in zip(_sde_distributions(model), state["sde"], strict=False):
            for name, matrix in matrices.items():
                if name == "exploration_mat" or len(matrix) == model.n_envs:
                    setattr(dist, name, matrix.clone().to(model.device))
    with checked("the random generators"):
        stored = state["generators"]
        kind, words, position, gauss = stored["python"]
        random.setstate((kind, (*map(int, words), position), gauss))
        np.random.set_state(stored["numpy"])
        torch.set_rng_state(stored["torch"])
        if len(stored["cuda"]) == (torch.cuda.device_count() if torch.cuda.is_available() else 0):
            torch.cuda.set_rng_state_all(stored["cuda"])
        put_space_generators(model.action_space, _spaces_from(stored["action_space"]))
        put_space_generators(model.observation_space, _spaces_from(stored["observation_space"]))


def _generators(model: Any) -> dict[str, Any]:
    kind, words, gauss = random.getstate()
    return {
        "python": (kind, np.array(words[:-1], np.uint32), words[-1], gauss),
        "numpy": np.random.get_state(),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "action_space": _spaces_to(space_generators(model.action_space)),
        "observation_space": _spaces_to(space_generators(model.observation_space)),
    }


def _spaces_to(found: Mapping[str, Any]) -> dict[str, Any]:
    own = found["own"]
    return {
        "own": None if own is None else own.bit_generator.state,
        "inside": {key: _spaces_to(inner) for key, inner in found["inside"].items()},
    }


def _spaces_from(stored: Mapping[str, Any]) -> dict[str, Any]:
    own = None
    if stored["own"] is not None:
        own = np.random.Generator(getattr(np.random, stored["own"]["bit_generator"])())
        own.bit_generator.state = stored["own"]
    return {"own": own, "inside": {key: _spaces_from(inner) for key, inner in stored["inside"].items()}}


def _noises(noise: ActionNoise | None) -> list[Any]:
    if noise is None:
        return []
    return list(noise.noises) if isinstance(noise, VectorizedActionNoise) else [noise]


def _statistics(layer: Any) -> dict[str, Any]:
    observations = getattr(layer, "obs_rms", None)
    return {
        "observations": {key: _running(rms) for key, rms in observations.items()}
        if isinstance(observations, dict)
        else None
        if observations is None
        else _running(observations),
        "returns": _running(layer.ret_rms),
        "discounted": _copied(layer.returns),
        "old_obs": _copied(getattr(layer, "old_obs", None)),
        "old_reward": _copied(layer.old_reward),
    }


def _put_statistics(layer: Any, stored: Mapping[str, Any], *, transient: bool) -> None:
    observations = getattr(layer, "obs_rms", None)
    if isinstance(observations, dict):
        for key, rms in observations.items():
            _put_running(rms, stored["observations"][key])
    elif observations is not None and stored["observations"] is not None:
        _put_running(observations, stored["observations"])
    _put_running(layer.ret_rms, stored["returns"])
    if transient:
        layer.returns = _copied(stored["discounted"])
        layer.old_obs = _copied(stored["old_obs"])
        layer.old_reward = _copied(stored["old_reward"])


def _running(rms: Any) -> dict[str, Any]:
    return {"mean": _copied(rms.mean), "var": _copied(rms.var), "count": rms.count}


def _put_running(rms: Any, stored: Mapping[str, Any]) -> None:
    rms.mean, rms.var, rms.count = _copied(stored["mean"]), _copied(stored["var"]), stored["count"]


def _sde_distributions(model: Any) -> list[Any]:
    owners = [model.policy, getattr(model.policy, "actor", None)]
    found = [getattr(owner, "action_dist", None) for owner in owners]
    return [dist for dist in found if hasattr(dist, "exploration_mat")]


def _sde(dist: Any) -> dict[str, Any]:
    return {name: getattr(dist, name).detach().clone() for name in ("exploration_mat", "exploration_matrices")}


def _copied(value: Any) -> Any:
    """Copy arrays and containers of them; their layout in memory stays."""
    if isinstance(value, np.ndarray):
        return copied(value)
    if isinstance(value, torch.Tensor):
        return value.detach().clone()
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_make"):
        return type(value)._make(_copied(item) for item in value)
    if isinstance(value, list | tuple):
        return type(value)(_copied(item) for item in value)
    return value.copy() if hasattr(value, "maxlen") else value


def _like(live: Any, value: Any, device: Any) -> Any:
    """Give a decoded value the class of the live one: named tuples and devices are lost on the way."""
    if isinstance(value, torch.Tensor):
        return value.to(device)
    if isinstance(value, tuple):
        items = [_like(None, item, device) for item in value]
        if isinstance(live, tuple) and hasattr(live, "_make"):
            return type(live)._make(_like(old, item, device) for old, item in zip(live, items, strict=True))
        return tuple(items)
    return value
