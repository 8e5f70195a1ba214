"""The entry point: parse, run, and turn every error into a message and an exit code."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any

from .._version import __version__

if TYPE_CHECKING:
    from .command import Command
    from .output import Output


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
    from . import failure, parser
    from .output import Output

    # Known before the arguments are parsed, for these may be what is wrong
    options = words[: words.index("--")] if "--" in words else words
    output = Output(as_json="--json" in options, quiet="--quiet" in options or "-q" in options)
    name, rest = parser.split_command(words)
    command: Command | None = None
    target: str | None = None
    try:
        with _terminated_by_signal():
            command = parser.find_command(name)
            if "--version" in rest:
                return _version(output)
            arguments = parser.parse(command, rest)
            target = getattr(arguments, "target", None)
            return _run(command, arguments, output)
    except parser.HelpRequested as help_text:
        for line in str(help_text).rstrip("\n").split("\n"):
            sys.stdout.write(line + "\n")
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


def _run(command: Command, arguments: Any, output: Output) -> int:
    answer = command.load()(arguments, output)
    output.answer(answer)
    return int(answer.exit_code)


def _version(output: Output) -> int:
    from .output import Answer

    value = {"schema": "ckptsync.version/1", "version": __version__, "python": sys.version.split()[0]}
    output.answer(Answer(value, lambda: [f"ckptsync {__version__}"]))
    return 0


@contextmanager
def _terminated_by_signal() -> Iterator[None]:
    # SIGTERM takes the way of Ctrl-C, so that locks are released and temporary files removed
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def _terminate(number: int, frame: FrameType | None) -> None:
    from .failure import Terminated

    raise Terminated
