"""The self check as a person runs it, and that it can fail."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from ckptsync.testing import selfcheck

SCRIPT = Path(__file__).parents[2] / "verify_checkpoint_system.py"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, SCRIPT, *arguments], capture_output=True, text=True, timeout=240)


@pytest.mark.slow
def test_every_check_passes_on_this_machine() -> None:
    done = run("--json")
    said = json.loads(done.stdout)
    assert {check["name"]: check["ok"] for check in said["checks"]} == dict.fromkeys(selfcheck.CHECKS, True), said
    assert done.returncode == said["exit_code"] == 0


def test_only_the_named_checks_run() -> None:
    done = run("--only", "disk")
    assert done.returncode == 0
    assert "disk" in done.stdout
    assert "1 passed, 0 failed" in done.stdout


def test_an_unknown_check_is_a_usage_error() -> None:
    assert run("--only", "nothing").returncode == 2


def test_a_failing_check_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(bench: selfcheck.Bench) -> str:
        raise selfcheck.CheckFailed("the disk forgot it")

    monkeypatch.setitem(selfcheck.CHECKS, "disk", broken)
    (result,) = selfcheck.run_checks(("disk",))
    assert not result.ok
    assert "the disk forgot it" in result.found
    assert selfcheck.to_json([result])["exit_code"] == 1
