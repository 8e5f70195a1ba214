from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ckptsync.cli.catalogue import CATALOGUE
from ckptsync.core.errors import ExitCode
from ckptsync.core.findings import CODES

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = ROOT / "docs" / "reference"


def test_generated_pages_are_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "generate_reference.py", "--check"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", CATALOGUE.by_name)
def test_every_command_and_option_is_documented(name: str) -> None:
    page = (REFERENCE / "cli.md").read_text("utf-8")
    _, heading, rest = page.partition(f"\n## ckptsync {name}\n")
    assert heading
    section = rest.partition("\n## ")[0]
    for described in CATALOGUE.by_name[name].arguments:
        if not described.positional:
            assert all(flag in section for flag in described.flags)


def test_every_exit_code_and_finding_is_documented() -> None:
    codes = (REFERENCE / "exit-codes.md").read_text("utf-8")
    assert all(f"| {int(code)} | `{code.name}` |" in codes for code in ExitCode)
    findings = (REFERENCE / "findings.md").read_text("utf-8")
    assert all(f"| `{code}` |" in findings for code in CODES)
