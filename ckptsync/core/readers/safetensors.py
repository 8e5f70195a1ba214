"""Safetensors files: a length, a JSON header, then the numbers without a hole.

Source: the format as documented at huggingface.co/docs/safetensors. As its own reader does, this one refuses holes,
overlaps and sizes that do not fit.
"""

from __future__ import annotations

import math
from typing import Any

from ..findings import Finding, blocker, warning
from ..signature import TensorSpec
from . import limits
from .finite import MASKED, is_float, not_finite
from .strict_json import parse_object
from .window import Window, refuse

# name in the header -> (torch's name, bytes of one element)
_DTYPES = {
    "F64": ("float64", 8),
    "F32": ("float32", 4),
    "F16": ("float16", 2),
    "BF16": ("bfloat16", 2),
    "I64": ("int64", 8),
    "I32": ("int32", 4),
    "I16": ("int16", 2),
    "I8": ("int8", 1),
    "U64": ("uint64", 8),
    "U32": ("uint32", 4),
    "U16": ("uint16", 2),
    "U8": ("uint8", 1),
    "BOOL": ("bool", 1),
    "F8_E4M3": ("float8_e4m3fn", 1),
    "F8_E5M2": ("float8_e5m2", 1),
    "C64": ("complex64", 8),
}


def is_safetensors(window: Window) -> bool:
    """Whether the window begins like a safetensors file."""
    if window.size < 10:
        return False
    head = window.read(0, 9)
    return head[8:] == b"{" and 2 <= int.from_bytes(head[:8], "little") <= limits.MAX_SAFETENSORS_HEADER_BYTES


def read_safetensors(
    window: Window, *, check_values: bool = True
) -> tuple[dict[str, TensorSpec], list[Finding], list[str]]:
    """Read a safetensors file.

    Args:
        window: the whole file.
        check_values: look for NaN and infinity too.

    Returns:
        The tensors in the order in which they lie, the findings, and what was not checked. Minus infinity is a
        warning, for masks hold it on purpose; NaN and infinity are blockers.

    Raises:
        RefusedError: when header and bytes disagree.
    """
    placed, numbers = _placed(window)
    parameters = {name: spec for name, spec, _begin, _end in placed}
    findings: list[Finding] = []
    for name, spec, begin, end in placed if check_values else ():
        found = not_finite(numbers, begin, end - begin, spec.dtype) if is_float(spec.dtype) else None
        if found is not None:
            report = warning if found == MASKED else blocker
            findings.append(report("tensor.not-finite", name, "finite numbers", found))
    eight_bits = sum(spec.dtype.startswith("float8") for spec in parameters.values())
    return parameters, findings, [f"values of {eight_bits} float8 tensors"] if eight_bits else []


def tensor_places(window: Window) -> list[tuple[int, int]]:
    """Return where the numbers of each tensor begin and end in a safetensors file, in order.

    Raises:
        RefusedError: when header and bytes disagree.
    """
    placed, numbers = _placed(window)
    start = window.size - numbers.size
    return [(start + begin, start + end) for _name, _spec, begin, end in placed]


def layer_windows(window: Window) -> dict[str, Window]:
    """Return the numbers of each tensor of a safetensors file by name. Raises RefusedError as `tensor_places` does."""
    placed, numbers = _placed(window)
    return {name: numbers.part(begin, end - begin, name) for name, _spec, begin, end in placed}


def _placed(window: Window) -> tuple[list[tuple[str, TensorSpec, int, int]], Window]:
    """Return name, spec, begin and end of each tensor in the order in which they lie, and the window of the numbers."""
    size = int.from_bytes(window.read(0, 8), "little")
    if 8 + size > window.size:
        raise refuse("archive.damaged", window.name, f"a header of {size} bytes", f"{window.size} bytes in all")
    header = parse_object(window.read(8, size), window.name)
    header.pop("__metadata__", None)
    numbers = window.part(8 + size, window.size - 8 - size, window.name)
    placed = sorted((_place(name, item) for name, item in header.items()), key=lambda place: place[2:])
    position = 0
    for name, _spec, begin, end in placed:
        if begin != position:
            raise refuse("archive.overlap", name, f"begins at {position}", f"begins at {begin}")
        position = end
    if position > numbers.size:
        raise refuse("archive.damaged", window.name, f"{position} bytes of numbers", numbers.size, "it is cut off")
    if position < numbers.size:
        raise refuse("archive.overlap", window.name, f"{position} bytes of numbers", numbers.size)
    return placed, numbers


def _place(name: str, item: Any) -> tuple[str, TensorSpec, int, int]:
    """Return name, shape and dtype, and where the numbers begin and end. Raises RefusedError when they disagree."""
    try:
        dtype, width = _DTYPES[item["dtype"]]
        shape = tuple(item["shape"])
        begin, end = item["data_offsets"]
    except (TypeError, KeyError, ValueError):
        raise refuse("json.damaged", name, "dtype, shape and data_offsets", "something else") from None
    if not all(type(number) is int and 0 <= number < 2**62 for number in (*shape, begin, end)):
        raise refuse("tensor.geometry", name, "sizes and offsets", "something else")
    if len(shape) > limits.MAX_DIMENSIONS or end - begin != math.prod(shape) * width:
        raise refuse("tensor.geometry", name, f"{list(shape)} of {dtype}", f"{end - begin} bytes")
    return name, TensorSpec(shape, dtype), begin, end
