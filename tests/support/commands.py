"""The command line, called in this process."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ckptsync.cli import app


def run(*argv: Any, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    """Run a command; return its exit code and what it wrote to stdout and stderr."""
    code = app.main([str(word) for word in argv])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def run_json(*argv: Any, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, Any]]:
    """Run a command with `--json`; return its exit code, which the object must agree with, and the object."""
    code, out, _ = run(*argv, "--json", capsys=capsys)
    value = json.loads(out)
    assert value["exit_code"] == code
    return code, value
