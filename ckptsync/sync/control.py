"""cancel, save and logs: what is asked of a session while it runs, or afterwards."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..core.errors import CkptsyncError, NothingFoundError, UsageError
from ..core.layout import EVENTS_NAME, SAVE_REQUEST_NAME
from ..core.session import MAX_INFO_BYTES, parse_events
from ..project.config import Project
from ..runners.base import LiveRunner, OutputFile, Runner, SessionHandle
from .contact import contact_of
from .events import sound_event
from .following import Follower
from .ledgers import find_record, open_ledger
from .polling import watch
from .reporting import Reporter
from .runners import runner_for, to_be_found
from .wait import handle_of

SAVE_SCHEMA = "ckptsync.save/1"
_PAUSE_SECONDS = 0.1


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
class SaveReport:
    """What a request for a save led to.

    Args:
        session: the session.
        saved: the event of the save, as the session wrote it; None when nothing was asked.
        seconds: from the request until the save was sealed.
    """

    session: str
    saved: Mapping[str, Any] | None
    seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object of the command."""
        saved = self.saved or {}
        return {
            "schema": SAVE_SCHEMA,
            "exit_code": 0,
            "session": self.session,
            "asked": self.saved is not None,
            "scenario": saved.get("scenario"),
            "set": saved.get("stem"),
            "num_timesteps": saved.get("num_timesteps"),
            "kind": saved.get("kind"),
            "size_bytes": saved.get("size_bytes"),
            "seconds": round(self.seconds, 3),
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
    runner = runner_for(project, record.runner, record.run)
    # A launch that was cut short may have started it all the same
    found = runner.find(to_be_found(record)) if record.handle is None else None
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


def save(
    project: Project,
    session: str,
    *,
    timeout_seconds: float,
    dry_run: bool = False,
    sleep: Callable[[float], None] = time.sleep,
) -> SaveReport:
    """Ask a running session for a save, and wait until it is sealed; the session goes on.

    Args:
        project: the project.
        session: the session's id.
        timeout_seconds: how long to wait; the request stays after that.
        dry_run: only see whether it could be asked.
        sleep: waits between two looks.

    Raises:
        NothingFoundError: it does not run, or it ended before it saved.
        UsageError: its runner cannot reach into a running session.
        CkptsyncError: it did not save in time.
    """
    record = find_record(project, session)
    launch = f"ckptsync launch {record.run} --detach"
    if record.handle is None:
        raise NothingFoundError(f"{session} has not started, so there is nothing to save", hint=launch)
    handle, runner = handle_of(record), runner_for(project, record.runner, record.run)
    state = runner.status(handle).state
    if state.finished:
        raise NothingFoundError(f"{session} has ended already ({state}), so there is nothing to save", hint=launch)
    if not isinstance(runner, LiveRunner):
        raise UsageError(
            f"{session} runs on {record.runner}, which cannot be reached while a session runs",
            hint=f"its script saves by itself; when: [runs.{record.run}.save] in {project.layout.config.name}",
        )
    if dry_run:
        return SaveReport(session, None)
    before = len(session_events(runner, handle))
    asked_at = time.monotonic()
    runner.request_save(handle)
    while True:
        ended = runner.status(handle).state.finished  # before the look: what it wrote at its end is seen
        waiting = any(file.path == SAVE_REQUEST_NAME for file in runner.outputs(handle))
        events = session_events(runner, handle)
        saves = [event for event in events[before:] if event["event"] == "save"]
        if saves and not (waiting and not ended):
            return SaveReport(session, saves[-1], time.monotonic() - asked_at)
        if ended:
            raise NothingFoundError(f"{session} ended before it saved", hint=f"ckptsync wait {record.run}")
        if time.monotonic() - asked_at > timeout_seconds:
            raise CkptsyncError(_silence(session, timeout_seconds, events), hint=f"ckptsync logs {session}")
        sleep(_PAUSE_SECONDS)


def session_events(runner: Runner, handle: SessionHandle) -> list[dict[str, Any]]:
    """Return what a session has written into its events so far; fields that make no sense are left out."""
    if all(file.path != EVENTS_NAME for file in runner.outputs(handle)):
        return []
    data = b""
    for chunk in runner.read_output(handle, OutputFile(EVENTS_NAME)):
        data += chunk
        if len(data) > MAX_INFO_BYTES:
            break
    return [sound_event(event) for event in parse_events(data)]


def _silence(session: str, seconds: float, events: list[dict[str, Any]]) -> str:
    begun = any(event["event"] == "start" for event in events)
    why = (
        "it saves at its next clean point, which may be a whole rollout away: the request stays"
        if begun
        else "it has not begun to train yet, or its script does not use TrainingSession and takes no requests"
    )
    return f"{session} has not saved within {seconds:g} s: {why}"


def read_log(
    project: Project,
    session: str,
    reporter: Reporter,
    *,
    offset: int = 0,
    follow: bool = False,
    sleep: Callable[[float], object] = time.sleep,
) -> Iterator[LogPart]:
    """Give what a session has printed from a byte offset on, piece by piece.

    Args:
        project: the project.
        session: the session's id.
        reporter: is told of trouble while it is followed.
        offset: where to begin.
        follow: go on until the session has ended.
        sleep: waits between two looks.

    Raises:
        UsageError: it was never started.
        CkptsyncError: it cannot be read.
    """
    record = find_record(project, session)
    handle, runner = handle_of(record), runner_for(project, record.runner, record.run)
    follower = Follower(runner, handle, offset)
    # The state first: what is printed between the two looks is read, and the end is told one look later
    ended = record.state is not None or runner.status(handle).state.finished
    if follow and not ended:
        contact = contact_of(project, record.runner, record.run)
        for seen in watch(runner, handle, contact, reporter, follower=follower, sleep=sleep):
            if isinstance(seen, bytes):
                yield LogPart(session, seen, follower.offset, ended=False)
        ended = True
    else:
        for data in follower.rest() if ended else follower.asked():
            yield LogPart(session, data, follower.offset, ended=False)
    yield LogPart(session, b"", follower.offset, ended)
