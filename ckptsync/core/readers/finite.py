"""NaN and infinity in raw floats, with the standard library only and at the speed of memory.

A float is not finite when all bits of its exponent are ones. These bits lie in its last two bytes (little endian), so
two strided slices, two translation tables and one big-integer `and` test a whole chunk without a loop.
"""

from __future__ import annotations

from collections.abc import Callable

from .window import Window

# dtype -> (bytes of one float, whether its last byte may belong to a number that is not finite, the same for the
# byte before it). For float16 the exponent lies in the last byte alone.
_TESTS: dict[str, tuple[int, Callable[[int], bool], Callable[[int], bool]]] = {
    "float16": (2, lambda last: last & 0x7C == 0x7C, lambda before: True),
    "bfloat16": (2, lambda last: last & 0x7F == 0x7F, lambda before: before & 0x80 != 0),
    "float32": (4, lambda last: last & 0x7F == 0x7F, lambda before: before & 0x80 != 0),
    "float64": (8, lambda last: last & 0x7F == 0x7F, lambda before: before & 0xF0 == 0xF0),
}
# What masks of attention are filled with on purpose
MASKED = "minus infinity"
_PARTS = {"complex64": "float32", "complex128": "float64"}
_MANTISSA_IN_LAST_BYTES = {"float16": (0x03, 0xFF), "bfloat16": (0, 0x7F), "float32": (0, 0x7F), "float64": (0, 0x0F)}


def _flags(test: Callable[[int], bool]) -> bytes:
    return bytes(test(value) for value in range(256))


_TABLES = {dtype: (size, _flags(last), _flags(before)) for dtype, (size, last, before) in _TESTS.items()}


def is_float(dtype: str) -> bool:
    """Whether numbers of this dtype can be checked (and can be NaN at all)."""
    return dtype in _TABLES or dtype in _PARTS


def not_finite(window: Window, offset: int, size: int, dtype: str) -> str | None:
    """Look for numbers that are not finite.

    Args:
        window: where the numbers lie.
        offset: in bytes, where they begin.
        size: their length in bytes.
        dtype: one for which `is_float` holds.

    Returns:
        `NaN`, else `infinite`, else MASKED when all that are not finite are minus infinity, else None.
    """
    dtype = _PARTS.get(dtype, dtype)
    width, last_table, before_table = _TABLES[dtype]
    result = None
    for chunk in window.passing(offset, size):
        last = chunk[width - 1 :: width].translate(last_table)
        if 1 not in last:
            continue
        before = chunk[width - 2 :: width].translate(before_table)
        hits = int.from_bytes(last, "little") & int.from_bytes(before, "little")
        if hits:
            found = _worst(chunk, hits, width, dtype)
            if found == "NaN":
                return found
            result = found if result is None or found == "infinite" else result
    return result


def _worst(chunk: bytes | bytearray, hits: int, width: int, dtype: str) -> str:
    """Say what the numbers are whose exponents are all ones: a NaN has a bit in its mantissa, infinity has a sign."""
    result = MASKED
    where = hits.to_bytes(len(chunk) // width, "little")
    before_mask, last_mask = _MANTISSA_IN_LAST_BYTES[dtype][::-1]
    index = where.find(1)
    while index >= 0:
        number = chunk[index * width : (index + 1) * width]
        if any(number[:-2]) or number[-2] & before_mask or number[-1] & last_mask:
            return "NaN"
        if not number[-1] & 0x80:
            result = "infinite"
        index = where.find(1, index + 1)
    return result
