"""ci: what lets a run go on from a job of CI."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator

from ..sync.ci import init_ci
from ..sync.reporting import shown_path
from . import session_text, targets, text
from .output import Answer, Output
from .text import Line


def ci(arguments: Namespace, output: Output) -> Answer:
    """Write a workflow that collects and dispatches on a schedule."""
    report = init_ci(
        targets.project_of(arguments),
        arguments.runs,
        arguments.schedule,
        force=arguments.force,
        dry_run=arguments.dry_run,
    )

    def lines() -> Iterator[Line]:
        if report.dry_run:
            yield from report.difference
        verb = "would write" if report.dry_run else "wrote"
        yield [f"{verb} " if report.difference else "up to date: ", text.good(str(shown_path(report.path)))]
        yield f"trains {', '.join(report.runs)}; looks at '{report.schedule}' (UTC)"
        token, name, key, *more = report.secrets
        yield f"needs the secret {token}, or {name} and {key}, in the settings of the repository"
        if more:
            yield f"and for the store {' and '.join(more)}"
        yield session_text.next_line(report.next_command)

    return Answer(report.to_json, lines)
