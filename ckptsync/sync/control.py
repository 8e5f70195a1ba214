"""cancel and logs: what is asked of a session while it runs, or afterwards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..core.errors import NothingFoundError
from ..project.config import Project
from ..runners.base import SessionState, Submission
from .ledgers import find_record, open_ledger
from .runners import runner_for
from .wait import handle_of


@dataclass(frozen=True)
class CancelReport:
    """What a cancel did.

    Args:
        session: the session.
        state: what it was doing.
        asked: whether it was asked to stop now.
    """

    session: str
    state: str
    asked: bool

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object of the command."""
        return {
            "schema": "ckptsync.cancel/1",
            "exit_code": 0,
            "session": self.session,
            "state": self.state,
            "asked": self.asked,
        }


@dataclass(frozen=True)
class LogPart:
    """A piece of what a session printed.

    Args:
        session: the session.
        data: the bytes; foreign text.
        next_offset: where to go on.
        ended: whether nothing will follow.
    """

    session: str
    data: bytes
    next_offset: int
    ended: bool


def cancel(project: Project, session: str, *, dry_run: bool = False) -> CancelReport:
    """Ask a session to seal what it has and to stop; one that never started is closed.

    Raises:
        NothingFoundError: it has ended already.
    """
    record = find_record(project, session)
    runner = runner_for(project, record.runner)
    # A launch that was cut short may have started it all the same
    found = runner.find(Submission(session, record.spec.generation, b"")) if record.handle is None else None
    if record.handle is None and found is None and not record.settled:
        if not dry_run:
            open_ledger(project).append(
                "closed", run=record.run, session=session, reason="cancelled before it was started"
            )
        return CancelReport(session, record.stage, asked=not dry_run)
    handle = found or handle_of(record)
    state = runner.status(handle).state
    if state.finished:
        raise NothingFoundError(f"{session} has ended already ({state})", hint=f"ckptsync wait {record.run}")
    if not dry_run:
        runner.cancel(handle)
        open_ledger(project).append("cancelled", run=record.run, session=session)
    return CancelReport(session, state.value, asked=not dry_run)


def read_log(project: Project, session: str, offset: int = 0) -> LogPart:
    """Return what a session has printed from a byte offset on.

    Raises:
        UsageError: it was never started.
    """
    record = find_record(project, session)
    handle, runner = handle_of(record), runner_for(project, record.runner)
    # The state first: what is printed between the two looks is read, and the end is told one look later
    state = runner.status(handle).state if record.state is None else SessionState(record.state)
    data = runner.log(handle, offset)
    return LogPart(session, data, offset + len(data), state.finished)
