"""The official clients as they are installed, pointed at the Kaggle service by the few means that they have."""

from __future__ import annotations

import fcntl
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ckptsync.testing.kaggle import Account

# KAGGLE_API_ENVIRONMENT -> the one port at which a client with it looks for its service
PORTS = {"LOCALHOST": 80, "TEST": 7777}


@contextmanager
def fixed_port(port: int) -> Iterator[int]:
    """Hold one of those ports, one test process at a time; skip the test where that cannot be."""
    with open(Path(tempfile.gettempdir(), f"ckptsync-port-{port}.lock"), "wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as error:
                pytest.skip(f"the client knows port {port} alone, and it is not to be had here: {error}")
        yield port


@dataclass(frozen=True)
class Ran:
    """What a client did: its exit code, and what it printed."""

    code: int
    out: str
    err: str


@dataclass
class Official:
    """Runs official clients with a home of their own and no proxy.

    Args:
        home: their HOME.
        name: what KAGGLE_API_ENVIRONMENT is.
        account: who signs in, by name and key; None: nobody.
        more: further variables.
    """

    home: Path
    name: str
    account: Account | None
    more: dict[str, str] = field(default_factory=dict)

    def kaggle(self, *arguments: object) -> Ran:
        """Run the command `kaggle`."""
        return self._run([str(Path(sys.executable).with_name("kaggle")), *map(str, arguments)])

    def python(self, code: str, *arguments: object) -> Ran:
        """Run Python code that uses a client's library."""
        return self._run([sys.executable, "-c", code, *map(str, arguments)])

    def _run(self, command: list[str]) -> Ran:
        self.home.mkdir(parents=True, exist_ok=True)
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "TMPDIR": str(self.home),
            "KAGGLE_API_ENVIRONMENT": self.name,
            "NO_PROXY": "*",
            "PYTHONUTF8": "1",
            **({"KAGGLE_USERNAME": self.account.name, "KAGGLE_KEY": self.account.key} if self.account else {}),
            **self.more,
        }
        ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, cwd=self.home)
        return Ran(ran.returncode, ran.stdout, ran.stderr)
