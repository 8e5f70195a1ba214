"""Listing a tree of folders as a flat row of keys, one folder at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from .base import ObjectInfo, is_key


class Entry(NamedTuple):
    """One name in a folder; size and time count for files alone."""

    name: str
    is_folder: bool
    size_bytes: int = 0
    modified: float | None = None


def walk(list_folder: Callable[[str], Iterable[Entry]], prefix: str, after: str) -> Iterator[ObjectInfo]:
    """Yield the objects below a prefix, folder by folder; what has no name of ours is passed over.

    Args:
        list_folder: the entries of a folder, given as a prefix; none when there is no such folder.
        prefix: empty, or with a `/` at its end.
        after: only keys behind this one; folders that lie before it are not looked into.
    """
    behind = after.split("/")
    for entry in sorted(list_folder(prefix)):
        key = prefix + entry.name
        parts = key.split("/")
        if not is_key(key):
            continue
        if not entry.is_folder:
            if parts > behind:
                yield ObjectInfo(key, entry.size_bytes, entry.modified)
        elif parts >= behind[: len(parts)]:
            yield from walk(list_folder, f"{key}/", after)
