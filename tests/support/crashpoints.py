"""Runs an operation in a forked child and strikes it at one chosen call that changes a file.

    kill      SIGKILL before the call
    torn      half of the data of a write reaches the file, then SIGKILL
    once      the call fails with an errno, and nothing after it
    lasting   the call fails, and so does every later one: the disk stays full or broken

The child tells what it was told is durable (`ack`) through a pipe, so nothing that died with it counts.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NoReturn

from support.watched import Call, WatchedOs, watching

Ack = Callable[[str], None]
Operation = Callable[[Ack], None]

# Calls that still succeed on a full disk: they give room back, or need none
_WITHOUT_ROOM = ("unlink", "rmdir", "rename", "fsync", "ftruncate")


@dataclass(frozen=True)
class Strike:
    """What happens at which call.

    Args:
        at: number of the call, from 1.
        mode: `kill`, `torn`, `once` or `lasting`.
        errno: for `once` and `lasting`.
        kill_at: a later call before which the process is killed, while it cleans up; 0: none.
    """

    at: int
    mode: str
    errno: int = 0
    kill_at: int = 0


@dataclass
class Outcome:
    """What became of the child.

    Args:
        calls: names of the calls that it came to, the struck one included.
        acked: what it was told is durable.
        error: class name of the exception that ended it, or None.
        message: the exception's text.
        killed: whether the strike killed it.
    """

    calls: list[str] = field(default_factory=list)
    acked: list[str] = field(default_factory=list)
    error: str | None = None
    message: str = ""
    killed: bool = False


def run(operation: Operation, strike: Strike | None = None) -> Outcome:
    """Run an operation in a child, with a strike or without, and say what became of it."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _in_child(operation, strike, writing)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        lines = pipe.read().splitlines()
    _pid, status = os.waitpid(child, 0)
    outcome = Outcome(killed=os.WIFSIGNALED(status))
    for line in lines:
        kind, text = json.loads(line)
        if kind == "call":
            outcome.calls.append(text)
        elif kind == "ack":
            outcome.acked.append(text)
        else:
            outcome.error, outcome.message = kind, text
    return outcome


def _in_child(operation: Operation, strike: Strike | None, pipe: int) -> NoReturn:
    def tell(kind: str, text: str) -> None:
        os.write(pipe, (json.dumps([kind, text]) + "\n").encode())

    count = 0

    def before(call: Call) -> None:
        nonlocal count
        count += 1
        tell("call", call.name)
        if strike is not None:
            _strike(strike, count, call)

    try:
        with watching(WatchedOs(before)):
            operation(lambda text: tell("ack", text))
    except BaseException as error:
        tell(type(error).__name__, f"{error}\n{traceback.format_exc()}")
    os._exit(0)


def _strike(strike: Strike, count: int, call: Call) -> None:
    if count == strike.kill_at:
        os.kill(os.getpid(), signal.SIGKILL)
    if strike.mode in ("kill", "torn"):
        if count == strike.at:
            if strike.mode == "torn":
                _write_half(call)
            os.kill(os.getpid(), signal.SIGKILL)
    elif count == strike.at or (count > strike.at and strike.mode == "lasting"):
        if count > strike.at and strike.errno == errno.ENOSPC and call.name in _WITHOUT_ROOM:
            return
        raise OSError(strike.errno, os.strerror(strike.errno))


def _write_half(call: Call) -> None:
    # Where it stands in the file does not matter here: all files of ours are written from front to back
    with open(call.path, "ab") as file:
        file.write(call.data[: len(call.data) // 2])
