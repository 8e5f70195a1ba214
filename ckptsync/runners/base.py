"""The contract that every runner keeps, and the values that pass through it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol, runtime_checkable


class SessionState(StrEnum):
    """What a session is doing. An unknown word of a service is UNKNOWN, and that is never "finished"."""

    QUEUED = "queued"
    RUNNING = "running"
    COMPLETE = "complete"
    ERROR = "error"
    CANCELLED = "cancelled"
    TIMED_OUT = "timed out"
    UNKNOWN = "unknown"

    @property
    def finished(self) -> bool:
        """Whether the session will never run again."""
        return self in (SessionState.COMPLETE, SessionState.ERROR, SessionState.CANCELLED, SessionState.TIMED_OUT)


@dataclass(frozen=True)
class Submission:
    """Everything that a runner needs to start one session.

    Args:
        session: the session's id, fixed in the ledger before anything is sent.
        generation: its generation; with the id it identifies this submission.
        script: the bytes of the kernel script, which is the whole bundle.
        inputs: file name -> local file, laid into the session's input folder.
        budget_seconds: the wall clock after which the runner kills the session; None: the runner's own limit.
        title: what people call it.
    """

    session: str
    generation: int
    script: bytes
    inputs: Mapping[str, Path] = field(default_factory=dict)
    budget_seconds: float | None = None
    title: str = ""


@dataclass(frozen=True)
class SessionHandle:
    """What finds a started session again, on another day and by another process.

    Args:
        session: the session's id.
        runner: the runner's name.
        reference: what the runner needs; JSON values, no secret.
    """

    session: str
    runner: str
    reference: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the handle as it stands in the ledger."""
        return {"session": self.session, "runner": self.runner, "reference": dict(self.reference)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> SessionHandle:
        """Parse what `to_json` gave."""
        return cls(value["session"], value["runner"], value["reference"])


@dataclass(frozen=True)
class SessionStatus:
    """What a runner says of a session.

    Args:
        state: see SessionState.
        message: in words, of the runner or service; foreign text.
        exit_code: of the script, where known.
        seconds: how long it has run, where known.
    """

    state: SessionState
    message: str = ""
    exit_code: int | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class OutputFile:
    """One file that a session left.

    Args:
        path: relative, with `/`; foreign text, to be checked before it touches a path.
        size_bytes: its length where the runner tells it.
    """

    path: str
    size_bytes: int | None = None


class Runner(Protocol):
    """Where sessions execute.

    All methods may raise a CkptsyncError; one with `transient` set may be tried again. `start` is not
    idempotent by itself: the caller asks `find` first, and a runner fixes what identifies the session
    before it starts anything.
    """

    name: str

    def find(self, submission: Submission) -> SessionHandle | None:
        """Return the handle of this very submission (id and generation) if it was ever started."""
        ...

    def start(self, submission: Submission) -> SessionHandle:
        """Start a session and return at once."""
        ...

    def status(self, handle: SessionHandle) -> SessionStatus:
        """Say what the session is doing. Reads only."""
        ...

    def cancel(self, handle: SessionHandle) -> None:
        """Ask the session to stop, so that it can seal what it has; returns before it has ended."""
        ...

    def log(self, handle: SessionHandle, offset: int = 0) -> bytes:
        """Return what the session has printed from a byte offset on."""
        ...

    def outputs(self, handle: SessionHandle) -> list[OutputFile]:
        """List every file that the session left, also a failed or killed one."""
        ...

    def read_output(self, handle: SessionHandle, file: OutputFile, offset: int = 0) -> Iterator[bytes]:
        """Stream one output file from a byte offset on, in chunks of bounded size."""
        ...


@runtime_checkable
class LiveRunner(Runner, Protocol):
    """A runner that reaches into a session while it runs.

    What `outputs` and `read_output` give of a running session is what it has written so far, and the session
    can be asked for a save.
    """

    def request_save(self, handle: SessionHandle) -> None:
        """Ask the session for a save at its next clean point, by SAVE_REQUEST_NAME in its working folder.

        Nothing happens when it has ended.
        """
        ...
