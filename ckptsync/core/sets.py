"""Checkpoints on disk: write, copy, remove, scan, sweep and check sealed sets.

Sets are immutable, so nothing is ever replaced in place:

    write   <stem>.pending (names the members) -> members -> <stem>.manifest.json -> remove .pending
    remove  rename the manifest to <stem>.deleting -> members -> .deleting

The manifest is the commit. A stem with an intent file and no manifest is torn: never a candidate, and
swept under the tree's lock. A file without manifest and intent is unsealed: plain SB3 output, usable,
and never removed by a sweep. Whoever changes a folder holds the lock of its tree.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO

from . import fsio, jsonio, names
from .errors import CkptsyncError, CorruptError, StorageError, UnsafePathError
from .findings import Finding, blocker, warning
from .manifest import MAX_MANIFEST_BYTES, FileEntry, Manifest, ManifestError


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


def check_files(folder: Path, manifest: Manifest) -> tuple[Finding, ...]:
    """Compare every file of a set with its seal: there, a regular file, right size, right digest."""
    return tuple(finding for entry in manifest.files if (finding := _check_file(folder, entry)) is not None)


def _check_file(folder: Path, entry: FileEntry) -> Finding | None:
    path = folder / entry.path
    if path.is_symlink() or (path.exists() and not path.is_file()):
        return blocker("path.special-file", entry.path)
    if not path.exists():
        return blocker("file.missing", entry.path, hint="run 'ckptsync fetch' again, or use an older set")
    size = path.stat().st_size
    if size != entry.size_bytes:
        code = "file.empty" if size == 0 else "file.size"
        return blocker(code, entry.path, entry.size_bytes, size, "the file is truncated or was changed after sealing")
    digest = fsio.sha256_file(path)
    if digest != entry.digest:
        return blocker("file.digest", entry.path, entry.digest, digest, "the file was changed after sealing")
    return None


class SetWriter:
    """Writes one new set in the order that makes it whole or absent.

    Use: `writer = SetWriter(folder, stem, file_names)`, `add` each file, then `seal`. When anything
    fails in between, call `abandon`; when the process dies, `sweep` does it later.

    Args:
        folder: the folder of the sets; must exist.
        stem: the set's stem. What a writer that died left of it is removed first.
        file_names: every file that will be added, the model first.

    Raises:
        CorruptError: the folder holds files of this stem, sealed or not: they are another's, `set_aside`
            moves them away.
    """

    def __init__(self, folder: Path, stem: str, file_names: Sequence[str]) -> None:
        self._folder = folder
        self._stem = stem
        self._file_names = tuple(names.check_member(stem, name) for name in file_names)
        self._manifest = folder / (stem + names.MANIFEST_SUFFIX)
        self._pending = folder / (stem + names.PENDING_SUFFIX)
        _complete(folder, stem)
        # Only files that were not there before may be in the intent: whatever it names is removed by a sweep
        for path in (self._manifest, *map(self._path, self._file_names)):
            if os.path.lexists(path):
                raise CorruptError(f"cannot write the set {stem}: {path} is there already")
        fsio.write_bytes(self._pending, jsonio.canonical({"files": list(self._file_names)}))

    def add(self, name: str, role: str, write: Callable[[BinaryIO], None]) -> FileEntry:
        """Write one file of the set; `write` fills an open binary file. Returns its entry."""
        path = self._path(name)
        fsio.write_file(path, write)
        return FileEntry(name, role, path.stat().st_size, fsio.sha256_file(path))

    def copy(self, source: Path, entry: FileEntry) -> FileEntry:
        """Copy one file of another folder's set, refusing it when its bytes disagree with the entry."""
        fsio.copy_file(source, self._path(entry.path), size_bytes=entry.size_bytes, digest=entry.digest)
        return entry

    def link(self, source: Path, entry: FileEntry) -> FileEntry:
        """Give one file of another folder's set a second name here."""
        fsio.link_or_copy(source, self._path(entry.path))
        return entry

    def seal(self, manifest: Manifest, data: bytes | None = None) -> Manifest:
        """Commit: write the manifest, then remove the intent. Returns the manifest with its digest.

        Args:
            manifest: of the files that were announced, in that order.
            data: its bytes where it has been sealed before, so that its digest stays.

        Raises:
            ValueError: the manifest is of another stem or of other files than announced.
        """
        if manifest.stem != self._stem or tuple(entry.path for entry in manifest.files) != self._file_names:
            raise ValueError(f"the manifest of {manifest.stem} names other files than were announced for {self._stem}")
        data = manifest.serialise() if data is None else data
        sealed = Manifest.parse(data)
        fsio.write_bytes(self._manifest, data)
        fsio.remove_file(self._pending)
        return sealed

    def abandon(self) -> None:
        """Remove what was written, after a failure; nothing happens once the set is sealed.

        What cannot be removed now is torn and swept later.
        """
        if not os.path.lexists(self._pending):
            return
        with suppress(StorageError):  # the failure that led here is the one to report
            # The manifest first: it may be there when only its folder could not be synced
            fsio.remove_file(self._manifest)
            fsio.sync_folder(self._folder)
            _complete(self._folder, self._stem)

    def _path(self, name: str) -> Path:
        if name not in self._file_names:
            raise ValueError(f"{name} was not announced for the set {self._stem}")
        return self._folder / name


def seal_in_place(folder: Path, manifest: Manifest) -> Manifest:
    """Seal files that already lie in their place, as `adopt` does. Returns the manifest with its digest.

    Raises:
        CorruptError: the stem is sealed already.
    """
    seal = folder / (manifest.stem + names.MANIFEST_SUFFIX)
    if os.path.lexists(seal):
        raise CorruptError(f"cannot seal {manifest.stem}: {seal} is there already")
    data = manifest.serialise()
    sealed = Manifest.parse(data)
    for entry in manifest.files:
        fsio.sync_file(folder / entry.path)  # plain SB3 syncs nothing
    fsio.sync_folder(folder)
    fsio.write_bytes(seal, data)
    return sealed


def copy_set(source: Path, manifest: Manifest, target: Path, *, link: bool = False) -> None:
    """Bring a sealed set into another folder; nothing happens when the same set is there.

    Args:
        source: the folder that it lies in.
        manifest: its manifest.
        target: the folder that it shall lie in as well; created when missing.
        link: use hard links where possible, for folders that only ckptsync writes; the bytes are not
            compared with the manifest then.

    Raises:
        CorruptError: a file disagrees with the manifest, the source's manifest is another one by now, or
            the target holds another set or plain files of this stem.
    """
    fsio.make_folder(target)
    seal_name = manifest.stem + names.MANIFEST_SUFFIX
    if os.path.lexists(target / seal_name):
        if read_manifest(target / seal_name).digest == manifest.digest:
            return
        raise CorruptError(f"{target} already holds another set {manifest.stem}")
    data = fsio.read_bytes(source / seal_name, limit=MAX_MANIFEST_BYTES)
    if Manifest.parse(data, name=seal_name).digest != manifest.digest:
        raise CorruptError(f"{source / seal_name} has changed since it was read")
    writer = SetWriter(target, manifest.stem, [entry.path for entry in manifest.files])
    try:
        for entry in manifest.files:
            (writer.link if link else writer.copy)(source / entry.path, entry)
        writer.seal(manifest, data)
    except BaseException:
        writer.abandon()
        raise


def remove_set(folder: Path, manifest: Manifest) -> None:
    """Remove a sealed set; interrupted anywhere it is torn, and the next sweep completes the removal."""
    stem = manifest.stem
    fsio.rename(folder / (stem + names.MANIFEST_SUFFIX), folder / (stem + names.DELETING_SUFFIX))
    _complete(folder, stem)


def move_set(source: Path, manifest: Manifest, target: Path) -> None:
    """Move a sealed set: it is in one folder or in both at every moment, never in none."""
    copy_set(source, manifest, target, link=True)
    remove_set(source, manifest)


def set_aside(stored: StoredSet, attic: Path) -> Path:
    """Move whatever a stem is, sealed, unsealed or corrupt, into a folder of its own below the attic.

    Returns:
        That folder. Its name comes from a digest, so sets of one stem never meet there.
    """
    folder, stem, manifest = stored.folder, stored.stem, stored.manifest
    files, strange = members(folder, stem)
    if manifest is not None and not strange and all(entry.path in files for entry in manifest.files):
        target = attic_folder(attic, manifest.digest)
        move_set(folder, manifest, target)
        return target
    target = attic_folder(attic, digest_of_files(folder, stem))
    fsio.make_folder(target)
    for name in strange:  # a link, a pipe or a folder has no bytes to copy: it is moved as it is, nobody follows it
        fsio.rename(folder / name, target / name)
    for name in files:
        if not (target / name).exists():  # else an attempt that was cut short has brought it
            fsio.link_or_copy(folder / name, target / name)
    for name in reversed(files):  # the model before its manifest: alone it would pass for plain SB3 output
        fsio.remove_file(folder / name)
        fsio.sync_folder(folder)
    return target


def members(folder: Path, stem: str) -> tuple[list[str], list[str]]:
    """Return the names that belong to a stem: those of regular files, and those of anything else that took their place."""
    found = [name for name in fsio.list_names(folder) if name.startswith(stem + ".")]
    regular = {name for name in found if (folder / name).is_file() and not (folder / name).is_symlink()}
    return [name for name in found if name in regular], [name for name in found if name not in regular]


def digest_of_files(folder: Path, stem: str) -> str:
    """Return a digest for files that no sound manifest vouches for: of the first of them, else of their name."""
    files, _ = members(folder, stem)
    return fsio.sha256_file(folder / files[0]) if files else hashlib.sha256(os.fsencode(stem)).hexdigest()


def attic_folder(attic: Path, digest: str) -> Path:
    """Return the folder below the attic that the set with this manifest digest has for itself."""
    return attic / digest.removeprefix("sha256:")[:16]


def sweep(folder: Path) -> list[str]:
    """Complete what was interrupted in a folder: remove torn sets and temporary files.

    A stem whose intent file is damaged stays torn, for a person to look at.

    Returns:
        The stems that were torn and are gone.
    """
    fsio.sweep_temporaries(folder)
    stems = {
        name[: -len(suffix)]
        for name in fsio.list_names(folder)
        for suffix in (names.PENDING_SUFFIX, names.DELETING_SUFFIX)
        if name.endswith(suffix) and names.parse_stem(name[: -len(suffix)])
    }
    swept = []
    for stem in sorted(stems):
        with suppress(CorruptError):
            if _complete(folder, stem):
                swept.append(stem)
    return swept


def _complete(folder: Path, stem: str) -> bool:
    # Finish the write or removal of one stem that was cut short. Returns whether the stem was torn.
    intents = [folder / (stem + suffix) for suffix in (names.DELETING_SUFFIX, names.PENDING_SUFFIX)]
    intents = [intent for intent in intents if os.path.lexists(intent)]
    torn = bool(intents) and not os.path.lexists(folder / (stem + names.MANIFEST_SUFFIX))
    if torn:
        for member in [name for intent in intents for name in _announced(intent, stem)]:
            fsio.remove_file(folder / member)
        fsio.sync_folder(folder)  # or a power cut might keep a member and lose the intent that calls it torn
    for intent in intents:
        fsio.remove_file(intent)
    if intents:
        fsio.sync_folder(folder)
    return torn


def _announced(intent: Path, stem: str) -> list[str]:
    # Both intent files are JSON with "files": texts in .pending, entries in .deleting
    try:
        files = jsonio.parse(fsio.read_bytes(intent, limit=MAX_MANIFEST_BYTES))["files"]
        return [names.check_member(stem, f["path"] if isinstance(f, dict) else f) for f in files]
    except (ValueError, KeyError, TypeError, UnsafePathError) as error:
        raise CorruptError(
            f"{intent} cannot be read, so nobody knows which files it stands for: {error!r}",
            hint=f"look at the files {stem}.* and move them away",
        ) from None
