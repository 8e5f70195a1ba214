"""A service for tests that several machines share, and the runner that talks to it: nothing leaves this process.

    service = RemoteService(tmp_path)
    here, there = ServiceRunner(service), ServiceRunner(service)

What a session is given is a version, and versions are numbered in the order in which they come. Each is run by a
runner of its own that `engine` makes for its folder: real processes by default.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ..core import names
from ..core.errors import CkptsyncError, LockedError, NothingFoundError
from ..core.session import SessionSpec
from ..runners.base import (
    Discovered,
    Limits,
    OutputFile,
    Runner,
    SessionHandle,
    SessionStatus,
    Submission,
)
from ..runners.bundle import read_spec
from ..runners.local import LocalRunner

Engine = Callable[[Path], Runner]
# Called with what is about to happen or has happened, `push`, `pushed`, `status`, `discover`, `limits`; what it raises is a fault
Fault = Callable[[str], None]


def processes(folder: Path) -> Runner:
    """Run a version as a process of this machine."""
    return LocalRunner(lambda _session: folder)


@dataclass
class _Version:
    number: int
    submission: Submission
    spec: SessionSpec | None
    runner: Runner
    handle: SessionHandle

    @property
    def identity(self) -> tuple[str, int, str | None]:
        lineage = self.spec.lineage if self.spec is not None else None
        return (self.submission.session, self.submission.generation, lineage)


@dataclass
class RemoteService:
    """Numbers and keeps what it is given; safe for use by many threads.

    Args:
        folder: where versions work.
        engine: folder of a version -> the runner that runs it.
        limits: what it allows.
        fault: see Fault; None: nothing ever fails.
    """

    folder: Path
    engine: Engine = processes
    limits: Limits = field(default_factory=Limits)
    fault: Fault | None = None
    versions: list[_Version] = field(default_factory=list)
    lock: threading.RLock = field(default_factory=threading.RLock)

    def meet(self, moment: str) -> None:
        """Let a fault happen."""
        if self.fault is not None:
            self.fault(moment)

    def push(self, submission: Submission) -> int:
        """Start a version; returns its number."""
        with self.lock:
            number = len(self.versions) + 1
            runner = self.engine(self.folder / f"v{number}")
            handle = runner.start(submission)
            self.versions.append(_Version(number, submission, read_spec(submission.script), runner, handle))
            return number

    def version(self, number: int) -> _Version:
        """Return a version.

        Raises:
            NothingFoundError: there is none of that number.
        """
        if not 1 <= number <= len(self.versions):
            raise NothingFoundError(f"the service has no version {number}")
        return self.versions[number - 1]


class ServiceRunner:
    """The runner `remote`: one machine's view of a RemoteService.

    Args:
        service: what all machines share.
    """

    name = "remote"

    def __init__(self, service: RemoteService) -> None:
        self._service = service

    def find(self, submission: Submission) -> SessionHandle | None:
        """Return the first version that is this submission."""
        spec = read_spec(submission.script)
        for version in self._service.versions:
            session, generation, lineage = version.identity
            same = (session, generation) == (submission.session, submission.generation)
            if same and (spec is None or spec.lineage == lineage):
                return self._handle(version)
        return None

    def start(self, submission: Submission) -> SessionHandle:
        """Start a session; the first version of a submission is the session, and another one's counts before ours.

        Raises:
            LockedError: another machine's session came first.
            UnsafePathError: an input's name is no safe file name.
        """
        for name in submission.inputs:
            names.check_component(name, what="name of an input")
        if (found := self.find(submission)) is not None:
            return found
        self._service.meet("push")
        ours = self._service.version(self._service.push(submission))
        self._service.meet("pushed")
        before = self._service.versions[: ours.number - 1]
        first = next((version for version in before if version.identity == ours.identity), None)
        ahead = next((version for version in before if _is_ahead(version, ours)), None)
        if first is None and ahead is None:
            return self._handle(ours)
        ours.runner.cancel(ours.handle)
        if first is not None:
            return self._handle(first)
        raise LockedError(f"{submission.session} of another machine came first", hint="ckptsync wait")

    def status(self, handle: SessionHandle) -> SessionStatus:
        """Say what the session is doing."""
        self._service.meet("status")
        version = self._known(handle)
        return version.runner.status(version.handle)

    def cancel(self, handle: SessionHandle) -> None:
        """Ask the session to stop."""
        version = self._known(handle)
        version.runner.cancel(version.handle)

    def log(self, handle: SessionHandle, offset: int = 0) -> bytes:
        """Return what the session has printed from a byte offset on."""
        version = self._known(handle)
        return version.runner.log(version.handle, offset)

    def outputs(self, handle: SessionHandle) -> list[OutputFile]:
        """List what the session left; of a running one, nothing."""
        version = self._known(handle)
        ended = version.runner.status(version.handle).state.finished
        return version.runner.outputs(version.handle) if ended else []

    def read_output(self, handle: SessionHandle, file: OutputFile, offset: int = 0) -> Iterator[bytes]:
        """Stream one output file from a byte offset on."""
        version = self._known(handle)
        yield from version.runner.read_output(version.handle, file, offset)

    def discover(self, run: str, *, limit: int = 20) -> list[Discovered]:
        """Return the newest sessions of a run, newest first."""
        self._service.meet("discover")
        first: dict[tuple[str, int, str | None], _Version] = {}
        for version in self._service.versions:
            if version.spec is not None and version.spec.run == run:
                first.setdefault(version.identity, version)
        found = sorted(first.values(), key=lambda version: version.number, reverse=True)[:limit]
        return [Discovered(self._handle(version), version.spec) for version in found if version.spec is not None]

    def limits(self) -> Limits:
        """Say what the service allows now."""
        self._service.meet("limits")
        return self._service.limits

    def _handle(self, version: _Version) -> SessionHandle:
        submission = version.submission
        reference = {"version": version.number, "generation": submission.generation}
        return SessionHandle(submission.session, self.name, reference)

    def _known(self, handle: SessionHandle) -> _Version:
        return self._service.version(handle.reference.get("version", 0))


def _is_ahead(version: _Version, ours: _Version) -> bool:
    if version.spec is None or ours.spec is None or version.spec.run != ours.spec.run:
        return False
    later = version.spec.lineage == ours.spec.lineage and version.spec.generation >= ours.spec.generation
    return version.spec.session == ours.spec.session or later


class Lost(CkptsyncError):
    """The answer of a service was lost on its way."""

    transient = True
