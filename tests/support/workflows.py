"""Workflows for GitHub as data: what a job runs, and what linters say."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
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


@dataclass(frozen=True)
class StepDone:
    """What running one step of a job gave.

    Args:
        name: of the step.
        exit_code: of its script.
        printed: stdout and stderr.
        summary: what it added to the job's summary.
    """

    name: str
    exit_code: int
    printed: str
    summary: str


def run_job(
    workflow: Path, clone: Path, known: Mapping[str, str], environment: Mapping[str, str], *, by_hand: bool = False
) -> list[StepDone]:
    """Run the scripts of a workflow's job in a clone, as GitHub does; what it installs is taken for installed.

    Args:
        workflow: its file.
        clone: the folder that the job's checkout gave.
        known: expression -> value, such as `secrets.KAGGLE_KEY`; what is not known is empty.
        environment: variables that the job has besides its own.
        by_hand: it was started by `workflow_dispatch`.

    Returns:
        The steps that were run. A step that fails ends the job but for those that are run in any case.
    """
    (job,) = load(workflow)["jobs"].values()
    facts = {**known, "github.event_name == 'workflow_dispatch'": str(by_hand).lower()}
    done: list[StepDone] = []
    failed = False
    for step in job["steps"]:
        if "run" not in step or step["name"] == "Install" or not _is_due(step.get("if", ""), failed, clone):
            continue
        summary = clone / ".summary.md"
        summary.write_text("")
        variables = {name: _filled(value, facts) for name, value in {**job["env"], **step.get("env", {})}.items()}
        ran = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
            cwd=clone,
            env={
                "PATH": f"{TOOLS}{os.pathsep}{os.environ['PATH']}",
                "GITHUB_ACTIONS": "true",
                "GITHUB_STEP_SUMMARY": str(summary),
                **environment,
                **variables,
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        done.append(StepDone(step["name"], ran.returncode, ran.stdout, summary.read_text()))
        failed |= ran.returncode != 0 and _filled(str(step.get("continue-on-error", "false")), facts) != "true"
    return done


def _is_due(condition: str, failed: bool, clone: Path) -> bool:
    """Tell whether a step is run: after a failure only where its condition says so, and only where its files are."""
    files = re.search(r"hashFiles\('([^']+)'\) != ''", condition)
    if files is not None and not any(path.is_file() for path in clone.glob(f"{files[1]}/*")):
        return False
    return not failed or "!cancelled()" in condition


def _filled(text: str, facts: Mapping[str, str]) -> str:
    return re.sub(r"\$\{\{ (.+?) \}\}", lambda match: facts.get(match[1], ""), text)
