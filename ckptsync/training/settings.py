"""The settings that a script has given an algorithm, described in plain values for comparison."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.noise import ActionNoise, VectorizedActionNoise
from stable_baselines3.common.save_util import recursive_getattr

# Training changes these; the other attributes of an algorithm without a leading underscore are settings
_NO_SETTINGS = frozenset(
    {"num_timesteps", "start_time", "exploration_rate", "ep_info_buffer", "ep_success_buffer"}
    | {"policy", "env", "replay_buffer", "rollout_buffer", "observation_space", "action_space", "policy_class"}
    | {
        "actor",
        "actor_target",
        "critic",
        "critic_target",
        "q_net",
        "q_net_target",
        "quantile_net",
        "quantile_net_target",
    }
    | {"lr_schedule", "exploration_schedule", "target_entropy", "log_ent_coef", "ent_coef_tensor", "policy_aliases"}
    | {"batch_norm_stats", "batch_norm_stats_target", "actor_batch_norm_stats", "actor_batch_norm_stats_target"}
    | {"critic_batch_norm_stats", "critic_batch_norm_stats_target", "lstm_states", "entropy_coef"}
)
_PROBES = (1.0, 0.75, 0.5, 0.25, 0.0)


def settings_of(model: Any) -> dict[str, Any]:
    """Return an algorithm's settings by name: values of JSON; those of policies and optimizers have dots.

    Args:
        model: an SB3 algorithm; before training, so that attributes still hold what the script gave.
    """
    found: dict[str, Any] = {"algorithm": type(model).__name__}
    for name, value in vars(model).items():
        if not name.startswith("_") and name not in _NO_SETTINGS and not isinstance(value, torch.optim.Optimizer):
            _add(found, name, value)
    for name, optimizer in optimizers(model).items():
        found[f"{name}.optimizer_class"] = type(optimizer).__name__
        for option, value in optimizer.defaults.items():
            if option != "lr":  # follows the learning rate
                _add(found, f"{name}.{option}", value)
    return found


def optimizers(model: Any) -> dict[str, torch.optim.Optimizer]:
    """Return the optimizers of a model by the names that its file gives them."""
    names = model._get_torch_save_params()[0]
    found = {name: recursive_getattr(model, name) for name in names}
    return {name: value for name, value in found.items() if isinstance(value, torch.optim.Optimizer)}


def varies(model: Any) -> bool:
    """Whether any schedule of a model depends on how far training has come."""
    schedules = [
        getattr(model, name, None) for name in ("lr_schedule", "clip_range", "clip_range_vf", "exploration_schedule")
    ]
    return any(len(set(_probed(schedule))) > 1 for schedule in schedules if callable(schedule))


def _add(found: dict[str, Any], name: str, value: Any) -> None:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            _add(found, f"{name}.{key}", inner)
    else:
        found[name] = _described(value)


def _described(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, list | tuple):
        return [_described(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): _described(inner) for key, inner in value.items()}
    if isinstance(value, ActionNoise):
        # `learn` makes one for each environment of it
        return repr(value.base_noise if isinstance(value, VectorizedActionNoise) else value)
    if isinstance(value, type):
        return value.__qualname__
    if callable(value) and (probed := _probed(value)):
        return list(probed) if len(set(probed)) > 1 else probed[0]
    return str(value) if isinstance(value, torch.device) else type(value).__qualname__


def _probed(schedule: Any) -> tuple[float, ...]:
    """The values of a schedule on the way; empty when it is none."""
    try:
        return tuple(float(schedule(left)) for left in _PROBES)
    except Exception:  # noqa: BLE001 - a function of another kind raises whatever it likes
        return ()
