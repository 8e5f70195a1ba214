"""Signatures: what goes into a manifest comes out again, and nothing else does."""

from __future__ import annotations

from typing import Any

import pytest
from support.toysets import SIGNATURE

from ckptsync.core.signature import Signature, TensorSpec, parse_net_arch


def test_there_and_back() -> None:
    assert Signature.from_json(SIGNATURE.to_json()) == SIGNATURE
    assert Signature.from_json(Signature().to_json()) == Signature()


@pytest.mark.parametrize(
    "change",
    [
        {"algorithm": 5},
        {"policy": []},
        {"observation_space": "box"},
        {"action_space": [2]},
        {"net_arch": "64"},
        {"net_arch": [64, "64"]},
        {"net_arch": {"pi": 64}},
        {"parameters": []},
        {"parameters": {"w": {"shape": [4, -1], "dtype": "float32"}}},
        {"parameters": {"w": {"shape": [True], "dtype": "float32"}}},
        {"parameters": {"w": {"shape": [4]}}},
        {"parameters": {"w": [4]}},
    ],
)
def test_anything_else_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        Signature.from_json({**SIGNATURE.to_json(), **change})


@pytest.mark.parametrize("value", [None, "PPO", [], {}])
def test_what_is_no_signature(value: object) -> None:
    with pytest.raises(ValueError):
        Signature.from_json(value)


@pytest.mark.parametrize("value", [None, [], [64, 64], {"pi": [64], "vf": []}, {"qf": [400, 300], "pi": [256]}])
def test_layer_sizes(value: Any) -> None:
    assert parse_net_arch(value) == value


@pytest.mark.parametrize("value", [64, "x", [0], [-1], [True], [[64]], {"pi": 64}, {"pi": ["64"]}, [1.0]])
def test_what_are_no_layer_sizes(value: Any) -> None:
    with pytest.raises(ValueError, match="layer sizes"):
        parse_net_arch(value)


def test_a_scalar_has_an_empty_shape() -> None:
    assert TensorSpec.from_json({"shape": [], "dtype": "int64"}) == TensorSpec((), "int64")
