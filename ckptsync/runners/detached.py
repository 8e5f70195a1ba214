"""Processes of our own that outlive the command which starts them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

# Where ckptsync itself is imported from, installed or not
_PACKAGES = Path(__file__).absolute().parents[2]


def start_detached(
    module: str, arguments: Sequence[str], *, lock: int, log: Path, environment: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    """Run a module of ckptsync in a process that holds a lock for as long as it lives.

    Args:
        module: what to run; its last argument is the lock's descriptor, which it must not let its children inherit.
        arguments: those before the last.
        lock: a descriptor whose file is locked.
        log: what it prints is appended there, and its folder is the process's current one.
        environment: its variables.

    Raises:
        OSError: it cannot be started.
    """
    with log.open("ab") as output:
        return subprocess.Popen(
            # -P: a module in somebody's current folder must not take the place of one of ours
            [sys.executable, "-P", "-m", module, *arguments, str(lock)],
            cwd=log.parent,
            env={**environment, "PYTHONPATH": str(_PACKAGES)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a Ctrl-C in the terminal ends the command, not this process
            pass_fds=(lock,),
        )
