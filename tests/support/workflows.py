"""Workflows for GitHub as data: what a job runs, and what linters say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

TOOLS = Path(sys.executable).parent


def load(workflow: Path) -> dict[str, Any]:
    """Return a workflow as GitHub reads it."""
    return YAML(typ="safe").load(workflow.read_text("utf-8"))


def steps(workflow: Path) -> list[dict[str, Any]]:
    """Return the steps of its only job."""
    (job,) = load(workflow)["jobs"].values()
    return job["steps"]


def scripts(workflow: Path) -> dict[str, str]:
    """Return name -> shell script of the steps that have one."""
    return {step["name"]: step["run"] for step in steps(workflow) if "run" in step}


def schema_says(workflow: Path) -> str:
    """Return what the schema of workflows finds wrong; nothing where it finds nothing."""
    done = subprocess.run(
        [TOOLS / "check-jsonschema", "--builtin-schema", "vendor.github-workflows", workflow],
        capture_output=True,
        text=True,
    )
    assert done.returncode in (0, 1), done.stderr
    return done.stdout if done.returncode else ""


def shellcheck_says(script: str) -> str:
    """Return what shellcheck finds in a script for bash; nothing where it finds nothing."""
    done = subprocess.run([TOOLS / "shellcheck", "--shell=bash", "-"], input=script, stdout=subprocess.PIPE, text=True)
    return done.stdout
