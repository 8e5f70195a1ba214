"""What a checked set holds beside its tensors, read for the model that the script has built."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core import fsio
from ..core.manifest import FileEntry
from .arrays import ArrayFile, decode
from .capture import hyperparameters, put_back_counters
from .replay import read_replay
from .versions import current_versions, differences

if TYPE_CHECKING:
    from .resume import Resume
    from .scenario import Scenario


@dataclass(frozen=True)
class Stored:
    """What a set holds beside its tensors; `reasons` says why it is less than exact."""

    state: Mapping[str, Any]
    environment: bytes | None
    reasons: tuple[str, ...]


def read_stored(scenario: Scenario, model: Any, resume: Resume) -> Stored:
    """Read what a checked set holds beside its tensors, and fill the replay buffer."""
    manifest, folder = resume.stored.manifest, resume.stored.folder
    if manifest is None:
        return Stored({}, None, ("a plain SB3 file holds no state of environments and generators",))
    entry = manifest.entry("resume")
    if entry is None:
        return Stored({}, None, manifest.captured_reasons or ("the set holds no resume state",))
    source = ArrayFile(folder / entry.path)
    state = decode(source.state, source.read_all())
    reasons = list(manifest.captured_reasons)
    reasons += differences(manifest.versions, current_versions())
    reasons += _changes(state["hyperparameters"], hyperparameters(model))
    put_back_counters(model, state)
    buffer = getattr(model, "replay_buffer", None)
    if buffer is not None and (problem := read_replay(folder, manifest.files, buffer)) is not None:
        reasons.append(problem)
    blob = manifest.entry("environment")
    if blob is not None and not scenario.is_own(manifest):
        reasons.append("the set is of another lineage, so its environments are not unpickled")
        blob = None
    return Stored(state, _read(folder, blob) if blob is not None else None, tuple(reasons))


def _changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    return [
        f"{name} was {before[name]}, is {now[name]}"
        for name in sorted(before.keys() & now.keys())
        if before[name] != now[name]
    ]


def _read(folder: Path, entry: FileEntry) -> bytes:
    return fsio.read_bytes(fsio.safe_join(folder, entry.path), limit=entry.size_bytes)
