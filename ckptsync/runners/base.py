"""The contract that every runner keeps, and the values that pass through it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from ..core.session import SessionSpec


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
        previous: the session whose own outputs hold every promised set, where that is the newest one that was
            started; a runner that can mount what a session left may give that in place of the inputs.
    """

    session: str
    generation: int
    script: bytes
    inputs: Mapping[str, Path] = field(default_factory=dict)
    budget_seconds: float | None = None
    title: str = ""
    previous: SessionHandle | None = None


@dataclass(frozen=True)
class SessionHandle:
    """What finds a started session again, on another day and by another process.

    Args:
        session: the session's id.
        runner: the runner's name.
        reference: what the runner needs; JSON values, no secret. Its `address`, if any, is where people look at it.
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


@dataclass(frozen=True)
class Discovered:
    """A session that a service tells of, whoever started it.

    Args:
        handle: what finds it.
        spec: what it was told, read from the script that the service keeps.
    """

    handle: SessionHandle
    spec: SessionSpec


@dataclass(frozen=True)
class Allowance:
    """How much of one kind of machine a service still gives.

    Args:
        kind: `gpu` or `tpu`.
        allowed_seconds: in one period.
        used_seconds: used up so far, what is reserved for running sessions included.
        renews_at: when the next period begins, in ISO 8601 UTC, where known.
    """

    kind: str
    allowed_seconds: float
    used_seconds: float
    renews_at: str | None = None

    @property
    def left_seconds(self) -> float:
        """What is left of this period."""
        return max(self.allowed_seconds - self.used_seconds, 0.0)


@dataclass(frozen=True)
class Limits:
    """What a runner allows.

    Args:
        session_seconds: the longest that a session may run, None: no limit.
        output_bytes: how much a session may leave, None: no limit.
        allowances: what is left of machines that are counted.
    """

    session_seconds: float | None = None
    output_bytes: int | None = None
    allowances: tuple[Allowance, ...] = ()


class Runner(Protocol):
    """Where sessions execute.

    All methods may raise a CkptsyncError; one with `transient` set may be tried again. `start` is not
    idempotent by itself: the caller asks `find` first, and a runner fixes what identifies the session
    before it starts anything.

    `start` raises LimitError when a quota or a number of sessions is reached, with `available_at` where the
    runner knows when it will be possible.
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
        """Return what the session has printed from a byte offset on.

        Of a long log only the next piece: whoever wants it whole asks again behind it, until nothing comes.
        """
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


@runtime_checkable
class TellingRunner(Runner, Protocol):
    """A runner that says what it is busy with while a start takes its time.

    Attributes:
        tell: is given a line for people; whoever starts a session may set it.
    """

    tell: Callable[[str], object]


@runtime_checkable
class StreamingRunner(Runner, Protocol):
    """A runner that sends what a session prints as it prints it."""

    def follow(self, handle: SessionHandle, offset: int = 0) -> Iterator[bytes]:
        """Stream the log from a byte offset on, until the session has ended or the stream breaks.

        Whoever reads goes on with `log` when it ends early: it is a faster way to know, never the only one.
        """
        ...


@runtime_checkable
class RemoteRunner(Runner, Protocol):
    """A runner whose sessions are known to a service, so that another machine finds them there."""

    def discover(self, run: str, *, limit: int = 20) -> list[Discovered]:
        """Return the newest sessions of a run that the service knows, newest first; none when there are none.

        A submission that was started twice is there once, as the one that came first.
        """
        ...

    def limits(self) -> Limits:
        """Say what the service allows now. Reads only."""
        ...
