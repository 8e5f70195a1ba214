"""launch, wait, logs, save, cancel, fetch, restore: what concerns one session."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator

from ..core.errors import ExitCode, UsageError
from ..project.config import Project, RunConfig
from ..sync import control, roundtrip
from ..sync import restore as restoring
from ..sync.fetch import fetch as fetch_outputs
from ..sync.foreseen import foresee
from ..sync.launch import LaunchOptions
from ..sync.ledgers import known_records
from ..sync.lines import Lines
from ..sync.overview import overview
from ..sync.reporting import shown_path
from ..sync.store.from_store import missing
from ..sync.store.tiers import not_sent, send_copies
from . import session_text, targets, text
from .log_text import LOGS_SCHEMA, LogEnd, redact_lines
from .output import Answer, Output
from .progress import Reporter
from .text import Line


def launch(arguments: Namespace, output: Output) -> Answer:
    """Train one session and bring home what it made."""
    project = targets.project_of(arguments)
    run = project.run(arguments.run)
    options = launch_options(arguments, quick=arguments.quick, steps=arguments.steps)
    if arguments.dry_run:
        launch_plan = foresee(project, run, options, Reporter(output))
        return Answer(launch_plan.to_json, lambda: session_text.planned(launch_plan))
    trip = roundtrip.run(
        project,
        run,
        options,
        detach=arguments.detach,
        when_possible=arguments.when_possible,
        reporter=Reporter(output),
    )
    return _trip(project, run, trip)


def launch_options(arguments: Namespace, *, quick: bool = False, steps: int | None = None) -> LaunchOptions:
    """Return what a command line says of a new session."""
    return LaunchOptions(
        quick=quick,
        steps=steps,
        fresh=arguments.fresh,
        runner=arguments.runner,
        set=dict(arguments.set),
        save=dict(arguments.save),
        seed=arguments.seed,
    )


def wait(arguments: Namespace, output: Output) -> Answer:
    """Go on with the session that is not settled."""
    project = targets.project_of(arguments)
    run = project.run(arguments.run)
    return _trip(project, run, roundtrip.resume_unfinished(project, run, reporter=Reporter(output)))


def _trip(project: Project, run: RunConfig, trip: roundtrip.RoundTrip) -> Answer:
    def lines() -> Iterator[Line]:
        return session_text.came_home(trip, overview(project, run).runs[0])

    return Answer(trip.to_json, lines, trip.exit_code)


def logs(arguments: Namespace, output: Output) -> Answer:
    """Print what a session printed, and with --follow what it still prints."""
    project = targets.project_of(arguments)
    session = targets.session_of(project, arguments.session).session
    lines, kept, ended = Lines(), LogEnd(), False
    for part in control.read_log(project, session, Reporter(output), follow=arguments.follow):
        last = not part.data
        ended = part.ended
        shown = [line.expandtabs() for line in redact_lines(lines.end() if last else lines.feed(part.data))]
        output.results(shown)
        if output.as_json:
            kept.add(shown)
    return Answer(lambda: {"schema": LOGS_SCHEMA, "session": session, **kept.value(), "ended": ended}, lambda: [])


def cancel(arguments: Namespace, output: Output) -> Answer:
    """Ask a session to seal what it has and stop."""
    project = targets.project_of(arguments)
    record = targets.session_of(project, arguments.session)
    report = control.cancel(project, record.session, dry_run=arguments.dry_run)
    word = "asked" if report.asked else "would ask"
    lines: list[Line] = [f"{word} {report.session} ({report.state}) to seal what it has and stop"]
    lines.append(session_text.next_line(f"ckptsync wait {record.run}"))
    return Answer(report.to_json, lambda: lines)


def save(arguments: Namespace, output: Output) -> Answer:
    """Ask a running session for a save, and wait until it is sealed."""
    project = targets.project_of(arguments)
    session = targets.session_of(project, arguments.session).session
    timeout = arguments.timeout
    report = control.save(project, session, timeout_seconds=timeout, dry_run=arguments.dry_run)
    return Answer(report.to_json, lambda: session_text.saved(report))


def fetch(arguments: Namespace, output: Output) -> Answer:
    """Download what a session left."""
    project = targets.project_of(arguments)
    record = targets.session_of(project, arguments.session)
    found = fetch_outputs(project, record.session, Reporter(output), only=arguments.only, dry_run=arguments.dry_run)

    def lines() -> Iterator[Line]:
        there = set(found.skipped)
        new = [file for file in found.files if file not in there]
        word = "to fetch" if arguments.dry_run else "new"
        yield f"{found.session}: {text.count(len(found.files), 'file')} in {shown_path(found.folder)}, {len(new)} {word}"
        if arguments.dry_run:
            yield from (f"  {file}" for file in new)
        if not arguments.only:
            yield session_text.next_line(f"ckptsync restore {record.run}")

    return Answer(found.to_json, lines)


def restore(arguments: Namespace, output: Output) -> Answer:
    """Put a session's good checkpoints into the training tree, or take that back."""
    project = targets.project_of(arguments)
    run = project.run(arguments.run)
    reporter = Reporter(output)
    if arguments.undo:
        if arguments.session is not None:
            raise UsageError("--undo takes the last restore back, whatever its session", hint="leave --session out")
        receipt = restoring.undo(project, run, reporter, dry_run=arguments.dry_run)
        return Answer(receipt.to_json, lambda: session_text.restored(receipt, dry_run=arguments.dry_run))
    if arguments.session is None and not known_records(project, run.name) and missing(project, run):
        from .store_commands import pulled

        return pulled(project, run, output, dry_run=arguments.dry_run)
    plan = restoring.plan_restore(project, run, arguments.session)
    if arguments.dry_run:
        return Answer(plan.to_json, lambda: session_text.restore_planned(plan), plan.exit_code)
    receipt = restoring.apply(project, plan, reporter)
    restoring.keep_verdicts(project, plan)
    unsent = not_sent(send_copies(project, run, reporter))
    exit_code = receipt.exit_code or (int(ExitCode.PARTIAL) if unsent is not None else 0)
    return Answer(receipt.to_json, lambda: session_text.restored(receipt), exit_code)
