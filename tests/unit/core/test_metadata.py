"""training_metadata.json: written for people, and never a reason to be optimistic."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.toysets import SIGNATURE, files_of, manifest_of

from ckptsync.core import metadata
from ckptsync.core.errors import CorruptError
from ckptsync.core.layout import TrainingTree

CLASSIC = {
    "observation_space_shape": [4],
    "action_space_shape": [],
    "policy_architecture": [64, 64],
    "total_timesteps_completed": 100,
    "mean_reward": 12.5,
    "timestamp": "2026-01-02T03:04:05Z",
}


@pytest.fixture
def tree(tmp_path: Path) -> TrainingTree:
    return TrainingTree(tmp_path)


def head(scenario: str, **fields: Any) -> Any:
    """A manifest to be written down."""
    return manifest_of(scenario, 100, files_of(scenario, 100), metrics={"ep_rew_mean": 12.5}, **fields)


def test_one_scenario_stands_at_the_top_as_older_scripts_expect(tree: TrainingTree) -> None:
    metadata.write_metadata(tree, {"a": head("a")})
    value = json.loads(tree.metadata.read_bytes())
    assert {key: value[key] for key in CLASSIC} == CLASSIC
    assert value["scenarios"]["a"]["algorithm"] == "PPO"


def test_several_scenarios_have_a_block_each_and_nothing_at_the_top(tree: TrainingTree) -> None:
    metadata.write_metadata(tree, {"b": head("b"), "a": head("a")})
    value = json.loads(tree.metadata.read_bytes())
    assert list(value["scenarios"]) == ["a", "b"]
    assert "total_timesteps_completed" not in value


@pytest.mark.parametrize(
    ("space", "shape"),
    [
        (None, None),
        ({"kind": "box", "shape": [3, 4]}, [3, 4]),
        ({"kind": "discrete", "n": 5}, []),
        ({"kind": "multi_discrete", "nvec": [2, 3]}, [2]),
        ({"kind": "dict", "spaces": {}}, None),
    ],
)
def test_shapes_of_spaces(space: Any, shape: Any) -> None:
    assert metadata.space_shape(space) == shape


def test_what_was_written_is_an_expectation(tree: TrainingTree) -> None:
    metadata.write_metadata(tree, {"a": head("a"), "b": head("b")})
    value = metadata.read_metadata(tree)
    assert value is not None
    expected = metadata.expectation_from(value, "a")
    assert expected is not None
    assert (expected.algorithm, expected.net_arch) == ("PPO", SIGNATURE.net_arch)
    assert metadata.expectation_from(value, "c") is None


def test_a_classic_file_of_an_older_script_is_read(tree: TrainingTree) -> None:
    tree.metadata.write_text(json.dumps({**CLASSIC, "mean_reward": float("nan"), "best": float("-inf")}))
    value = metadata.read_metadata(tree)
    assert value is not None
    assert value["mean_reward"] is None
    expected = metadata.expectation_from(value, "anything")
    assert expected is not None
    assert expected.net_arch == [64, 64]


def test_none_is_none(tree: TrainingTree) -> None:
    assert metadata.read_metadata(tree) is None


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"null", b"\xff", b'{"a":1,"a":2}'])
def test_a_damaged_file_is_an_error_never_none(tree: TrainingTree, data: bytes) -> None:
    tree.metadata.write_bytes(data)
    with pytest.raises(CorruptError, match=r"training_metadata\.json") as caught:
        metadata.read_metadata(tree)
    assert caught.value.hint


@pytest.mark.parametrize(
    "value",
    [
        {"policy_architecture": "64, 64"},
        {"policy_architecture": [64, None]},
        {"policy_architecture": [64], "algorithm": 5},
        {"scenarios": []},
        {"scenarios": {"a": 5}},
        {"scenarios": {"a": {"policy_architecture": {"pi": 5}}}},
    ],
)
def test_an_expectation_that_makes_no_sense_is_an_error_never_none(value: dict[str, Any]) -> None:
    with pytest.raises(CorruptError):
        metadata.expectation_from(value, "a")


@pytest.mark.parametrize("value", [{}, {"policy_architecture": None}, {"scenarios": {}}, {"scenarios": {"b": {}}}])
def test_what_says_nothing_is_none(value: dict[str, Any]) -> None:
    assert metadata.expectation_from(value, "a") is None
