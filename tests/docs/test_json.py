"""The page of JSON outputs describes what the commands really print."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from support import pages

from ckptsync.cli.app import main

pytestmark = pytest.mark.slow  # real sessions of the toy kernel

PAGE = pages.REFERENCE / "json.md"
ALWAYS = {"schema", "exit_code"}
# Headings whose first table has the fields of the object; the others have a row for each schema
TABLES = {
    "ckptsync.launch/1": ("launch, wait", 0),
    "ckptsync.launch-plan/1": ("launch, wait", 1),
    "ckptsync.dispatch/1": ("dispatch, collect", 0),
    "ckptsync.collect/1": ("dispatch, collect", 0),
    "ckptsync.run-until/1": ("run-until", 0),
    "ckptsync.drill/1": ("drill", 0),
    "ckptsync.status/1": ("status, and ckptsync alone", 0),
    "ckptsync.overview/1": ("status, and ckptsync alone", 0),
    "ckptsync.plot/1": ("plot", 0),
}


def _object(words: list[str], capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    capsys.readouterr()
    code = main([*words, "--json"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1
    value = json.loads(lines[0])
    assert value["exit_code"] == code
    return value


def _described(schema: str) -> set[str]:
    if schema in TABLES:
        heading, number = TABLES[schema]
        parts = [part for part in re.split(r"\n\n", pages.section(PAGE, heading)) if pages.rows(part)]
        return {name for row in pages.rows(parts[number]) for name in pages.inline_code(row[0])}
    for row in pages.rows(pages.read(PAGE)):
        if pages.inline_code(row[0]) == [schema]:
            return set(pages.inline_code(re.sub(r"\([^)]*\)|:.*", "", row[1])))
    raise AssertionError(f"{schema} is not described")


@pytest.mark.parametrize(
    "line",
    [
        "",
        "status",
        "launch --dry-run",
        "launch --quick",
        "dispatch --quick",
        "collect",
        "run-until --steps 700",
        "logs",
        "plot",
        "fetch",
        "init other --kernel toy --dry-run",
        "doctor",
        "export --dry-run",
        "clean --older-than 0 --dry-run",
        "drill --set pause=0.01",
        "completion bash",
    ],
)
def test_objects_have_the_fields_that_are_described(
    line: str, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    value = _object(line.split(), capsys)
    assert set(value) - ALWAYS == _described(value["schema"])


def test_parts_of_status_are_described(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run,) = _object(["status"], capsys)["runs"]
    text = pages.section(PAGE, "status, and ckptsync alone")
    named = set(pages.inline_code(text))
    assert {*run, *run["scenarios"][0], *run["sessions"][0]} <= named


def test_scenarios_of_a_plot_are_described(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (scenario,) = _object(["plot"], capsys)["scenarios"]
    named = set(pages.inline_code(pages.section(PAGE, "plot")))
    assert {*scenario, *scenario["sessions"][0], *scenario["series"][0]} <= named


def test_restore_and_its_plan_are_described(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = pages.rows(pages.section(PAGE, "restore"))
    fields = {(name, row[1]) for row in rows for name in pages.inline_code(row[0])}
    plan = _object(["restore", "--dry-run"], capsys)
    done = _object(["restore"], capsys)
    assert set(plan) - ALWAYS == {"run", "session", "scenarios"}
    assert set(done) - ALWAYS == {"run", "session", "scenarios", "undone"}
    assert set(plan["scenarios"]["toy"]) == {name for name, where in fields if where in ("plan", "both")}
    assert set(done["scenarios"]["toy"]) == {name for name, where in fields if where in ("restore", "both")}


def test_adopt_is_described(project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "old"
    folder.mkdir()
    newest = max((project / "data/models/checkpoints").glob("*_steps.zip"), key=lambda path: path.stat().st_mtime)
    shutil.copy(newest, folder / newest.name)
    assert main(["init", str(tmp_path / "new"), "--kernel", "toy", "-q"]) == 0
    value = _object(["adopt", str(folder), "--dry-run", "-C", str(tmp_path / "new")], capsys)
    assert value["adopted"]
    assert set(value) - ALWAYS == _described("ckptsync.adopt/1")


def test_ci_is_described(project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("CKPTSYNC_RUNNER", "kaggle")
    value = _object(["ci", "init", "--dry-run"], capsys)
    assert set(value) - ALWAYS == _described("ckptsync.ci/1")


def test_cancel_is_described(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["launch", "--set", "sleep=60", "--detach", "-q"]) == 0
    value = _object(["cancel"], capsys)
    assert set(value) - ALWAYS == _described("ckptsync.cancel/1")
    main(["wait", "-q"])


def test_errors_are_described(project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    example = json.loads(pages.blocks(PAGE, "json")[0].text)
    (tmp_path / "empty").mkdir()
    value = _object(["status", "-C", str(tmp_path / "empty")], capsys)
    assert set(value) == set(example) and set(value["error"]) == set(example["error"])
    listing = _object(["verify", "gone.zip"], capsys)
    assert set(listing) == {*example, "target", "verdict", "findings", "checkpoints"}
