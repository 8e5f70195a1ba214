"""status, and the overview that `ckptsync` alone shows."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from ..sync.overview import overview as look
from . import session_text, targets
from .output import Answer, Output

_SHOWN_SESSIONS = 5
_FIRST_STEPS = (
    "there is no project here (no ckptsync.toml in this folder or above)",
    "",
    "  ckptsync init            make a project in this folder",
    "  ckptsync verify FILE     judge any checkpoint, without a project",
    "  ckptsync --help          all commands",
)


def status(arguments: Namespace, output: Output) -> Answer:
    """Show runs, their progress and their sessions."""
    project = targets.project_of(arguments)
    run = project.run(arguments.run) if arguments.run is not None else None
    report = look(project, run, hours=run is not None)
    return Answer(report.to_json, lambda: session_text.overview(report))


def overview(arguments: Namespace, output: Output) -> Answer:
    """Show where things stand and the next command, or outside a project what to do first."""
    project = targets.project_or_none(arguments)
    schema = "ckptsync.overview/1"
    if project is None:
        value: dict[str, Any] = {"schema": schema, "root": None, "runs": [], "next_command": "ckptsync init"}
        return Answer(lambda: value, lambda: [*_FIRST_STEPS, "", session_text.next_line("ckptsync init")])
    report = look(project)
    value = {**report.to_json(), "schema": schema}
    return Answer(lambda: value, lambda: session_text.overview(report, last=_SHOWN_SESSIONS))
