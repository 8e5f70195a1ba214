"""Rows of objects (HER's info dicts) as JSON texts, each for itself, so that rows can be cut and joined unread."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...core import jsonio
from ..arrays import UnencodableError, decode, encode


def row_texts(rows: np.ndarray) -> list[bytes]:
    """Encode rows of an array of objects; arrays in them become base64.

    Raises:
        UnencodableError: they hold something that has no form without pickle.
    """
    return [_text(rows[at : at + 1].reshape(-1).tolist()) for at in range(len(rows))]


def put_rows(rows: np.ndarray, texts: Sequence[bytes]) -> None:
    """Decode texts into as many rows of an array of objects.

    Raises:
        KeyError, TypeError, ValueError: they are anything else than `row_texts` made for such rows.
    """
    for at, text in enumerate(texts):
        places = [(at, *place) for place in np.ndindex(rows.shape[1:])]
        for place, value in zip(places, _values(text), strict=True):
            rows[place] = value


def join(texts: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray]:
    """Return texts as one array of bytes, and their lengths."""
    return np.frombuffer(b"".join(texts), np.uint8), np.array([len(text) for text in texts], np.int64)


def split(joined: np.ndarray, lengths: np.ndarray) -> list[bytes]:
    """Turn back what `join` made.

    Raises:
        ValueError: the lengths do not fit the bytes.
    """
    ends = np.cumsum(lengths)
    if (lengths < 0).any() or (ends[-1] if len(ends) else 0) != len(joined):
        raise ValueError("the lengths of its texts disagree with their bytes")
    data = joined.tobytes()
    return [data[end - length : end] for end, length in zip(ends.tolist(), lengths.tolist(), strict=True)]


def _text(values: list[Any]) -> bytes:
    arrays: dict[str, np.ndarray] = {}
    encoded = encode(values, arrays)
    packed = {
        name: [array.dtype.name, list(array.shape), base64.b64encode(array.tobytes()).decode()]
        for name, array in arrays.items()
    }
    try:
        return jsonio.canonical([encoded, packed])
    except ValueError as error:  # text that is no Unicode
        raise UnencodableError(str(error)) from None


def _values(text: bytes) -> list[Any]:
    encoded, packed = jsonio.parse(text)
    arrays = {
        name: np.frombuffer(base64.b64decode(data, validate=True), dtype).reshape(shape).copy()
        for name, (dtype, shape, data) in packed.items()
    }
    return decode(encoded, arrays)
