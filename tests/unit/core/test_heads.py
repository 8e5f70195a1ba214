"""Heads: which set the next session starts from, and what is said when that cannot be known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.toysets import digest_of, write_plain, write_set

from ckptsync.core import heads, jsonio, names, sets
from ckptsync.core.heads import Best, Head, Standing
from ckptsync.core.layout import TrainingTree

BEST = Best("cartpole_checkpoint_50_steps", digest_of(b"best"), 12.5)


@pytest.fixture
def tree(tmp_path: Path) -> TrainingTree:
    return TrainingTree(tmp_path / "models")


def standing(tree: TrainingTree, scenario: str = "cartpole") -> Standing:
    """Where the scenario stands."""
    return heads.standing(tree, sets.scan(tree.checkpoints), scenario)


def test_there_and_back(tree: TrainingTree) -> None:
    manifest = write_set(tree.checkpoints, "cartpole", 100, generation=3)
    for best in (None, BEST):
        heads.write_head(tree, Head.of(manifest, best))
        head = heads.read_head(tree, "cartpole")
        assert head == Head.of(manifest, best)
        assert head is not None
        assert (head.stem, head.generation, head.num_timesteps) == (manifest.stem, 3, 100)


def test_no_head_is_none_and_may_be_removed_twice(tree: TrainingTree) -> None:
    assert heads.read_head(tree, "cartpole") is None
    heads.remove_head(tree, "cartpole")
    heads.write_head(tree, Head.of(write_set(tree.checkpoints, "cartpole", 100)))
    heads.remove_head(tree, "cartpole")
    heads.remove_head(tree, "cartpole")
    assert heads.read_head(tree, "cartpole") is None


@pytest.mark.parametrize(
    "change",
    [
        {"schema": "ckptsync.head/2"},
        {"scenario": "other"},
        {"scenario": "../x"},
        {"set": "cartpole_checkpoint_200_steps"},
        {"set": "../../x"},
        {"set": 5},
        {"digest": "x"},
        {"lineage": None},
        {"generation": "1"},
        {"generation": True},
        {"num_timesteps": -1},
        {"num_timesteps": 10**18},
        {"best": []},
        {"best": {}},
        {"best": {"set": "../x", "digest": digest_of(b""), "score": 1.0}},
        {"best": {"set": BEST.stem, "digest": "x", "score": 1.0}},
        {"best": {"set": BEST.stem, "digest": BEST.digest, "score": "high"}},
    ],
)
def test_a_damaged_head_is_an_error_not_another_head(tree: TrainingTree, change: dict[str, Any]) -> None:
    value = Head.of(write_set(tree.checkpoints, "cartpole", 100), BEST).to_json()
    tree.head("cartpole").write_bytes(jsonio.pretty({**value, **change}))
    with pytest.raises(ValueError):
        heads.read_head(tree, "cartpole")
    assert [finding.code for finding in standing(tree).findings] == ["head.damaged"]


@pytest.mark.parametrize("data", [b"", b"[]", b"null", b"{", b"\xff", b"x" * 100_000])
def test_what_is_no_head(tree: TrainingTree, data: bytes) -> None:
    write_set(tree.checkpoints, "cartpole", 100)
    tree.head("cartpole").write_bytes(data)
    with pytest.raises(ValueError):
        heads.read_head(tree, "cartpole")


def test_a_damaged_head_leaves_the_newest_sealed_set(tree: TrainingTree) -> None:
    for steps in (100, 300, 200):
        write_set(tree.checkpoints, "cartpole", steps)
    tree.head("cartpole").write_bytes(b"{")
    stands = standing(tree)
    assert stands.head is None
    assert [s.num_timesteps for s in stands.candidates] == [300, 200, 100]


def test_candidates_begin_with_the_head_and_hold_nothing_newer(tree: TrainingTree) -> None:
    manifests = {steps: write_set(tree.checkpoints, "cartpole", steps) for steps in (100, 200, 300)}
    write_set(tree.checkpoints, "cartpole", 150, generation=2)
    write_plain(tree.checkpoints, "cartpole", 5_000)
    write_set(tree.checkpoints, "other", 250)
    heads.write_head(tree, Head.of(manifests[200]))
    stands = standing(tree)
    assert stands.head == Head.of(manifests[200])
    assert [s.num_timesteps for s in stands.candidates] == [200, 100, 5_000]
    assert stands.findings == ()


def test_the_head_stays_first_though_an_older_lineage_sorts_behind_it(tree: TrainingTree) -> None:
    write_set(tree.checkpoints, "cartpole", 900, lineage="l0001-aaaaaa", generation=9)
    fresh = write_set(tree.checkpoints, "cartpole", 10, lineage="l0002-aaaaaa", generation=1)
    heads.write_head(tree, Head.of(fresh))
    assert [s.num_timesteps for s in standing(tree).candidates] == [10, 900]


@pytest.mark.parametrize("loss", ["gone", "damaged", "replaced"])
def test_a_head_whose_set_is_lost_says_so_and_the_older_ones_count(tree: TrainingTree, loss: str) -> None:
    write_set(tree.checkpoints, "cartpole", 100)
    lost = write_set(tree.checkpoints, "cartpole", 200)
    write_set(tree.checkpoints, "cartpole", 300)
    heads.write_head(tree, Head.of(lost))
    seal = tree.checkpoints / (lost.stem + names.MANIFEST_SUFFIX)
    if loss == "damaged":
        seal.write_bytes(b"{")
    else:
        sets.remove_set(tree.checkpoints, lost)
    if loss == "replaced":
        write_set(tree.checkpoints, "cartpole", 200, salt="another")
    stands = standing(tree)
    assert stands.head is None
    assert "head.damaged" in [finding.code for finding in stands.findings]
    expected = [200, 100] if loss == "replaced" else [100]
    assert [s.num_timesteps for s in stands.candidates] == expected


def test_torn_and_corrupt_sets_are_told_and_are_no_candidates(tree: TrainingTree) -> None:
    write_set(tree.checkpoints, "cartpole", 100)
    (tree.checkpoints / "cartpole_checkpoint_100_steps.manifest.json").write_bytes(b"{")
    sets.SetWriter(tree.checkpoints, "cartpole_checkpoint_200_steps", ["cartpole_checkpoint_200_steps.zip"])
    stands = standing(tree)
    assert stands.candidates == ()
    assert {finding.code for finding in stands.findings} == {"manifest.damaged", "set.torn"}


def test_an_empty_tree_stands_nowhere(tree: TrainingTree) -> None:
    assert standing(tree) == Standing(None, (), ())


def test_every_scenario_is_listed(tree: TrainingTree) -> None:
    heads.write_head(tree, Head.of(write_set(tree.checkpoints, "b", 100)))
    write_plain(tree.checkpoints, "c", 5)
    tree.head("a").write_bytes(b"{")
    assert heads.tree_scenarios(sets.scan(tree.checkpoints), tree.checkpoints) == ["a", "b", "c"]


def test_a_name_that_no_scenario_may_have_stands_without_a_head(tree: TrainingTree) -> None:
    tree.checkpoints.mkdir(parents=True)
    (tree.checkpoints / "a b\nc_checkpoint_5_steps.zip").write_bytes(b"x")
    stands = standing(tree, "a b\nc")
    assert (stands.head, stands.findings) == (None, ())
    assert [s.num_timesteps for s in stands.candidates] == [5]
