"""run-until, dispatch, collect: what trains on without a person."""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Callable, Iterator
from pathlib import Path

from ..core import fsio
from ..core.errors import CkptsyncError
from ..project.config import Project, RunConfig
from ..sync import dispatch as dispatching
from ..sync import run_until as series
from ..sync.foreseen import foresee
from ..sync.launch import LaunchOptions
from ..sync.overview import overview
from . import series_text, session_text, targets
from .output import Answer, Output, redact
from .progress import Reporter
from .session_commands import launch_options
from .text import Line

_SUMMARY_VARIABLE = "GITHUB_STEP_SUMMARY"


def run_until(arguments: Namespace, output: Output) -> Answer:
    """Train session after session until the steps are reached."""
    project = targets.project_of(arguments)
    run = project.run(arguments.run)
    limits = series.Limits(
        steps=arguments.steps,
        sessions=arguments.max_sessions,
        restarts=arguments.max_restarts,
        when_possible=arguments.when_possible,
    )
    options = launch_options(arguments)
    if arguments.dry_run:
        planned = foresee(
            *series.aimed(project, run, limits.steps, options.runner or run.runner), options, Reporter(output)
        )
        return Answer(planned.to_json, lambda: session_text.planned(planned))
    found = series.run_until(project, run, options, limits, reporter=Reporter(output))

    def lines() -> Iterator[Line]:
        return series_text.ran(found, overview(project, run).runs[0])

    return Answer(found.to_json, lines, found.exit_code)


def dispatch(arguments: Namespace, output: Output) -> Answer:
    """Start the next session and leave."""
    project = targets.project_of(arguments)
    run = project.run(arguments.run)
    options = launch_options(arguments, quick=arguments.quick, steps=arguments.steps)
    if arguments.dry_run:
        return _dispatch_planned(project, run, options, output)

    def go() -> dispatching.Report:
        return dispatching.dispatch(
            project, run, options, when_possible=arguments.when_possible, reporter=Reporter(output)
        )

    return _reported(project, run, arguments.summary, output, go)


def _dispatch_planned(project: Project, run: RunConfig, options: LaunchOptions, output: Output) -> Answer:
    found = dispatching.look(project, run, options.runner or run.runner)
    if found.state is not None:
        return Answer(found.to_json, lambda: series_text.reported(found))
    launch_plan = foresee(project, run, options, Reporter(output))
    return Answer(launch_plan.to_json, lambda: session_text.planned(launch_plan))


def collect(arguments: Namespace, output: Output) -> Answer:
    """Bring home what the newest session left, if it has ended."""
    project = targets.project_of(arguments)
    run = project.run(arguments.run)
    if arguments.dry_run:
        found = dispatching.look(project, run, arguments.runner or run.runner)
        return Answer(found.to_json, lambda: series_text.reported(found))

    def go() -> dispatching.Report:
        return dispatching.collect(project, run, arguments.runner, reporter=Reporter(output))

    return _reported(project, run, arguments.summary, output, go)


def _reported(
    project: Project, run: RunConfig, summary: str | None, output: Output, go: Callable[[], dispatching.Report]
) -> Answer:
    """Do it, and write the summary also of a failure: in a job of CI nobody sees anything else."""
    try:
        found = go()
    except CkptsyncError as error:
        failed = series_text.Verdict(error.message, error.hint or "", int(error.exit_code))
        _write_summary(project, run, failed, summary, output)
        raise
    verdict = series_text.Verdict(found.message, found.next_command, found.exit_code)
    _write_summary(project, run, verdict, summary, output)
    output.outcome(found.message, found.exit_code)

    def lines() -> Iterator[Line]:
        return series_text.reported(found, overview(project, run).runs[0])

    return Answer(found.to_json, lines, found.exit_code)


def _write_summary(
    project: Project, run: RunConfig, verdict: series_text.Verdict, target: str | None, output: Output
) -> None:
    where = target or os.environ.get(_SUMMARY_VARIABLE)
    if not where:
        return
    lines = [redact(line) for line in series_text.markdown(overview(project, run).runs[0], verdict)]
    if where == "-":
        output.results(lines)
    else:
        fsio.append_line(Path(where), "".join(f"{line}\n" for line in lines).encode())
