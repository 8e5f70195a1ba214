"""A repository: checkpoints as versions that can be listed, compared, named, rolled back to and trusted.

    objects     bytes, named by their sha256; never changed
    versions    checkpoints: a manifest and where its files' bytes lie; never changed
    heads, tags names of versions; a head carries a number that grows with every move

Written in this order and read in the opposite one, so that whatever has a name is whole, wherever a writer dies.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ...core import fields
from ...core.clock import now
from ...core.errors import NothingFoundError, UsageError
from ..base import NoBucketError, PreconditionError, Store
from . import documents, keys
from .keys import VersionKey
from .versions import Version

SCHEMA = "ckptsync.repository/1"
_CONDITIONAL, _LEASED = "conditional", "leased"


@dataclass(frozen=True)
class Repository:
    """A repository in a store.

    Args:
        store: the store.
        id: of this repository; another one at the same place has another.
        conditional: heads move by conditional writes; else under a lease. Fixed when it was made, for all who use it.
        workers: how many objects are on their way at once.
    """

    store: Store
    id: str
    conditional: bool
    workers: int = field(default=8, compare=False)

    def versions(self, run: str | None = None, scenario: str | None = None) -> Iterator[VersionKey]:
        """List versions without reading any: those of a run, or of one of its scenarios; all when none is given.

        Those of one generation come in the order of their N. What else lies there is passed over.
        """
        prefix = keys.VERSIONS
        if run is not None:
            prefix = keys.line_prefix(run, scenario) if scenario is not None else keys.run_prefix(run)
        for info in self.store.list(prefix):
            if (key := VersionKey.parse(info.key)) is not None:
                yield key

    def read(self, key: VersionKey) -> Version:
        """Read a version.

        Raises:
            NothingFoundError: it is not there.
            CorruptError: it is damaged, or another's than its key says.
        """
        data = self.store.read(key.key, limit=documents.MAX_DOCUMENT_BYTES).data
        return Version.parse(data, key)


def create_repository(store: Store) -> Repository:
    """Make a repository in a store; one that is there already is opened.

    What else lies in the store is left alone. Whether conditions are kept is tried, not believed.

    Raises:
        CorruptError: what is there is no repository, or of a newer form.
        NoBucketError: there is no place for one; some servers would make a bucket of any name that is written to.
    """
    try:
        return open_repository(store)
    except NoBucketError:
        raise
    except NothingFoundError:
        pass
    conditional = store.capabilities.conditional_update and _keeps_conditions(store)
    made = {"id": os.urandom(16).hex(), "heads": _CONDITIONAL if conditional else _LEASED, "created_at": now()}
    try:
        store.put(keys.FORMAT_KEY, documents.serialise(SCHEMA, made), create=conditional)
    except PreconditionError:
        pass  # somebody else made one in the same moment: it is as good
    return open_repository(store)


def open_repository(store: Store, *, workers: int = 8) -> Repository:
    """Open the repository in a store.

    Raises:
        NothingFoundError: there is none.
        CorruptError: it is damaged or of a newer form.
    """
    try:
        data = store.read(keys.FORMAT_KEY, limit=1 << 16).data
    except NoBucketError:
        raise
    except NothingFoundError:
        raise NothingFoundError(
            f"there is no repository in {store.url}", hint="'ckptsync init-store' makes one"
        ) from None

    def build(value: dict[str, Any]) -> Repository:
        heads = fields.one_of(value, "heads", (_CONDITIONAL, _LEASED))
        return Repository(store, fields.text(value, "id"), heads == _CONDITIONAL, workers)

    found = documents.parse(data, SCHEMA, keys.FORMAT_KEY, build)
    if found.conditional and not store.capabilities.conditional_update:
        raise UsageError(
            f"{store.url} was made for conditional writes, which this way to it does not have",
            hint="use the same kind of URL as the one that made it",
        )
    return found


def probe_writing(repository: Repository) -> None:
    """Write an object that means nothing, and remove it again. Raises what keeps a push from working."""
    key = f"{keys.CLAIMS}probe/{os.urandom(8).hex()}.json"
    repository.store.put(key, b"1")
    repository.store.delete(key)


def _keeps_conditions(store: Store) -> bool:
    """Try whether a store keeps conditions; some servers take them and do as they like."""
    key = f"{keys.CLAIMS}probe/{os.urandom(8).hex()}.json"
    try:
        store.put(key, b"1", create=True)
        try:
            store.put(key, b"2", create=True)
            return False
        except PreconditionError:
            pass
        before = store.read(key, limit=1)
        store.put(key, b"3")
        try:
            store.put(key, b"4", replacing=before.version)
            return False
        except PreconditionError:
            return True
    finally:
        store.delete(key)
