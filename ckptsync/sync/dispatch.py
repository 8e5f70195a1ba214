"""dispatch and collect: the two halves of a trip for a machine that is not there in between, as a job of CI.

Neither waits, and neither needs anything from the time before: what is known of the run is found at its runner.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ..core.errors import CkptsyncError, ExitCode, LockedError
from ..core.units import duration_text
from ..project.config import Project, RunConfig
from ..project.lineage import SessionRecord, unsettled
from ..runners.base import RemoteRunner, SessionHandle, SessionStatus
from .catch_up import settle
from .discovery import newest
from .following import Follower
from .launch import LaunchOptions
from .ledgers import known_records
from .lines import Lines
from .reporting import Reporter
from .roundtrip import launch_new
from .runners import runner_for
from .standing import Standing, parse_standing
from .store.from_store import bring_newer, brought
from .trip import Manner, RoundTrip, carry_on

DISPATCH_SCHEMA = "ckptsync.dispatch/1"
COLLECT_SCHEMA = "ckptsync.collect/1"
_LISTEN_SECONDS = 0.7


@dataclass(frozen=True)
class Report:
    """What a dispatch or collect found and did.

    Args:
        schema: of its JSON object.
        run: the run.
        exit_code: of the command.
        message: one sentence for people; after a refusal, what was refused in the lines behind it.
        next_command: what to type next.
        session: the session that it is about, or None.
        state: what its runner says of it, or None.
        standing: how far a session that still runs is, as far as its log tells.
        collected: what was brought home, or None.
    """

    schema: str
    run: str
    exit_code: int
    message: str
    next_command: str
    session: str | None = None
    state: str | None = None
    standing: Standing | None = None
    collected: RoundTrip | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object of the command."""
        standing = self.standing
        return {
            "schema": self.schema,
            "exit_code": self.exit_code,
            "run": self.run,
            "session": self.session,
            "state": self.state,
            "message": self.message,
            "progress": {"num_timesteps": standing.done, "target": standing.total} if standing is not None else None,
            "collected": self.collected.to_json() if self.collected is not None else None,
            "next_command": self.next_command,
        }


def look(project: Project, run: RunConfig, runner: str) -> Report:
    """Say what there is to collect; changes nothing."""
    service = runner_for(project, runner, run.name)
    seen = newest(service, run.name) if isinstance(service, RemoteRunner) else None
    known = {record.session: record for record in known_records(project, run.name)}
    left = unsettled(known.values())
    if seen is not None and (record := known.get(seen.spec.session)) is None:
        handle = seen.handle.to_json()
        record = SessionRecord(seen.spec.session, run.name, seen.spec, runner, "started", handle=handle)
        left = record
    if left is None or left.handle is None:
        message = f"run {run.name} has nothing to collect"
        return Report(COLLECT_SCHEMA, run.name, int(ExitCode.OK), message, f"ckptsync dispatch {run.name}")
    status = runner_for(project, left.runner, run.name).status(SessionHandle.from_json(left.handle))
    if not status.state.finished:
        return _running(project, left, status)
    message = f"{left.session} has ended ({status.state}), and is to be collected"
    after = f"ckptsync collect {run.name}"
    return Report(COLLECT_SCHEMA, run.name, int(ExitCode.OK), message, after, left.session, status.state.value)


def collect(project: Project, run: RunConfig, runner: str | None = None, *, reporter: Reporter) -> Report:
    """Bring home what the newest session left, if it has ended.

    A session that still runs is no failure, and neither is a run without any: exit 0 says that there was nothing
    to do yet. Otherwise the exit code is that of `launch` for this session.

    Args:
        project: the project.
        run: the run.
        runner: where its sessions run, where that is another runner than the run's.
        reporter: receives what happens.
    """
    caught = settle(project, run, runner or run.runner, reporter=reporter)
    if caught.running is not None:
        return _running(project, caught.running, caught.status)
    home = caught.home
    pulled = bring_newer(project, run, reporter)
    if home is None:
        if caught.branch is not None:
            raise caught.branch
        message = f"run {run.name} has nothing to collect"
        if pulled:
            message += "; " + ", ".join(map(brought, pulled))
        return Report(COLLECT_SCHEMA, run.name, int(ExitCode.OK), message, f"ckptsync dispatch {run.name}")
    after = home.next_command.replace("ckptsync launch", "ckptsync dispatch")
    state = home.status.state.value if home.status is not None else None
    return Report(COLLECT_SCHEMA, run.name, home.exit_code, home.message, after, home.session, state, collected=home)


def dispatch(
    project: Project, run: RunConfig, options: LaunchOptions, *, when_possible: bool = False, reporter: Reporter
) -> Report:
    """Start the next session and leave; collect first what the one before left.

    Args:
        project: the project.
        run: the run.
        options: of the new session.
        when_possible: wait where a quota or limit is only a matter of time.
        reporter: receives what happens.

    Raises:
        LockedError: a session of the run still runs, or another machine was faster.
        LimitError: the runner takes no session now.
    """
    caught = settle(project, run, options.runner or run.runner, reporter=reporter)
    if caught.running is not None:
        running = _running(project, caught.running, caught.status)
        raise LockedError(running.message, hint=running.next_command)
    home = caught.home
    if home is not None:
        tell = reporter.line if home.exit_code == ExitCode.OK else reporter.warn
        tell(home.message.splitlines()[0])
    manner = Manner(detach=True, when_possible=when_possible)
    left = unsettled(known_records(project, run.name))  # planned by a command that came no further
    trip = carry_on(project, run, left.session, manner, reporter=reporter) if left is not None else None
    trip = trip or launch_new(project, run, options, manner, reporter=reporter)
    after = trip.next_command.replace("ckptsync wait", "ckptsync collect") or f"ckptsync ls {run.name}"
    message = trip.message.replace("ckptsync wait", "ckptsync collect")
    return Report(DISPATCH_SCHEMA, run.name, trip.exit_code, message, after, trip.session, collected=home)


def _running(project: Project, record: SessionRecord, status: SessionStatus | None) -> Report:
    state = status.state.value if status is not None else "started"
    seconds = status.seconds if status is not None else None
    standing = _standing(project, record)
    told = [f"{record.session} on {record.runner} has not ended: {state}"]
    if seconds is not None:
        told.append(f"for {duration_text(seconds)}")
    if standing is not None:
        told.append(f"{standing.done:,} of {standing.total:,} steps")
    return Report(
        COLLECT_SCHEMA,
        record.run,
        int(ExitCode.OK),
        ", ".join(told),
        f"ckptsync collect {record.run}",
        record.session,
        state,
        standing,
    )


def _standing(project: Project, record: SessionRecord) -> Standing | None:
    """Return how far a session is by its log; None where that does not tell, or not soon."""
    if record.handle is None:
        return None
    handle, runner = SessionHandle.from_json(record.handle), runner_for(project, record.runner, record.run)
    lines, found = Lines(), None
    try:
        for data in _printed(Follower(runner, handle)):
            told = [standing for line in lines.feed(data) if (standing := parse_standing(line)) is not None]
            found = told[-1] if told else found
    except CkptsyncError:
        return None
    return found


def _printed(follower: Follower) -> Iterator[bytes]:
    """Give what a session has printed; of a stream only what comes within a moment, for it lasts as long as the session."""
    follower.begin()
    if not follower.streaming:
        yield from follower.asked()
    deadline = time.monotonic() + _LISTEN_SECONDS
    try:
        while (left := deadline - time.monotonic()) > 0 and (data := follower.next(left)):
            yield data
    finally:
        follower.close()
