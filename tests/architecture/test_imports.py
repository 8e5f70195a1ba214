"""What the command line pulls in: it starts fast and never loads what could execute a checkpoint."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

HEAVY = ("torch", "numpy", "fsspec", "boto3", "kaggle", "stable_baselines3", "gymnasium", "tqdm", "requests", "shtab")
_PROBE = """
import json, sys
from ckptsync.cli.app import main
code = main(json.loads(sys.argv[1])) if len(sys.argv) > 1 else 0
print(json.dumps({"code": code, "modules": sorted({name.partition(".")[0] for name in sys.modules})}))
"""


def modules_after(folder: Path, *argv: str) -> tuple[int, set[str]]:
    """Run a command in a process of its own; return its exit code and the top-level modules that it loaded."""
    words = [sys.executable, "-c", _PROBE, *([json.dumps(argv)] if argv else [])]
    done = subprocess.run(words, capture_output=True, text=True, check=True, cwd=folder, env={**os.environ})
    found = json.loads(done.stdout.splitlines()[-1])
    return found["code"], set(found["modules"])


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "some.zip"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("data", "{}")
    return path


@pytest.mark.parametrize(
    ("argv", "code"),
    [
        ((), 0),
        (("--version",), 0),
        (("--help",), 0),
        (("verify", "some.zip"), 4),
        (("verify", "some.zip", "--json"), 4),
        (("show", "some.zip"), 4),
        (("diff", "some.zip", "some.zip"), 4),
        (("ls", "."), 0),
    ],
)
def test_nothing_heavy_is_imported(argv: tuple[str, ...], code: int, archive: Path) -> None:
    found, modules = modules_after(archive.parent, *argv)
    assert found == code
    assert not modules & set(HEAVY)


def test_the_version_needs_no_argparse(tmp_path: Path) -> None:
    _, modules = modules_after(tmp_path, "--version")
    assert not modules & {"argparse", "dataclasses", "inspect"}


def test_public_names_resolve_and_importing_the_package_loads_none_of_them() -> None:
    script = (
        "import sys, ckptsync\n"
        "assert not [name for name in sys.modules if name.startswith('ckptsync.') and name != 'ckptsync._version']\n"
        "for name in ckptsync.__all__:\n"
        "    if name != 'TrainingSession':\n"  # needs the training side, whose tests import it
        "        getattr(ckptsync, name)\n"
        "assert set(ckptsync.__all__) == set(dir(ckptsync))\n"
        f"assert not {set(HEAVY)!r} & set(sys.modules)\n"
        "try:\n"
        "    ckptsync.nonsense\n"
        "except AttributeError:\n"
        "    sys.exit(0)\n"
        "sys.exit(1)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
