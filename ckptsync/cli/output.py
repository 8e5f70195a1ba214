"""The sink of everything that the command line says: chosen once, used by all.

Results go to stdout: text, or with `--json` one object on one line. Progress, logs, warnings and errors
go to stderr; `--quiet` leaves only warnings and errors of it. Commands never print.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, TextIO

from ..core.errors import ExitCode
from ..core.names import names_secret
from .text import Line, Styled, escape, parts_of

_COLOURS = {"good": "32", "bad": "31", "warn": "33", "dim": "2", "strong": "1"}
_SECRET_TEXT = re.compile(
    r"(?P<before>://[^/\s:@]+:(?=[^\s@\"']*@)"  # without a name behind it, it is a port
    r"|[?&](?:X-Amz-Signature|X-Amz-Credential|X-Amz-Security-Token|Signature|sig|token|key)="
    r"|(?i:authorization:\s*(?:bearer|basic)\s+))(?P<secret>[^@&\s\"']+)"
)
_SHORTEST_SECRET = 8
# What is no failure of a job: it was done, or it will be possible later
_ANNOTATIONS: dict[int, str] = {
    ExitCode.OK: "notice",
    ExitCode.PARTIAL: "warning",
    ExitCode.LIMIT: "notice",
    ExitCode.LOCKED: "notice",
}


@dataclass(frozen=True)
class Answer:
    """What a command found or did.

    Args:
        value: makes the JSON object of `--json`, with its `schema`; `exit_code` is put in by the sink.
        lines: makes the text for people. Only the one that is wanted is called.
        exit_code: of the process.
    """

    value: Callable[[], Mapping[str, Any]]
    lines: Callable[[], Iterable[Line]]
    exit_code: int = 0


class Output:
    """Writes answers, errors and logs.

    Args:
        as_json: one JSON object on stdout instead of text.
        quiet: no progress and no logs.
        out: for results.
        err: for everything else.
    """

    def __init__(
        self, *, as_json: bool = False, quiet: bool = False, out: TextIO | None = None, err: TextIO | None = None
    ) -> None:
        self.as_json = as_json
        self.quiet = quiet
        self._out = out if out is not None else sys.stdout
        self.err = err if err is not None else sys.stderr

    @property
    def terminal(self) -> bool:
        """Whether progress bars may be drawn."""
        return self.err.isatty() and os.environ.get("TERM") != "dumb"

    def answer(self, answer: Answer) -> None:
        """Write the one result of a command."""
        if self.as_json:
            self._write_json({**answer.value(), "exit_code": int(answer.exit_code)})
        else:  # all at once: nothing is shown of what cannot be shown whole
            coloured = _coloured(self._out)
            self._put(self._out, "".join([_rendered(line, coloured) for line in answer.lines()]))

    def results(self, lines: Sequence[str]) -> None:
        """Write lines of a result as text; with `--json` nothing, the object says it all."""
        if lines and not self.as_json:
            self._put(self._out, "".join([_rendered(line, coloured=False) for line in lines]))

    def help(self, text: str) -> None:
        """Write the help that was asked for; it is text, with `--json` too."""
        self._put(self._out, text.rstrip("\n") + "\n")

    def log(self, line: Line) -> None:
        """Write one line about what is going on."""
        if not self.quiet:
            self._write(self.err, line, shield=True)

    def outcome(self, text: str, exit_code: int) -> None:
        """Write what a job of CI shows beside itself; elsewhere nothing, the answer says it."""
        if self._annotates:
            self._annotate(_ANNOTATIONS.get(exit_code, "error"), text)

    def warn(self, text: str) -> None:
        """Write a warning; `--quiet` does not silence it."""
        if self._annotates:
            self._annotate("warning", text)
            return
        self._write(self.err, (Styled("warning: ", "warn"), text), shield=True)

    def failure(self, message: str, hint: str | None, value: Mapping[str, Any]) -> None:
        """Write an error: as text on stderr, with `--json` also as the one object on stdout."""
        if self._annotates:
            self.outcome(f"{message}\nnext: {hint}" if hint else message, value["exit_code"])
        else:
            self._write_failure(message, hint)
        if self.as_json:
            self._write_json(value)

    def _write_failure(self, message: str, hint: str | None) -> None:
        for number, text in enumerate(message.split("\n")):
            self._write(self.err, (Styled("error: ", "bad"), text) if number == 0 else f"  {text}", shield=True)
        if hint:
            self._write(self.err, (Styled("  next: ", "strong"), hint), shield=True)

    @property
    def _annotates(self) -> bool:
        return os.environ.get("GITHUB_ACTIONS") == "true"

    def _annotate(self, kind: str, text: str) -> None:
        """Write a line that GitHub Actions shows beside the job; see its "workflow commands"."""
        shown = "\n".join(escape(redact(line)) for line in text.splitlines())
        told = shown.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
        self._put(self.err, f"::{kind}::{told}\n")

    def traceback(self, text: str) -> None:
        """Write a traceback, for `--debug`."""
        for line in text.splitlines():
            self._write(self.err, line, shield=True)

    def _write_json(self, value: Mapping[str, Any]) -> None:
        # ASCII only: no name in it can do anything to a terminal, and any encoding of stdout will do
        self._put(self._out, json.dumps(value, allow_nan=False) + "\n")

    def _write(self, stream: TextIO, line: Line, *, shield: bool = False) -> None:
        if shield:
            line = [replace(p, text=redact(p.text)) if isinstance(p, Styled) else redact(p) for p in parts_of(line)]
        self._put(stream, _rendered(line, _coloured(stream)))

    def _put(self, stream: TextIO, text: str) -> None:
        if stream.closed:
            return
        try:
            stream.write(text)
            stream.flush()
        except UnicodeEncodeError:
            encoding = stream.encoding or "ascii"
            stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
            stream.flush()
        except BrokenPipeError:
            # The reader has gone (`| head`). What is still to come goes nowhere, and the exit code stays the
            # command's own. Closing tries to write once more; Python keeps the descriptor itself open.
            with suppress(BrokenPipeError):
                stream.close()


def _coloured(stream: TextIO) -> bool:
    if stream.closed or not stream.isatty():
        return False
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _rendered(line: Line, coloured: bool) -> str:
    if isinstance(line, str):
        return escape(line).rstrip(" ") + "\n"
    pieces = []
    for part in parts_of(line):
        text = escape(str(part))
        styled = coloured and isinstance(part, Styled) and text
        pieces.append(f"\x1b[{_COLOURS[part.role]}m{text}\x1b[0m" if styled else text)  # type: ignore[union-attr]
    return "".join(pieces).rstrip(" ") + "\n"


def redact(text: str) -> str:
    """Return text with secrets replaced: values of variables that hold some, credentials in URLs and headers."""
    for name, secret in os.environ.items():
        if len(secret) >= _SHORTEST_SECRET and secret in text and names_secret(name):
            text = text.replace(secret, "[secret]")
    return _SECRET_TEXT.sub(lambda match: match["before"] + "[secret]", text)
