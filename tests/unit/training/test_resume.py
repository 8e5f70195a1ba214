"""The choice of the set to start from."""

from __future__ import annotations

import shutil

import pytest
from support.loops import model_writer, train

from ckptsync.core import heads, names, sets
from ckptsync.core.errors import CorruptError, IncompatibleError
from ckptsync.core.layout import TrainingTree
from ckptsync.core.manifest import Origin
from ckptsync.testing.sb3_files import mlp_parameters, mlp_signature
from ckptsync.training.resume import choose, roll_forward


def flip_a_byte(tree: TrainingTree, stem: str) -> None:
    path = tree.checkpoints / names.model_name(stem)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def test_nothing_there_begins_from_zero(tree: TrainingTree) -> None:
    assert choose(tree, "a") is None


def test_the_head_is_chosen(tree: TrainingTree) -> None:
    train(tree.root, 300, every_steps=100)
    chosen = choose(tree, "a")
    assert chosen is not None
    assert (chosen.num_timesteps, chosen.reasons) == (300, ())


def test_a_damaged_head_set_falls_back_and_says_why(tree: TrainingTree) -> None:
    train(tree.root, 300, every_steps=100)
    flip_a_byte(tree, "a_checkpoint_300_steps")
    chosen = choose(tree, "a")
    assert chosen is not None
    assert chosen.num_timesteps == 200
    assert any("a_checkpoint_300_steps" in reason for reason in chosen.reasons)


def test_only_damaged_sets_are_an_error(tree: TrainingTree) -> None:
    train(tree.root, 100)
    flip_a_byte(tree, "a_checkpoint_100_steps")
    with pytest.raises(CorruptError, match="a_checkpoint_100_steps"):
        choose(tree, "a")


def test_a_promised_set_that_is_not_there_is_an_error(tree: TrainingTree) -> None:
    with pytest.raises(CorruptError, match="promised"):
        choose(tree, "a", expected=Origin(None, 100, "sha256:" + "0" * 64))


def test_another_set_than_the_promised_one_is_named(tree: TrainingTree) -> None:
    train(tree.root, 100)
    chosen = choose(tree, "a", expected=Origin(None, 900, "sha256:" + "0" * 64))
    assert chosen is not None
    assert "promised" in chosen.reasons[0]


def test_a_head_whose_set_is_gone_is_an_error_even_with_nothing_else(tree: TrainingTree) -> None:
    train(tree.root, 100)
    for path in tree.checkpoints.glob("a_checkpoint_*"):
        path.unlink()
    with pytest.raises(CorruptError):
        choose(tree, "a")


def test_a_plain_file_is_used_when_nothing_is_sealed(tree: TrainingTree) -> None:
    tree.checkpoints.mkdir(parents=True)
    with (tree.checkpoints / "a_checkpoint_50_steps.zip").open("wb") as file:
        model_writer(50)(file)
    chosen = choose(tree, "a")
    assert chosen is not None
    assert (chosen.num_timesteps, chosen.stored.manifest) == (50, None)
    assert chosen.origin.digest == chosen.report.digest


def test_the_content_of_a_plain_file_beats_its_name(tree: TrainingTree) -> None:
    tree.checkpoints.mkdir(parents=True)
    with (tree.checkpoints / "a_checkpoint_9999_steps.zip").open("wb") as file:
        model_writer(50)(file)
    chosen = choose(tree, "a")
    assert chosen is not None
    assert chosen.num_timesteps == 50


def test_another_architecture_is_refused_by_name(tree: TrainingTree) -> None:
    train(tree.root, 100)
    chosen = choose(tree, "a")
    assert chosen is not None
    chosen.refuse_misfit(mlp_signature(mlp_parameters()))
    with pytest.raises(IncompatibleError, match=r"mlp_extractor\.policy_net\.0\.weight"):
        chosen.refuse_misfit(mlp_signature(mlp_parameters(hidden=(16, 16)), (16, 16)))


def test_a_save_cut_between_seal_and_head_is_completed(tree: TrainingTree) -> None:
    train(tree.root, 100)
    head = tree.head("a").read_bytes()
    train(tree.root, 200)
    tree.head("a").write_bytes(head)
    # the second session has another generation and the same lineage, and its set names the first as its parent
    moved = roll_forward(tree, "a")
    assert moved is not None
    assert moved.num_timesteps == 200
    found = heads.read_head(tree, "a")
    assert found is not None
    assert found.num_timesteps == 200


def test_a_damaged_set_moves_no_head(tree: TrainingTree) -> None:
    train(tree.root, 100)
    head = tree.head("a").read_bytes()
    train(tree.root, 200)
    tree.head("a").write_bytes(head)
    flip_a_byte(tree, "a_checkpoint_200_steps")
    assert roll_forward(tree, "a") is None


def test_starting_over_keeps_the_old_sets_in_the_attic(tree: TrainingTree) -> None:
    train(tree.root, 100)
    train(tree.root, 100, scenario="b")
    heads.set_other_lineages_aside(tree, sets.scan(tree.checkpoints), "a", "another-lineage")
    assert choose(tree, "a") is None
    assert [s.scenario for s in sets.scan(tree.checkpoints)] == ["b"]
    assert len(list(tree.attic.rglob("a_checkpoint_100_steps.manifest.json"))) == 1


def test_a_torn_set_is_no_candidate_and_no_promise(tree: TrainingTree) -> None:
    train(tree.root, 100)
    stem = "a_checkpoint_100_steps"
    (tree.checkpoints / (stem + names.MANIFEST_SUFFIX)).rename(tree.checkpoints / (stem + names.DELETING_SUFFIX))
    tree.head("a").unlink()
    assert choose(tree, "a") is None
    shutil.rmtree(tree.root)
