"""`ckptsync export`: plain files of sets; the replay buffer's own process is real, SB3 is missing in it on purpose."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.commands import run, run_json
from support.projects import seal_set, set_head

from ckptsync.core.layout import TrainingTree
from ckptsync.core.manifest import Manifest

MEMBERS = {"vecnormalize": b"statistics", "replay": b"rows"}


@pytest.fixture
def tree(outside: Path) -> TrainingTree:
    return TrainingTree(outside / "models")


def head(tree: TrainingTree, num_timesteps: int = 300, **fields: object) -> Manifest:
    manifest = seal_set(tree.checkpoints, num_timesteps, **fields)  # type: ignore[arg-type]
    set_head(tree, manifest)
    return manifest


@pytest.fixture
def without_sb3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """stable-baselines3 is found and lacks torch."""
    folder = tmp_path / "packages"
    folder.mkdir()
    (folder / "stable_baselines3.py").write_text("raise ModuleNotFoundError(\"No module named 'torch'\", name='torch')")
    monkeypatch.setenv("PYTHONPATH", str(folder))


def test_the_head_of_a_tree_is_exported_under_plain_names(
    tree: TrainingTree, capsys: pytest.CaptureFixture[str]
) -> None:
    head(tree, 200, extra={"vecnormalize": b"statistics"})
    seal_set(tree.checkpoints, 300)  # newer than the head: the next session does not resume from it
    code, value = run_json("export", "models", capsys=capsys)
    assert code == 0
    assert [(file["role"], file["path"]) for file in value["files"]] == [
        ("model", "exports/a_checkpoint_200_steps.zip"),
        ("vecnormalize", "exports/a_checkpoint_200_steps_vecnormalize.pkl"),
    ]
    model, statistics = (Path(file["path"]) for file in value["files"])
    assert model.read_bytes() == (tree.checkpoints / "a_checkpoint_200_steps.zip").read_bytes()
    assert statistics.read_bytes() == b"statistics"
    assert [file["size_bytes"] for file in value["files"]] == [model.stat().st_size, 10]


def test_a_set_can_be_named(tree: TrainingTree, capsys: pytest.CaptureFixture[str]) -> None:
    head(tree, 300)
    seal_set(tree.checkpoints, 100)
    path = "models/checkpoints/a_checkpoint_100_steps.zip"
    code, out, _ = run("export", path, "--output", "here", capsys=capsys)
    assert code == 0
    assert out.startswith("wrote here/a_checkpoint_100_steps.zip")


def test_every_scenario_has_files_of_its_own(tree: TrainingTree, capsys: pytest.CaptureFixture[str]) -> None:
    for scenario in ("warm_up", "rush_hour"):
        head(tree, 100, scenario=scenario)
    _, value = run_json("export", "models", capsys=capsys)
    assert [file["checkpoint"] for file in value["files"]] == [
        "rush_hour_checkpoint_100_steps",
        "warm_up_checkpoint_100_steps",
    ]
    code, value = run_json("export", "models", "--scenario", "warm_up", "--dry-run", capsys=capsys)
    assert (code, len(value["files"]), value["dry_run"]) == (0, 1, True)
    code, _, err = run("export", "models", "--replay", "b.pkl", capsys=capsys)
    assert code == 2
    assert "several scenarios: rush_hour, warm_up" in err
    assert run("export", "models", "--scenario", "night", capsys=capsys)[0] == 6


def test_dry_run_writes_nothing(tree: TrainingTree, capsys: pytest.CaptureFixture[str]) -> None:
    head(tree, extra=MEMBERS)
    code, out, _ = run("export", "models", "--dry-run", capsys=capsys)
    assert code == 0
    assert out.count("would write exports/") == 3
    assert not Path("exports").exists()


def test_no_file_is_replaced_unless_that_is_wanted(tree: TrainingTree, capsys: pytest.CaptureFixture[str]) -> None:
    head(tree)
    assert run("export", "models", capsys=capsys)[0] == 0
    assert run("export", "models", capsys=capsys)[0] == 0  # the same bytes are there
    path = Path("exports/a_checkpoint_300_steps.zip")
    path.write_bytes(b"mine")
    code, _, err = run("export", "models", capsys=capsys)
    assert (code, path.read_bytes()) == (2, b"mine")
    assert "is there already" in err and "--force" in err
    assert run("export", "models", "--force", capsys=capsys)[0] == 0
    assert path.read_bytes() != b"mine"


def test_a_damaged_file_is_refused(tree: TrainingTree, capsys: pytest.CaptureFixture[str]) -> None:
    head(tree)
    path = tree.checkpoints / "a_checkpoint_300_steps.zip"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    code, _, err = run("export", "models", capsys=capsys)
    assert code == 4
    assert "a_checkpoint_300_steps.zip" in err
    assert not Path("exports/a_checkpoint_300_steps.zip").exists()


def test_a_damaged_replay_buffer_is_refused_before_it_is_read(
    tree: TrainingTree, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = head(tree, extra=MEMBERS, rows=(0, 5))
    (tree.checkpoints / manifest.segments[0].path).write_bytes(b"other")
    code, value = run_json("export", "models", "--replay", "b.pkl", capsys=capsys)
    assert code == 4
    assert manifest.segments[0].path in value["error"]["message"]
    assert not Path("b.pkl").exists()


@pytest.mark.usefixtures("without_sb3")
def test_what_is_missing_for_the_replay_buffer_is_named(
    tree: TrainingTree, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from support.rings import Ring, Shelf

    ring, shelf = Ring(10), Shelf(tmp_path)
    log = shelf.log(ring)
    state = shelf.write(log, log.keep())[0]
    head(tree, extra={"replay": (tmp_path / state.path).read_bytes()})
    code, _, err = run("export", "models", capsys=capsys)
    assert code == 1
    assert "needs the package torch, which is not installed here" in err
    assert "pip install 'ckptsync[train]'" in err
    assert Path("exports/a_checkpoint_300_steps.zip").exists()  # what needs nothing is there


def test_a_set_without_a_replay_buffer_says_so(tree: TrainingTree, capsys: pytest.CaptureFixture[str]) -> None:
    head(tree)
    code, _, err = run("export", "models", "--replay", "b.pkl", capsys=capsys)
    assert code == 6
    assert "a_checkpoint_300_steps holds no replay buffer" in err


def test_plain_files_are_plain_already(tree: TrainingTree, capsys: pytest.CaptureFixture[str]) -> None:
    head(tree)
    Path("model.zip").write_bytes((tree.checkpoints / "a_checkpoint_300_steps.zip").read_bytes())
    code, _, err = run("export", "model.zip", capsys=capsys)
    assert code == 2
    assert "is a plain file already" in err


def test_output_and_replay_exclude_each_other(tree: TrainingTree, capsys: pytest.CaptureFixture[str]) -> None:
    head(tree)
    assert run("export", "models", "--replay", "b.pkl", "--output", "x", capsys=capsys)[0] == 2
