"""Values and arrays in files without pickle."""

from __future__ import annotations

import math
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckptsync.core.errors import CorruptError
from ckptsync.training.arrays import ArrayFile, UnencodableError, copied, decode, encode, write_arrays


def round_trip(value: Any, path: Path) -> Any:
    arrays: dict[str, np.ndarray] = {}
    state = encode(value, arrays)
    with path.open("wb") as file:
        write_arrays(file, state, arrays)
    source = ArrayFile(path)
    return decode(source.state, source.read_all())


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        -3,
        2**127 + 5,
        0.1,
        math.inf,
        "text ü",
        b"\x00\xff",
        [1, [2.5, None]],
        (1, (2, "x")),
        {"a": {"b": (1,)}},
        {"$": "a key that looks like ours"},
        {1: "a", (2, 3): "b"},
    ],
)
def test_values_come_back(value: Any, tmp_path: Path) -> None:
    found = round_trip(value, tmp_path / "x")
    assert found == value
    assert type(found) is type(value)


def test_nan_and_bounded_deques_come_back(tmp_path: Path) -> None:
    assert math.isnan(round_trip(math.nan, tmp_path / "x"))
    found = round_trip(deque([{"r": 1.0}], maxlen=3), tmp_path / "y")
    assert (list(found), found.maxlen) == ([{"r": 1.0}], 3)


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int16", "uint32", "int64", "float16", "float32", "float64"])
def test_arrays_come_back_to_the_bit(dtype: str, tmp_path: Path) -> None:
    array = np.arange(24).reshape(2, 3, 4).astype(dtype)
    found = round_trip({"a": array, "b": array[:0], "c": np.float32(0.1)}, tmp_path / "x")
    assert found["a"].dtype == array.dtype
    assert found["a"].tobytes() == array.tobytes()
    assert found["b"].shape == (0, 3, 4)
    assert found["c"] == np.float32(0.1)
    assert found["c"].dtype == np.float32


def test_the_order_of_axes_in_memory_is_kept(tmp_path: Path) -> None:
    image = np.arange(2 * 4 * 5 * 3, dtype=np.uint8).reshape(2, 4, 5, 3).transpose(0, 3, 1, 2)
    found = round_trip(image, tmp_path / "x")
    assert found.strides == image.strides
    assert (found == image).all()


def test_the_strides_of_axes_of_length_one_are_kept(tmp_path: Path) -> None:
    """Numpy does not care about them; torch takes another kernel for a convolution."""
    image = np.arange(4 * 5, dtype=np.uint8).reshape(1, 4, 5, 1).transpose(0, 3, 1, 2)
    assert image.strides[1] == 1
    assert round_trip(image, tmp_path / "x").strides == image.strides
    twin = copied(image)
    assert twin.strides == image.strides
    image[...] = 0
    assert twin.any()


def test_a_foreign_object_is_refused_by_its_name() -> None:
    with pytest.raises(UnencodableError, match="Path"):
        encode({"where": [Path("x")]}, {})


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
                    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
                    max_leaves=10))  # fmt: skip
def test_any_value_comes_back(value: Any) -> None:
    arrays: dict[str, np.ndarray] = {}
    assert decode(encode(value, arrays), arrays) == value


def test_any_reader_of_safetensors_can_read_it(tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    path = tmp_path / "x.safetensors"
    arrays = {"odd": np.arange(3, dtype=np.uint8), "even": np.arange(6, dtype=np.float64).reshape(2, 3)}
    with path.open("wb") as file:
        write_arrays(file, {"n": 1}, arrays)
    found = load_file(path)
    assert {name: array.tolist() for name, array in found.items()} == {n: a.tolist() for n, a in arrays.items()}


@pytest.mark.parametrize("cut", [0, 4, 8, 40, -1])
def test_a_cut_file_is_refused(cut: int, tmp_path: Path) -> None:
    path = tmp_path / "x"
    with path.open("wb") as file:
        write_arrays(file, {}, {"a": np.arange(100)})
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(CorruptError, match="x is no file of training state"):
        ArrayFile(path).read_all()


def test_a_file_of_others_is_refused(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    save_file({"a": np.arange(3)}, tmp_path / "x")
    with pytest.raises(CorruptError):
        ArrayFile(tmp_path / "x")
