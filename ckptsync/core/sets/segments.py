"""Segments: files beside the sets of a scenario that several of them share.

A replay buffer of a gigabyte changes by a few rows from one save to the next, so its rows lie in segments,
`<scenario>_replay/<start>-<end>-<16 hex>.safetensors`, and a save writes only those that are new. A segment is made
once and never changes; its name holds a part of its digest, so equal names mean equal bytes. Its owner is every set
whose manifest names it. What no manifest names is collected; in every order of crashes a segment outlives the last
manifest that names it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from .. import fsio, names
from ..errors import CorruptError
from ..manifest import FileEntry, ManifestError
from .stored import Hashed, check_file, is_regular, read_manifest


def present(folder: Path, scenario: str) -> list[str]:
    """Return the paths of the segments that lie beside a scenario's sets; anything else there is somebody else's."""
    base = scenario + names.SEGMENTS_SUFFIX
    if names.parse_segment_folder(base) is None or (folder / base).is_symlink():
        return []  # a stem from outside may begin with what no scenario can be called
    found = [name for name in fsio.list_names(folder / base) if names.parse_segment(name) is not None]
    return [f"{base}/{name}" for name in found if is_regular(folder / base / name)]


def strange(folder: Path, entries: Iterable[FileEntry]) -> list[str]:
    """Return the paths of those segments in whose place something lies that is no regular file."""
    paths = [entry.path for entry in entries if not (folder / entry.path).parent.is_symlink()]
    return [path for path in paths if os.path.lexists(folder / path) and not is_regular(folder / path)]


def scenarios(folder: Path) -> list[str]:
    """Return the scenarios that have a folder of segments beside their sets."""
    found = {name: names.parse_segment_folder(name) for name in fsio.list_names(folder)}
    return [
        scenario
        for name, scenario in found.items()
        if scenario is not None and (folder / name).is_dir() and not (folder / name).is_symlink()
    ]


def require(folder: Path, entry: FileEntry) -> None:
    """Make sure that a segment is there with its size; its digest was checked when it came here.

    Raises:
        CorruptError: it is not.
    """
    path = fsio.safe_join(folder, entry.path)
    size = path.stat().st_size if is_regular(path) else None
    if size != entry.size_bytes:
        found = "nothing of that kind" if size is None else f"{size} bytes"
        raise CorruptError(
            f"segment {path}: expected {entry.size_bytes} bytes, found {found}",
            hint="the sets that need it are lost; 'ckptsync restore' brings them back where they were fetched",
        )


def bring(source: Path, entry: FileEntry, target: Path, *, link: bool, hashed: Hashed) -> None:
    """Bring a segment from beside the sets of one folder to beside those of another.

    Args:
        source: the folder of the sets that it comes from.
        entry: the segment.
        target: the folder of the sets that it comes to. A damaged file of that name is replaced by the sound one.
        link: give it a second name where possible, and trust what is there; for folders that only ckptsync writes.
            The caller syncs the target's folder of segments.
        hashed: segments that were hashed a moment ago; filled on the way.

    Raises:
        CorruptError: its bytes disagree with the entry, or another set of the target needs other bytes by that name.
    """
    origin, place = fsio.safe_join(source, entry.path), fsio.safe_join(target, entry.path)
    fsio.make_folder(place.parent)
    if link and not os.path.lexists(place):
        fsio.link_or_copy(origin, place, settle=False)
        return
    if link and is_regular(place) and place.stat().st_size == entry.size_bytes:
        return
    if check_file(target, entry, hashed) is None:
        return
    if os.path.lexists(place) and _disputed(target, entry):
        raise CorruptError(f"{place} stands for two contents: another set needs other bytes by that name")
    fsio.copy_file(origin, place, size_bytes=entry.size_bytes, digest=entry.digest)
    hashed[place] = entry.digest


def unneeded(folder: Path, scenario: str, *, besides: str) -> list[str]:
    """Return the segments that no readable manifest names, where the one of the stem `besides` does not count."""
    return _survey(folder, scenario, present(folder, scenario), 0, besides)[0]


def collect(folder: Path, scenario: str, among: Iterable[str] | None = None, *, near: int = 0) -> list[str]:
    """Remove the segments that no set needs, and return their paths; the caller holds the tree's lock.

    Nothing is removed while a set of the scenario is being written, for it may need what no manifest names yet, nor
    while a manifest of it is damaged, for nobody knows what that one names.

    Args:
        folder: the folder of the sets.
        scenario: whose segments.
        among: only these, such as those of a set that was removed; all when None.
        near: N of that set: its neighbours need most of them, so that few manifests are read.
    """
    asked = None if among is None else set(among)
    if asked is not None and not asked:
        return []
    left = [path for path in present(folder, scenario) if asked is None or path in asked]
    left, unsure = _survey(folder, scenario, left, near)
    if not left or unsure or _stems(folder, scenario, names.PENDING_SUFFIX):
        return []
    for path in left:
        fsio.remove_file(folder / path)
    fsio.sync_folder(folder / names.segment_folder(scenario))
    return left


def _survey(
    folder: Path, scenario: str, left: list[str], near: int, besides: str | None = None
) -> tuple[list[str], bool]:
    """Return those of some segments that no readable manifest names, and whether a manifest could not be read."""
    unsure = False
    stems = _stems(folder, scenario, names.MANIFEST_SUFFIX) if left else {}
    for stem in sorted(stems, key=lambda stem: abs(stems[stem] - near)):
        if not left:
            break
        if stem == besides:
            continue
        try:
            needed = {entry.path for entry in read_manifest(folder / (stem + names.MANIFEST_SUFFIX)).segments}
        except ManifestError:
            unsure = True
            continue
        left = [path for path in left if path not in needed]
    return left, unsure


def _disputed(folder: Path, entry: FileEntry) -> bool:
    """Whether a set in a folder needs other bytes by the name of a segment."""
    scenario = names.parse_segment_folder(entry.path.partition("/")[0]) or ""
    for stem in _stems(folder, scenario, names.MANIFEST_SUFFIX):
        try:
            named = read_manifest(folder / (stem + names.MANIFEST_SUFFIX)).segments
        except ManifestError:
            continue  # what a damaged manifest needs is lost in any case
        if any(other.path == entry.path and other.digest != entry.digest for other in named):
            return True
    return False


def _stems(folder: Path, scenario: str, suffix: str) -> dict[str, int]:
    """Return the stem and N of each file of a scenario with this suffix."""
    stems = [name.removesuffix(suffix) for name in fsio.list_names(folder) if name.endswith(suffix)]
    parsed = {stem: names.parse_stem(stem) for stem in stems}
    return {
        stem: parts.num_timesteps for stem, parts in parsed.items() if parts is not None and parts.scenario == scenario
    }
