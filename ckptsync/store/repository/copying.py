"""Copying versions from one repository into another: objects as they are, then the version, then names of it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import repeat

from ...core.errors import CorruptError, NothingFoundError
from ..base import MAX_OBJECT_BYTES
from .keys import VersionKey, object_key
from .pushing import Pusher, pushing
from .repository import Repository

Progress = Callable[[int], None]


@dataclass(frozen=True)
class Copied:
    """What became of the copy of a version.

    Args:
        version: the version, which is in the target now.
        was_there: it was there before.
        sent_bytes: bytes of objects that were sent.
    """

    version: VersionKey
    was_there: bool
    sent_bytes: int


@contextmanager
def copying(source: Repository, target: Repository) -> Iterator[Copier]:
    """Copy versions, under a claim in the target that keeps what they refer to.

    Raises:
        LockedError: somebody removes things from the target.
    """
    with pushing(target) as pusher, ThreadPoolExecutor(target.workers, thread_name_prefix="ckptsync-copy") as pool:
        yield Copier(source, target, pusher, pool)


class Copier:
    """Copies versions; see `copying`.

    Args:
        source: where from.
        target: where to.
        pusher: holds the claim, and writes versions.
        pool: copies objects.
    """

    def __init__(self, source: Repository, target: Repository, pusher: Pusher, pool: ThreadPoolExecutor) -> None:
        self._source = source
        self._target = target
        self._pusher = pusher
        self._pool = pool
        self._present: set[str] = set()

    def size_of(self, keys: Sequence[VersionKey]) -> int:
        """Return how many bytes of objects these versions need together; they are read for it.

        One that cannot be read needs nothing: `copy` says what is wrong with it when its turn comes.
        """
        sizes: dict[str, int] = {}
        for objects in self._pool.map(self._objects, keys):
            sizes.update(objects)
        return sum(sizes.values())

    def _objects(self, key: VersionKey) -> dict[str, int]:
        try:
            return self._source.read(key).objects()
        except (CorruptError, NothingFoundError):
            return {}

    def copy(self, key: VersionKey, *, progress: Progress = lambda done: None) -> Copied:
        """Copy a version with the objects that it needs; what is there is not sent again.

        Args:
            key: the version.
            progress: told how many bytes of objects more are done, from any thread.

        Raises:
            NothingFoundError: it, or an object of it, is not in the source.
            CorruptError: it, or an object of it, is damaged there; nothing refers to what was sent.
            LockedError: the copy stood still for so long that others went on without it.
        """
        version = self._source.read(key)
        wanted = {digest: size for digest, size in version.objects().items() if digest not in self._present}
        sent = sum(self._pool.map(self._bring, wanted.keys(), wanted.values(), repeat(progress)))
        self._present |= wanted.keys()
        return Copied(key, not self._pusher.commit(version), sent)

    def _bring(self, digest: str, size: int, progress: Progress) -> int:
        info = self._target.store.head(object_key(digest))
        is_there = info is not None and info.size_bytes == size
        if not is_there:
            self._target.store.put(object_key(digest), read_object(self._source, digest), digest=digest, checked=True)
        progress(size)
        return 0 if is_there else size


def read_object(repository: Repository, digest: str) -> bytes:
    """Read an object whole.

    Raises:
        NothingFoundError: it is not there.
        CorruptError: its bytes are not what its name says.
    """
    data = repository.store.read(object_key(digest), limit=MAX_OBJECT_BYTES).data
    if "sha256:" + hashlib.sha256(data).hexdigest() != digest:
        raise CorruptError(
            f"object {object_key(digest)} in {repository.store.url} is damaged", hint="ckptsync scrub, ckptsync repair"
        )
    return data
