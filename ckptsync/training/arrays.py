"""Values and arrays in files without pickle: JSON for the structure, raw bytes for the arrays.

The file is a safetensors file; the structure lies in its `__metadata__` as JSON text, in which
`{"$": "array", "at": "3"}` stands for the tensor named `3`. So any reader of safetensors can look into
it, and nothing in it can run.

Source: the safetensors format, https://github.com/huggingface/safetensors
"""

from __future__ import annotations

import json
import math
import os
import struct
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ..core import fsio, jsonio
from ..core.errors import CorruptError

FORMAT = "ckptsync.state/1"
_MAX_HEADER_BYTES = 64 << 20
_DTYPES = {
    "bool": "BOOL",
    "uint8": "U8",
    "int8": "I8",
    "uint16": "U16",
    "int16": "I16",
    "uint32": "U32",
    "int32": "I32",
    "uint64": "U64",
    "int64": "I64",
    "float16": "F16",
    "float32": "F32",
    "float64": "F64",
}
_NUMPY = {code: np.dtype(name) for name, code in _DTYPES.items()}
_INT64 = range(-(1 << 63), 1 << 63)


class UnencodableError(Exception):
    """A value has no form without pickle; the text says where and what it is."""


# --- values <-> JSON and arrays ---------------------------------------------------------------------------------------


def encode(value: Any, arrays: dict[str, np.ndarray]) -> Any:
    """Turn a value into JSON; arrays and tensors in it are added to `arrays`.

    None, numbers, text, bytes, lists, tuples, deques, mappings, numpy arrays and scalars, and CPU
    tensors are known. The order of an array's axes in memory is kept: a transposed observation gives
    other last bits in a convolution than a copy in C order.

    Raises:
        UnencodableError: it holds anything else.
    """
    if value is None or isinstance(value, bool | str) or (type(value) is int and value in _INT64):
        return value
    if type(value) is int:
        return {"$": "int", "hex": hex(value)}
    if type(value) is float:
        return value if math.isfinite(value) else {"$": "float", "text": repr(value)}
    if isinstance(value, np.ndarray):
        return _encode_array(value, arrays)
    if isinstance(value, np.generic):
        return {"$": "scalar", "at": _add(np.asarray(value), arrays)}
    if isinstance(value, bytes):
        return {"$": "bytes", "at": _add(np.frombuffer(value, np.uint8), arrays)}
    if isinstance(value, list):
        return [encode(item, arrays) for item in value]
    if isinstance(value, tuple):
        return {"$": "tuple", "items": [encode(item, arrays) for item in value]}
    if isinstance(value, deque):
        return {"$": "deque", "items": [encode(item, arrays) for item in value], "maxlen": value.maxlen}
    if isinstance(value, Mapping):
        if all(type(key) is str for key in value) and "$" not in value:
            return {key: encode(item, arrays) for key, item in value.items()}
        pairs = [[encode(key, arrays), encode(item, arrays)] for key, item in value.items()]
        return {"$": "mapping", "items": pairs}
    if type(value).__module__.partition(".")[0] == "torch" and hasattr(value, "numpy"):
        return {"$": "tensor", "at": _add(value.detach().cpu().numpy(), arrays)}
    raise UnencodableError(f"{type(value).__module__}.{type(value).__qualname__}")


def decode(value: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    """Turn back what `encode` made. Raises KeyError or ValueError when it is anything else."""
    if isinstance(value, list):
        return [decode(item, arrays) for item in value]
    if not isinstance(value, dict):
        return value
    kind = value.get("$")
    if kind is None:
        return {key: decode(item, arrays) for key, item in value.items()}
    if kind == "int":
        return int(value["hex"], 16)
    if kind == "float":
        return float(value["text"])
    if kind in ("array", "scalar", "bytes", "tensor"):
        return _decode_array(kind, value, arrays)
    items = value["items"]
    if kind == "tuple":
        return tuple(decode(item, arrays) for item in items)
    if kind == "deque":
        return deque((decode(item, arrays) for item in items), maxlen=value["maxlen"])
    if kind == "mapping":
        return {decode(key, arrays): decode(item, arrays) for key, item in items}
    raise ValueError(f"unknown kind of value {kind!r}")


def copied(array: np.ndarray) -> np.ndarray:
    """Copy an array together with its layout, to the strides of its axes of length one.

    numpy does not care about those, but torch chooses the kernel of a convolution by them.
    """
    return _with_strides(array.copy(order="K"), array.strides)


def _with_strides(array: np.ndarray, strides: Sequence[int]) -> np.ndarray:
    told = tuple(
        stride if length == 1 else own for length, own, stride in zip(array.shape, array.strides, strides, strict=True)
    )
    return array if told == array.strides else np.lib.stride_tricks.as_strided(array, array.shape, told)


def comparable(value: Any) -> Any:
    """Return a form of a value that is equal for equal values and stays as it is when the value changes.

    Raises:
        UnencodableError: as for `encode`.
    """
    arrays: dict[str, np.ndarray] = {}
    text = encode(value, arrays)
    return text, {name: (array.dtype.str, array.shape, array.tobytes()) for name, array in arrays.items()}


def _encode_array(value: np.ndarray, arrays: dict[str, np.ndarray]) -> Any:
    axes = sorted(range(value.ndim), key=lambda axis: -abs(value.strides[axis]))
    encoded: dict[str, Any] = {"$": "array", "at": _add(value.transpose(axes), arrays)}
    if axes != list(range(value.ndim)):
        encoded["axes"] = axes
    if 1 in value.shape:
        encoded["strides"] = list(value.strides)
    return encoded


def _decode_array(kind: str, value: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Any:
    array = arrays[value["at"]]
    if kind == "scalar":
        return array[()]
    if kind == "bytes":
        return array.tobytes()
    if kind == "tensor":
        import torch

        return torch.from_numpy(array.copy())
    laid = array.transpose(np.argsort(value["axes"])) if "axes" in value else array
    return _with_strides(laid, value["strides"]) if "strides" in value else laid


def _add(array: np.ndarray, arrays: dict[str, np.ndarray]) -> str:
    if array.dtype.name not in _DTYPES or not array.dtype.isnative:
        raise UnencodableError(f"an array of {array.dtype}")
    name = str(len(arrays))
    arrays[name] = np.ascontiguousarray(array).reshape(array.shape)
    return name


# --- files ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Stream:
    """An array that is written piece by piece, so that it need not be in memory as a whole.

    Args:
        dtype: of its elements.
        shape: of the whole.
        chunks: gives C-contiguous arrays that together are the whole, in the order of its first axis.
    """

    dtype: np.dtype
    shape: tuple[int, ...]
    chunks: Callable[[], Iterator[np.ndarray]]

    @property
    def nbytes(self) -> int:
        """Length of the whole in bytes."""
        return math.prod(self.shape) * self.dtype.itemsize


def write_arrays(file: BinaryIO, state: Any, arrays: Mapping[str, np.ndarray | Stream]) -> None:
    """Write a file of arrays; large ones go from memory to the file without a copy.

    Args:
        file: open for writing.
        state: JSON.
        arrays: C-contiguous, of dtypes that safetensors knows.

    Raises:
        ValueError: the chunks of a stream are not as long together as its shape says.
    """
    # By falling item size, so that every array is aligned without holes, which the format forbids
    ordered = sorted(arrays.items(), key=lambda item: -item[1].dtype.itemsize)
    header: dict[str, Any] = {"__metadata__": {"format": FORMAT, "state": jsonio.canonical(state).decode()}}
    offset = 0
    for name, array in ordered:
        header[name] = {
            "dtype": _DTYPES[array.dtype.name],
            "shape": list(array.shape),
            "data_offsets": [offset, offset + array.nbytes],
        }
        offset += array.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    file.write(struct.pack("<Q", len(text)) + text)
    for name, array in ordered:
        written = 0
        for chunk in array.chunks() if isinstance(array, Stream) else [array]:
            if chunk.nbytes:
                file.write(_bytes_of(chunk))
            written += chunk.nbytes
        if written != array.nbytes:
            raise ValueError(f"the chunks of array {name!r} hold {written} bytes, its shape {array.nbytes}")


def _bytes_of(array: Any) -> memoryview:
    return memoryview(array.reshape(-1)).cast("B")


class ArrayFile:
    """A file of arrays, open for reading; arrays are read when asked for.

    Args:
        path: the file.

    Raises:
        CorruptError: it is no such file, or its header lies about its size.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with fsio.open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            prefix = file.read(8)
            length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else size
            if length > min(size, _MAX_HEADER_BYTES):
                raise self._damaged("its header is longer than the file")
            try:
                header = json.loads(file.read(length))
                known = header.pop("__metadata__")
                if known["format"] != FORMAT:
                    raise ValueError(f"its format is {known['format']!r}, expected {FORMAT!r}")
                self.state = jsonio.parse(known["state"].encode())
                self._entries = {name: self._entry(entry, 8 + length, size) for name, entry in header.items()}
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise self._damaged(str(error)) from None

    @property
    def names(self) -> list[str]:
        """The arrays' names."""
        return list(self._entries)

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of an array."""
        return self._entries[name][1]

    def dtype(self, name: str) -> np.dtype:
        """Dtype of an array."""
        return self._entries[name][0]

    def read(self, name: str) -> np.ndarray:
        """Read an array into memory of its own."""
        dtype, shape, _ = self._entries[name]
        array = np.empty(shape, dtype)
        self.read_into(name, array)
        return array

    def read_into(self, name: str, target: np.ndarray) -> None:
        """Read an array into a C-contiguous one of the same shape and dtype.

        Raises:
            CorruptError: the file ends early.
        """
        if target.shape != self._entries[name][1]:
            raise ValueError(f"array {name!r} has the shape {self._entries[name][1]}, the target {target.shape}")
        with fsio.open_regular(self._path) as file:
            self._read(file, name, 0, target)

    def read_rows(self, wanted: Iterable[tuple[str, int, np.ndarray]]) -> None:
        """Read rows of some arrays.

        Args:
            wanted: (name, first row, C-contiguous array of as many rows as are wanted, of the same dtype and row shape).

        Raises:
            CorruptError: the file ends early.
        """
        with fsio.open_regular(self._path) as file:
            for name, start, target in wanted:
                dtype, shape, _ = self._entries[name]
                if target.shape[1:] != shape[1:] or not 0 <= start <= shape[0] - len(target):
                    raise ValueError(
                        f"array {name!r} has the shape {shape}, not rows of {target.shape} from {start} on"
                    )
                self._read(file, name, start * math.prod(shape[1:]) * dtype.itemsize, target)

    def _read(self, file: BinaryIO, name: str, skipped_bytes: int, target: np.ndarray) -> None:
        dtype, _, offset = self._entries[name]
        if target.dtype != dtype or not target.flags.c_contiguous:
            raise ValueError(f"array {name!r} holds {dtype}, the target {target.dtype}, which must be C-contiguous")
        if not target.nbytes:
            return
        file.seek(offset + skipped_bytes)
        if file.readinto(_bytes_of(target)) != target.nbytes:  # type: ignore[attr-defined]
            raise self._damaged("it ends early")

    def read_all(self) -> dict[str, np.ndarray]:
        """Read every array."""
        return {name: self.read(name) for name in self._entries}

    def _entry(self, entry: Mapping[str, Any], start: int, size: int) -> tuple[np.dtype, tuple[int, ...], int]:
        dtype, shape = _NUMPY[entry["dtype"]], tuple(entry["shape"])
        begin, end = entry["data_offsets"]
        if not 0 <= begin <= end <= size - start or math.prod(shape) * dtype.itemsize != end - begin:
            raise ValueError("an array's shape disagrees with its place")
        return dtype, shape, start + begin

    def _damaged(self, why: str) -> CorruptError:
        return CorruptError(f"{self._path} is no file of training state: {why}", hint="use an earlier checkpoint")
