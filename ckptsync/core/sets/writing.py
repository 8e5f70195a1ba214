"""Writing sets: the order that makes a set whole or absent, and the sweep that completes what was cut short."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from .. import fsio, jsonio, names
from ..errors import CorruptError, StorageError, UnsafePathError
from ..manifest import MAX_MANIFEST_BYTES, SEGMENT, FileEntry, Manifest
from . import segments
from .stored import Hashed


class SetWriter:
    """Writes one new set in the order that makes it whole or absent.

    Use: `writer = SetWriter(folder, stem, file_names)`, `add` each file, `share` or `refer` each segment,
    then `seal`. When anything fails in between, call `abandon`; when the process dies, `sweep` does it later.

    Args:
        folder: the folder of the sets; must exist.
        stem: the set's stem. What a writer that died left of it is removed first.
        file_names: every file that will be added, the model first; segments are not announced, for their
            names follow from their bytes: what no manifest names is collected.

    Raises:
        CorruptError: the folder holds files of this stem, sealed or not: they are another's, `set_aside`
            moves them away.
    """

    def __init__(self, folder: Path, stem: str, file_names: Sequence[str]) -> None:
        parts = names.parse_stem(stem)
        if parts is None:
            raise ValueError(f"{stem} is no stem of a set")
        self._folder = folder
        self._stem = stem
        self._scenario = parts.scenario
        self._segments: dict[str, FileEntry] = {}
        self._file_names = tuple(names.check_member(stem, name) for name in file_names)
        self._manifest = folder / (stem + names.MANIFEST_SUFFIX)
        self._pending = folder / (stem + names.PENDING_SUFFIX)
        complete(folder, stem)
        # Only files that were not there before may be in the intent: whatever it names is removed by a sweep
        for path in (self._manifest, *map(self._path, self._file_names)):
            if os.path.lexists(path):
                raise CorruptError(f"cannot write the set {stem}: {path} is there already")
        fsio.write_bytes(self._pending, jsonio.canonical({"files": list(self._file_names)}))

    def add(self, name: str, role: str, write: Callable[[BinaryIO], None]) -> FileEntry:
        """Write one file of the set; `write` fills an open binary file. Returns its entry."""
        path = self._path(name)
        fsio.write_file(path, write, settle=False)
        return FileEntry(name, role, path.stat().st_size, fsio.sha256_file(path))

    def copy(self, source: Path, entry: FileEntry) -> FileEntry:
        """Copy one file of another folder's set, refusing it when its bytes disagree with the entry."""
        fsio.copy_file(source, self._path(entry.path), size_bytes=entry.size_bytes, digest=entry.digest, settle=False)
        return entry

    def link(self, source: Path, entry: FileEntry) -> FileEntry:
        """Give one file of another folder's set a second name here."""
        fsio.sync_file(source)  # whoever wrote it may have synced nothing
        fsio.link_or_copy(source, self._path(entry.path), settle=False)
        return entry

    def share(self, start: int, end: int, write: Callable[[BinaryIO], None]) -> FileEntry:
        """Write rows as a segment, which later sets may `refer` to. Returns its entry for the manifest.

        It is hashed while it is written. When a segment of equal bytes is there already, the entry is that one's.

        Args:
            start: the first row, counted from the first row that was ever added.
            end: the row behind the last one.
            write: fills a file from front to back; it can neither seek nor read.

        Raises:
            UsageError: no segment can hold these rows.
            StorageError: it cannot be written.
        """
        names.segment_name(start, end, "")  # refuses the rows before anything is written
        base = names.segment_folder(self._scenario)
        fsio.make_folder(self._folder / base)
        place, size_bytes, digest = fsio.write_by_content(
            self._folder / base, write, lambda digest: names.segment_name(start, end, digest)
        )
        return self._hold(FileEntry(f"{base}/{place.name}", SEGMENT, size_bytes, digest))

    def refer(self, entry: FileEntry) -> FileEntry:
        """Name a segment that an earlier set wrote. Returns its entry for the manifest.

        Raises:
            CorruptError: it is not there with its size.
        """
        segments.require(self._folder, entry)
        return self._hold(entry)

    def bring(
        self, source: Path, entries: Sequence[FileEntry], *, link: bool = False, hashed: Hashed | None = None
    ) -> None:
        """Bring the segments of another folder's set along; where sound ones of their names are, nothing is copied.

        Args:
            source: the folder of that set.
            entries: its segments.
            link: give them a second name where possible, and trust what is there.
            hashed: segments that were hashed a moment ago; filled on the way.

        Raises:
            CorruptError: bytes disagree with an entry, or another set here needs other bytes by that name.
        """
        known: Hashed = {} if hashed is None else hashed
        for entry in entries:
            segments.bring(source, entry, self._folder, link=link, hashed=known)
            self._hold(entry)
        if link and entries:
            fsio.sync_folder(self._folder / names.segment_folder(self._scenario))

    def seal(self, manifest: Manifest, data: bytes | None = None) -> Manifest:
        """Commit: write the manifest, then remove the intent. Returns the manifest with its digest.

        Args:
            manifest: of the files that were announced, in that order, and of segments that are held.
            data: its bytes where it has been sealed before, so that its digest stays.

        Raises:
            ValueError: the manifest is of another stem or of other files than announced.
        """
        if manifest.stem != self._stem or tuple(entry.path for entry in manifest.members) != self._file_names:
            raise ValueError(f"the manifest of {manifest.stem} names other files than were announced for {self._stem}")
        if unheld := [entry.path for entry in manifest.segments if self._segments.get(entry.path) != entry]:
            raise ValueError(f"the manifest of {manifest.stem} names segments that nobody shared: {unheld}")
        data = manifest.serialise() if data is None else data
        sealed = Manifest.parse(data)
        fsio.sync_folder(
            self._folder
        )  # once for the names of all its files: the manifest must not be there before them
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
            complete(self._folder, self._stem)
            segments.collect(self._folder, self._scenario, self._segments)

    def _hold(self, entry: FileEntry) -> FileEntry:
        self._segments[entry.path] = entry
        return entry

    def _path(self, name: str) -> Path:
        if name not in self._file_names:
            raise ValueError(f"{name} was not announced for the set {self._stem}")
        return self._folder / name


def seal_in_place(folder: Path, manifest: Manifest) -> Manifest:
    """Seal files that already lie in their place, as `adopt` does. Returns the manifest with its digest.

    Raises:
        CorruptError: the stem is sealed already, or a segment is not there.
    """
    seal = folder / (manifest.stem + names.MANIFEST_SUFFIX)
    if os.path.lexists(seal):
        raise CorruptError(f"cannot seal {manifest.stem}: {seal} is there already")
    data = manifest.serialise()
    sealed = Manifest.parse(data)
    for entry in manifest.members:
        fsio.sync_file(folder / entry.path)  # plain SB3 syncs nothing
    for entry in manifest.segments:
        segments.require(folder, entry)
    fsio.sync_folder(folder)
    fsio.write_bytes(seal, data)
    return sealed


def sweep(folder: Path) -> list[str]:
    """Complete what was interrupted in a folder: remove torn sets, temporary files and segments that no set needs.

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
            if complete(folder, stem):
                swept.append(stem)
    for scenario in segments.scenarios(folder):
        fsio.sweep_temporaries(folder / names.segment_folder(scenario))
        segments.collect(folder, scenario)
    return swept


def complete(folder: Path, stem: str) -> bool:
    """Finish the write or removal of one stem that was cut short; return whether the stem was torn."""
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
    # Both intent files are JSON with "files": texts in .pending, entries in .deleting. Segments are no set's own
    try:
        files = jsonio.parse(fsio.read_bytes(intent, limit=MAX_MANIFEST_BYTES))["files"]
        own = [f["path"] if isinstance(f, dict) else f for f in files if not _is_segment(f)]
        return [names.check_member(stem, path) for path in own]
    except (ValueError, KeyError, TypeError, UnsafePathError) as error:
        raise CorruptError(
            f"{intent} cannot be read, so nobody knows which files it stands for: {error!r}",
            hint=f"look at the files {stem}.* and move them away",
        ) from None


def _is_segment(file: Any) -> bool:
    return isinstance(file, dict) and file.get("role") == SEGMENT
