"""Looking for damage: is every name that of something whole, and are all bytes as they were?"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice, repeat

from ...core import names
from ...core.errors import CorruptError, NothingFoundError
from ..base import NoBucketError, ObjectInfo
from . import keys
from .refs import read_head, read_tag
from .repository import Repository, open_repository

Progress = Callable[[str, int], None]


@dataclass(frozen=True)
class Damage:
    """Something that is not as it should be.

    Args:
        key: where.
        problem: in words.
        versions: keys of the versions that cannot be put together because of it.
    """

    key: str
    problem: str
    versions: tuple[str, ...] = ()


def scrub(
    repository: Repository,
    *,
    read_bytes: bool = True,
    after: str = "",
    part: tuple[int, int] = (1, 1),
    begin: Callable[[int], None] = lambda size: None,
    progress: Progress = lambda key, size: None,
) -> Iterator[Damage]:
    """Yield all damage of a repository.

    What nobody refers to is no damage: a push that died may have left it. What has no name of ours is somebody else's.
    A store that cannot be read is no damage either, but an error.

    Args:
        repository: the repository.
        read_bytes: read every object and compare it with its name; else look whether they are there, with their size.
        after: begin behind this object's key, to go on with a scrub that was cut short; structure is always looked at.
        part: of so many parts of the objects read this one: (2, 7) is the second of seven, always of the same objects.
        begin: told once how many bytes will be read of what versions need.
        progress: told the key of each object that has been looked at, in order, and how many of those bytes it has.

    Raises:
        CkptsyncError: the store cannot be read.
    """
    yield from _format(repository)
    users: dict[str, tuple[int, list[str]]] = {}
    present: set[str] = set()
    for info in repository.store.list(keys.VERSIONS):
        key = keys.VersionKey.parse(info.key)
        if key is None:
            if keys.looks_like_version(info.key):
                yield Damage(info.key, "this is no key of a version")
            continue
        try:
            version = repository.read(key)
        except NothingFoundError:
            continue  # removed a moment ago
        except CorruptError as error:
            yield Damage(info.key, _problem(error, info.key), (info.key,))
            continue
        present.add(info.key)
        for digest, size in version.objects().items():
            users.setdefault(digest, (size, []))[1].append(info.key)
    yield from _refs(repository, present)
    reading = _Reading(repository, after, part) if read_bytes else None
    if reading is not None:
        begin(sum(size for digest, (size, _) in users.items() if reading.wants(keys.object_key(digest), digest)))
    yield from _objects(repository, users, reading, progress)


def _format(repository: Repository) -> Iterator[Damage]:
    try:
        found = open_repository(repository.store)
        if found.id != repository.id:
            yield Damage(keys.FORMAT_KEY, "it is another repository's now")
    except CorruptError as error:
        yield Damage(keys.FORMAT_KEY, _problem(error, keys.FORMAT_KEY))
    except NoBucketError:
        raise
    except NothingFoundError:
        yield Damage(keys.FORMAT_KEY, "it is not there")


def _problem(error: CorruptError, key: str) -> str:
    """Return what is wrong without the key, which stands beside it."""
    return error.message.removeprefix(f"{names.printable(key)} in the store is ").removeprefix("damaged: ")


def _refs(repository: Repository, present: set[str]) -> Iterator[Damage]:
    store = repository.store
    named = [(info.key, _head(repository, info.key)) for info in store.list(keys.HEADS)]
    named += [(info.key, _tag(repository, info.key)) for info in store.list(keys.TAGS)]
    for key, read in named:
        try:
            version = read()
        except NothingFoundError:
            continue  # taken away a moment ago
        except CorruptError as error:
            yield Damage(key, _problem(error, key))
            continue
        if version is not None and version.key not in present:
            yield Damage(key, "the version that it names is gone or damaged")


def _head(repository: Repository, key: str) -> Callable[[], keys.VersionKey | None]:
    def read() -> keys.VersionKey | None:
        line = keys.parse_head(key)
        head = read_head(repository, *line) if line is not None else None
        return head.version if head is not None else None

    return read


def _tag(repository: Repository, key: str) -> Callable[[], keys.VersionKey | None]:
    def read() -> keys.VersionKey | None:
        parts = keys.parse_tag(key)
        return read_tag(repository, *parts).version if parts is not None else None

    return read


def _objects(
    repository: Repository, users: dict[str, tuple[int, list[str]]], reading: _Reading | None, progress: Progress
) -> Iterator[Damage]:
    missing = dict(users)
    with ThreadPoolExecutor(repository.workers, thread_name_prefix="ckptsync-scrub") as pool:
        found = ((info, keys.parse_object(info.key)) for info in repository.store.list(keys.OBJECTS))
        ours = ((info, digest) for info, digest in found if digest is not None)
        while batch := list(islice(ours, 4 * repository.workers)):
            read = pool.map(reading.look, batch) if reading is not None else repeat("")
            for (info, digest), wrong in zip(batch, read, strict=False):
                expected, versions = missing.pop(digest, (None, []))
                is_other = expected not in (None, info.size_bytes)
                problem = f"it has {info.size_bytes} bytes, expected {expected}" if is_other else wrong
                if problem:
                    yield Damage(info.key, problem, tuple(versions))
                if reading is not None and reading.wants(info.key, digest):
                    progress(info.key, expected or 0)
    for digest, (_size, versions) in missing.items():
        left = tuple(key for key in versions if repository.store.head(key) is not None)  # others may be removing
        if left:
            yield Damage(keys.object_key(digest), "it is not there", left)


@dataclass(frozen=True)
class _Reading:
    """Which objects are read, and reading them."""

    repository: Repository
    after: str
    part: tuple[int, int]

    def wants(self, key: str, digest: str) -> bool:
        number, parts = self.part
        return key > self.after and int(digest[-8:], 16) % parts == number - 1

    def look(self, item: tuple[ObjectInfo, str]) -> str:
        """Return what is wrong with an object, in words; nothing for one that is not wanted."""
        info, digest = item
        if not self.wants(info.key, digest):
            return ""
        hasher = hashlib.sha256()
        try:
            for chunk in self.repository.store.get(info.key):
                hasher.update(chunk)
        except NothingFoundError:
            return "it was removed while others were looked at"
        found = "sha256:" + hasher.hexdigest()
        return "" if found == digest else f"its bytes are not what its name says: {names.printable(found)}"
