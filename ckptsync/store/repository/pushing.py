"""Pushing sealed sets: what is new of them is sent, then the version is written, then its head moves."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ...core import fsio, names
from ...core.errors import CorruptError, LockedError
from ...core.manifest import MAX_MANIFEST_BYTES, FileEntry, Manifest
from ...core.readers.window import RefusedError, Window
from ..base import PreconditionError, Store
from . import claims
from .ahead import Ahead, Line, version_of
from .claims import PUSH, REMOVE, Claim
from .cutting import Draft, disagrees, draft_large
from .keys import VersionKey, object_key
from .packing import Packing
from .refs import StoreHead, leads, move_to_present, read_head
from .repository import Repository
from .versions import Piece, StoredFile, Version, merged

_LARGE_BYTES = 1 << 20
_WAIT_SECONDS = 30.0
_ATTEMPTS = 20

Progress = Callable[[int], None]


@dataclass(frozen=True)
class Pushed:
    """What became of a push.

    Args:
        version: the version, which is in the repository now.
        was_there: it was there before, and nothing was sent.
        sent_bytes: bytes of objects that were sent.
        size_bytes: bytes of the set's files.
        head: where the head is now.
        advanced: the head names this version.
    """

    version: VersionKey
    was_there: bool
    sent_bytes: int
    size_bytes: int
    head: StoreHead | None
    advanced: bool


@contextmanager
def pushing(
    repository: Repository,
    *,
    first: Line | None = None,
    wait_seconds: float = _WAIT_SECONDS,
    lease_seconds: float = claims.LEASE_SECONDS,
) -> Iterator[Pusher]:
    """Push one or many sets, under one claim that keeps what they refer to.

    Args:
        repository: where to.
        first: run and scenario of the first set, where that is known: what it is compared with is read meanwhile.
        wait_seconds: how long to wait for somebody who removes things.
        lease_seconds: after how long without a sign of life this process is taken for dead.

    Raises:
        LockedError: somebody is removing what nobody needs, and is still at it after `wait_seconds`.
    """
    ahead = {first: Ahead(repository, first)} if first is not None else {}
    try:
        with claims.held(
            repository.store,
            PUSH,
            (REMOVE,),
            what="the push",
            wait_seconds=wait_seconds,
            lease_seconds=lease_seconds,
        ) as claim:
            for reading in ahead.values():
                reading.confirm()
            yield Pusher(repository, claim, ahead)
    finally:
        for reading in ahead.values():
            reading.close()


class Pusher:
    """Pushes sets; see `pushing`.

    Args:
        repository: where to.
        claim: the claim that is held.
        ahead: what was read before that, to be confirmed.
    """

    def __init__(self, repository: Repository, claim: Claim, ahead: Mapping[Line, Ahead]) -> None:
        self._repository = repository
        self._claim = claim
        self._ahead = dict(ahead)
        self._last: dict[Line, Version] = {}
        self._heads: dict[Line, StoreHead | None] = {}

    def push(
        self, run: str, folder: Path, stem: str, *, advance: bool = True, progress: Progress = lambda sent: None
    ) -> Pushed:
        """Push a sealed set.

        Args:
            run: the run that it belongs to.
            folder: where it lies.
            stem: its stem.
            advance: let the head name it, where it leads on from there; see `leads`.
            progress: told how many bytes more are done, from any thread.

        Raises:
            NothingFoundError: there is no sealed set of this stem.
            CorruptError: its files disagree with its seal; nothing refers to what was sent.
            LockedError: the push stood still for so long that others went on without it.
        """
        seal = fsio.read_bytes(folder / (stem + names.MANIFEST_SUFFIX), limit=MAX_MANIFEST_BYTES)
        manifest = Manifest.parse(seal, name=stem + names.MANIFEST_SUFFIX)
        key = VersionKey.of(run, manifest)
        line = Line(run, manifest.scenario)
        ahead = self._ahead.pop(line, None)
        before: Version | None = None
        if ahead is not None:
            self._heads[line], before = ahead.found()
        head, sent = self._head(line), 0
        is_newest = head is None or key.order > head.version.order
        # What is newer than the newest is not there, but by chance, and then writing the version tells
        was_there = not is_newest and self._repository.store.head(key.key) is not None
        if was_there:
            progress(manifest.size_bytes)
        else:
            if ahead is None:
                before = self._last.get(line) or version_of(self._repository, head)
            version, sent = _send(self._repository, key, manifest, seal, folder, before, progress)
            if ahead is not None and not ahead.holds():
                del self._heads[line]
                return self.push(run, folder, stem, advance=advance, progress=lambda sent: None)
            was_there = not self.commit(version)
            self._last[line] = version
        if advance and leads(head, key.order):
            head = self._advance(line, key, head)
        advanced = head is not None and head.version == key
        return Pushed(key, was_there, sent, manifest.size_bytes, head, advanced)

    def _head(self, line: Line) -> StoreHead | None:
        if line not in self._heads:
            self._heads[line] = read_head(self._repository, *line)
        return self._heads[line]

    def _advance(self, line: Line, key: VersionKey, head: StoreHead | None) -> StoreHead | None:
        """Let the head name a version, if that still leads on from there; return where it is."""
        for _ in range(_ATTEMPTS):
            try:
                head = move_to_present(self._repository, head, key, reason="push")
                break
            except LockedError:
                head = read_head(self._repository, *line)
                if not leads(head, key.order):
                    break
        else:
            raise LockedError(f"the head of {key.run}/{key.scenario} is moved by others all the time")
        self._heads[line] = head
        return head

    def commit(self, version: Version) -> bool:
        """Write a version whose objects are there; return whether it is new.

        Raises:
            LockedError: the push stood still for so long that others went on without it.
        """
        store = self._repository.store
        self._claim.confirm()
        try:
            store.put(version.key.key, version.serialise(), create=self._repository.conditional)
        except PreconditionError:
            return False  # the same set, pushed by somebody else
        try:
            self._claim.confirm()
        except LockedError:
            # Paused between the two: what others removed meanwhile may be what this version refers to
            if not all(_holds(store, digest, size) for digest, size in version.objects().items()):
                store.delete(version.key.key)
            raise
        return True


def push_set(
    repository: Repository,
    run: str,
    folder: Path,
    stem: str,
    *,
    advance: bool = True,
    progress: Progress = lambda sent: None,
) -> Pushed:
    """Push one sealed set; see `Pusher.push`."""
    parsed = names.parse_stem(stem)
    with pushing(repository, first=Line(run, parsed.scenario) if parsed is not None else None) as pusher:
        return pusher.push(run, folder, stem, advance=advance, progress=progress)


def _send(
    repository: Repository,
    key: VersionKey,
    manifest: Manifest,
    seal: bytes,
    folder: Path,
    before: Version | None,
    progress: Progress,
) -> tuple[Version, int]:
    """Send what is new of a set; return its version, which is not written yet, and how much was sent."""
    drafts: dict[str, Draft] = {}
    known = {file.entry.digest: file for file in before.files} if before is not None else {}
    with Packing(repository, progress) as packing:
        for entry in sorted(manifest.files, key=_is_large):  # the small ones first: they share objects
            if (stored := known.get(entry.digest)) is not None:
                drafts[entry.path] = Draft(entry, list(stored.pieces), list(stored.ranges))
                progress(entry.size_bytes)
            elif _is_large(entry):
                drafts[entry.path] = _draft_file(folder, entry, _same_file(before, manifest, entry), packing)
            else:
                drafts[entry.path] = Draft(entry, list(packing.add(_read_small(folder, entry))))
        packing.finish()
        files = [_stored(drafts[entry.path], packing) for entry in manifest.files]
    return Version(key, manifest, seal, tuple(files)), packing.sent_bytes


def _is_large(entry: FileEntry) -> bool:
    return entry.size_bytes >= _LARGE_BYTES


def _read_small(folder: Path, entry: FileEntry) -> bytes:
    path = fsio.safe_join(folder, entry.path)
    data = fsio.read_bytes(path, limit=_LARGE_BYTES)
    found = "sha256:" + hashlib.sha256(data).hexdigest()
    if len(data) != entry.size_bytes or found != entry.digest:
        raise disagrees(path, entry, f"{len(data)} bytes with {found}")
    return data


def _draft_file(folder: Path, entry: FileEntry, before: StoredFile | None, packing: Packing) -> Draft:
    path = fsio.safe_join(folder, entry.path)
    with fsio.open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size != entry.size_bytes:
            raise disagrees(path, entry, f"{size} bytes")
        try:
            return draft_large(Window(file.fileno(), 0, size, str(path), whole=True), entry, before, packing)
        except RefusedError as error:
            raise CorruptError(f"{path} changed while it was read: {error}") from None


def _same_file(before: Version | None, manifest: Manifest, entry: FileEntry) -> StoredFile | None:
    """Return the file that has the same part in an earlier version, such as its model."""
    if before is None:
        return None
    name = before.manifest.stem + entry.path.removeprefix(manifest.stem)
    return next((file for file in before.files if file.entry.path == name), None)


def _stored(draft: Draft, packing: Packing) -> StoredFile:
    pieces = merged([part if isinstance(part, Piece) else packing.piece(part) for part in draft.parts])
    if len(pieces) == 1 and pieces[0].size_bytes == pieces[0].object_bytes and pieces[0].digest != draft.entry.digest:
        raise disagrees(draft.entry.path, draft.entry, pieces[0].digest)  # it is one object, and that is its digest
    return StoredFile(draft.entry, pieces, tuple(draft.ranges))


def _holds(store: Store, digest: str, size: int) -> bool:
    info = store.head(object_key(digest))
    return info is not None and info.size_bytes == size
