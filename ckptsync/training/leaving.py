"""How a script that is in a session is left: exit codes, and errors in words."""

from __future__ import annotations

import sys
from typing import NoReturn

from ..core.errors import CkptsyncError, ExitCode


def leave_with(error: CkptsyncError) -> NoReturn:
    """End the process with an error that is told on purpose, so without a traceback."""
    hint = f"\n{error.hint}" if error.hint else ""
    sys.stderr.write(f"{type(error).__name__}: {error.message}{hint}\n")
    sys.stderr.flush()
    raise SystemExit(int(error.exit_code)) from error


def exit_code_of(error: BaseException | None, stopped: ExitCode) -> int:
    """Return what a process exits with.

    Args:
        error: what leaves the session; None: nothing.
        stopped: what a signal asks for; OK: there was none.
    """
    if isinstance(error, CkptsyncError):
        return error.exit_code
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else ExitCode.OK if error.code is None else ExitCode.ERROR
    if isinstance(error, KeyboardInterrupt):
        return stopped or ExitCode.INTERRUPTED
    return stopped if error is None else ExitCode.ERROR


def first_line(error: BaseException) -> str:
    """Return an error as a traceback names it, without what its message goes on with."""
    told = str(error).partition("\n")[0]
    return f"{type(error).__name__}: {told}" if told else type(error).__name__
