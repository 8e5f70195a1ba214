"""The part of a replay buffer that belongs to one set: `<stem>.replay.safetensors`.

It says which rows the buffer holds, and has all that is not in segments: small state, and the columns whose rows may
change. Of such a column it has either all used rows (`rows:<name>`, or `texts:` and `lengths:`), or its runs of equal
rows (`runs:<name>`, the first row of each, and `values:<name>`): the episode lengths of HER take little room so.

Sets of earlier versions have no segments; there it holds all columns, and objects as JSON in its state.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ...core.errors import CorruptError
from ..arrays import ArrayFile, decode, write_arrays
from .texts import join, put_rows, split

_COLUMNS = ("rows:", "texts:", "lengths:", "runs:", "values:")
_SMALL = ("rest", "ahead", "settings", "observation_space", "action_space", "objects")


@dataclass(frozen=True)
class ReplayState:
    """What a set says of a replay buffer besides the rows in segments.

    Args:
        geometry: see `columns.geometry_of`; of a buffer that fits.
        count: how many rows were ever added; None: by an earlier version, and all columns are here.
        used: how many rows it holds: those from count - used on.
    """

    geometry: Mapping[str, Any]
    count: int | None
    used: int


def write_state(
    file: BinaryIO,
    state: ReplayState,
    small: Mapping[str, Any],
    arrays: Mapping[str, np.ndarray],
    changing: Mapping[str, np.ndarray | Sequence[bytes]],
) -> None:
    """Write the file.

    Args:
        file: open for writing.
        state: what it says.
        small: `rest`, `ahead`, `settings` and the spaces, as `arrays.encode` gave them.
        arrays: those that they refer to.
        changing: used rows of the changing columns; of objects as texts.
    """
    stored: dict[str, np.ndarray] = dict(arrays)
    for name, column in changing.items():
        if isinstance(column, np.ndarray):
            stored |= _packed(name, column)
        else:
            stored[f"texts:{name}"], stored[f"lengths:{name}"] = join(column)
    write_arrays(file, {**state.geometry, **small, "count": state.count, "used": state.used}, stored)


def _packed(name: str, column: np.ndarray) -> dict[str, np.ndarray]:
    if len(column) > 1 and column.dtype.kind in "biu":  # of floats, some that differ in their bits are equal
        differs = (column[1:] != column[:-1]).reshape(len(column) - 1, -1).any(axis=1)
        runs = np.concatenate([[0], np.flatnonzero(differs) + 1])
        if 2 * len(runs) <= len(column):
            return {f"runs:{name}": runs.astype(np.int64), f"values:{name}": column[runs]}
    return {f"rows:{name}": column}


class StateFile:
    """The file, open for reading.

    Args:
        path: the file, checked against its seal.

    Raises:
        CorruptError: it is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._source = ArrayFile(path)
        value = self._source.state
        try:
            self.state = ReplayState(
                {key: value[key] for key in ("class", "buffer_size", "n_envs", "columns") if key in value},
                value.get("count"),
                value["used"],
            )
            if not all(type(number) is int and number >= 0 for number in (self.state.count or 0, self.state.used)):
                raise ValueError("count and used are no numbers of rows")
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise self._damaged(error) from None

    @cached_property
    def small(self) -> dict[str, Any]:
        """What was written as `rest`, `ahead`, `settings` and spaces, and objects of earlier versions.

        Raises:
            CorruptError: it is damaged.
        """
        names = [name for name in self._source.names if not name.startswith(_COLUMNS)]
        try:
            arrays = {name: self._source.read(name) for name in names}
            return {key: decode(self._source.state[key], arrays) for key in _SMALL if key in self._source.state}
        except (KeyError, TypeError, ValueError) as error:
            raise self._damaged(error) from None

    def fits(self, name: str, column: np.ndarray) -> bool:
        """Whether it holds the used rows of a changing column like this one."""
        source, row = self._source, column.shape[1:]
        if column.dtype.hasobject:
            return f"texts:{name}" in source.names or name in source.state.get("objects", {})
        if f"values:{name}" in source.names:
            stored = f"values:{name}"
            return source.shape(stored)[1:] == row and source.dtype(stored) == column.dtype
        stored = f"rows:{name}"
        whole = (self.state.used, *row)
        return stored in source.names and source.shape(stored) == whole and source.dtype(stored) == column.dtype

    def fill(self, name: str, column: np.ndarray) -> None:
        """Put the used rows of a changing column into the first slots of a live one that fits.

        Raises:
            CorruptError: it is damaged.
        """
        source, target = self._source, column[: self.state.used]
        try:
            if f"values:{name}" in source.names:
                runs = source.read(f"runs:{name}")
                target[...] = np.repeat(source.read(f"values:{name}"), np.diff(runs, append=len(target)), axis=0)
            elif not column.dtype.hasobject and target.flags.c_contiguous:
                source.read_into(f"rows:{name}", target)
            elif not column.dtype.hasobject:
                target[...] = source.read(f"rows:{name}")
            elif f"texts:{name}" in source.names:
                put_rows(target, split(source.read(f"texts:{name}"), source.read(f"lengths:{name}")))
            else:
                target[...] = np.array(self.small["objects"][name], dtype=object)
        except (KeyError, TypeError, ValueError) as error:
            raise self._damaged(error) from None

    def _damaged(self, error: Exception) -> CorruptError:
        return CorruptError(f"{self.path} is no state of a replay buffer: {error!r}", hint="use an earlier checkpoint")
