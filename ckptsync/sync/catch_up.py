"""Catching up with what other machines did: sessions that only the service knew until now."""

from __future__ import annotations

from dataclasses import dataclass

from ..core.errors import ExitCode, LockedError
from ..core.units import duration_text
from ..project.config import Project, RunConfig
from ..project.lineage import SessionRecord
from ..runners.base import SessionStatus
from .discovery import discover
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
        home: how the newest session came home that another machine started; None: there was none to bring.
        running: one that still runs, or None; nothing was brought home then.
        status: what its runner says of that one.
    """

    home: RoundTrip | None = None
    running: SessionRecord | None = None
    status: SessionStatus | None = None


def catch_up(project: Project, run: RunConfig, runner: str, *, reporter: Reporter) -> Caught:
    """Take in what the service of a runner knows of a run, and bring home what the newest session left there.

    Where that is nothing good, the one before it counts, and so on; older ones are closed without a download.
    """
    discover(project, run, runner, reporter)
    left = [record for record in known_records(project, run.name) if record.discovered and not record.settled]
    home: RoundTrip | None = None
    for record in sorted(left, key=lambda r: r.order, reverse=True):
        if (ahead := _restored_after(project, run, record)) is not None:
            reason = f"superseded by {ahead}"
            open_ledger(project).append("closed", run=run.name, session=record.session, reason=reason)
            continue
        if record.state is None:
            status = runner_for(project, record.runner, run.name).status(handle_of(record))
            if not status.state.finished:
                return Caught(home, record, status)
        result = _bring_home(project, run, record, reporter)
        if home is not None and result is not None:
            reporter.warn(f"{home.message.splitlines()[0]}; going back to {record.session}")
        home = result if result is not None and (home is None or result.receipt is not None) else home
    return Caught(home)


def _bring_home(project: Project, run: RunConfig, record: SessionRecord, reporter: Reporter) -> RoundTrip | None:
    """Return how a session that has ended came home; None where it is a branch, which stays in results."""
    try:
        result = carry_on(project, run, record.session, Manner(), reporter=reporter)
    except LockedError as error:
        if not find_record(project, record.session).settled:
            raise
        reporter.warn(error.message)
        return None
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
