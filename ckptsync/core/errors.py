"""The tree of errors.

    CkptsyncError                    1   something failed
    +-- UsageError                   2   the call itself is wrong
    +-- PartialError                 3   part of the work was done, or an older set was used
    +-- CorruptError                 4   bytes are damaged, unreadable or unsafe
    +-- IncompatibleError            5   another architecture than expected
    +-- NothingFoundError            6   there is nothing to work on
    +-- SessionFailedError           7   the training script failed
    +-- LimitError                   8   a quota or limit was reached
    +-- LockedError                  9   somebody else holds it, or is ahead
    +-- CredentialsError            10   the service does not know us
    +-- NoProgressError             11   a session left nothing new
    +-- ConfigError                 12   ckptsync.toml or CKPTSYNC_* is wrong
    +-- StorageError                 1   the disk is full, read-only or failing
    +-- ServiceError                 1   a service cannot be reached, or answers what makes no sense
    +-- InterruptedBySignal    130/143   Ctrl-C or SIGTERM

A message says what failed and why (with the file, what was expected and what was found); the hint
is the next command to type. Foreign exceptions are translated at the adapter that meets them.
"""

from __future__ import annotations

import errno
from enum import IntEnum
from pathlib import Path


class ExitCode(IntEnum):
    """The exit codes of every command; an unknown code must be treated as a failure."""

    OK = 0
    ERROR = 1
    USAGE = 2
    PARTIAL = 3
    CORRUPT = 4
    INCOMPATIBLE = 5
    NOTHING_FOUND = 6
    SESSION_FAILED = 7
    LIMIT = 8
    LOCKED = 9
    CREDENTIALS = 10
    NO_PROGRESS = 11
    CONFIG = 12
    INTERRUPTED = 130
    TERMINATED = 143


EXIT_CODE_MEANINGS: dict[ExitCode, str] = {
    ExitCode.OK: "done",
    ExitCode.ERROR: "something failed; the message says what",
    ExitCode.USAGE: "the command line is wrong",
    ExitCode.PARTIAL: "done in part, or fell back to an older good checkpoint",
    ExitCode.CORRUPT: "corrupt, unreadable or unsafe files; nothing was installed",
    ExitCode.INCOMPATIBLE: "the checkpoint has another architecture than expected",
    ExitCode.NOTHING_FOUND: "there is nothing to work on (no run, no session, no checkpoint)",
    ExitCode.SESSION_FAILED: "the training script failed",
    ExitCode.LIMIT: "a quota or limit was reached",
    ExitCode.LOCKED: "another process holds the lock, or another session is ahead",
    ExitCode.CREDENTIALS: "credentials are missing or refused",
    ExitCode.NO_PROGRESS: "the session ended without a new checkpoint",
    ExitCode.CONFIG: "the configuration is wrong",
    ExitCode.INTERRUPTED: "interrupted (Ctrl-C); everything can be resumed",
    ExitCode.TERMINATED: "terminated (SIGTERM); everything can be resumed",
}


class CkptsyncError(Exception):
    """Base of all errors that ckptsync raises on purpose.

    Args:
        message: what failed, and why.
        hint: the next command to type, or what to change.
    """

    exit_code: ExitCode = ExitCode.ERROR
    transient: bool = False

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(CkptsyncError):
    """The call itself is wrong: an unknown option, a run that does not exist."""

    exit_code = ExitCode.USAGE


class PartialError(CkptsyncError):
    """Part of the work was done, or an older set was used than the newest."""

    exit_code = ExitCode.PARTIAL


class CorruptError(CkptsyncError):
    """Bytes are damaged, unreadable or unsafe; nothing of them was used."""

    exit_code = ExitCode.CORRUPT


class UnsafePathError(CorruptError):
    """A name or path from outside would leave its folder or is no regular file."""


class IncompatibleError(CkptsyncError):
    """A checkpoint has another architecture than expected."""

    exit_code = ExitCode.INCOMPATIBLE


class NothingFoundError(CkptsyncError):
    """There is nothing to work on."""

    exit_code = ExitCode.NOTHING_FOUND


class SessionFailedError(CkptsyncError):
    """The training script crashed or its session ended in an error."""

    exit_code = ExitCode.SESSION_FAILED


class LimitError(CkptsyncError):
    """A quota or limit of a runner was reached.

    Args:
        message: what failed, and why.
        hint: the next command to type, or what to change.
        available_at: when it will be possible, in ISO 8601 UTC, where known.
        transient: whether it passes although nobody knows when.
    """

    exit_code = ExitCode.LIMIT

    def __init__(
        self, message: str, *, hint: str | None = None, available_at: str | None = None, transient: bool = False
    ) -> None:
        super().__init__(message, hint=hint)
        self.available_at = available_at
        self.transient = transient or available_at is not None


class LockedError(CkptsyncError):
    """Another process holds the lock, or another session is ahead of this one."""

    exit_code = ExitCode.LOCKED
    transient = True


class CredentialsError(CkptsyncError):
    """Credentials are missing or refused."""

    exit_code = ExitCode.CREDENTIALS


class NoProgressError(CkptsyncError):
    """A session ended without a new checkpoint."""

    exit_code = ExitCode.NO_PROGRESS


class ConfigError(CkptsyncError):
    """The configuration is wrong."""

    exit_code = ExitCode.CONFIG


class StorageError(CkptsyncError):
    """The disk is full, read-only or failing."""


class ServiceError(CkptsyncError):
    """A service cannot be reached, or answers what makes no sense.

    Args:
        message: what failed, and why.
        hint: the next command to type, or what to change.
        transient: whether the same call may go through later.
        retry_after: how many seconds the service asks to wait, where it does.
    """

    def __init__(
        self, message: str, *, hint: str | None = None, transient: bool = True, retry_after: float | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.transient = transient
        self.retry_after = retry_after


class InterruptedBySignal(CkptsyncError):
    """The process was asked to stop; what was begun can be resumed."""

    exit_code = ExitCode.INTERRUPTED


_STORAGE_HINTS = {
    errno.ENOSPC: "free some space ('ckptsync clean --dry-run' shows what can go), then run the same command again",
    errno.EDQUOT: "the disk quota is used up; free some space, then run the same command again",
    errno.EROFS: "the file system is mounted read-only; choose another folder",
    errno.EACCES: "check the permissions of the folder",
    errno.EPERM: "check the permissions of the folder",
    errno.EIO: "the device reports an error; check the disk before anything else",
}


def is_full(error: CkptsyncError) -> bool:
    """Whether it says that a disk or quota has no room left."""
    return isinstance(error, StorageError) and getattr(error.__cause__, "errno", None) in (errno.ENOSPC, errno.EDQUOT)


def storage_error(error: OSError, path: Path | str, *, action: str = "write") -> StorageError:
    """Translate an OSError into a StorageError that names the path.

    Args:
        error: what the operating system said.
        path: the file or folder that it is about.
        action: what was tried, a verb for "cannot ... <path>".
    """
    reason = error.strerror or str(error)
    return StorageError(f"cannot {action} {path}: {reason}", hint=_STORAGE_HINTS.get(error.errno or 0))
