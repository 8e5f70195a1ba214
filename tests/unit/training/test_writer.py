"""Sealing, the head, exported copies, retention."""

from __future__ import annotations

import json
from array import array
from pathlib import Path
from typing import BinaryIO

import pytest
from support.loops import Write, model_writer, train

from ckptsync.core import heads, sets
from ckptsync.core.errors import CorruptError
from ckptsync.core.layout import TrainingTree
from ckptsync.core.session import SavePolicy
from ckptsync.testing.sb3_files import mlp_parameters, write_sb3_zip
from ckptsync.training.resume import roll_forward
from ckptsync.training.writer import Chain, Draft, Member, SetKeeper


def draft(steps: int, write: Write | None = None, *members: Member, **fields: object) -> Draft:
    model = Member("model", "zip", write or model_writer(steps))
    return Draft(steps, (model, *members), **fields)  # type: ignore[arg-type]


def keeper(tree: TrainingTree, *, keep_last: int = 2, lineage: str = "l1", scenario: str = "a") -> SetKeeper:
    return SetKeeper(tree, scenario, Chain(lineage, 1), SavePolicy(keep_last=keep_last), None)


def stems(tree: TrainingTree) -> list[int]:
    return [s.num_timesteps for s in sets.scan(tree.checkpoints)]


def test_a_set_is_sealed_and_the_head_names_it(tree: TrainingTree) -> None:
    saved = keeper(tree).write(draft(100), "periodic")
    head = heads.read_head(tree, "a")
    assert head is not None
    assert head.digest == saved.manifest.digest
    assert sets.check_files(tree.checkpoints, saved.manifest) == ()
    assert saved.manifest.signature.parameters["action_net.weight"].shape == (2, 8)


def test_each_set_names_the_one_before(tree: TrainingTree) -> None:
    chain = keeper(tree)
    first = chain.write(draft(100), "periodic").manifest
    assert chain.write(draft(200), "periodic").manifest.parent == first.digest


def test_the_newest_and_the_best_stay(tree: TrainingTree) -> None:
    chain = keeper(tree)
    for steps, score in ((100, 1.0), (200, 9.0), (300, 2.0), (400, 3.0), (500, 4.0)):
        chain.write(draft(steps, metrics={"ep_rew_mean": score}), "periodic")
    assert stems(tree) == [200, 400, 500]
    best = (tree.best / "a_best_model.zip").read_bytes()
    assert best == (tree.checkpoints / "a_checkpoint_200_steps.zip").read_bytes()
    assert (tree.best / "best_model.zip").read_bytes() == best


def test_sets_of_another_lineage_push_nothing_out_and_stay(tree: TrainingTree) -> None:
    old = keeper(tree, lineage="z")
    for steps in (1000, 2000):
        old.write(draft(steps), "periodic")
    new = keeper(tree, lineage="a")
    for steps in (10, 20, 30):
        new.write(draft(steps), "periodic")
    assert stems(tree) == [20, 30, 1000, 2000]


def test_a_final_set_is_exported_and_never_removed(tree: TrainingTree) -> None:
    chain = keeper(tree)
    chain.write(draft(100), "final")
    for steps in (200, 300, 400):
        chain.write(draft(steps), "periodic")
    assert stems(tree) == [100, 300, 400]
    assert tree.final("a").read_bytes() == (tree.checkpoints / "a_checkpoint_100_steps.zip").read_bytes()


def test_equal_weights_at_the_same_steps_are_left_alone(tree: TrainingTree) -> None:
    first = keeper(tree).write(draft(100), "periodic").manifest
    again = keeper(tree).write(draft(100), "final").manifest
    assert again.digest == first.digest
    assert not tree.attic.exists()


def test_other_weights_at_the_same_steps_send_the_old_set_to_the_attic(tree: TrainingTree) -> None:
    first = keeper(tree).write(draft(100), "periodic").manifest
    second = keeper(tree).write(draft(100, model_writer(100, seed=7)), "periodic").manifest
    assert second.digest != first.digest
    [kept] = tree.attic.rglob("*.manifest.json")
    assert sets.read_manifest(kept).digest == first.digest
    assert sets.check_files(kept.parent, first) == ()


def test_a_plain_file_at_the_same_steps_makes_room(tree: TrainingTree) -> None:
    tree.checkpoints.mkdir(parents=True)
    plain = tree.checkpoints / "a_checkpoint_100_steps.zip"
    with plain.open("wb") as file:
        model_writer(100, seed=3)(file)
    before = plain.read_bytes()
    keeper(tree).write(draft(100), "periodic")
    [kept] = tree.attic.rglob("*.zip")
    assert kept.read_bytes() == before


def test_a_write_that_fails_leaves_the_sets_before(tree: TrainingTree) -> None:
    chain = keeper(tree)
    first = chain.write(draft(100), "periodic").manifest

    def fail(file: BinaryIO) -> None:
        file.write(b"half")
        raise OSError(28, "No space left on device")

    with pytest.raises(Exception, match="No space left"):
        chain.write(draft(200, None, Member("resume", "safetensors", fail)), "periodic")
    assert stems(tree) == [100]
    assert sorted(p.name for p in tree.checkpoints.iterdir() if "200" in p.name) == []
    head = heads.read_head(tree, "a")
    assert head is not None
    assert head.digest == first.digest


def test_weights_that_are_no_numbers_are_not_sealed(tree: TrainingTree) -> None:
    parameters = mlp_parameters()
    shape, values = parameters["action_net.weight"]
    parameters["action_net.weight"] = (shape, array("f", [float("nan"), *values[1:]]))

    def write(file: BinaryIO) -> None:
        write_sb3_zip(file, parameters, num_timesteps=100)

    with pytest.raises(CorruptError, match=r"action_net\.weight"):
        keeper(tree).write(draft(100, write), "periodic")
    assert stems(tree) == []


def test_metadata_tell_of_every_scenario(tree: TrainingTree) -> None:
    train(tree.root, 100, scenario="a")
    train(tree.root, 200, scenario="b")
    told = json.loads(tree.metadata.read_text())
    assert {name: block["total_timesteps_completed"] for name, block in told["scenarios"].items()} == {
        "a": 100,
        "b": 200,
    }


def test_best_model_without_a_name_stands_for_one_scenario_only(tree: TrainingTree) -> None:
    train(tree.root, 100, scenario="a")
    exported = Path(tree.best / "best_model.zip").read_bytes()
    train(tree.root, 200, scenario="b")
    assert Path(tree.best / "best_model.zip").read_bytes() == exported
    assert (tree.best / "b_best_model.zip").exists()


def test_a_save_that_died_before_its_head_is_completed_with_its_score(tree: TrainingTree) -> None:
    chain = keeper(tree)
    chain.write(draft(100, metrics={"ep_rew_mean": 1.0}), "periodic")
    before = tree.head("a").read_bytes()
    newer = chain.write(draft(200, metrics={"ep_rew_mean": 5.0}), "periodic").manifest
    tree.head("a").write_bytes(before)
    assert roll_forward(tree, "a") == newer
    head = heads.read_head(tree, "a")
    assert head is not None
    assert head.best == heads.Best(newer.stem, newer.digest, 5.0)
