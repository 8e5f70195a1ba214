"""Bad input at the command line: every kind is told apart, by verdict, finding and exit code."""

from __future__ import annotations

import json
import pickle
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.hostile import code_object, function, sb3_file
from support.projects import make_project, rewrite_manifest, seal_set, set_head, write_model
from support.toysets import digest_of

from ckptsync.cli import app
from ckptsync.core import fsio, jsonio
from ckptsync.core.layout import TrainingTree
from ckptsync.core.manifest import Manifest
from ckptsync.core.signature import TensorSpec
from ckptsync.project.config import Project

LOCAL = """
[runs.a]
kernel = "toy"
total_timesteps = 1000
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project with one run, and the current folder is in it."""
    project = make_project(tmp_path, LOCAL)
    monkeypatch.chdir(tmp_path)
    return project


@pytest.fixture
def tree(project: Project) -> TrainingTree:
    """Its training tree."""
    return project.tree(project.run(None))


class Cli:
    """Runs commands and reads what they print."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def json(self, *words: object) -> dict[str, Any]:
        """Run a command with --json; its exit code is the one in the object."""
        code = app.main([*map(str, words), "--json"])
        value = json.loads(self._capsys.readouterr().out)
        assert value["exit_code"] == code
        return dict(value)

    def text(self, *words: object) -> tuple[int, str]:
        """Run a command; everything that it says."""
        code = app.main([*map(str, words)])
        said = self._capsys.readouterr()
        return code, said.out + said.err


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    return Cli(capsys)


def codes(value: dict[str, Any]) -> set[str]:
    """Every finding's code in a report."""
    found = [*value["findings"], *(finding for c in value["checkpoints"] for finding in c["findings"])]
    return {finding["code"] for finding in found}


def flip(path: Path, at: float = 0.5) -> None:
    """Flip one bit."""
    data = bytearray(path.read_bytes())
    data[int(len(data) * at)] ^= 1
    path.write_bytes(data)


MODEL = "a_checkpoint_100_steps.zip"
RESUME = "a_checkpoint_100_steps.resume.bin"
SEAL = "a_checkpoint_100_steps.manifest.json"

DAMAGES: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "truncated model": (lambda f: (f / MODEL).write_bytes((f / MODEL).read_bytes()[:-100]), "corrupt", "file.size"),
    "flipped bit in the model": (lambda f: flip(f / MODEL), "corrupt", "file.digest"),
    "flipped bit in another member": (lambda f: flip(f / RESUME), "corrupt", "file.digest"),
    "flipped bit in the manifest": (lambda f: flip(f / SEAL), "corrupt", "manifest.damaged"),
    "missing model": (lambda f: (f / MODEL).unlink(), "corrupt", "file.missing"),
    "missing other member": (lambda f: (f / RESUME).unlink(), "corrupt", "file.missing"),
    "empty model": (lambda f: (f / MODEL).write_bytes(b""), "corrupt", "file.empty"),
    "empty manifest": (lambda f: (f / SEAL).write_bytes(b""), "corrupt", "manifest.damaged"),
    "link in place of a member": (lambda f: _linked(f / RESUME), "unsafe", "path.special-file"),
}


def _linked(path: Path) -> None:
    path.rename(path.parent / "elsewhere")
    path.symlink_to("elsewhere")


@pytest.mark.parametrize("kind", DAMAGES)
def test_damage_of_a_sealed_set(cli: Cli, tree: TrainingTree, kind: str) -> None:
    set_head(tree, seal_set(tree.checkpoints, 100, extra={"resume": b"state" * 50}))
    assert cli.json("verify", "a")["verdict"] == "restorable"
    damage, verdict, code = DAMAGES[kind]
    damage(tree.checkpoints)
    value = cli.json("verify", "a")
    assert (value["verdict"], value["exit_code"]) == (verdict, 4)
    assert code in codes(value)


def _lie(manifest: Manifest, **changes: Any) -> Manifest:
    return replace(manifest, files=(replace(manifest.files[0], **changes), *manifest.files[1:]))


LIES: dict[str, tuple[Callable[[Manifest], Manifest], str]] = {
    "size": (lambda m: _lie(m, size_bytes=m.model.size_bytes + 1), "file.size"),
    "digest": (lambda m: _lie(m, digest=digest_of(b"lie")), "file.digest"),
    "network": (
        lambda m: replace(
            m, signature=replace(m.signature, parameters={**m.signature.parameters, "x": TensorSpec((1,), "float32")})
        ),
        "",
    ),
}


@pytest.mark.parametrize("kind", LIES)
def test_a_manifest_that_lies_under_a_fitting_digest(cli: Cli, tree: TrainingTree, kind: str) -> None:
    manifest = seal_set(tree.checkpoints, 100)
    lie, code = LIES[kind]
    set_head(
        tree, rewrite_manifest(tree.checkpoints, manifest, files=lie(manifest).files, signature=lie(manifest).signature)
    )
    value = cli.json("verify", "a")
    assert (value["verdict"], value["exit_code"]) == ("corrupt", 4)
    assert not code or code in codes(value)


@pytest.mark.parametrize(
    ("change", "verdict", "code"),
    [
        ({"schema": "ckptsync.manifest/9"}, "unreadable", "manifest.schema"),
        (
            {"files": [{"path": "../../x.zip", "role": "model", "size_bytes": 1, "digest": digest_of(b"")}]},
            "unsafe",
            "path.escape",
        ),
        ({"generation": -1}, "corrupt", "manifest.damaged"),
    ],
    ids=["unknown schema", "path outside", "impossible generation"],
)
def test_a_manifest_of_another_making(
    cli: Cli, tree: TrainingTree, change: dict[str, Any], verdict: str, code: str
) -> None:
    manifest = seal_set(tree.checkpoints, 100)
    body = {**manifest.body(), **change}
    (tree.checkpoints / SEAL).write_bytes(jsonio.canonical({**body, "digest": digest_of(jsonio.canonical(body))}))
    value = cli.json("verify", "a")
    assert (value["verdict"], value["exit_code"]) == (verdict, 4)
    assert code in codes(value)


def test_the_line_that_approves_a_function_can_be_taken_from_the_message(
    cli: Cli, project: Project, tmp_path: Path
) -> None:
    path = tmp_path / "schedule.zip"
    path.write_bytes(sb3_file(lr_schedule=function(code_object(b"\x97\0d\0S\0"))))
    code, said = cli.text("verify", path)
    assert code == 4
    [line] = set(re.findall(r'put below \[trust\] in ckptsync.toml: (functions = \["sha256:[0-9a-f]{64}"\])', said))
    project.layout.config.write_text(f"{LOCAL}\n[trust]\n{line}\n")
    value = cli.json("verify", path)
    assert (value["verdict"], value["exit_code"]) == ("valid", 0)
    assert {f["severity"] for f in value["checkpoints"][0]["findings"]} == {"note"}


def test_a_file_without_a_network_is_no_yardstick(cli: Cli, tmp_path: Path) -> None:
    model = write_model(tmp_path / "x.zip", 100)
    statistics = tmp_path / "vecnormalize.pkl"
    statistics.write_bytes(pickle.dumps({"mean": 0.0}))
    assert cli.json("verify", model, "--against", statistics)["exit_code"] == 4
    assert cli.json("diff", model, statistics)["exit_code"] == 4
    assert cli.json("diff", statistics, model)["exit_code"] == 4
    code, said = cli.text("verify", model, "--against", statistics)
    assert (code, "vecnormalize.pkl" in said, "restorable" in said) == (4, True, False)


def test_a_diff_tells_the_cause_in_the_direction_of_its_files(cli: Cli, tmp_path: Path) -> None:
    small = write_model(tmp_path / "small.zip", 100)
    large = write_model(tmp_path / "large.zip", 100, hidden=(16, 16))
    code, said = cli.text("diff", small, large)
    assert (code, "changed from [8, 8] to [16, 16]" in said) == (5, True)
    assert "changed from [16, 16] to [8, 8]" in cli.text("diff", large, small)[1]


def test_num_timesteps_unlike_the_name_is_a_warning(cli: Cli, tmp_path: Path) -> None:
    path = write_model(tmp_path / "x_checkpoint_999_steps.zip", 100)
    value = cli.json("verify", path)
    assert (value["verdict"], value["exit_code"]) == ("valid", 0)
    [finding] = [f for c in value["checkpoints"] for f in c["findings"] if f["code"] == "name.num-timesteps"]
    assert (finding["severity"], finding["expected"], finding["actual"]) == ("warning", 999, 100)


@pytest.mark.parametrize(
    "name",
    ["with space", "ünïcödé 日本", "new\nline", "tab\tand\x1b[31mcolour", "right\u202eleft", "-dash", "'quote\""],
)
def test_names_with_anything_in_them_are_read_and_shown_harmless(cli: Cli, tmp_path: Path, name: str) -> None:
    folder = tmp_path / "foreign"
    folder.mkdir()
    path = write_model(folder / f"{name}_checkpoint_5_steps.zip", 5)
    for target in (path, folder):
        value = cli.json("verify", "--", target) if str(target).startswith("-") else cli.json("verify", target)
        assert value["exit_code"] == 0, value
        assert [Path(c["path"]).name for c in value["checkpoints"]] == [path.name]
    for command in ("verify", "show", "ls"):
        code, said = cli.text(command, path if command == "show" else folder)
        assert code == 0, said
        assert not any(char in said for char in "\x1b\u202e\t")
        assert "new\nline" not in said


def test_an_empty_folder_and_a_first_run_are_normal(cli: Cli, project: Project, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert cli.json("verify", tmp_path / "empty")["exit_code"] == 6
    code, said = cli.text("verify", "a")
    assert code == 6
    assert "normal" in said


def test_an_unknown_key_in_the_configuration(cli: Cli, project: Project) -> None:
    project.layout.config.write_text(LOCAL.replace("total_timesteps", "total_timestep"))
    code, said = cli.text("ls", "a")
    assert code == 12
    assert "total_timestep" in said
    assert "total_timesteps" in said.replace("total_timestep ", "")


def test_an_unknown_run(cli: Cli, project: Project) -> None:
    assert cli.text("launch", "b", "--dry-run")[0] == 2


def test_a_second_one_on_the_same_tree(cli: Cli, tree: TrainingTree) -> None:
    seal_set(tree.checkpoints, 100)
    with fsio.locked(tree.lock, what="the tree"):
        assert cli.json("verify", "a")["exit_code"] == 0, "reading needs no lock"
        write_model(tree.checkpoints / "a_checkpoint_200_steps.zip", 200)
        code, said = cli.text("adopt", "a")
    assert code == 9
    assert "in use" in said


@pytest.mark.parametrize("data", [b"{", b"[]", b'{"policy_architecture": "big"}', b"\xff"])
def test_damaged_metadata_never_mean_compatible(cli: Cli, tree: TrainingTree, data: bytes) -> None:
    tree.checkpoints.mkdir(parents=True)
    write_model(tree.checkpoints / MODEL, 100)
    tree.metadata.write_bytes(data)
    value = cli.json("verify", "a")
    assert value["exit_code"] == 4
    assert "metadata.damaged" in codes(value)


def test_missing_metadata_are_said(cli: Cli, tree: TrainingTree) -> None:
    tree.checkpoints.mkdir(parents=True)
    write_model(tree.checkpoints / MODEL, 100)
    value = cli.json("verify", "a")
    assert (value["verdict"], value["exit_code"]) == ("valid", 0), "nothing to compare with is never restorable"


def test_metadata_of_another_network_are_an_incompatibility(cli: Cli, tree: TrainingTree) -> None:
    tree.checkpoints.mkdir(parents=True)
    write_model(tree.checkpoints / MODEL, 100, hidden=(8, 8))
    tree.metadata.write_text(json.dumps({"policy_architecture": [128, 128], "mean_reward": float("nan")}))
    value = cli.json("verify", "a")
    assert (value["verdict"], value["exit_code"]) == ("incompatible", 5)
    _code, said = cli.text("verify", "a")
    assert "Architecture: checkpoint=[8, 8], current=[128, 128]" in said


@pytest.mark.parametrize("kind", ["folder", "fifo", "device", "missing"])
def test_a_path_that_is_no_file(cli: Cli, tmp_path: Path, kind: str) -> None:
    import os

    path = tmp_path / "x.zip"
    if kind == "folder":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "device":
        path = Path("/dev/zero")
    code, said = cli.text("verify", path)
    assert code == (4 if kind in ("fifo", "device") else 6), said
    assert "Traceback" not in said
