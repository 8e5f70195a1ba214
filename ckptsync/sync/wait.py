"""wait: look until a session has ended, and tell what it prints meanwhile. Reads only, holds no lock."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from ..core.errors import CkptsyncError, UsageError
from ..project.config import Project
from ..project.lineage import SessionRecord
from ..runners.base import SessionHandle, SessionState, SessionStatus
from .contact import contact_of
from .following import Follower
from .ledgers import find_record, open_ledger
from .lines import Lines
from .polling import watch
from .reporting import Meter, Reporter
from .runners import runner_for
from .standing import Standing, parse_standing


def wait(
    project: Project,
    session: str,
    *,
    reporter: Reporter,
    follow_log: bool = True,
    sleep: Callable[[float], object] = time.sleep,
) -> SessionStatus:
    """Wait until a session has ended, and write that into the ledger.

    A service that cannot be reached for a while is asked again; a word of it that is not known is never
    taken for an end.

    Raises:
        UsageError: the session was never started.
        CkptsyncError: its runner refuses to answer, or nothing was heard for too long; the session is left as it is.
    """
    record = find_record(project, session)
    handle = handle_of(record)
    runner = runner_for(project, record.runner, record.run)
    contact = contact_of(project, record.runner, record.run)
    follower = Follower(runner, handle) if follow_log else None
    status = SessionStatus(SessionState.UNKNOWN)
    try:
        with _telling(session, reporter) as tell:
            for seen in watch(runner, handle, contact, reporter, follower=follower, sleep=sleep):
                if isinstance(seen, bytes):
                    tell(seen)
                else:
                    status = seen
    except CkptsyncError:
        reporter.warn(f"{session} is left as it is; 'ckptsync wait {record.run}' goes on with it")
        raise
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


@contextmanager
def _telling(session: str, reporter: Reporter) -> Iterator[Callable[[bytes], None]]:
    """Give what takes a session's log: told line by line; of the lines that say where it stands, only the first."""
    lines = Lines()
    with ExitStack() as shown:
        progress = _Progress(session, reporter, shown)

        def tell(data: bytes, *, last: bool = False) -> None:
            for line in lines.end() if last else lines.feed(data):
                standing = parse_standing(line)
                if standing is None or progress.is_new(standing):
                    reporter.line(f"  | {line}")
                if standing is not None:
                    progress.show(standing)

        yield tell
        tell(b"", last=True)


class _Progress:
    """Shows where a session stands: on a terminal behind a bar, else in a line now and then."""

    def __init__(self, session: str, reporter: Reporter, shown: ExitStack) -> None:
        self._session = session
        self._reporter = reporter
        self._shown = shown
        self._meter: Meter | None = None
        self._scenario = ""

    def is_new(self, standing: Standing) -> bool:
        """Whether nothing was shown of this scenario yet."""
        return standing.scenario != self._scenario

    def show(self, standing: Standing) -> None:
        """Show it."""
        if self._meter is None:
            self._meter = self._shown.enter_context(
                self._reporter.progress(self._session, standing.total, unit="steps")
            )
        self._scenario = standing.scenario
        self._meter.note(" · ".join(standing.details))
        self._meter.set(standing.done)
