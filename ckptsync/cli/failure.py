"""Exceptions become a message, the next command and an exit code; never a traceback without `--debug`."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from typing import Any

from ..core.errors import CkptsyncError, ExitCode, InterruptedBySignal, ServiceError, StorageError
from .command import Command
from .output import redact

_MESSAGES = {
    errno.ENOSPC: ("the disk is full", "ckptsync clean --dry-run"),
    errno.EDQUOT: ("the disk quota is used up", "ckptsync clean --dry-run"),
    errno.EROFS: ("the file system is read-only", None),
    errno.EACCES: ("permission denied", None),
    errno.EMFILE: ("too many files are open", None),
}


class Terminated(KeyboardInterrupt):
    """SIGTERM came; whoever cleans up after Ctrl-C cleans up after it in the same way."""


def translate(error: BaseException, argv: Sequence[str]) -> CkptsyncError:
    """Return the error to show for any exception.

    Args:
        error: what was raised.
        argv: the command line, to be offered again where that is the way to go on.
    """
    if isinstance(error, CkptsyncError):
        if error.hint is None and isinstance(error, ServiceError) and error.transient:
            error.hint = _again(argv)  # every command carries on what was begun
        return error
    if isinstance(error, KeyboardInterrupt):
        word = "terminated" if isinstance(error, Terminated) else "interrupted"
        return InterruptedBySignal(f"{word}; what was begun can be resumed", hint=_again(argv))
    if isinstance(error, OSError):
        return _storage(error)
    return CkptsyncError(
        f"unexpected {type(error).__name__}: {error}",
        hint="run it again with --debug; if it comes again, it is a bug in ckptsync",
    )


def _again(argv: Sequence[str]) -> str:
    import shlex

    return shlex.join(["ckptsync", *argv])


def _storage(error: OSError) -> StorageError:
    what, hint = _MESSAGES.get(error.errno or 0, (error.strerror or str(error), None))
    where = error.filename2 or error.filename
    return StorageError(f"{where}: {what}" if where else what, hint=hint)


def exit_code_of(error: BaseException, shown: CkptsyncError) -> ExitCode:
    """Return the exit code for an exception and the error that is shown for it."""
    return ExitCode.TERMINATED if isinstance(error, Terminated) else ExitCode(shown.exit_code)


def error_value(command: Command | None, target: str | None, shown: CkptsyncError, exit_code: int) -> dict[str, Any]:
    """Return the JSON object of a failed command; None when it is not known which was meant."""
    hint = redact(shown.hint) if shown.hint else None
    error = {"kind": type(shown).__name__, "message": redact(shown.message), "hint": hint}
    if command is None:
        return {"schema": "ckptsync.error/1", "exit_code": exit_code, "error": error}
    return command.error_value(target, exit_code, error)
