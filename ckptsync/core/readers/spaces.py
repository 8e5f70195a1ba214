"""Observation and action spaces of gym and gymnasium, read from their inert pickles."""

from __future__ import annotations

from typing import Any

from ..signature import Space
from . import limits
from .pickle_program import Global, Made

_DTYPES = {
    "f2": "float16",
    "f4": "float32",
    "f8": "float64",
    "i1": "int8",
    "i2": "int16",
    "i4": "int32",
    "i8": "int64",
    "u1": "uint8",
    "u2": "uint16",
    "u4": "uint32",
    "u8": "uint64",
    "b1": "bool",
}


class _NotReadableError(Exception):
    """A part of the space is not as gym writes it."""


def read_space(value: Any) -> Space:
    """Turn the inert value of a pickled space into a JSON object.

    Args:
        value: what the pickle leaves.

    Returns:
        See `signature.Space`; `{"kind": "unknown", "class": ...}` where the space is of another class or unlike what
        gym and gymnasium write.
    """
    try:
        return _read(value, 0)
    except (_NotReadableError, KeyError, IndexError, TypeError, ValueError):
        return {"kind": "unknown", "class": value.path if isinstance(value, Made) else type(value).__name__}


def _read(value: Any, depth: int) -> dict[str, Any]:
    if not isinstance(value, Made) or depth > limits.MAX_SPACE_DEPTH:
        raise _NotReadableError
    state = value.states[0] if value.states else {}
    if isinstance(state, tuple):  # gymnasium's __setstate__ takes (dict, slots) from old files
        state = state[0]
    name = value.path.rpartition(".")[2]
    if name == "Box":
        return {"kind": "box", "shape": _shape(state), "dtype": _dtype(state["dtype"])}
    if name == "Discrete":
        space: dict[str, Any] = {"kind": "discrete", "n": _integer(state["n"])}
        start = _integer(state.get("start", 0))
        return space if start == 0 else {**space, "start": start}
    if name == "MultiDiscrete":
        return {"kind": "multi_discrete", "nvec": _integers(state["nvec"])}
    if name == "MultiBinary":
        size = state["n"]
        if isinstance(size, tuple | list):
            return {"kind": "multi_binary", "n": [_integer(number) for number in size]}
        return {"kind": "multi_binary", "n": _integer(size)}
    if name == "Dict":
        spaces = state["spaces"]
        inside = spaces.entries if isinstance(spaces, Made) else spaces
        return {"kind": "dict", "spaces": {str(key): _read(item, depth + 1) for key, item in inside.items()}}
    if name == "Tuple":
        return {"kind": "tuple", "spaces": [_read(item, depth + 1) for item in state["spaces"]]}
    raise _NotReadableError


def _shape(state: dict[str, Any]) -> list[int]:
    shape = state["_shape"] if "_shape" in state else state["shape"]
    return [_integer(size) for size in shape]


def _dtype(value: Any) -> str:
    """Name a numpy dtype: `numpy.dtype('f4', False, True)`, or a scalar class such as `numpy.float32`."""
    if isinstance(value, Made) and value.path == "numpy.dtype":
        return _DTYPES[value.args[0]]
    if isinstance(value, Global) and value.module == "numpy":
        return value.name
    raise _NotReadableError


def _integer(value: Any) -> int:
    """Read an integer, also one that numpy wrote as a scalar of raw bytes."""
    if type(value) is int:
        return value
    if isinstance(value, Made) and value.path.endswith(".multiarray.scalar"):
        dtype, raw = _dtype(value.args[0]), value.args[1]
        if isinstance(raw, bytes) and "int" in dtype:
            return int.from_bytes(raw, "little", signed=not dtype.startswith("u"))
    raise _NotReadableError


def _integers(value: Any) -> list[int]:
    """Read a numpy array of integers in either of the forms in which numpy pickles one."""
    if not isinstance(value, Made):
        raise _NotReadableError
    if value.path.endswith("._frombuffer"):
        raw, dtype, shape = value.args[0], value.args[1], value.args[2]
    else:
        _version, shape, dtype, _fortran, raw = value.states[0]
    name = _dtype(dtype)
    if not isinstance(raw, bytes) or "int" not in name or len(shape) != 1:
        raise _NotReadableError
    width = int(name.removeprefix("u").removeprefix("int")) // 8
    if len(raw) != shape[0] * width or shape[0] > limits.MAX_SPACE_ELEMENTS:
        raise _NotReadableError
    signed = not name.startswith("u")
    return [int.from_bytes(raw[at : at + width], "little", signed=signed) for at in range(0, len(raw), width)]
