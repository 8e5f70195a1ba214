"""Run a script and note what a drill cannot see from outside: models read, files written elsewhere, hosts spoken to.

`ckptsync drill` starts a script through this module. It looks through Python's audit events, so what a library
writes or opens without Python goes unseen: the notes are hints, not proofs.
"""

from __future__ import annotations

import os
import runpy
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..core import jsonio
from ..core.layout import DRILL_NOTES_NAME
from ..core.names import MODEL_SUFFIX
from ..core.session import SPEC_VARIABLE

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_MOST_NOTES = 50
_NOWHERE = ("/dev", "/proc", "/sys")
_LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1", "0.0.0.0", "")  # noqa: S104  # compared with, not bound to


def main(wrapper: str, script: str) -> None:
    """Run the script of that name beside the wrapper as if it had been started itself, and note what it does."""
    path = str(Path(wrapper).with_name(script))
    watch(Path.cwd(), [Path(wrapper).parent, Path(tempfile.gettempdir())])
    sys.argv[0] = path
    runpy.run_path(path, run_name="__main__")


def watch(working: Path, allowed: list[Path]) -> None:
    """Note from now on, in DRILL_NOTES_NAME, what this process does outside; there is no way to stop it.

    Args:
        working: the working folder, where the notes lie and everything may be written.
        allowed: other folders that may be written to.
    """
    target = os.open(working / DRILL_NOTES_NAME, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    sys.addaudithook(_Notes(target, [working, *allowed, Path(sys.prefix), Path(sys.base_prefix)]))


class _Notes:
    def __init__(self, target: int, allowed: list[Path]) -> None:
        self._target = target
        self._allowed = [*_NOWHERE, *(os.path.realpath(folder) for folder in allowed)]
        self._hidden = f"{Path.home()}{os.sep}."  # caches and settings of libraries
        self._spec = os.environ.get(SPEC_VARIABLE)  # read by whoever uses TrainingSession
        self._told: set[str] = set()

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _mode, flags = arguments
            if not isinstance(path, str | bytes | os.PathLike):
                return
            name = os.fsdecode(path)
            if isinstance(flags, int) and flags & _WRITES:
                self._written(name)
            elif name == self._spec:
                self._tell({"note": "session"})
            elif name.endswith(MODEL_SUFFIX):
                self._tell({"note": "read", "file": os.path.basename(name)})
        elif event == "os.mkdir":
            self._written(os.fsdecode(arguments[0]))
        elif event == "socket.connect":
            address = arguments[1]
            if isinstance(address, tuple) and str(address[0]) not in _LOCAL_HOSTS:
                self._tell({"note": "network", "host": str(address[0])})
        elif event == "socket.getaddrinfo":
            host = arguments[0]
            name = os.fsdecode(host) if isinstance(host, str | bytes) else ""
            if name not in _LOCAL_HOSTS:
                self._tell({"note": "network", "host": name})

    def _written(self, path: str) -> None:
        whole = os.path.realpath(path)
        if whole.startswith(self._hidden) or "__pycache__" in whole:
            return
        if not any(whole == folder or whole.startswith(folder + os.sep) for folder in self._allowed):
            self._tell({"note": "written", "path": whole})

    def _tell(self, note: Mapping[str, Any]) -> None:
        line = jsonio.canonical(note) + b"\n"
        text = line.decode()
        if text not in self._told and len(self._told) < _MOST_NOTES:
            self._told.add(text)
            os.write(self._target, line)
