"""A power cut without a power switch: replays what an operation did on a model of a disk that keeps what was synced.

The model promises no more than POSIX does. The bytes of a file are safe once the file was synced, a name
once its folder was. Anything else may have reached the disk or not, each change for itself, in any order;
only a rename within one folder is one change.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from support.crashpoints import Operation
from support.watched import Call, WatchedOs, watching


@dataclass(eq=False)
class File:
    """The bytes of a file as programs see them, and as they are safe on the disk."""

    content: bytes = b""
    safe: bytes = b""


@dataclass(eq=False)
class Folder:
    """The names in a folder as programs see them, and as they are safe on the disk.

    `tied`: groups of names that renames have tied together since the folder was synced.
    """

    names: dict[str, File | Folder] = field(default_factory=dict)
    safe: dict[str, File | Folder] = field(default_factory=dict)
    tied: list[set[str]] = field(default_factory=list)

    def tie(self, one: str, other: str) -> None:
        """Let two names, and all that are tied to them, change together."""
        group = {one, other}.union(*(tied for tied in self.tied if tied & {one, other}))
        self.tied = [tied for tied in self.tied if not tied & group] + [group]


@dataclass(frozen=True)
class Step:
    """A call that has been made, with the bytes of its file after it; or an acknowledgement."""

    call: Call | None
    content: bytes = b""
    ack: str = ""


def record(operation: Operation) -> list[Step]:
    """Run an operation and return what it did, in order."""
    steps: list[Step] = []

    def after(call: Call) -> None:
        changes_bytes = call.name in ("open", "write", "pwrite", "ftruncate")
        steps.append(Step(call, Path(call.path).read_bytes() if changes_bytes else b""))

    with watching(WatchedOs(lambda call: None, after)):
        operation(lambda text: steps.append(Step(None, ack=text)))
    return steps


def cut(before: Path, root: Path, steps: list[Step], target: Path, seed: int) -> list[str]:
    """Write what a power cut after some steps leaves into a new folder.

    Args:
        before: a copy of what was there before the operation.
        root: where the operation ran.
        steps: what it did until the cut.
        target: the folder to make.
        seed: 0: only what is safe; 1: everything; others: a random part of what is not safe.

    Returns:
        What was acknowledged before the cut.
    """
    disk = _load(before)
    for step in steps:
        if step.call is not None:
            _apply(disk, root, step.call, step.content)
    choose = {0: lambda: False, 1: lambda: True}.get(seed) or _coin(random.Random(seed))
    _materialise(disk, target, choose)
    return [step.ack for step in steps if step.call is None]


def _coin(source: random.Random) -> Callable[[], bool]:
    return lambda: source.random() < 0.5


def _load(path: Path) -> Folder:
    names: dict[str, File | Folder] = {}
    for entry in path.iterdir():
        data = entry.read_bytes() if entry.is_file() else b""
        names[entry.name] = File(data, data) if entry.is_file() else _load(entry)
    return Folder(names, dict(names))


def _apply(disk: Folder, root: Path, call: Call, content: bytes) -> None:
    folder, name = _find(disk, root, call.path)
    if call.name == "open":
        folder.names.setdefault(name, File())
    if call.name in ("open", "write", "pwrite", "ftruncate"):
        _file(folder, name).content = content
    elif call.name == "fsync":
        found = folder.names[name] if name else folder
        if isinstance(found, Folder):
            found.safe, found.tied = dict(found.names), []
        else:
            found.safe = found.content
    elif call.name == "mkdir":
        folder.names[name] = Folder()
    elif call.name in ("unlink", "rmdir"):
        del folder.names[name]
    else:
        origin, old = _find(disk, root, call.source or "")
        folder.names[name] = origin.names[old]
        if call.name == "rename":
            del origin.names[old]
            if origin is folder:
                folder.tie(old, name)


def _find(disk: Folder, root: Path, path: str) -> tuple[Folder, str]:
    parts = Path(path).relative_to(root).parts
    folder = disk
    for part in parts[:-1]:
        found = folder.names[part]
        if not isinstance(found, Folder):
            raise NotADirectoryError(path)
        folder = found
    return folder, parts[-1] if parts else ""


def _file(folder: Folder, name: str) -> File:
    found = folder.names[name]
    if not isinstance(found, File):
        raise IsADirectoryError(name)
    return found


def _materialise(folder: Folder, target: Path, choose: Callable[[], bool]) -> None:
    os.makedirs(target)
    chosen = [(group, choose()) for group in folder.tied]
    for name in sorted(folder.names.keys() | folder.safe.keys()):
        new, old = folder.names.get(name), folder.safe.get(name)
        happened = next((happened for group, happened in chosen if name in group), None)
        found = new if new is old or (choose() if happened is None else happened) else old
        if isinstance(found, Folder):
            _materialise(found, target / name, choose)
        elif found is not None:
            whole = found.content == found.safe or choose()
            (target / name).write_bytes(found.content if whole else found.safe)
