"""Pickles in which the objects that the script has built are names: they stay, what they hold is exchanged.

The one kind of pickle that ckptsync ever loads: only in training, only from an intact set of the own lineage.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Mapping
from typing import Any

import gymnasium


class NamedObjects:
    """Pickles values; whatever two of them share stays shared, and named objects travel as their names.

    Args:
        named: name -> object, the same names in the process that saves and the one that loads.
    """

    def __init__(self, named: Mapping[str, Any]) -> None:
        self._named = named
        self._by_id = {id(value): name for name, value in named.items()}

    def dump(self, value: Any) -> bytes:
        """Pickle a value. Raises whatever pickling somebody's objects raises."""
        buffer = io.BytesIO()
        pickler = _Pickler(buffer, protocol=5)
        pickler.by_id = self._by_id
        pickler.dump(value)
        return buffer.getvalue()

    def load(self, blob: bytes) -> Any:
        """Unpickle what `dump` gave; it must be trusted. Raises whatever somebody's objects raise."""
        unpickler = _Unpickler(io.BytesIO(blob))
        unpickler.named = self._named
        return unpickler.load()

    def problem(self, value: Any) -> str | None:
        """Return why a value cannot be pickled, or None."""
        try:
            self.dump(value)
        except Exception as error:  # noqa: BLE001 - objects of users raise whatever they like from __reduce__
            return f"{type(error).__name__}: {error}"
        return None


class _Pickler(pickle.Pickler):
    by_id: Mapping[int, str]

    def persistent_id(self, obj: Any) -> str | None:
        return self.by_id.get(id(obj))


class _Unpickler(pickle.Unpickler):
    named: Mapping[str, Any]

    def persistent_load(self, pid: Any) -> Any:
        return self.named[pid]


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
