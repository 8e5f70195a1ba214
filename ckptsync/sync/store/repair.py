"""repair: put back what is damaged in a store, from another store or from the files that are still here."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...core import fsio, sets
from ...core.errors import CorruptError, ExitCode, NothingFoundError
from ...core.sets import SetState, StoredSet
from ...project.config import Project
from ...store.repository import (
    Damage,
    Pusher,
    Repository,
    VersionKey,
    keys,
    pushing,
    read_head,
    read_object,
    read_tag,
    scrub,
)
from ...store.repository.documents import MAX_DOCUMENT_BYTES
from ..reporting import Reporter
from .stores import opened

REPAIR_SCHEMA = "ckptsync.repair/1"
_OTHER, _LOCAL = "store", "files"

_Read = Callable[[str, Damage], bytes | None]


@dataclass(frozen=True)
class Mended:
    """Something that was damaged.

    Args:
        key: where.
        problem: in words.
        source: where it was taken from: `store`, `files`; None: nobody has it, and it is as it was.
    """

    key: str
    problem: str
    source: str | None


@dataclass(frozen=True)
class RepairReport:
    """What a repair did.

    Args:
        store: the store's URL.
        damage: all that was found, in order.
        dry_run: nothing was changed, and `source` says where it would be taken from.
    """

    store: str
    damage: tuple[Mended, ...]
    dry_run: bool = False

    @property
    def exit_code(self) -> ExitCode:
        """4 where something is still damaged."""
        return ExitCode.CORRUPT if any(item.source is None for item in self.damage) else ExitCode.OK

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object of the command."""
        return {
            "schema": REPAIR_SCHEMA,
            "store": self.store,
            "damage": [{"key": item.key, "problem": item.problem, "source": item.source} for item in self.damage],
            "dry_run": self.dry_run,
        }


def repair(
    project: Project,
    reporter: Reporter,
    *,
    url: str | None = None,
    other_url: str | None = None,
    dry_run: bool = False,
) -> RepairReport:
    """Look for all damage of a store and put back what somebody else has, each checked before it is written.

    Versions come before objects, for only a version tells which bytes of which files an object holds. A run of the same
    command again completes what was cut short.

    Args:
        project: the project; its training trees, attic and results are searched.
        reporter: receives progress.
        url: another store to repair than the project's.
        other_url: a store that may have the same versions, such as one that `copy` went to.
        dry_run: only say what would be put back.

    Raises:
        ConfigError: no store is known.
        NothingFoundError: a store holds no repository.
        CorruptError: what says that it is a repository is itself damaged.
        LockedError: somebody removes things from the store.
    """
    with ExitStack() as stack:
        repository = stack.enter_context(opened(project, url, reporter=reporter))
        other = stack.enter_context(opened(project, other_url, reporter=reporter)) if other_url is not None else None
        with reporter.progress("looking for damage", None) as meter:
            looked = scrub(repository, begin=meter.expect, progress=lambda key, size: meter.advance(size))
            found = sorted(looked, key=_versions_first)
        if not found:
            return RepairReport(repository.store.url, (), dry_run)
        pusher = stack.enter_context(pushing(repository)) if not dry_run else None
        mender = _Mender(repository, other, _local_sets(project), pusher)
        mended = []
        for damage in found:
            mended.append(Mended(damage.key, damage.problem, mender.mend(damage)))
            reporter.line(f"{damage.key}: {'from ' + source if (source := mended[-1].source) else 'nobody has it'}")
        return RepairReport(repository.store.url, tuple(mended), dry_run)


class _Mender:
    """Puts things back; without a pusher it only looks whether they can be."""

    def __init__(
        self, repository: Repository, other: Repository | None, local: dict[str, StoredSet], pusher: Pusher | None
    ) -> None:
        self._repository = repository
        self._other = other
        self._local = local
        self._pusher = pusher
        self._mended: dict[str, str] = {}

    def mend(self, damage: Damage) -> str | None:
        """Put one thing back; return where it was taken from, or None when nobody has it."""
        if (digest := keys.parse_object(damage.key)) is not None:
            return self._object(digest, damage)
        if (version := VersionKey.parse(damage.key)) is not None:
            source = self._version(version)
            if source is not None:
                self._mended[version.key] = source
            return source
        return self._name(damage.key)

    def _object(self, digest: str, damage: Damage) -> str | None:
        readers: tuple[tuple[str, _Read], ...] = ((_OTHER, self._read_other), (_LOCAL, self._assemble))
        for source, read in readers:
            try:
                data = read(digest, damage)
            except (CorruptError, NothingFoundError):
                continue
            if data is not None and "sha256:" + hashlib.sha256(data).hexdigest() == digest:
                self._put(keys.object_key(digest), data)
                return source
        return None

    def _read_other(self, digest: str, damage: Damage) -> bytes | None:
        return read_object(self._other, digest) if self._other is not None else None

    def _assemble(self, digest: str, damage: Damage) -> bytes:
        """Put an object together from files of sets that are here; its digest tells whether all bytes were there."""
        data = bytearray()
        for key in filter(None, map(VersionKey.parse, damage.versions)):
            stored = self._local.get(key.digest)
            if stored is None:
                continue
            for file in self._repository.read(key).files:
                path, position = fsio.safe_join(stored.folder, file.entry.path), 0
                for piece in file.pieces:
                    if piece.digest == digest:
                        data = data or bytearray(piece.object_bytes)
                        data[piece.offset : piece.offset + piece.size_bytes] = _read(path, position, piece.size_bytes)
                    position += piece.size_bytes
        return bytes(data)

    def _version(self, key: VersionKey) -> str | None:
        if self._other is not None:
            try:
                version = self._other.read(key)
            except (CorruptError, NothingFoundError):
                pass
            else:
                self._put(key.key, version.serialise())
                return _OTHER
        stored = self._local.get(key.digest)
        if stored is None:
            return None
        if self._pusher is not None:
            self._repository.store.delete(key.key)
            self._pusher.push(key.run, stored.folder, stored.stem, advance=False)
        return _LOCAL

    def _name(self, key: str) -> str | None:
        """Put a head or a tag back, if what it names is here; one is sound again once its version is."""
        here = _named(self._repository, key)
        if here is not None:
            if here.key not in self._mended and (source := self._version(here)) is not None:
                self._mended[here.key] = source  # the version had gone altogether
            if here.key in self._mended:
                return self._mended[here.key]
        there = _named(self._other, key) if self._other is not None else None
        if (
            self._other is None
            or there is None
            or not (there.key in self._mended or _is_sound(self._repository, there))
        ):
            return None
        self._put(key, self._other.store.read(key, limit=MAX_DOCUMENT_BYTES).data)
        return _OTHER

    def _put(self, key: str, data: bytes) -> None:
        if self._pusher is not None:
            self._repository.store.put(key, data)


def _versions_first(damage: Damage) -> tuple[int, str]:
    order = (keys.VERSIONS, keys.OBJECTS)
    return next((place for place, prefix in enumerate(order) if damage.key.startswith(prefix)), len(order)), damage.key


def _named(repository: Repository, key: str) -> VersionKey | None:
    """Return what a head or a tag names; None where it is damaged, or not there, or neither."""
    try:
        if (line := keys.parse_head(key)) is not None:
            head = read_head(repository, *line)
            return head.version if head is not None else None
        parts = keys.parse_tag(key)
        return read_tag(repository, *parts).version if parts is not None else None
    except (CorruptError, NothingFoundError):
        return None


def _is_sound(repository: Repository, version: VersionKey) -> bool:
    try:
        repository.read(version)
    except (CorruptError, NothingFoundError):
        return False
    return True


def _read(path: Path, offset: int, size: int) -> bytes:
    with fsio.open_regular(path) as file:
        file.seek(offset)
        return file.read(size).ljust(size, b"\0")


def _local_sets(project: Project) -> dict[str, StoredSet]:
    """Return digest -> sealed set, of all that lie in trees, attics and results."""
    found: dict[str, StoredSet] = {}
    for folder in _folders(project):
        for stored in sets.scan(folder):
            if stored.state is SetState.SEALED and stored.manifest is not None:
                found.setdefault(stored.manifest.digest, stored)
    return found


def _folders(project: Project) -> Iterator[Path]:
    for run in project.runs.values():
        tree = project.tree(run)
        yield from (folder for folder in (tree.checkpoints, *_below(tree.attic)) if folder.is_dir())
    yield from sorted((project.root / project.layout.results_name).rglob("checkpoints"))


def _below(folder: Path) -> list[Path]:
    return [folder / name for name in fsio.list_names(folder)] if folder.is_dir() else []
