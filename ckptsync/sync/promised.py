"""What a session's own seals and heads promise of its outputs, beside what came."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from ..core import fsio, heads, names, sets
from ..core.errors import CkptsyncError
from ..core.layout import TrainingTree
from ..core.manifest import FileEntry


@dataclass(frozen=True)
class Lack:
    """What is not as promised; paths relative to the results folder.

    Args:
        missing: named by a seal or a head, and not here.
        damaged: here, with other bytes than a seal names, or a seal that cannot be read.
    """

    missing: frozenset[str] = frozenset()
    damaged: frozenset[str] = frozenset()


def lacking(folder: Path, tree: str, digest_of: Callable[[Path], str | None], *, scenarios: Iterable[str] = ()) -> Lack:
    """Compare what came with what its seals and heads say.

    Args:
        folder: the results folder.
        tree: the training tree in it.
        digest_of: the digest that a file was received with, None where it is not known or may have changed.
        scenarios: whose heads are looked at.
    """
    checkpoints = TrainingTree(folder / tree).checkpoints
    base = f"{tree}/{checkpoints.name}"
    missing: set[str] = set()
    damaged: set[str] = set()
    sealed: set[str] = set()
    seen: dict[str, str | None] = {}
    for stored in sets.scan(checkpoints):
        if stored.manifest is None:
            if stored.state is sets.SetState.CORRUPT:
                damaged.add(f"{base}/{stored.stem}{names.MANIFEST_SUFFIX}")
            continue
        sealed.add(stored.manifest.digest)
        for entry in stored.manifest.files:
            if entry.path not in seen:  # sets share segments
                seen[entry.path] = _digest(checkpoints, entry, digest_of)
            if seen[entry.path] is None:
                missing.add(f"{base}/{entry.path}")
            elif seen[entry.path] != entry.digest:
                damaged.add(f"{base}/{entry.path}")
    for scenario in scenarios:
        head = _head(folder, tree, scenario)
        if head is not None and head.digest not in sealed:
            path = f"{base}/{head.stem}{names.MANIFEST_SUFFIX}"
            (damaged if (folder / path).exists() else missing).add(path)
    return Lack(frozenset(missing), frozenset(damaged))


def _digest(checkpoints: Path, entry: FileEntry, digest_of: Callable[[Path], str | None]) -> str | None:
    """Return a file's digest, something else where it is no such file, None where it is not there."""
    try:
        path = fsio.safe_join(checkpoints, entry.path)
        if not path.exists():
            return None
        if path.is_symlink() or not path.is_file() or path.stat().st_size != entry.size_bytes:
            return ""
        return digest_of(path) or fsio.sha256_file(path)
    except CkptsyncError:
        return ""


def _head(folder: Path, tree: str, scenario: str) -> heads.Head | None:
    try:
        return heads.read_head(TrainingTree(folder / tree), scenario)
    except ValueError:  # `verify` tells of it; a damaged head promises nothing
        return None
