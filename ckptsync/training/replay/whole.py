"""Replay buffers: the used rows as raw arrays, read straight into the buffer that the script has built."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

from ..arrays import UnencodableError, encode, write_arrays

# What the script's code decides, or objects that live elsewhere
_NOT_STATE = frozenset(
    {"buffer_size", "observation_space", "action_space", "obs_shape", "action_dim", "device", "n_envs", "env"}
    | {"optimize_memory_usage", "handle_timeout_termination", "n_steps", "gamma", "n_sampled_goal", "her_ratio"}
    | {"copy_info_dict", "goal_selection_strategy"}
)


def _rows(buffer: Any) -> dict[str, np.ndarray]:
    """Return every array with a row per slot by name; those in dicts as `observations/key`."""
    found: dict[str, np.ndarray] = {}
    for name, value in vars(buffer).items():
        pairs = value.items() if isinstance(value, dict) else [(None, value)]
        for key, array in pairs:
            if isinstance(array, np.ndarray) and array.shape[:1] == (buffer.buffer_size,):
                found[name if key is None else f"{name}/{key}"] = array
    return found


def _rest(buffer: Any, rows: Mapping[str, np.ndarray]) -> dict[str, Any]:
    inside = {name.partition("/")[0] for name in rows}
    return {name: value for name, value in vars(buffer).items() if name not in inside and name not in _NOT_STATE}


def _used(buffer: Any) -> int:
    # With optimize_memory_usage the slot behind the last row holds the next observation
    return int(min(buffer.size() + 1, buffer.buffer_size))


def write_replay(file: BinaryIO, buffer: Any) -> None:
    """Write the used rows of a replay buffer.

    Args:
        file: open for writing.
        buffer: SB3's ReplayBuffer or a class derived from it.

    Raises:
        UnencodableError: it holds something that has no form without pickle.
    """
    rows = _rows(buffer)
    used = _used(buffer)
    arrays: dict[str, np.ndarray] = {}
    objects: dict[str, Any] = {}
    rest = encode(_rest(buffer, rows), arrays)
    for name, array in rows.items():
        if array.dtype == object:  # HER keeps a dict of infos per row, empty unless asked for
            objects[name] = encode(array[:used].tolist(), arrays)
        else:
            arrays[f"rows:{name}"] = array[:used]
    state = {
        "class": type(buffer).__name__,
        "buffer_size": buffer.buffer_size,
        "n_envs": buffer.n_envs,
        "used": used,
        "rest": rest,
        "objects": objects,
    }
    write_arrays(file, state, arrays)


def can_write(buffer: Any) -> str | None:
    """Return why a buffer cannot be captured, or None."""
    rows = _rows(buffer)
    try:
        encode(_rest(buffer, rows), {})
        encode([array[: _used(buffer)].tolist() for array in rows.values() if array.dtype == object], {})
    except UnencodableError as error:
        return f"the replay buffer holds {error}"
    return None


@dataclass(frozen=True)
class ReplayMark:
    """A moment of a buffer to which it can be rolled back while few rows have been added.

    Args:
        rest: position and other small state.
        overwritten: the rows that come next, as they were.
        ahead: how many they are.
    """

    rest: Mapping[str, Any]
    overwritten: Mapping[str, np.ndarray]
    ahead: int


def mark(buffer: Any, ahead: int) -> ReplayMark | None:
    """Remember a moment of a buffer; None when its class writes into old rows (HER) and cannot be rolled back.

    Args:
        buffer: the buffer.
        ahead: how many rows may be added at most before `roll_back`.
    """
    rows = _rows(buffer)
    rest = _rest(buffer, rows)
    if set(rest) - {"pos", "full"}:
        return None
    ahead = min(ahead, buffer.buffer_size)
    # One more: with optimize_memory_usage the next observation is written into the slot behind
    slots = (buffer.pos + np.arange(min(ahead + 1, buffer.buffer_size))) % buffer.buffer_size
    return ReplayMark(dict(rest), {name: array[slots] for name, array in rows.items()}, ahead)


def roll_back(buffer: Any, moment: ReplayMark, added: int) -> bool:
    """Bring a buffer back to a moment; False, and nothing changed, when too many rows were added since.

    Args:
        buffer: the buffer.
        moment: what `mark` gave.
        added: how many rows were added since, at most.
    """
    size, pos = buffer.buffer_size, int(moment.rest["pos"])
    if added > moment.ahead:
        return False
    slots = (pos + np.arange(min(moment.ahead + 1, size))) % size
    for name, array in _rows(buffer).items():
        array[slots] = moment.overwritten[name]
    vars(buffer).update(moment.rest)
    return True
