"""What lies in the folder of a session on this machine; the runner and the supervisor meet here.

submission.json   which session this is; written before anything is started
kernel.py         the kernel script
input/            what the session was given
working/          its current folder: all that it leaves
log.txt           what the script prints
lock              held by whoever is starting or supervising the session
started.json      the supervisor runs: its process id and since when
cancel            somebody asked the session to stop
relay.lock        held by who sends its sets to a store while it runs, where it cannot do that itself
exit.json         how it ended, written last
supervisor.log    what the supervisor itself prints: nothing, unless it fails
tmp/              temporary files of the script, removed at the end
"""

from __future__ import annotations

import fcntl
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from ..core import fsio, jsonio
from ..core.errors import CorruptError, NothingFoundError, storage_error

_MAX_RECORD_BYTES = 1 << 20
_Record = TypeVar("_Record", "SubmissionRecord", "StartRecord", "ExitRecord")


@dataclass(frozen=True)
class SubmissionRecord:
    """What was asked for.

    Args:
        session: the session's id.
        generation: its generation.
        script: sha256 of the kernel script.
        python: the interpreter that runs it.
        budget_seconds: after so long it is killed; None: never.
        title: what people call it.
    """

    session: str
    generation: int
    script: str
    python: str
    budget_seconds: float | None
    title: str


@dataclass(frozen=True)
class StartRecord:
    """That a supervisor runs.

    Args:
        supervisor: its process id.
        started: seconds since 1970.
    """

    supervisor: int
    started: float


@dataclass(frozen=True)
class ExitRecord:
    """How a session ended.

    Args:
        state: the value of a finished SessionState.
        exit_code: of the script; 128 + n when signal n killed it; None when it could not be started.
        seconds: how long it ran.
        message: in words.
    """

    state: str
    exit_code: int | None
    seconds: float
    message: str


_NAMES: dict[type, str] = {
    SubmissionRecord: "submission.json",
    StartRecord: "started.json",
    ExitRecord: "exit.json",
}


@dataclass(frozen=True)
class LocalFolder:
    """The folder of one session.

    Args:
        root: where it is.
    """

    root: Path

    @property
    def kernel(self) -> Path:
        """The kernel script."""
        return self.root / "kernel.py"

    @property
    def inputs(self) -> Path:
        """What the session was given."""
        return self.root / "input"

    @property
    def working(self) -> Path:
        """The script's current folder."""
        return self.root / "working"

    @property
    def log(self) -> Path:
        """What the script prints."""
        return self.root / "log.txt"

    @property
    def supervisor_log(self) -> Path:
        """What the supervisor prints."""
        return self.root / "supervisor.log"

    @property
    def cancel(self) -> Path:
        """The request to stop."""
        return self.root / "cancel"

    @property
    def lock(self) -> Path:
        """The lock of whoever is starting or supervising."""
        return self.root / "lock"

    @property
    def script_lock(self) -> Path:
        """The lock of the kernel script's process."""
        return self.root / "script.lock"

    @property
    def relay_lock(self) -> Path:
        """The lock of whoever sends the session's sets to a store."""
        return self.root / "relay.lock"

    def write(self, record: SubmissionRecord | StartRecord | ExitRecord) -> None:
        """Write one of the records, whole or not at all."""
        fsio.write_bytes(self._place(type(record)), jsonio.pretty(asdict(record)))

    def submission(self) -> SubmissionRecord | None:
        """Read what was asked for; None when nothing was."""
        return self._read(SubmissionRecord)

    def start(self) -> StartRecord | None:
        """Read that a supervisor runs or ran; None when none ever did."""
        return self._read(StartRecord)

    def exit(self) -> ExitRecord | None:
        """Read how the session ended; None when that is not recorded."""
        return self._read(ExitRecord)

    def try_lock(self, lock: Path | None = None) -> int | None:
        """Take the lock, or another one of the folder; return its descriptor, or None when somebody else holds it.

        The lock belongs to the open file, not to a process: a supervisor that inherits the descriptor holds it
        on without a gap, and the kernel drops it when the last holder dies, however that happens.
        """
        try:
            descriptor = os.open(lock or self.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise storage_error(error, lock or self.lock) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        return descriptor

    def is_locked(self) -> bool:
        """Whether somebody is starting or supervising the session."""
        return _is_held(self.lock)

    def script_runs(self) -> bool:
        """Whether the kernel script runs, also when its supervisor is gone."""
        return _is_held(self.script_lock)

    def _place(self, kind: type) -> Path:
        return self.root / _NAMES[kind]

    def _read(self, kind: type[_Record]) -> _Record | None:
        path = self._place(kind)
        try:
            value: Any = jsonio.parse(fsio.read_bytes(path, limit=_MAX_RECORD_BYTES))
            return kind(**value)
        except NothingFoundError:
            return None
        except (ValueError, TypeError) as error:
            raise CorruptError(f"{path} is damaged: {error}") from None


def _is_held(lock: Path) -> bool:
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        # Shared, so that two who look do not take each other for the holder
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
