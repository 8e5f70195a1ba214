"""The commands around a session, with the toy kernel: real sessions, no torch."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ckptsync.cli import app
from ckptsync.cli.catalogue import CATALOGUE
from ckptsync.core import fsio
from ckptsync.project.config import load_project

pytestmark = pytest.mark.slow  # real sessions

CONFIG = """\
[runs.toy]
total_timesteps = 500
quick_steps = 200
packages = []

[runs.toy.save]
every_steps = 100
save_best = false
"""
KERNEL = Path(__file__).resolve().parents[3] / "kernels" / "toy" / "train.py"


def make_project(folder: Path, total: int = 500) -> Path:
    """Write a project with the toy kernel."""
    (folder / "kernels" / "toy").mkdir(parents=True)
    (folder / "kernels" / "toy" / "train.py").write_bytes(KERNEL.read_bytes())
    (folder / "ckptsync.toml").write_text(CONFIG.replace("500", str(total)))
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project after one quick session."""
    folder = make_project(tmp_path_factory.mktemp("trained"))
    assert app.main(["-C", str(folder), "launch", "--quick", "--quiet"]) == 0
    return folder


@pytest.fixture
def inside(trained: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(trained)
    return trained


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project without any session; the current folder."""
    monkeypatch.chdir(tmp_path)
    return make_project(tmp_path)


def run(*argv: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    capsys.readouterr()
    code = app.main(argv)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def run_json(*argv: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, Any]]:
    code, out, _ = run(*argv, "--json", capsys=capsys)
    assert out.count("\n") == 1
    value = json.loads(out)
    assert value["exit_code"] == code
    return code, value


def test_a_fresh_project_says_what_to_do_first(fresh: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys=capsys)
    assert (code, err) == (0, "")
    assert "0 of 500 steps (0 %), no checkpoint yet" in out
    assert out.endswith("next: ckptsync launch toy --quick\n")
    for command in ("ls", "verify"):
        code, out, err = run(command, capsys=capsys)
        assert (code, out) == (6, "")
        assert err == (
            "error: No checkpoints found in data/models\n"
            "  next: this is normal before the first session: ckptsync launch toy --quick\n"
        )
    for command in ("logs", "cancel", "fetch", "restore", "wait"):
        assert run_json(command, capsys=capsys)[0] == 6


def test_a_dry_run_changes_nothing(fresh: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run("launch", "--quick", "--dry-run", "--set", "pause=0", capsys=capsys)
    assert code == 0
    assert out.startswith("would start toy/s0001 on local")
    assert "begins from zero, target 500 steps" in out
    assert "at most 200 steps in this session (quick)" in out
    assert "pause=0" in out
    code, value = run_json("launch", "--dry-run", "--steps", "30", "--seed", "7", capsys=capsys)
    assert (value["schema"], value["spec"]["max_steps"], value["spec"]["seed"]) == ("ckptsync.launch-plan/1", 30, 7)
    assert not list(fresh.glob(".ckptsync/ledger.jsonl"))
    assert not (fresh / "data").exists()


def test_the_overview_after_a_session(inside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys=capsys)
    assert "200 of 500 steps (40 %), head toy_checkpoint_200_steps" in out
    heading, row = (line.split() for line in out.splitlines()[3:5])
    assert heading == [
        "session",
        "started",
        "at",
        "ended",
        "at",
        "checkpoints",
        "seconds",
        "fidelity",
        "how",
        "it",
        "ended",
    ]
    assert row[:4] == ["toy/s0001", "0", "200", "4"]
    assert out.endswith("next: ckptsync launch toy\n")
    code, value = run_json(capsys=capsys)
    assert (code, value["schema"], value["next_command"]) == (0, "ckptsync.overview/1", "ckptsync launch toy")
    code, value = run_json("status", "toy", capsys=capsys)
    assert (value["schema"], value["runs"][0]["sessions"][0]["ended_at"]) == ("ckptsync.status/1", 200)


def test_logs_are_the_session_s_own_words(inside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run("logs", capsys=capsys)
    assert (code, err) == (0, "")
    assert "toy begins at 0\n" in out
    code, value = run_json("logs", "toy/s0001", "--follow", capsys=capsys)
    assert (value["session"], value["ended"], value["text"]) == ("toy/s0001", True, out)


def test_fetch_skips_what_is_there(inside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run("fetch", "--dry-run", capsys=capsys)
    assert code == 0
    assert "in results/toy/s0001, 0 to fetch" in out
    code, value = run_json("fetch", capsys=capsys)
    assert (value["schema"], value["files"]) == ("ckptsync.fetch/1", value["skipped"])


def test_restore_is_undone_and_done_again(inside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    head = inside / "data/models/checkpoints/toy_head.json"
    before = head.read_bytes()
    code, out, _ = run("restore", "--undo", "--dry-run", capsys=capsys)
    assert (code, head.read_bytes()) == (0, before)
    assert "would be back at nothing, as before" in out
    code, value = run_json("restore", "--undo", capsys=capsys)
    assert (code, value["undone"], head.exists()) == (0, True, False)
    assert run_json("restore", "--undo", capsys=capsys)[0] == 6
    code, out, _ = run("restore", "--dry-run", capsys=capsys)
    assert (code, head.exists()) == (0, False)
    assert "head: none -> toy_checkpoint_200_steps" in out
    assert run_json("restore", "--dry-run", capsys=capsys)[1]["schema"] == "ckptsync.restore-plan/1"
    code, out, err = run("restore", capsys=capsys)
    assert (code, head.read_bytes()) == (0, before)
    assert "toy: at 200 steps now (toy_checkpoint_200_steps)" in out
    assert "[CHECKPOINT] Found 4 checkpoint(s) to restore:" in err
    assert "[CHECKPOINT] Successfully restored 4 file(s)" in err
    assert run("restore", "--undo", "--session", "toy/s0001", capsys=capsys)[0] == 2


def test_verify_judges_the_tree_and_the_session(inside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for target, folder in (("toy", "data/models"), ("toy/s0001", "results/toy/s0001")):
        code, value = run_json("verify", target, capsys=capsys)
        assert (code, value["verdict"], value["target"]) == (0, "restorable", folder)
        assert [found["num_timesteps"] for found in value["checkpoints"]] == [50, 100, 150, 200]
        assert [found["sealed"] for found in value["checkpoints"]] == [True] * 4
    assert run("verify", "toy/s0001", "--newest", capsys=capsys)[0] == 2
    assert run("verify", "--newest", capsys=capsys)[1].count("restorable") == 1
    code, out, _ = run("ls", capsys=capsys)
    assert out.splitlines()[5].split()[:3] == ["toy", "200", "request"]
    assert "restorable" in out  # the full check still holds


def test_doctor_and_clean(inside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run("doctor", capsys=capsys)
    assert (code, "FAIL" in out) == (0, False)
    code, out, _ = run("clean", "--dry-run", capsys=capsys)
    assert code == 0
    assert out.startswith("would remove 0 folders with 0 B; ")
    assert run_json("clean", "--dry-run", "--keep", "0", capsys=capsys)[1]["remove"]


def test_cancel_and_wait_have_nothing_to_do(inside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_json("cancel", capsys=capsys)[0] == 6
    assert run_json("wait", capsys=capsys)[0] == 6


def test_an_unknown_runner_and_run(inside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, value = run_json("launch", "--on", "locl", capsys=capsys)
    assert (code, value["error"]["kind"]) == (2, "UsageError")
    assert "local" in value["error"]["hint"]
    code, value = run_json("launch", "toyy", capsys=capsys)
    assert (code, "toy" in value["error"]["hint"]) == (2, True)


@pytest.mark.slow
def test_exit_codes_of_launch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(make_project(tmp_path))
    code, out, err = run("launch", "--set", "crash_at=250", capsys=capsys)
    assert code == 7
    assert "RuntimeError: crashed at 250, as told" in err
    assert "toy is at 200 steps now" in out
    assert out.endswith("next: ckptsync logs toy/s0001\n")
    assert "failed (RuntimeError: crashed at 250, as told)" in out
    code, out, _ = run("launch", "--set", "hidden=[16,16]", "-q", capsys=capsys)
    assert code == 5
    assert "\n- Architecture: checkpoint=[8, 8], current=[16, 16]\n" in out
    assert out.endswith("next: ckptsync launch toy --fresh\n")
    code, value = run_json("launch", "--set", "save=false", "-q", capsys=capsys)
    assert (code, value["session"]) == (11, "toy/s0003")
    code, out, _ = run("launch", "-q", capsys=capsys)
    assert code == 0
    assert "target reached" in out
    code, out, _ = run("launch", capsys=capsys)
    assert code == 0
    assert "has reached its target" in out


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Path]:
    """A project with a session that takes its time, left alone by `launch --detach`."""
    folder = make_project(tmp_path)
    assert app.main(["-C", str(folder), "launch", "--detach", "--set", "sleep=60", "-q"]) == 0
    yield folder
    app.main(["-C", str(folder), "cancel", "-q"])


@pytest.mark.slow
def test_a_session_is_detached_cancelled_and_waited_for(
    started: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(started)
    code, out, _ = run(capsys=capsys)
    assert "under way: toy/s0001" in out
    assert out.endswith("next: ckptsync wait toy\n")
    code, value = run_json("cancel", "--dry-run", capsys=capsys)
    assert (code, value["asked"]) == (0, False)
    code, out, _ = run("cancel", capsys=capsys)
    assert code == 0
    assert re.fullmatch(r"asked toy/s0001 \((queued|running)\) to seal what it has and stop\nnext: .* wait toy\n", out)
    code, out, _ = run("wait", capsys=capsys)
    assert code in (3, 11)  # cancelled: with what it sealed at once, or with nothing
    assert "cancelled" in out


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_leaving_a_launch_leaves_the_session_alone_and_says_how_to_come_back(
    number: signal.Signals, code: int, started: Path
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "ckptsync", "-C", str(started), "wait", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ},
    )
    assert process.stderr is not None
    assert b"started" in process.stderr.readline()
    time.sleep(0.2)
    process.send_signal(number)
    out, _ = process.communicate(timeout=60)
    value = json.loads(out)
    assert (process.returncode, value["exit_code"], value["next_command"]) == (code, code, "ckptsync wait toy")
    status = subprocess.run(
        [sys.executable, "-m", "ckptsync", "-C", str(started), "status", "--json"], capture_output=True, check=True
    )
    assert json.loads(status.stdout)["runs"][0]["state"] == "running"


def test_a_log_shows_no_secrets_and_no_drawn_over_bars(
    fresh: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SOME_API_KEY", "0123456789abcdef")
    script = fresh / "kernels" / "toy" / "train.py"
    script.write_text("print('10 %\\r50 %\\rthe key is', '0123456789' + 'abcdef')\n")
    code, out, err = run("launch", capsys=capsys)
    assert code == 11
    shown = out + err + "".join(run("logs", *flags, capsys=capsys)[1] for flags in ((), ("--json",)))
    assert shown.count("the key is [secret]") == 3
    assert "50 %" not in shown  # a bar that was drawn over is shown as it was in the end
    assert "0123456789abcdef" not in shown


def test_a_second_command_on_the_same_tree_is_told_so(inside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project = load_project(inside)
    with fsio.locked(project.tree(project.run("toy")).lock, what="the training tree"):
        for command in (["restore", "--session", "toy/s0001"], ["launch", "--fresh"], ["clean", "--keep", "0"]):
            before = (inside / ".ckptsync" / "ledger.jsonl").read_bytes()
            code, value = run_json(*command, capsys=capsys)
            assert (code, value["error"]["kind"]) == (9, "LockedError")
            assert (inside / ".ckptsync" / "ledger.jsonl").read_bytes() == before
        for command in (["status"], ["ls"], ["verify"], ["restore", "--dry-run"]):  # reading needs no lock
            assert run_json(*command, capsys=capsys)[0] == 0
    assert run_json("ls", capsys=capsys)[0] == 0


@pytest.mark.parametrize(
    "command", [c.name for c in CATALOGUE.commands if c.name not in ("init", "completion", "diff")]
)
def test_a_wrong_configuration_exits_12_and_names_the_key(
    command: str, outside: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (outside / "ckptsync.toml").write_text("[runs.toy]\nkernl = 'toy'\n")
    words = ["init"] if command == "ci" else ["x"] if command in ("show", "tag", "rollback", "copy") else []
    code, value = run_json(command, *words, capsys=capsys)
    assert (code, value["error"]["kind"]) == (12, "ConfigError")
    assert "kernl" in value["error"]["message"]
    assert "kernel" in value["error"]["hint"]
