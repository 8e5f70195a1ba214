"""What lies in a folder of sets: which stems there are, what each is, whether its files agree with its seal."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from .. import fsio, names
from ..errors import CkptsyncError, UnsafePathError
from ..findings import Finding, blocker, warning
from ..manifest import MAX_MANIFEST_BYTES, SEGMENT, FileEntry, Manifest, ManifestError

# Path of a segment -> its digest, as it was hashed in the course of one operation: sets that share it need no second hash
Hashed = dict[Path, str]


class SetState(StrEnum):
    """What a stem in a folder is."""

    SEALED = "sealed"
    UNSEALED = "unsealed"
    TORN = "torn"
    CORRUPT = "corrupt"


@dataclass(frozen=True)
class StoredSet:
    """One stem found in a folder.

    Args:
        folder: where it lies.
        stem: its stem.
        scenario: from the manifest, or from the name.
        num_timesteps: from the manifest, or from the name.
        state: sealed, unsealed, torn, or corrupt (a damaged manifest).
        manifest: where sealed.
        finding: why it is corrupt or torn.
    """

    folder: Path
    stem: str
    scenario: str
    num_timesteps: int
    state: SetState
    manifest: Manifest | None = None
    finding: Finding | None = None

    @property
    def model_path(self) -> Path:
        """The model file."""
        return self.folder / names.model_name(self.stem)

    @property
    def order(self) -> tuple[str, int, int]:
        """Sort key of "newest": (lineage, generation, N); unsealed sets come before all sealed ones."""
        if self.manifest is None:
            return ("", 0, self.num_timesteps)
        return (self.manifest.lineage, self.manifest.generation, self.num_timesteps)


def read_manifest(path: Path) -> Manifest:
    """Read a manifest file and check that it stands for its own name.

    Raises:
        ManifestError: it is damaged, of an unknown schema, or names another set.
    """
    folder, name = os.path.split(path)
    return _read_manifest(folder, name)


def _read_manifest(folder: str, name: str) -> Manifest:
    # Texts instead of paths: a tree may hold ten thousand of them
    try:
        data = fsio.read_bytes(os.path.join(folder, name), limit=MAX_MANIFEST_BYTES)
    except CkptsyncError as error:
        raise ManifestError(blocker("manifest.damaged", name, actual=error.message)) from None
    return parse_manifest(data, name)


def parse_manifest(data: bytes, name: str) -> Manifest:
    """Parse a manifest's bytes and check that it stands for the name of its file. Raises as `read_manifest` does."""
    manifest = Manifest.parse(data, name=name)
    if manifest.stem + names.MANIFEST_SUFFIX != name:
        raise ManifestError(
            blocker("manifest.damaged", name, name, manifest.stem + names.MANIFEST_SUFFIX, "it was renamed")
        )
    return manifest


def scan(folder: Path) -> list[StoredSet]:
    """List the sets in a folder in the order of scenario and N, reading seals only."""
    present = fsio.list_names(folder)
    by_stem: dict[str, set[str]] = {}
    for name in present:
        for suffix in (names.MANIFEST_SUFFIX, names.PENDING_SUFFIX, names.DELETING_SUFFIX, names.MODEL_SUFFIX):
            if name.endswith(suffix) and (stem := name[: -len(suffix)]) and names.parse_stem(stem, classic=True):
                by_stem.setdefault(stem, set()).add(suffix)
                break
    found = [_classify(folder, stem, suffixes) for stem, suffixes in by_stem.items()]
    return sorted(found, key=lambda stored: (stored.scenario, stored.num_timesteps, stored.stem))


def find(folder: Path, stem: str) -> StoredSet | None:
    """Return what one stem is in a folder, without reading the others; None when nothing of it is there."""
    suffixes = (names.MANIFEST_SUFFIX, names.PENDING_SUFFIX, names.DELETING_SUFFIX, names.MODEL_SUFFIX)
    present = {suffix for suffix in suffixes if os.path.lexists(folder / (stem + suffix))}
    return _classify(folder, stem, present) if present else None


def _classify(folder: Path, stem: str, suffixes: set[str]) -> StoredSet:
    parts = names.parse_stem(stem, classic=True) or names.StemParts(stem, 0)
    state, manifest, finding = SetState.UNSEALED, None, None
    if names.MANIFEST_SUFFIX in suffixes:
        try:
            state, manifest = SetState.SEALED, _read_manifest(str(folder), stem + names.MANIFEST_SUFFIX)
        except ManifestError as error:
            state, finding = SetState.CORRUPT, error.finding
    elif suffixes & {names.PENDING_SUFFIX, names.DELETING_SUFFIX}:
        state, finding = SetState.TORN, warning("set.torn", stem)
    return StoredSet(folder, stem, parts.scenario, parts.num_timesteps, state, manifest, finding)


def newest(stored: Iterable[StoredSet], scenario: str) -> list[StoredSet]:
    """Return the candidates of a scenario, newest first; a sealed set beats every unsealed one."""
    usable = [s for s in stored if s.scenario == scenario and s.state in (SetState.SEALED, SetState.UNSEALED)]
    return sorted(usable, key=lambda s: s.order, reverse=True)


def members(folder: Path, stem: str) -> tuple[list[str], list[str]]:
    """Return the names that belong to a stem: those of regular files, and those of anything else that took their place."""
    found = [name for name in fsio.list_names(folder) if name.startswith(stem + ".")]
    regular = {name for name in found if is_regular(folder / name)}
    return [name for name in found if name in regular], [name for name in found if name not in regular]


def is_regular(path: Path) -> bool:
    """Whether a path is a regular file, and no link to one."""
    return path.is_file() and not path.is_symlink()


def check_files(folder: Path, manifest: Manifest, hashed: Hashed | None = None) -> tuple[Finding, ...]:
    """Compare every file of a set with its seal: there, a regular file, right size, right digest.

    Args:
        folder: where the set lies.
        manifest: its manifest.
        hashed: segments that were hashed a moment ago, for callers that check several sets; filled on the way.
    """
    known = {} if hashed is None else hashed
    return tuple(finding for entry in manifest.files if (finding := check_file(folder, entry, known)) is not None)


def check_file(folder: Path, entry: FileEntry, hashed: Hashed | None = None) -> Finding | None:
    """Compare one file of a set with its seal, as `check_files` does; None when it agrees."""
    try:
        path = fsio.safe_join(folder, entry.path)
    except UnsafePathError as error:
        return blocker("path.special-file", entry.path, actual=error.message)
    if os.path.lexists(path) and not is_regular(path):
        return blocker("path.special-file", entry.path)
    if not path.exists():
        return blocker("file.missing", entry.path, hint="run 'ckptsync fetch' again, or use an older set")
    size = path.stat().st_size
    if size != entry.size_bytes:
        code = "file.empty" if size == 0 else "file.size"
        return blocker(code, entry.path, entry.size_bytes, size, "the file is truncated or was changed after sealing")
    known = hashed.get(path) if hashed is not None and entry.role == SEGMENT else None
    digest = known or fsio.sha256_file(path)
    if hashed is not None and entry.role == SEGMENT:
        hashed[path] = digest
    if digest != entry.digest:
        return blocker("file.digest", entry.path, entry.digest, digest, "the file was changed after sealing")
    return None
