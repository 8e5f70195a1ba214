"""The entry point: parse, run, and turn every error into a message and an exit code."""

from __future__ import annotations

import atexit
import gc
import signal
import sys
import threading
from collections.abc import Sequence
from types import FrameType
from typing import TYPE_CHECKING, Any

from .._version import __version__

if TYPE_CHECKING:
    from .command import Command
    from .output import Output


_GC_THRESHOLD = 100_000


def main(argv: Sequence[str] | None = None) -> int:
    """Run ckptsync.

    Args:
        argv: the command line without the program's name; `sys.argv` when None.

    Returns:
        the exit code.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if words == ["--version"]:  # before anything is imported: it is asked by scripts all the time
        sys.stdout.write(f"ckptsync {__version__}\n")
        return 0
    # A command builds many small values and ends: looking for cycles among them is a tenth of the time of a long listing
    gc.set_threshold(_GC_THRESHOLD)
    atexit.register(gc.freeze)  # and to look for them once more when all ends is a tenth of a short command
    mask = _hold_signals()  # a Ctrl-C while modules load is answered like any other, below
    from . import failure, parser
    from .output import Output

    # Looked for before the arguments are parsed, for these may be what is wrong
    options = words[: words.index("--")] if "--" in words else words
    output = Output(as_json="--json" in options, quiet="--quiet" in options or "-q" in options)
    name, rest = parser.split_command(words)
    command: Command | None = None
    target: str | None = None
    try:
        with _Termination() as termination:
            _let_through(mask)
            command = parser.find_command(name)
            if "--version" in rest:
                return _version(output)
            arguments = parser.parse(command, rest)
            output.as_json, output.quiet = arguments.as_json, arguments.quiet
            target = getattr(arguments, "target", None)
            return _run(command, arguments, output, termination)
    except parser.HelpRequested as help_text:
        output.help(str(help_text))
        return 0
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001  # this is the place where every error ends
        shown = failure.translate(error, words)
        exit_code = failure.exit_code_of(error, shown)
        if "--debug" in options:
            import traceback

            output.traceback("".join(traceback.format_exception(error)))
        value = failure.error_value(command, target, shown, exit_code)
        output.failure(shown.message, shown.hint, value)
        return int(exit_code)


def _run(command: Command, arguments: Any, output: Output, termination: _Termination) -> int:
    from dataclasses import replace

    from ..core.errors import ExitCode

    answer = command.load()(arguments, output)
    if termination.came and answer.exit_code == ExitCode.INTERRUPTED:  # a verb that left its work in good order
        answer = replace(answer, exit_code=int(ExitCode.TERMINATED))
    output.answer(answer)
    return int(answer.exit_code)


def _version(output: Output) -> int:
    from .output import Answer

    value = {"schema": "ckptsync.version/1", "version": __version__, "python": sys.version.split()[0]}
    output.answer(Answer(lambda: value, lambda: [f"ckptsync {__version__}"]))
    return 0


def _hold_signals() -> set[int] | None:
    """Hold Ctrl-C and SIGTERM back; return what brings the state before back, None where nothing is held."""
    if not hasattr(signal, "pthread_sigmask"):
        return None
    return set(signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM)))


def _let_through(mask: set[int] | None) -> None:
    if mask is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


class _Termination:
    """SIGTERM takes the way of Ctrl-C, so that locks are released and temporary files removed."""

    def __init__(self) -> None:
        self.came = False
        self._previous: Any = None

    def __enter__(self) -> _Termination:
        if threading.current_thread() is threading.main_thread():
            self._previous = signal.signal(signal.SIGTERM, self._terminate)
        return self

    def __exit__(self, *exception: object) -> None:
        if self._previous is not None:
            signal.signal(signal.SIGTERM, self._previous)

    def _terminate(self, number: int, frame: FrameType | None) -> None:
        from .failure import Terminated

        self.came = True
        raise Terminated
