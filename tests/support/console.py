"""Runs the console blocks of a page as a reader would type them, and compares what is printed.

A block of language `console` has commands behind `$ `, their further lines behind `> `, and below them what
they print. In the printed part a line `...` stands for any lines, and `^C` for pressing Ctrl-C once the line before it has appeared. Numbers
(but for exit codes), times, digests, where the folder `walk` is and the width of columns may differ from run to run.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from .pages import Block

ANY_LINES = "..."
CTRL_C = "^C"

_VARYING = (
    (re.compile(r"sha256:[0-9a-f]{6,64}"), "DIGEST"),
    (re.compile(r"\bl\d{4}-[0-9a-f]{6}\b"), "LINEAGE"),
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"), "TIME"),
    (re.compile(r"\b(?=[0-9a-f]*\d)[0-9a-f]{8}\b"), "CHECKSUM"),
    (re.compile(r"(?:~|(?<![\w./])/[\w./-]*)/walk\b"), "FOLDER"),
    (re.compile(r"\d+\.\d+(?:\.\d+)?(?:\+\w+)?"), "#"),
    (re.compile(r"(?<=_)\d+(?=_steps)"), "#"),
    (re.compile(r"(?!^\d+$)(?<!exit code )(?<![\w/])\d[\d,]*\b"), "#"),
    (re.compile(r"\s+"), " "),
)


@dataclass(frozen=True)
class Step:
    """One command of a block.

    Args:
        block: where it stands.
        command: what is typed.
        printed: the lines that the page shows below it.
    """

    block: Block
    command: str
    printed: tuple[str, ...]


@dataclass(frozen=True)
class Done:
    """What running a step gave."""

    printed: tuple[str, ...]
    exit_code: int


def steps(blocks: Iterable[Block]) -> list[Step]:
    """Return the commands of some blocks in order."""
    found: list[Step] = []
    for block in blocks:
        for line in block.text.splitlines():
            last = found[-1] if found else None
            if line.startswith("$ "):
                found.append(Step(block, line.removeprefix("$ "), ()))
            elif last is None:
                raise AssertionError(f"{block} begins with no command")
            elif line.startswith("> ") and not last.printed:
                found[-1] = Step(last.block, f"{last.command}\n{line.removeprefix('> ')}", ())
            else:
                found[-1] = Step(last.block, last.command, (*last.printed, line))
    return found


class Console:
    """A terminal in a folder.

    Args:
        folder: where it is opened.
        environment: variables that it has besides the usual ones.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str] | None = None) -> None:
        self._folder = folder
        self._exit_code = 0
        tools = str(Path(sys.executable).parent)
        self._environment = {
            **os.environ,
            "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}",
            "NO_COLOR": "1",
            "OMP_NUM_THREADS": "1",
            **(environment or {}),
        }

    def run(self, step: Step) -> Done:
        """Type a command and wait for its end."""
        if step.command.startswith("cd "):
            self._folder /= step.command.removeprefix("cd ")
            return self._keep(Done((), 0))
        command = step.command.replace("$?", str(self._exit_code))
        process = subprocess.Popen(
            ["bash", "-c", f"exec 2>&1; {command}"],
            cwd=self._folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            start_new_session=True,  # so that Ctrl-C reaches what a terminal would send it to, and not us
            text=True,
        )
        assert process.stdout is not None
        awaited = step.printed[step.printed.index(CTRL_C) - 1] if CTRL_C in step.printed else None
        printed = []
        for line in process.stdout:
            printed.append(line.rstrip("\n"))
            if awaited is not None and same(awaited, printed[-1]):
                printed.append(CTRL_C)
                os.killpg(process.pid, signal.SIGINT)
                awaited = None
        return self._keep(Done(tuple(printed), process.wait()))

    def _keep(self, done: Done) -> Done:
        self._exit_code = done.exit_code
        return done


def same(shown: str, printed: str) -> bool:
    """Whether two lines are equal but for what may vary."""
    return _steady(shown) == _steady(printed)


def _steady(line: str) -> str:
    for pattern, word in _VARYING:
        line = pattern.sub(word, line)
    return line.rstrip()


def fits(shown: Iterable[str], printed: Iterable[str]) -> bool:
    """Whether printed lines are those that a page shows."""
    pattern = "".join(
        r"(?:[^\n]*\n)*?" if line.strip() == ANY_LINES else re.escape(_steady(line)) + r"\n" for line in shown
    )
    return re.fullmatch(pattern, "".join(f"{_steady(line)}\n" for line in printed)) is not None
