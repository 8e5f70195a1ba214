"""export: a set's files under plain names, for tools and people without ckptsync.

The model and VecNormalize's statistics are copies. The replay buffer is put together from its segments by a process
of its own (module `ckptsync.training.export`), for SB3's file is a pickle of one of SB3's classes.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..core import fsio, heads, names, sets
from ..core.errors import CkptsyncError, CorruptError, NothingFoundError, UsageError
from ..core.layout import TrainingTree
from ..core.manifest import FileEntry, Manifest
from ..core.sets import StoredSet
from .targets import find_target

EXPORT_SCHEMA = "ckptsync.export/1"
_SUFFIXES = {"model": ".zip", "vecnormalize": "_vecnormalize.pkl", "replay": "_replay_buffer.pkl"}


@dataclass(frozen=True)
class Export:
    """One file to make.

    Args:
        stored: the set that it comes from.
        entry: of the set's manifest; for a replay buffer its own member.
        target: where it goes.
        size_bytes: its length; None: not known before it is made.
    """

    stored: StoredSet
    entry: FileEntry
    target: Path
    size_bytes: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Return it as it stands in the JSON output."""
        return {
            "checkpoint": self.stored.stem,
            "role": self.entry.role,
            "path": str(self.target),
            "size_bytes": self.size_bytes,
        }


@dataclass(frozen=True)
class ExportReport:
    """What was exported, or would be.

    Args:
        files: in order.
        dry_run: nothing was done.
    """

    files: tuple[Export, ...]
    dry_run: bool

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON."""
        return {"schema": EXPORT_SCHEMA, "dry_run": self.dry_run, "files": [file.to_json() for file in self.files]}


def export(
    source: TrainingTree | Path,
    *,
    output: Path,
    replay: Path | None = None,
    scenario: str | None = None,
    force: bool = False,
    dry_run: bool = False,
) -> ExportReport:
    """Write the files of a set under plain names.

    Args:
        source: a training tree, for the sets that its next session goes on from; or a set, or a folder with sets.
        output: the folder that they go to.
        replay: write the replay buffer alone, into this file.
        scenario: only of this one.
        force: replace files that are there.
        dry_run: say what would be written.

    Raises:
        UsageError: a file is there already, or `replay` would be of several scenarios.
        NothingFoundError: there is no sealed set, or it holds no replay buffer.
        CorruptError: a file disagrees with its seal.
        CkptsyncError: the replay buffer cannot be written here.
    """
    chosen = _chosen(source, scenario)
    if replay is not None and len(chosen) > 1:
        found = ", ".join(stored.scenario for stored in chosen)
        raise UsageError(
            f"--replay writes one replay buffer, and there are several scenarios: {found}", hint="--scenario NAME"
        )
    planned = [made for stored in chosen for made in _planned(stored, output, replay)]
    if not planned:
        raise NothingFoundError(
            f"{chosen[0].stem} holds no replay buffer", hint=f"ckptsync show {chosen[0].model_path}"
        )
    for made in planned:
        if not force and made.target.exists() and not _is_same(made):
            raise UsageError(f"{made.target} is there already", hint="--force replaces it, --output writes elsewhere")
    if dry_run:
        return ExportReport(tuple(planned), dry_run=True)
    return ExportReport(tuple(_made(made) for made in planned), dry_run=False)


def _chosen(source: TrainingTree | Path, scenario: str | None) -> list[StoredSet]:
    if isinstance(source, TrainingTree):
        chosen, path = _newest(source), source.root
    else:
        target, path = find_target(source), source
        if isinstance(target.one, Path):
            raise UsageError(
                f"{path} is a plain file already", hint="name a run, a training tree or a sealed checkpoint"
            )
        chosen = [target.one] if target.one is not None else [s for tree in target.trees for s in _newest(tree)]
    chosen = [stored for stored in chosen if scenario in (None, stored.scenario)]
    if not chosen:
        of = f" of scenario {names.printable(scenario)}" if scenario is not None else ""
        raise NothingFoundError(
            f"there is no sealed checkpoint{of} in {path}", hint="'ckptsync ls' lists what is there"
        )
    return chosen


def _newest(tree: TrainingTree) -> list[StoredSet]:
    """Return for each scenario the set that a session would start from."""
    stored = sets.scan(tree.checkpoints)
    places = [heads.standing(tree, stored, scenario) for scenario in heads.tree_scenarios(stored, tree.checkpoints)]
    sealed = [[s for s in place.candidates if s.manifest is not None] for place in places]
    return [candidates[0] for candidates in sealed if candidates]


def _planned(stored: StoredSet, output: Path, replay: Path | None) -> list[Export]:
    manifest = _manifest(stored)
    if replay is not None:
        entry = manifest.entry("replay")
        return [] if entry is None else [Export(stored, entry, replay)]
    made = []
    for role, suffix in _SUFFIXES.items():
        if (entry := manifest.entry(role)) is not None:
            size = None if role == "replay" else entry.size_bytes
            made.append(Export(stored, entry, output / (stored.stem + suffix), size))
    return made


def _manifest(stored: StoredSet) -> Manifest:
    if stored.manifest is None:
        findings = f": {stored.finding}" if stored.finding is not None else ""
        raise CorruptError(f"{stored.stem} has no sound seal{findings}", hint="ckptsync ls")
    return stored.manifest


def _is_same(made: Export) -> bool:
    return made.entry.role != "replay" and made.target.is_file() and fsio.sha256_file(made.target) == made.entry.digest


def _made(made: Export) -> Export:
    fsio.make_folder(made.target.absolute().parent)
    if made.entry.role == "replay":
        _write_replay(made)
    else:
        source = made.stored.folder / made.entry.path
        fsio.copy_file(source, made.target, size_bytes=made.entry.size_bytes, digest=made.entry.digest)
    return replace(made, size_bytes=made.target.stat().st_size)


def _write_replay(made: Export) -> None:
    manifest = made.stored.folder / (made.stored.stem + names.MANIFEST_SUFFIX)
    # -P: what lies in the current folder is not imported
    words = [
        sys.executable,
        "-P",
        "-m",
        "ckptsync.training.export",
        str(manifest.absolute()),
        str(made.target.absolute()),
    ]
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return
    try:
        told = json.loads(done.stdout)
        message, hint = str(told["error"]), told["hint"]
    except (ValueError, KeyError, TypeError):
        last = (done.stderr.strip().splitlines() or [f"it ended with {done.returncode}"])[-1]
        message, hint = f"the process that writes {made.target} failed: {last}", None
    raise _error_of(done.returncode)(message, hint=hint)


def _error_of(exit_code: int) -> type[CkptsyncError]:
    kinds: Sequence[type[CkptsyncError]] = (CorruptError, NothingFoundError)
    return next((kind for kind in kinds if kind.exit_code == exit_code), CkptsyncError)
