"""Catching up with what other machines did: sessions that only the service knew until now."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..core.errors import ExitCode, LockedError
from ..core.units import duration_text
from ..project.config import Project, RunConfig
from ..project.lineage import SessionRecord, unsettled
from ..runners.base import RemoteRunner, SessionStatus
from .discovery import discover, newest
from .ledgers import find_record, known_records, open_ledger
from .receipts import RestoreReceipt
from .reporting import Reporter
from .runners import runner_for
from .treework import head_in_file
from .trip import Manner, RoundTrip, carry_on
from .wait import handle_of


@dataclass(frozen=True)
class Caught:
    """What there was to catch up with.

    Args:
        home: how the newest session came home; None: there was none to bring.
        running: one that still runs, or None.
        status: what its runner says of that one.
        branch: why what a session left is none of the run's line, or None; it stays in results.
    """

    home: RoundTrip | None = None
    running: SessionRecord | None = None
    status: SessionStatus | None = None
    branch: LockedError | None = None


def catch_up(project: Project, run: RunConfig, runner: str, *, reporter: Reporter) -> Caught:
    """Take in what the service of a runner knows of a run, and bring home what the newest session left there.

    Where that is nothing good, the one before it counts, and so on; older ones are closed without a download.
    """
    discover(project, run, runner, reporter)
    left = [record for record in known_records(project, run.name) if record.discovered and not record.settled]
    home: RoundTrip | None = None
    branch: LockedError | None = None
    for record in sorted(left, key=lambda r: r.order, reverse=True):
        if (ahead := _restored_after(project, run, record)) is not None:
            reason = f"superseded by {ahead}"
            open_ledger(project).append("closed", run=run.name, session=record.session, reason=reason)
            continue
        if record.state is None:
            status = runner_for(project, record.runner, run.name).status(handle_of(record))
            if not status.state.finished:
                return Caught(home, record, status)
        if home is not None:
            reporter.warn(f"{home.message.splitlines()[0]}; going back to {record.session}")
        try:
            result = _at_home(carry_on(project, run, record.session, Manner(), reporter=reporter))
        except LockedError as error:
            if not find_record(project, record.session).settled:
                raise
            reporter.warn(error.message)
            branch = branch or error
        else:
            home = home or result
    return Caught(home, branch=branch)


def settle(project: Project, run: RunConfig, runner: str, *, reporter: Reporter) -> Caught:
    """Catch up, and bring home what a session of this machine left that has ended; waits for nothing."""
    seen = _still_runs(project, run, runner)
    if seen is not None:
        return seen
    caught = catch_up(project, run, runner, reporter=reporter)
    left = unsettled(known_records(project, run.name))
    if caught.running is not None or left is None or left.stage == "planned":
        return caught
    if left.state is None:
        status = runner_for(project, left.runner, run.name).status(handle_of(left))
        if not status.state.finished:
            return replace(caught, running=left, status=status)
    home = _at_home(carry_on(project, run, left.session, Manner(), reporter=reporter))
    return replace(caught, home=home or caught.home)


def _still_runs(project: Project, run: RunConfig, runner: str) -> Caught | None:
    """Look at the newest session alone, so that one that still runs is told at once."""
    service = runner_for(project, runner, run.name)
    seen = newest(service, run.name) if isinstance(service, RemoteRunner) else None
    if seen is None:
        return None
    status = service.status(seen.handle)
    if status.state.finished:
        return None
    handle = seen.handle.to_json()
    record = SessionRecord(seen.spec.session, run.name, seen.spec, runner, "started", handle=handle, discovered=True)
    return Caught(running=record, status=status)


def _at_home(result: RoundTrip | None) -> RoundTrip | None:
    if result is not None and result.exit_code == ExitCode.INTERRUPTED:
        raise KeyboardInterrupt
    return result


def _restored_after(project: Project, run: RunConfig, record: SessionRecord) -> str | None:
    """Return a newer session that is restored with all that it had of the run, so that no older one is needed."""
    tree = project.tree(run)
    for other in known_records(project, run.name):
        if other.order <= record.order or other.stage != "restored" or other.receipt is None:
            continue
        moved = RestoreReceipt.from_json(other.receipt).scenarios
        named = all(head_in_file(tree, scenario) is not None for scenario in other.spec.heads)
        if moved and named and all(part.head_to is not None for part in moved.values()):
            return other.session
    return None


def running_elsewhere(record: SessionRecord, status: SessionStatus | None) -> LockedError:
    """Return the error that says that another machine's session runs."""
    state = f"{record.runner} says: {status.state}" if status is not None else f"on {record.runner}"
    since = f", for {duration_text(status.seconds)}" if status is not None and status.seconds is not None else ""
    return LockedError(
        f"{record.session}, which another machine has started, has not ended ({state}{since})",
        hint=f"'ckptsync wait {record.run}' waits for it and brings home what it makes",
    )
