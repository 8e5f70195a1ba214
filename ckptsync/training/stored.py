"""What a checked set holds, read for the model that the script has built."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core import fsio
from ..core.errors import CorruptError
from ..core.manifest import FileEntry, Manifest
from .arrays import ArrayFile, decode
from .built import Built
from .capture import put_back_counters
from .changes import changed
from .replay import read_replay
from .sb3_model import load_tensors
from .settings import varies
from .versions import current_versions, differences

if TYPE_CHECKING:
    from .resume import Resume
    from .scenario import Scenario

_REQUIRED = (
    ("counters", dict),
    ("observations", dict),
    ("noise", list),
    ("normalisation", dict),
    ("sde", list),
    ("generators", dict),
    ("environment", list),
    ("callbacks", dict),
)


@dataclass(frozen=True)
class Stored:
    """What a set holds beside its tensors; `reasons` says why it is less than exact.

    Args:
        state: of the resume file; empty: the set has none.
        environment: the pickle of users' objects; None: there is none that may be loaded.
        reasons: in words.
    """

    state: Mapping[str, Any]
    environment: bytes | None
    reasons: tuple[str, ...]


def read_stored(scenario: Scenario, model: Any, built: Built, resume: Resume) -> Stored:
    """Put a set's tensors and counters into the model, fill the replay buffer, and read the rest.

    Raises:
        CorruptError: a file of the set is damaged; the message names it.
    """
    manifest, folder = resume.stored.manifest, resume.stored.folder
    entry = manifest.entry("resume") if manifest is not None else None
    state = _read_state(fsio.safe_join(folder, entry.path)) if entry is not None else {}
    reasons = load_tensors(model, resume.stored.model_path, state.get("settings"), built.settings)
    if manifest is None:
        return Stored({}, None, ("a plain SB3 file holds no state of environments and generators", *reasons))
    if not state:
        return Stored({}, None, (*(manifest.captured_reasons or ("the set holds no resume state",)), *reasons))
    reasons = [*manifest.captured_reasons, *differences(manifest.versions, current_versions()), *reasons]
    reasons += _changes(state, built, model, scenario.total_timesteps)
    put_back_counters(model, state)
    buffer = getattr(model, "replay_buffer", None)
    if buffer is not None and (problem := read_replay(folder, manifest.files, buffer)) is not None:
        reasons.append(problem)
    return Stored(state, _objects(scenario, manifest, folder, reasons), tuple(reasons))


def _read_state(path: Path) -> Mapping[str, Any]:
    source = ArrayFile(path)
    try:
        state = decode(source.state, source.read_all())
    except (KeyError, ValueError, TypeError) as error:
        raise _damaged(path, repr(error)) from error
    for name, kind in _REQUIRED:
        if not isinstance(state, dict) or not isinstance(state.get(name), kind):
            raise _damaged(path, f"it lacks {name!r}, expected a {kind.__name__}")
    found: Mapping[str, Any] = state
    return found


def _damaged(path: Path, why: str) -> CorruptError:
    return CorruptError(
        f"{path} holds no complete resume state: {why}",
        hint="use an earlier checkpoint: 'ckptsync ls' lists them, 'ckptsync rollback' goes back",
    )


def _changes(state: Mapping[str, Any], built: Built, model: Any, total_timesteps: int) -> list[str]:
    before = state.get("settings")
    if before is None:
        return ["an older version of ckptsync has saved the set, without the settings of that time"]
    reasons = changed(before, built.settings)
    target = state.get("total_timesteps", total_timesteps)
    if target != total_timesteps and varies(model):
        reasons.append(f"total_timesteps was {target}, is {total_timesteps}, and a schedule depends on it")
    if model.device.type != "cpu":
        reasons.append(f"training runs on {model.device.type}, where the same sum may have other last bits each time")
    return reasons


def _objects(scenario: Scenario, manifest: Manifest, folder: Path, reasons: list[str]) -> bytes | None:
    entry = manifest.entry("environment")
    if entry is None:
        return None
    if not scenario.is_own(manifest):
        reasons.append("the set is of another lineage, so its environments are not unpickled")
        return None
    return _read(folder, entry)


def _read(folder: Path, entry: FileEntry) -> bytes:
    return fsio.read_bytes(fsio.safe_join(folder, entry.path), limit=entry.size_bytes)
