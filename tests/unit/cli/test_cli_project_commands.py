from __future__ import annotations

from pathlib import Path

import pytest
from support import hostile, toysets
from support.commands import run, run_json

from ckptsync.cli.catalogue import KERNELS
from ckptsync.project.config import Project, load_project
from ckptsync.sync.init import kernel_names


def write_plain(folder: Path, prefix: str, steps: int) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{prefix}_{steps}_steps.zip"
    path.write_bytes(hostile.sb3_file(num_timesteps=steps))
    return path


def test_the_kernels_on_offer_are_those_that_are_there() -> None:
    assert sorted(KERNELS) == sorted(kernel_names())


@pytest.mark.parametrize("kernel", KERNELS)
def test_init_makes_a_project_that_loads(kernel: str, outside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run("init", "--kernel", kernel, "--dry-run", capsys=capsys)
    assert (code, list(outside.iterdir())) == (0, [])
    assert "would write ckptsync.toml" in out
    code, out, _ = run("init", "--kernel", kernel, capsys=capsys)
    assert code == 0
    assert out.endswith("next: ckptsync launch --quick\n")
    assert list(load_project(outside).runs) == [kernel]
    assert (outside / "kernels" / kernel / "train.py").is_file()
    assert "data/" in (outside / ".gitignore").read_text().split()
    code, _, err = run("init", capsys=capsys)
    assert code == 2
    assert "is there already; nothing was written" in err


def test_init_elsewhere_says_where_to_go(outside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run("init", "new", "--kernel", "toy", capsys=capsys)
    assert code == 0
    assert out.endswith("next: cd new && ckptsync launch --quick\n")
    assert run("-C", "new", capsys=capsys)[0] == 0


def test_doctor_outside_a_project_names_the_fix(outside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run("doctor", capsys=capsys)
    assert code == 1
    assert "FAIL  project" in out
    assert "fix: ckptsync init" in out
    assert list(outside.iterdir()) == []


def test_the_overview_outside_a_project(outside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys=capsys)
    assert code == 0
    assert "there is no project here" in out
    assert out.endswith("next: ckptsync init\n")
    assert run_json(capsys=capsys)[1] == {
        "schema": "ckptsync.overview/1",
        "root": None,
        "runs": [],
        "next_command": "ckptsync init",
        "exit_code": 0,
    }
    assert run_json("status", capsys=capsys)[0] == 6


def test_several_runs_must_be_named(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    code, value = run_json("launch", "--dry-run", capsys=capsys)
    assert (code, value["error"]["kind"]) == (2, "UsageError")
    assert "cartpole, walker" in value["error"]["hint"]
    assert len(run_json("status", capsys=capsys)[1]["runs"]) == 2
    assert len(run_json("status", "walker", capsys=capsys)[1]["runs"]) == 1


def test_adopt_seals_the_tree_and_the_run_goes_on_there(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    folder = project.tree(project.runs["cartpole"]).checkpoints
    plain = write_plain(folder, "cartpole_checkpoint", 2048)
    code, out, _ = run("adopt", "cartpole", "--dry-run", capsys=capsys)
    assert (code, list(folder.iterdir())) == (0, [plain])
    assert "would seal" in out
    code, out, _ = run("adopt", "cartpole", capsys=capsys)
    assert code == 0
    assert "cartpole: the next session goes on from cartpole_checkpoint_2048_steps" in out
    code, value = run_json("ls", "cartpole", capsys=capsys)
    (found,) = value["checkpoints"]
    assert (found["sealed"], found["head"], found["kind"]) == (True, True, "adopted")


def test_adopt_takes_another_folder_with_other_names(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    write_plain(Path("old"), "rl_model", 100)
    write_plain(Path("old"), "rl_model", 200)
    code, value = run_json("adopt", "walker", "old", "--scenario", "rl_model=walker", capsys=capsys)
    assert (code, value["heads"]) == (0, {"walker": "walker_checkpoint_200_steps"})
    assert [Path(found["path"]).name for found in value["adopted"]] == [
        "rl_model_100_steps.zip",
        "rl_model_200_steps.zip",
    ]


def test_adopt_refuses_what_is_broken_and_says_why(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    write_plain(Path("old"), "walker", 100)
    write_plain(Path("old"), "walker", 200).write_bytes(b"")
    code, out, _ = run("adopt", "walker", "old", capsys=capsys)
    assert code == 3
    assert f"refused {Path('old/walker_200_steps.zip')}" in out
    assert "file.empty" in out


@pytest.mark.parametrize("words", [("nowhere",), ("walker", "nowhere"), ("a", "b", "c")])
def test_adopt_with_the_wrong_words(
    words: tuple[str, ...], project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_json("adopt", *words, capsys=capsys)[0] == 2


def test_clean_removes_what_it_names_and_no_more(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    tree = project.tree(project.runs["cartpole"])
    toysets.write_set(tree.checkpoints, "cartpole", 100)
    toysets.write_set(tree.attic / "0123456789abcdef", "cartpole", 50)
    assert run_json("clean", capsys=capsys)[1]["remove"] == []
    code, out, _ = run("clean", "--keep", "0", "--dry-run", capsys=capsys)
    assert code == 0
    assert "would remove 1 folder" in out
    assert (tree.attic / "0123456789abcdef").is_dir()
    code, out, _ = run("clean", "--keep", "0", capsys=capsys)
    assert code == 0
    assert "removed 1 folder" in out
    assert not (tree.attic / "0123456789abcdef").exists()
    assert len(list(tree.checkpoints.glob("*.zip"))) == 1
