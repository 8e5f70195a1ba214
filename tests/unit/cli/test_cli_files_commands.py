from __future__ import annotations

from pathlib import Path

import pytest
from support import hostile, toysets
from support.commands import run, run_json

from ckptsync.project.config import Project

WIDER = {
    name: hostile.zeros(*(16 if size == 8 else size for size in tensor.shape))
    for name, tensor in hostile.POLICY.items()
}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.zip"
    path.write_bytes(hostile.sb3_file())
    return path


@pytest.fixture
def wider(tmp_path: Path) -> Path:
    path = tmp_path / "wider.zip"
    path.write_bytes(hostile.sb3_file(WIDER))
    return path


def test_a_plain_file_is_valid_and_not_sealed(outside: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, value = run_json("verify", model, capsys=capsys)
    assert (code, value["schema"], value["verdict"], value["target"]) == (0, "ckptsync.verify/1", "valid", str(model))
    (found,) = value["checkpoints"]
    assert (found["sealed"], found["num_timesteps"], found["algorithm"]) == (False, 2048, "PPO")
    assert found["signature"]["parameters"]["action_net.bias"] == {"shape": [2], "dtype": "float32"}
    code, out, err = run("verify", model, capsys=capsys)
    assert (code, err) == (0, "")
    assert out.startswith(f"valid         {model}\n")
    assert "PPO · 2,048 steps · not sealed" in out


def test_against_says_what_does_not_fit(
    outside: Path, model: Path, wider: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_json("verify", model, "--against", model, capsys=capsys)[1]["verdict"] == "restorable"
    code, value = run_json("verify", model, "--against", wider, capsys=capsys)
    assert (code, value["verdict"]) == (5, "incompatible")
    code, out, _ = run("verify", model, "--against", wider, capsys=capsys)
    assert code == 5
    assert "INCOMPATIBILITY DETECTED:" in out
    assert "- Architecture: checkpoint=[8], current=[16]" in out


@pytest.mark.parametrize(
    ("data", "verdict"),
    [
        (b"", "corrupt"),
        (b"no checkpoint at all", "unreadable"),
        (hostile.sb3_file()[:-200], "corrupt"),
        (hostile.sb3_file(lr_schedule=hostile.call("os", "system", "touch executed")), "unsafe"),
    ],
)
def test_bad_files_exit_4_and_execute_nothing(
    data: bytes, verdict: str, outside: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("bad.zip").write_bytes(data)
    for command in ("verify", "show"):
        code, value = run_json(command, "bad.zip", capsys=capsys)
        assert (code, value["verdict"], value["checkpoints"][0]["verdict"]) == (4, verdict, verdict)
        code, out, _ = run(command, "bad.zip", capsys=capsys)
        assert code == 4
        assert verdict in out
    assert not Path("executed").exists()


@pytest.mark.parametrize("command", ["verify", "show", "ls"])
def test_what_is_not_there_exits_6_with_the_whole_object(
    command: str, outside: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("empty folder").mkdir()
    for target in ("missing.zip", "empty folder"):
        code, value = run_json(command, target, capsys=capsys)
        assert code == 6
        assert value["error"]["kind"] == "NothingFoundError"
        wanted = {
            "schema": f"ckptsync.{command}/1",
            "verdict": None,
            "findings": [],
            "checkpoints": [],
            "target": target,
        }
        assert wanted.items() <= value.items()


def test_show_is_a_card(outside: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, value = run_json("show", model, capsys=capsys)
    assert (code, value["schema"], len(value["checkpoints"])) == (0, "ckptsync.show/1", 1)
    code, out, _ = run("show", model, capsys=capsys)
    assert code == 0
    assert "algorithm     PPO, policy ActorCriticPolicy" in out
    assert "action_net.bias" in out


def test_diff_shows_both_sides(outside: Path, model: Path, wider: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run("diff", model, wider, capsys=capsys)
    assert code == 5
    assert out.splitlines()[:5] == [f"--- {model}", f"+++ {wider}", "  net_arch", "- [8]", "+ [16]"]
    assert run_json("diff", model, wider, capsys=capsys)[1]["schema"] == "ckptsync.diff/1"
    code, out, _ = run("diff", model, model, capsys=capsys)
    assert code == 0
    assert out.splitlines()[2] == "the same architecture, and equal weights"
    Path("bad.zip").write_bytes(b"")
    code, _, err = run("diff", model, "bad.zip", capsys=capsys)
    assert code == 4
    assert "bad.zip" in err


def test_a_run_s_tree_is_listed_and_verified(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    folder = project.tree(project.runs["cartpole"]).checkpoints
    toysets.write_set(folder, "cartpole", 500)
    toysets.write_set(folder, "cartpole", 1000)
    code, value = run_json("ls", "cartpole", capsys=capsys)
    assert code == 0
    assert [found["num_timesteps"] for found in value["checkpoints"]] == [500, 1000]
    assert [found["verdict"] for found in value["checkpoints"]] == [None, None]
    code, out, _ = run("ls", "cartpole", capsys=capsys)
    assert out.splitlines()[0] == "data/models"
    assert "cartpole_checkpoint_1000_steps.zip" in out.splitlines()[3]
    # the toy sets hold no network, so a full check refuses them, whatever the seal says
    code, value = run_json("verify", "cartpole", capsys=capsys)
    assert (code, value["target"]) == (4, "data/models")


def test_a_session_that_was_not_fetched(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    code, value = run_json("verify", "cartpole/s0001", capsys=capsys)
    assert (code, value["error"]["kind"]) == (6, "NothingFoundError")
