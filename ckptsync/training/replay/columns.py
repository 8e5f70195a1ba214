"""What a replay buffer consists of: columns with a row per slot, and small state.

A column is *final* when a row of it never changes once it was added, until the ring comes round to its slot. Such rows
lie in segments that many sets share. All others are *changing*: HER writes an episode's length into its old rows when
the episode ends, and nobody knows what a class that a user has written does. They are copied whole.

Rows are counted from the first one that was ever added, as SB3 adds them: one for all environments at once. Row r lies
in slot r modulo buffer_size.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..arrays import UnencodableError, encode
from .texts import row_texts

# What the script's code decides, or objects that live elsewhere
_NOT_STATE = frozenset(
    {"buffer_size", "observation_space", "action_space", "obs_shape", "action_dim", "device", "n_envs", "env"}
    | {"optimize_memory_usage", "handle_timeout_termination", "n_steps", "gamma", "n_sampled_goal", "her_ratio"}
    | {"copy_info_dict", "goal_selection_strategy"}
)
_FINAL = frozenset(
    {"observations", "next_observations", "actions", "rewards", "dones", "timeouts", "ep_start", "infos"}
)
# One entry per environment, which may be as many as there are slots
_NO_COLUMN = frozenset({"_current_ep_start"})
_KNOWN_PACKAGES = ("stable_baselines3", "sb3_contrib")
# Columns of an unknown class are copied at every clean point; beyond this that would take the memory that training needs
_MAX_COPIED_BYTES = 1 << 30


@dataclass(frozen=True)
class Columns:
    """The live arrays of a buffer by name; those in dicts as `observations/key`.

    Args:
        final: rows never change once they were added.
        changing: rows may change at any time.
    """

    final: Mapping[str, np.ndarray]
    changing: Mapping[str, np.ndarray]


def columns_of(buffer: Any) -> Columns:
    """Return the columns of a buffer, without those that its settings leave empty.

    A class of a user's own has only changing columns, unless it says `rows_are_final = True`.
    """
    final: dict[str, np.ndarray] = {}
    changing: dict[str, np.ndarray] = {}
    trusted = _is_known(buffer) or getattr(buffer, "rows_are_final", False)
    unused = _unused(buffer)
    for attribute, found in _column_attributes(buffer).items():
        if attribute in unused:
            continue
        for name, array in found.items():
            is_final = trusted and attribute in _FINAL and array.flags.c_contiguous
            (final if is_final else changing)[name] = array
    return Columns(final, changing)


def rest_of(buffer: Any) -> dict[str, Any]:
    """Return what is neither a column nor decided by the script: the position and other small state."""
    columns = _column_attributes(buffer)
    return {name: value for name, value in vars(buffer).items() if name not in columns and name not in _NOT_STATE}


def geometry_of(buffer: Any) -> dict[str, Any]:
    """Return as JSON what must be equal for rows of one buffer to be rows of another."""
    columns = columns_of(buffer)
    return {
        "class": type(buffer).__name__,
        "buffer_size": buffer.buffer_size,
        "n_envs": buffer.n_envs,
        "columns": {
            name: [array.dtype.name, list(array.shape[1:])]
            for name, array in {**columns.final, **columns.changing}.items()
        },
    }


def why_not(buffer: Any) -> str | None:
    """Return why a buffer cannot be captured, or None."""
    columns = columns_of(buffer)
    try:
        encode(rest_of(buffer), {})
        for name, array in {**columns.final, **columns.changing}.items():
            if not array.dtype.hasobject:
                encode(array[:0], {})
            elif name in columns.changing:
                row_texts(array[: buffer.size()])
    except UnencodableError as error:
        return f"the replay buffer was left out: it holds {error}"
    copied = sum(array.nbytes for array in columns.changing.values())
    if not _is_known(buffer) and copied > _MAX_COPIED_BYTES:
        return (
            f"the replay buffer was left out: {type(buffer).__name__} may change rows that it holds, and "
            f"{copied / 1e9:.1f} GB are too many to copy at every clean point; if it never does, say "
            "rows_are_final = True in the class"
        )
    return None


def ahead_of(buffer: Any) -> dict[str, np.ndarray]:
    """Return copies of what lies in the slot behind the last row and belongs to it.

    With `optimize_memory_usage` the next observation of the newest row lies there, over that of the oldest.
    """
    if not getattr(buffer, "optimize_memory_usage", False):
        return {}
    columns = columns_of(buffer)
    both = {**columns.final, **columns.changing}
    return {name: both[name][buffer.pos].copy() for name in both if name.partition("/")[0] == "observations"}


def spans(start: int, end: int, size: int) -> Iterator[tuple[int, slice]]:
    """Yield (first row, its slots) for the rows from start to end, in one piece or two; at most `size` rows."""
    while start < end:
        slot = start % size
        rows = min(end - start, size - slot)
        yield start, slice(slot, slot + rows)
        start += rows


def _is_known(buffer: Any) -> bool:
    return type(buffer).__module__.partition(".")[0] in _KNOWN_PACKAGES


def _unused(buffer: Any) -> Sequence[str]:
    # SB3 makes these arrays and never writes into them where the setting is off
    settings = {"timeouts": "handle_timeout_termination", "infos": "copy_info_dict"}
    return [name for name, setting in settings.items() if _is_known(buffer) and not getattr(buffer, setting, True)]


def _column_attributes(buffer: Any) -> dict[str, dict[str, np.ndarray]]:
    found: dict[str, dict[str, np.ndarray]] = {}
    for attribute, value in vars(buffer).items():
        if isinstance(value, dict):
            arrays = {f"{attribute}/{key}": array for key, array in value.items()}
        else:
            arrays = {attribute: value}
        if attribute not in _NO_COLUMN and arrays and all(_is_column(buffer, array) for array in arrays.values()):
            found[attribute] = arrays
    return found


def _is_column(buffer: Any, value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.shape[:1] == (buffer.buffer_size,)
