"""Heads and tags: names for versions. A head moves only from where it was seen to be."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

from ...core import fields, names
from ...core.clock import now
from ...core.errors import CorruptError, LockedError, NothingFoundError, UsageError
from ..base import PreconditionError
from . import claims, documents, keys
from .keys import VersionKey
from .repository import Repository

HEAD_SCHEMA = "ckptsync.store-head/1"
TAG_SCHEMA = "ckptsync.store-tag/1"
ROLLBACK = "rollback"
_MAX_REF_BYTES = 1 << 16
_WAIT_SECONDS = 60.0


@dataclass(frozen=True)
class StoreHead:
    """Which version the next session starts from.

    Args:
        version: the version.
        sequence: how often the head has moved; no two moves have the same.
        previous: the version before it; of rollbacks in a row the newest that they left. None for the first.
        reason: why it moved: `push`, or ROLLBACK.
        moved_at: for people.
        seen: what the store calls this state of the head; for the next move.
    """

    version: VersionKey
    sequence: int
    previous: VersionKey | None
    reason: str
    moved_at: str
    seen: str = ""


@dataclass(frozen=True)
class Tag:
    """A name that somebody gave to a version, which is kept as long as it has one.

    Args:
        name: the name.
        version: the version.
        made_at: for people.
    """

    name: str
    version: VersionKey
    made_at: str


def read_head(repository: Repository, run: str, scenario: str) -> StoreHead | None:
    """Read a head; None when there is none.

    Raises:
        CorruptError: it is damaged, or names a version of something else.
    """
    key = keys.head_key(run, scenario)
    try:
        stored = repository.store.read(key, limit=_MAX_REF_BYTES)
    except NothingFoundError:
        return None

    def build(value: dict[str, Any]) -> StoreHead:
        previous = value["previous"]
        return StoreHead(
            _version(fields.text(value, "version"), run, scenario),
            fields.count(value, "sequence"),
            _version(previous, run, scenario) if previous is not None else None,
            fields.text(value, "reason"),
            fields.text(value, "moved_at"),
        )

    hint = f"'ckptsync repair --from URL' puts it back, 'ckptsync rollback VERSION --run {run}' sets it anew"
    return replace(documents.parse(stored.data, HEAD_SCHEMA, key, build, hint=hint), seen=stored.version)


def leads(head: StoreHead | None, order: tuple[str, int, int]) -> bool:
    """Whether a head may go on by itself to what has this order: it is newer, and no part of what was rolled back.

    A session that still runs goes on pushing behind a rollback; only one that was started later leads on.
    """
    if head is None:
        return True
    left = head.previous if head.reason == ROLLBACK else None
    if left is not None and order[:2] <= (left.lineage, left.generation):
        return False
    return order > head.version.order


def list_heads(repository: Repository) -> Iterator[tuple[str, str]]:
    """Yield the run and scenario of every head."""
    for info in repository.store.list(keys.HEADS):
        if (found := keys.parse_head(info.key)) is not None:
            yield found


def move_head(repository: Repository, before: StoreHead | None, version: VersionKey, *, reason: str) -> StoreHead:
    """Move a head, or set the first one.

    Args:
        repository: the repository.
        before: where the head was seen to be; None: nowhere. It moves only if it still is there.
        version: where it shall be; it must be there.
        reason: why, in a word.

    Raises:
        LockedError: somebody else has moved it meanwhile.
        NothingFoundError: there is no such version.
    """
    with _kept(repository, version, "moving a head"):
        return move_to_present(repository, before, version, reason=reason)


def move_to_present(repository: Repository, before: StoreHead | None, version: VersionKey, *, reason: str) -> StoreHead:
    """Move a head to a version that was written a moment ago; as `move_head` without looking whether it is there."""
    run, scenario = version.run, version.scenario
    moved, data = _moved_to(before, version, reason)
    key = keys.head_key(run, scenario)
    place = f"head/{run}/{scenario}"
    what = f"moving the head of {run}/{scenario}"
    lease = claims.held(repository.store, place, (place,), what=what, wait_seconds=_WAIT_SECONDS)
    with nullcontext() if repository.conditional else lease as claim:
        if claim is not None:
            if _place(read_head(repository, run, scenario)) != _place(before):
                raise _moved(run, scenario)
            claim.confirm()
        try:
            seen = _put(repository, key, data, before.seen if before else None)
        except (PreconditionError, NothingFoundError):  # some servers call an object that is gone missing
            raise _moved(run, scenario) from None
    return replace(moved, seen=seen)


def set_head_anew(repository: Repository, version: VersionKey, *, reason: str) -> StoreHead:
    """Write a head in the place of one that is damaged: nobody can move that, and nobody knows what it was.

    Raises:
        NothingFoundError: there is no such version.
    """
    moved, data = _moved_to(None, version, reason)
    with _kept(repository, version, "setting a head anew"):
        seen = repository.store.put(keys.head_key(version.run, version.scenario), data)
    return replace(moved, seen=seen)


def _moved_to(before: StoreHead | None, version: VersionKey, reason: str) -> tuple[StoreHead, bytes]:
    """Return the head behind a move, and its document."""
    moved = StoreHead(
        version,
        before.sequence + 1 if before else 1,
        _left(before, version, reason) if before else None,
        reason,
        now(),
    )
    return moved, documents.serialise(
        HEAD_SCHEMA,
        {
            "version": version.key,
            "sequence": moved.sequence,
            "previous": moved.previous.key if moved.previous else None,
            "reason": reason,
            "moved_at": moved.moved_at,
            # Two moves are never the same bytes, so that a version of the store's stands for one of them alone
            "token": os.urandom(8).hex(),
        },
    )


def _left(before: StoreHead, version: VersionKey, reason: str) -> VersionKey:
    """Return what a head leaves behind by a move."""
    earlier = before.previous if before.reason == reason == ROLLBACK else None
    if earlier is not None and earlier.order > max(before.version.order, version.order):
        return earlier  # what the rollback before this one left is still not to come back by itself
    return before.version


def set_tag(repository: Repository, version: VersionKey, name: str, *, move: bool = False) -> Tag:
    """Give a version a name.

    Args:
        repository: the repository.
        version: the version; it must be there.
        name: the name.
        move: take the name away from another version.

    Raises:
        NothingFoundError: there is no such version.
        UsageError: the name is taken, or cannot be one.
    """
    key = keys.tag_key(version.run, version.scenario, name)
    tag = Tag(name, version, now())
    data = documents.serialise(TAG_SCHEMA, {"version": version.key, "made_at": tag.made_at})
    with _kept(repository, version, "setting a tag"):
        if not move and not repository.conditional and repository.store.head(key) is not None:
            raise _taken(name)
        try:
            repository.store.put(key, data, create=repository.conditional and not move)
        except PreconditionError:
            raise _taken(name) from None
    return tag


def remove_tag(repository: Repository, run: str, scenario: str, name: str) -> None:
    """Take a name away; the version stays. Nothing happens when it is gone."""
    repository.store.delete(keys.tag_key(run, scenario, name))


def has_tag(repository: Repository, run: str, scenario: str, name: str) -> bool:
    """Whether there is a tag of this name, sound or not."""
    return repository.store.head(keys.tag_key(run, scenario, name)) is not None


def list_tags(repository: Repository, run: str, scenario: str) -> list[Tag]:
    """Return the tags of a run's scenario. Raises CorruptError when one is damaged."""
    found = []
    for info in repository.store.list(keys.tags_prefix(run, scenario)):
        if (parts := keys.parse_tag(info.key)) is not None:
            found.append(read_tag(repository, *parts))
    return found


def read_tag(repository: Repository, run: str, scenario: str, name: str) -> Tag:
    """Read a tag. Raises NothingFoundError when there is none, CorruptError when it is damaged."""
    key = keys.tag_key(run, scenario, name)
    data = repository.store.read(key, limit=_MAX_REF_BYTES).data

    def build(value: dict[str, Any]) -> Tag:
        return Tag(name, _version(fields.text(value, "version"), run, scenario), fields.text(value, "made_at"))

    hint = f"'ckptsync tag {name} VERSION --move --run {run}' sets it anew, with --remove it goes"
    return documents.parse(data, TAG_SCHEMA, key, build, hint=hint)


@contextmanager
def _kept(repository: Repository, version: VersionKey, what: str) -> Iterator[None]:
    """Let nobody remove a version while it gets a name. Raises NothingFoundError when it is not there."""
    store = repository.store
    with claims.held(store, claims.PUSH, (claims.REMOVE,), what=what, wait_seconds=_WAIT_SECONDS) as claim:
        if store.head(version.key) is None:
            raise NothingFoundError(
                f"there is no version {version.key} in {store.url}",
                hint=f"'ckptsync ls {version.run} --store' lists them, 'ckptsync scrub' looks for damage",
            )
        claim.confirm()
        yield


def _put(repository: Repository, key: str, data: bytes, seen: str | None) -> str:
    if not repository.conditional:
        return repository.store.put(key, data)
    return repository.store.put(key, data, create=seen is None, replacing=seen)


def _place(head: StoreHead | None) -> tuple[int, str] | None:
    return (head.sequence, head.version.key) if head is not None else None


def _version(key: Any, run: str, scenario: str) -> VersionKey:
    version = VersionKey.parse(key) if isinstance(key, str) else None
    if version is None or (version.run, version.scenario) != (run, scenario):
        raise CorruptError(f"it names {names.printable(str(key))}, which is no version of {run}/{scenario}")
    return version


def _moved(run: str, scenario: str) -> LockedError:
    return LockedError(
        f"the head of {run}/{scenario} was moved by somebody else meanwhile", hint="run the same command again"
    )


def _taken(name: str) -> UsageError:
    return UsageError(f"there is a tag {names.printable(name)} already", hint="choose another name, or move it")
