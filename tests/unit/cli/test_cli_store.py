"""init-store, push, pull, scrub, ls --store, tag, rollback, prune on the command line."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from support import pages
from support.projects import WITH_STORE, make_project, seal_set, set_head

from ckptsync.cli.app import main

pytestmark = pytest.mark.slow


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    project = make_project(tmp_path / "project", WITH_STORE)
    tree = project.tree(project.run("a"))
    set_head(tree, [seal_set(tree.checkpoints, steps, metrics={"ep_rew_mean": 1.5}) for steps in (100, 200)][-1])
    monkeypatch.chdir(project.root)
    return project.root


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    capsys.readouterr()
    code = main(list(words))
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def test_from_init_to_list(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "push")
    assert (code, out) == (6, "")
    assert "ckptsync init-store" in err
    assert "made a repository" in run(capsys, "init-store")[1]
    assert "there is a repository" in run(capsys, "init-store")[1]
    code, out, _ = run(capsys, "push", "--quiet")
    assert code == 0
    assert out.count("pushed a_checkpoint_") == 2
    assert run(capsys, "push", "--quiet")[1].startswith("2 checkpoints there already")
    code, out, _ = run(capsys, "ls", "--store")
    assert code == 0
    first, second, last = out.splitlines()
    assert "head" not in first
    assert second.split()[:4] == ["a", "200", "periodic", "1.5"]
    assert second.endswith("head")
    assert last.startswith("2 versions of a in ")


def test_pull_on_another_machine(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(capsys, "init-store")
    run(capsys, "push")
    elsewhere = make_project(tmp_path / "elsewhere", WITH_STORE)
    monkeypatch.chdir(elsewhere.root)
    assert run(capsys, "pull", "--dry-run")[1].startswith("would pull a_checkpoint_200_steps")
    assert run(capsys, "pull")[1].startswith("pulled a_checkpoint_200_steps")
    assert run(capsys, "pull")[1].startswith("a: the tree has a_checkpoint_200_steps")
    assert run(capsys, "ls")[0] == 0


def test_a_dry_run_says_what_would_come_from_the_store_first(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(capsys, "init-store")
    run(capsys, "push")
    elsewhere = make_project(tmp_path / "elsewhere", WITH_STORE.replace('"scripted"', '"local"'))
    monkeypatch.chdir(elsewhere.root)
    for line in ("launch", "dispatch", "run-until --steps 900"):
        code, out, err = run(capsys, *line.split(), "--dry-run")
        assert code == 0, err
        assert out.startswith("would first bring a: a_checkpoint_200_steps from the store, and goes on from there\n")
        assert "would start the next session on local (lineage l0001-aaaaaa, generation 2)\n" in out
        assert "goes on from a_checkpoint_200_steps, target" in out
    assert json.loads(run(capsys, "launch", "--dry-run", "--json")[1])["session"] is None
    assert not elsewhere.layout.ledger.exists()


def test_scrub(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "init-store")
    run(capsys, "push")
    assert run(capsys, "scrub")[:2] == (0, f"no damage in {project.parent / 'store'}; 2 objects read\n")
    assert run(capsys, "scrub", "--structure")[1].endswith("; 0 objects read\n")
    damaged = next((project.parent / "store" / "objects").rglob("*/*"))
    data = damaged.read_bytes()
    damaged.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    code, out, _ = run(capsys, "scrub")
    assert code == 4
    assert f"damaged objects/{damaged.parent.name}/{damaged.name}" in out
    assert "needed by versions/a/a/" in out
    assert run(capsys, "scrub", "--structure")[0] == 0
    damaged.unlink()
    assert run(capsys, "scrub", "--structure")[0] == 4


def test_tag_rollback_and_prune(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "init-store")
    run(capsys, "push")
    assert run(capsys, "tag", "good", "100")[:2] == (0, "good on a_checkpoint_100_steps\n")
    code, _, err = run(capsys, "tag", "good")
    assert code == 2
    assert "--move" in err
    assert "before it was on a_checkpoint_100_steps" in run(capsys, "tag", "good", "--move")[1]
    assert run(capsys, "tag", "good", "--remove")[1] == "good removed from a_checkpoint_200_steps\n"
    assert run(capsys, "tag", "good", "--remove", "--move")[0] == 2
    code, out, _ = run(capsys, "rollback", "100")
    assert code == 0
    assert "a_checkpoint_200_steps -> a_checkpoint_100_steps" in out
    assert "a_checkpoint_200_steps gave way" in out
    assert run(capsys, "rollback", "5")[0] == 6
    assert "ckptsync pull a" in run(capsys, "rollback", "200")[1]
    code, out, _ = run(capsys, "prune", "--keep-last", "1", "--dry-run")
    assert (code, out.splitlines()[1]) == (0, "stays a_checkpoint_200_steps: head, last")
    assert "would go from" in out
    assert " freed" in run(capsys, "prune")[1]


def test_checkpoints_of_the_store_are_looked_at(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "init-store")
    run(capsys, "push")
    code, out, _ = run(capsys, "show", "head", "--store", "--quiet")
    assert code == 0
    assert out.startswith("near/a_checkpoint_200_steps.zip\n")
    shown = run(capsys, "show", "head", "--store", "--json")[1]
    assert json.loads(shown)["target"] == "head"
    assert "staging" not in shown
    assert run(capsys, "diff", "100", "head", "--store", "-q")[1].startswith(
        "--- near/a_checkpoint_100_steps.zip\n+++ near/"
    )
    code, out, _ = run(capsys, "diff", "100", "head", "--store", "--quiet")
    assert code == 0
    assert "the same architecture, other weights" in out
    assert "  configuration: num_timesteps  100 -> 200" in out
    assert "layers with other weights:\n  " in out
    assert "0 layers" not in run(capsys, "diff", "head", "200", "--store", "--quiet")[1]
    assert run(capsys, "diff", "head", "gone", "--store")[0] == 6
    assert run(capsys, "export", "best", "--store", "--quiet")[1].startswith("wrote exports/a_checkpoint_100_steps.zip")
    exported = project / "exports" / "a_checkpoint_100_steps.zip"
    assert exported.read_bytes() == (project / "data/models/checkpoints/a_checkpoint_100_steps.zip").read_bytes()
    assert not (project / ".ckptsync" / "staging" / "versions").exists()


def described(schema: str) -> set[str]:
    for row in pages.rows(pages.read(pages.REFERENCE / "json.md")):
        if pages.inline_code(row[0]) == [schema]:
            return set(pages.inline_code(re.sub(r"\([^)]*\)", "", row[1])))
    raise AssertionError(schema)


@pytest.mark.parametrize(
    "line",
    [
        "init-store",
        "push",
        "pull",
        "scrub",
        "ls --store",
        "push --dry-run",
        "init-store ../x --dry-run",
        "tag good",
        "tag good 100 --dry-run",
        "rollback 100",
        "rollback best --dry-run",
        "prune",
        "copy ../x",
        "repair --dry-run",
        "prune --keep-last 1 --dry-run",
    ],
)
def test_json_has_the_fields_that_are_described(project: Path, capsys: pytest.CaptureFixture[str], line: str) -> None:
    run(capsys, "init-store")
    if not line.startswith("push"):
        run(capsys, "push")
    if line.startswith("copy"):
        run(capsys, "init-store", "../x")
    code, out, _ = run(capsys, *line.split(), "--json")
    value: dict[str, Any] = json.loads(out)
    assert code == value["exit_code"] == 0
    assert value.keys() - {"schema", "exit_code"} == described(value["schema"])


@pytest.mark.parametrize("url", ["s3://user:canary@bucket/x", "sftp://me:canary@host/x", "s3://b?secret=canary"])
def test_a_secret_in_a_url_is_never_shown(project: Path, capsys: pytest.CaptureFixture[str], url: str) -> None:
    for words in (["push", "--store", url], ["pull", "--store", url, "--json"], ["init-store", url]):
        code, out, err = run(capsys, *words)
        assert code == 12
        assert "canary" not in out + err
