"""Copying, moving and removing whole sets, with the segments that they need."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

from .. import fsio, names
from ..errors import CorruptError
from ..manifest import MAX_MANIFEST_BYTES, FileEntry, Manifest
from . import segments
from .stored import Hashed, SetState, StoredSet, check_file, is_regular, members, read_manifest
from .writing import SetWriter, complete


def copy_set(
    source: Path, manifest: Manifest, target: Path, *, link: bool = False, hashed: Hashed | None = None
) -> None:
    """Bring a sealed set into another folder, its segments first; nothing happens when the same set is there.

    Args:
        source: the folder that it lies in.
        manifest: its manifest.
        target: the folder that it shall lie in as well; created when missing.
        link: use hard links where possible, for folders that only ckptsync writes; the bytes are not
            compared with the manifest then.
        hashed: segments that were hashed a moment ago, for callers that copy several sets; filled on the way.

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
    writer = SetWriter(target, manifest.stem, [entry.path for entry in manifest.members])
    try:
        writer.bring(source, manifest.segments, link=link, hashed=hashed)
        for entry in manifest.members:
            (writer.link if link else writer.copy)(source / entry.path, entry)
        writer.seal(manifest, data)
    except BaseException:
        writer.abandon()
        raise


def heal_set(source: Path, manifest: Manifest, target: Path, kept: Path, *, hashed: Hashed | None = None) -> None:
    """Replace the damaged files of a set by those of a sound copy of it; the set is there all the time.

    Args:
        source: the folder of the sound copy.
        manifest: the manifest of both.
        target: the folder of the damaged set.
        kept: a folder for what has to leave its place; damaged regular files have a second name already.
        hashed: segments that were hashed a moment ago; filled on the way.

    Raises:
        CorruptError: a file of the copy disagrees with the manifest too.
    """
    known: Hashed = {} if hashed is None else hashed
    for entry in manifest.files:
        if check_file(target, entry, known) is None:
            continue
        place = fsio.safe_join(target, entry.path)
        if os.path.lexists(place) and not is_regular(place):
            fsio.make_folder((kept / entry.path).parent)
            fsio.rename(place, kept / entry.path)
        fsio.make_folder(place.parent)
        digest = fsio.copy_file(
            fsio.safe_join(source, entry.path), place, size_bytes=entry.size_bytes, digest=entry.digest
        )
        known[place] = digest


def remove_set(folder: Path, manifest: Manifest) -> None:
    """Remove a sealed set, and the segments that no other set needs.

    Interrupted anywhere it is torn, and the next sweep completes the removal.
    """
    stem = manifest.stem
    fsio.rename(folder / (stem + names.MANIFEST_SUFFIX), folder / (stem + names.DELETING_SUFFIX))
    complete(folder, stem)
    _collect(folder, manifest)


def unseal(folder: Path, manifest: Manifest) -> None:
    """End a set whose model somebody has overwritten: all of it goes but the model, which stays as a plain file."""
    # The seal goes first, so that no moment shows a lie
    fsio.remove_file(folder / (manifest.stem + names.MANIFEST_SUFFIX))
    fsio.sync_folder(folder)
    for entry in manifest.members[1:]:
        fsio.remove_file(folder / entry.path)
    fsio.sync_folder(folder)
    _collect(folder, manifest)


def move_set(source: Path, manifest: Manifest, target: Path) -> None:
    """Move a sealed set: it is in one folder or in both at every moment, never in none."""
    copy_set(source, manifest, target, link=True)
    remove_set(source, manifest)


def set_aside(stored: StoredSet, attic: Path) -> Path:
    """Move whatever a stem is, sealed, unsealed or corrupt, into a folder of its own below the attic.

    Its segments come along. A set with a damaged manifest takes those that no other set needs.

    Returns:
        That folder. Its name comes from a digest, so sets of one stem never meet there.
    """
    folder, stem, manifest = stored.folder, stored.stem, stored.manifest
    files, strange = members(folder, stem)
    shared = segments_of(stored)
    if manifest is not None and not strange and {*files, *shared} >= set(_paths(manifest.files)):
        target = attic_folder(attic, manifest.digest)
        move_set(folder, manifest, target)
        return target
    target = attic_folder(attic, digest_of_files(folder, stem))
    fsio.make_folder(target)
    if manifest is not None:
        strange += segments.strange(folder, manifest.segments)
    for name in strange:  # a link, a pipe or a folder has no bytes to copy: it is moved as it is, nobody follows it
        fsio.make_folder((target / name).parent)
        fsio.rename(folder / name, target / name)
    for name in [*shared, *files]:
        give_second_name(folder, name, target)
    for name in reversed(files):  # the model before its manifest: alone it would pass for plain SB3 output
        fsio.remove_file(folder / name)
        fsio.sync_folder(folder)
    segments.collect(folder, stored.scenario, shared, near=stored.num_timesteps)
    return target


def give_second_name(source: Path, name: str, target: Path) -> None:
    """Give a file of a set, or a segment, a second name in another folder, unless an earlier attempt has done so."""
    place = fsio.safe_join(target, name)
    if not place.exists():
        fsio.make_folder(place.parent)
        fsio.link_or_copy(fsio.safe_join(source, name), place)


def segments_of(stored: StoredSet) -> list[str]:
    """Return the paths of the segments that go where a set goes, as far as they are there.

    Of a set with a damaged manifest these are the segments that no other set needs.
    """
    if stored.manifest is not None:
        here = set(segments.present(stored.folder, stored.scenario)) if stored.manifest.segments else set()
        return [path for path in _paths(stored.manifest.segments) if path in here]
    if stored.state is not SetState.CORRUPT or names.parse_stem(stored.stem) is None:
        return []
    return segments.unneeded(stored.folder, stored.scenario, besides=stored.stem)


def _collect(folder: Path, manifest: Manifest) -> None:
    segments.collect(folder, manifest.scenario, _paths(manifest.segments), near=manifest.num_timesteps)


def _paths(entries: Iterable[FileEntry]) -> list[str]:
    return [entry.path for entry in entries]


def digest_of_files(folder: Path, stem: str) -> str:
    """Return a digest for files that no sound manifest vouches for: of the first of them, else of their name."""
    files, _ = members(folder, stem)
    return fsio.sha256_file(folder / files[0]) if files else hashlib.sha256(os.fsencode(stem)).hexdigest()


def attic_folder(attic: Path, digest: str) -> Path:
    """Return the folder below the attic that the set with this manifest digest has for itself."""
    return attic / digest.removeprefix("sha256:")[:16]
