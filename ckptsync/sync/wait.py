"""wait: look until a session has ended, and tell what it prints meanwhile. Reads only, holds no lock."""

from __future__ import annotations

import codecs
import time
from collections.abc import Callable

from ..core.errors import CkptsyncError, UsageError
from ..project.config import Project
from ..project.lineage import SessionRecord
from ..runners.base import Runner, SessionHandle, SessionState, SessionStatus
from .ledgers import find_record, open_ledger
from .reporting import Reporter
from .runners import runner_for

# The first looks come quickly, for quick sessions; a long one is asked less and less often
_FIRST_PAUSE = 0.05
_LONGEST_PAUSE = {"local": 1.0}
_LONGEST_PAUSE_ELSEWHERE = 30.0
_GROWTH = 1.3
_PATIENCE = 20


def wait(
    project: Project,
    session: str,
    *,
    reporter: Reporter,
    follow_log: bool = True,
    sleep: Callable[[float], None] = time.sleep,
) -> SessionStatus:
    """Wait until a session has ended, and write that into the ledger.

    A service that cannot be reached for a while is asked again; a word of it that is not known is never
    taken for an end.

    Raises:
        UsageError: the session was never started.
    """
    record = find_record(project, session)
    handle = handle_of(record)
    runner = runner_for(project, record.runner, record.run)
    log = _Log(runner, handle, reporter) if follow_log else None
    longest = _LONGEST_PAUSE.get(record.runner, _LONGEST_PAUSE_ELSEWHERE)
    pause, failures = _FIRST_PAUSE, 0
    while True:
        try:
            status = runner.status(handle)
            if log is not None:
                log.tell(last=status.state.finished)
            failures = 0
        except CkptsyncError as error:
            failures += 1
            if not error.transient or failures > _PATIENCE:
                raise
            reporter.warn(f"{error.message}; asking again")
            status = SessionStatus(SessionState.UNKNOWN)
        if status.state.finished:
            break
        sleep(pause)
        pause = min(pause * _GROWTH, longest)
    if record.state is None:
        note_end(project, record, status)
    return status


def note_end(project: Project, record: SessionRecord, status: SessionStatus) -> None:
    """Write into the ledger how a session has ended."""
    open_ledger(project).append(
        "finished",
        run=record.run,
        session=record.session,
        state=status.state.value,
        message=status.message,
        exit_code=status.exit_code,
        seconds=status.seconds,
    )


def handle_of(record: SessionRecord) -> SessionHandle:
    """Return what finds a session at its runner.

    Raises:
        UsageError: it was never started.
    """
    if record.handle is None:
        raise UsageError(f"{record.session} was never started", hint=f"ckptsync launch {record.run}")
    return SessionHandle.from_json(record.handle)


def last_drawn(line: str) -> str:
    """Return what a terminal would show of a line that a progress bar drew over and over with carriage returns."""
    return line.rstrip("\r").rpartition("\r")[2]


class _Log:
    """Tells what a session prints, line by line; a line is told when it is whole."""

    def __init__(self, runner: Runner, handle: SessionHandle, reporter: Reporter) -> None:
        self._runner = runner
        self._handle = handle
        self._reporter = reporter
        self._offset = 0
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._open = ""

    def tell(self, *, last: bool) -> None:
        """Tell what is new; with `last` also a line without its end."""
        data = self._runner.log(self._handle, self._offset)
        self._offset += len(data)
        text = self._open + self._decoder.decode(data, final=last)
        *lines, self._open = text.split("\n")
        for line in lines:
            self._reporter.line(f"  | {last_drawn(line)}")
        if last and self._open:
            self._reporter.line(f"  | {last_drawn(self._open)}")
