"""What a finished training has made, as named arrays: what must be equal between a cut and an uncut run."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np

# Columns of a training log that hold the time of day
_CLOCK = {"time/fps", "time/time_elapsed"}


def save(model: Any, callbacks: list[Any], path: Path) -> None:
    """Write everything that counts into one file."""
    found: dict[str, np.ndarray] = {}
    _tensors(model, found)
    _normalisation(model, found)
    _replay(model, found)
    _callbacks(callbacks, found)
    _logs(model, found)
    _state(model, found)
    np.savez(path, **found)


def _tensors(model: Any, found: dict[str, np.ndarray]) -> None:
    from stable_baselines3.common.save_util import recursive_getattr

    for name, state in model.get_parameters().items():
        if "param_groups" in state:
            for index, entries in state["state"].items():
                for key, value in entries.items():
                    found[f"optimizer {name} {index} {key}"] = np.asarray(value)
            for index, group in enumerate(state["param_groups"]):
                options = {key: value for key, value in group.items() if key != "params"}
                found[f"optimizer {name} options {index}"] = _text(options)
        else:
            for key, value in state.items():
                found[f"parameter {name} {key}"] = value.numpy()
    for name in model._get_torch_save_params()[1]:
        value = recursive_getattr(model, name)
        if value is not None:
            found[f"variable {name}"] = value.detach().numpy()


def _normalisation(model: Any, found: dict[str, np.ndarray]) -> None:
    layer = model.get_vec_normalize_env()
    if layer is None:
        return
    inner = getattr(layer, "obs_rms", None)
    for key, rms in (inner if isinstance(inner, dict) else {"": inner} if inner is not None else {}).items():
        found[f"normalisation {key} mean"], found[f"normalisation {key} var"] = rms.mean, rms.var
    found["normalisation return"] = np.array([layer.ret_rms.mean, layer.ret_rms.var, layer.ret_rms.count])
    found["normalisation discounted"] = layer.returns


def _replay(model: Any, found: dict[str, np.ndarray]) -> None:
    buffer = getattr(model, "replay_buffer", None)
    if buffer is None:
        return
    used = buffer.size()
    for name, value in vars(buffer).items():
        pairs = value.items() if isinstance(value, dict) else [("", value)]
        for key, array in pairs:
            if isinstance(array, np.ndarray) and array.shape[:1] == (buffer.buffer_size,):
                rows = array[:used]
                found[f"replay {name} {key}"] = _text(_timeless(rows.tolist())) if rows.dtype == object else rows.copy()
    found["replay position"] = np.array([buffer.pos, int(buffer.full)])


def _callbacks(callbacks: list[Any], found: dict[str, np.ndarray]) -> None:
    for index, callback in enumerate(callbacks):
        for name in ("evaluations_timesteps", "evaluations_results", "evaluations_length", "best_mean_reward"):
            if hasattr(callback, name):
                found[f"callback {index} {name}"] = np.asarray(getattr(callback, name))
        if hasattr(callback, "seen"):
            found[f"callback {index} seen"] = _text([sorted(callback.seen.items()), sorted(callback.odd)])
        found[f"callback {index} calls"] = np.array([callback.n_calls])


def _logs(model: Any, found: dict[str, np.ndarray]) -> None:
    model.logger.close()
    rows = list(csv.DictReader(Path("logs/progress.csv").read_text().splitlines()))
    lines = [json.loads(line) for line in Path("logs/progress.json").read_text().splitlines()]
    plain = [{key: value for key, value in row.items() if key not in _CLOCK and value != ""} for row in rows]
    found["log rows"] = np.array([len(rows), len(lines)])
    found["log csv"] = _text([sorted(row.items()) for row in plain])
    found["log json"] = _text([sorted((k, v) for k, v in line.items() if k not in _CLOCK) for line in lines])


def _state(model: Any, found: dict[str, np.ndarray]) -> None:
    import torch

    found["state steps"] = np.array([model.num_timesteps, model._n_updates, model._episode_num])
    found["state episodes"] = np.array([(e["r"], e["l"]) for e in model.ep_info_buffer])
    found["state numpy"] = np.random.get_state()[1]
    found["state torch"] = torch.get_rng_state().numpy()


def _timeless(value: Any) -> Any:
    """Leave out when an episode ended, by the clock."""
    if isinstance(value, list):
        return [_timeless(item) for item in value]
    if isinstance(value, dict):
        return {key: _timeless(item) for key, item in value.items() if key != "t"}
    return value


def _text(value: Any) -> np.ndarray:
    return np.frombuffer(json.dumps(value, default=_plain, sort_keys=True).encode(), np.uint8)


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return repr(value)


def compare(uncut: Path, cut: Path) -> tuple[int, float, list[str]]:
    """Return how many arrays were compared, the largest difference of any number, and the names that differ."""
    with np.load(uncut) as first, np.load(cut) as second:
        names = sorted({*first.files, *second.files})
        largest, differing = 0.0, []
        for name in names:
            a, b = first.get(name), second.get(name)
            if a is None or b is None or a.shape != b.shape or a.dtype != b.dtype:
                largest, differing = float("inf"), [*differing, name]
            elif a.tobytes() != b.tobytes():
                largest = max(largest, float(np.max(np.abs(a.astype(np.float64) - b.astype(np.float64)))))
                differing.append(name)
        return len(names), largest, differing
