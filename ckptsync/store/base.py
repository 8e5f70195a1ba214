"""The contract that every store keeps: objects of bytes by key, written whole or not at all.

Everything above asks for no more than this, so that a folder, a bucket and whatever fsspec speaks are one thing.
Objects are small: larger things are kept as several of them, so a write that fails is repeated as a whole and memory
stays bounded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from ..core import names
from ..core.errors import CkptsyncError, LimitError, LockedError, NothingFoundError, UnsafePathError
from ..core.grants import Target

MAX_OBJECT_BYTES = 64 << 20
# S3 allows 1024 bytes; what is left is for the prefix of the URL
MAX_KEY_BYTES = 768


class PreconditionError(LockedError):
    """The object is there already, or has changed since it was read: somebody else was faster."""

    transient = False


class NoBucketError(NothingFoundError):
    """The store's own place is not there, such as a bucket that nobody has made."""


@dataclass(frozen=True)
class ObjectInfo:
    """One object of a store.

    Args:
        key: its key.
        size_bytes: its length.
        modified: when it was written, in seconds since 1970 by the store's own clock; None where it does not tell.
    """

    key: str
    size_bytes: int
    modified: float | None


@dataclass(frozen=True)
class Stored:
    """A small object, read whole.

    Args:
        data: its bytes.
        version: what `put` takes as `replacing`, so that no other writer's object is overwritten; empty where the
            store cannot do that.
    """

    data: bytes
    version: str


@dataclass(frozen=True)
class Capabilities:
    """What a store can do beyond keeping objects.

    Args:
        conditional_create: `put` may be told to write only what is not there.
        conditional_update: `put` may be told to replace only what was read.
        checks_uploads: the store itself refuses bytes that changed on their way to it.
        whole_or_nothing: an object whose writing was cut short is not there.
    """

    conditional_create: bool
    conditional_update: bool
    checks_uploads: bool
    whole_or_nothing: bool

    def limits(self) -> tuple[str, ...]:
        """Say in words what the store cannot do."""
        said = (
            (
                self.conditional_create and self.conditional_update,
                "it has no conditional writes: heads move under a lease, which needs clocks and pauses to be sane",
            ),
            (self.checks_uploads, "it does not check what is sent to it: damage shows when it is read"),
            (self.whole_or_nothing, "a write that is cut short may leave a part of an object"),
        )
        return tuple(text for able, text in said if not able)


class Store(Protocol):
    """Keeps objects of bytes by key. One object may be used by several threads.

    Keys are relative paths with `/` that `check_key` lets pass; the prefix of the store's URL stands before them and
    is never seen. All methods raise errors of ckptsync.core.errors; one with `transient` set was tried several times
    already, within the store's patience.

    Args:
        url: where it is, without secrets.
        capabilities: what it can do.
    """

    url: str
    capabilities: Capabilities

    def put(
        self,
        key: str,
        data: bytes,
        *,
        create: bool = False,
        replacing: str | None = None,
        digest: str | None = None,
        checked: bool = False,
    ) -> str:
        """Write an object, whole or not at all, and return its version; empty where there are none.

        Args:
            key: its key.
            data: its bytes, at most MAX_OBJECT_BYTES.
            digest: `sha256:<hex>` that the bytes must have, for stores that check it (`checks_uploads`).
            checked: the digest was found from these very bytes, so that only their way is left to be checked.
            create: only where nothing is there (`conditional_create`).
            replacing: only where the object of this version is there (`conditional_update`).

        Raises:
            PreconditionError: something else is there, or nothing is.
            CorruptError: the bytes do not have the digest; only where the store checks it.
            ValueError: the store cannot do what is asked.
        """
        ...

    def read(self, key: str, *, limit: int) -> Stored:
        """Read a small object whole, with its version.

        Raises:
            NothingFoundError: it is not there.
            CorruptError: it is larger than `limit` bytes.
        """
        ...

    def get(self, key: str, offset: int = 0, size: int | None = None) -> Iterator[bytes]:
        """Stream an object's bytes from an offset on, in chunks of bounded size.

        What the store holds is what comes: it is less than `size` where the object is shorter, and nothing behind
        its end. A connection that breaks is taken up again where it broke.

        Raises:
            NothingFoundError: it is not there.
        """
        ...

    def head(self, key: str) -> ObjectInfo | None:
        """Say what an object is; None when it is not there."""
        ...

    def list(self, prefix: str = "", *, after: str = "") -> Iterator[ObjectInfo]:
        """List the objects below a prefix, page by page.

        Each is there once, and the keys of one folder come in order (by code point). Whether `a-b` comes before `a/b`
        differs between stores.

        Args:
            prefix: empty, or a key's folder with a `/` at its end.
            after: a key that was listed before; only what comes behind it.
        """
        ...

    def delete(self, key: str) -> None:
        """Remove an object; nothing happens when it is not there."""
        ...

    def close(self) -> None:
        """Let go of connections; the store is not used any more."""
        ...


@runtime_checkable
class GrantingStore(Store, Protocol):
    """A store that can let somebody without its credentials write below one prefix, and do nothing else there."""

    def grant(self, prefix: str, *, seconds: float, max_bytes: int) -> Target:
        """Return where objects below a prefix may be written to.

        Args:
            prefix: with a `/` at its end.
            seconds: how long from now on; credentials that end before make it end before.
            max_bytes: how large one object may be.
        """
        ...


@runtime_checkable
class StreamingStore(Store, Protocol):
    """A store that takes an object of any size piece by piece."""

    def put_stream(self, key: str, chunks: Callable[[], Iterable[bytes]]) -> None:
        """Write an object; what is cut short may leave a part of it, which is written over the next time.

        Args:
            key: its key.
            chunks: gives its bytes from the start, each time that it is called. What it raises is raised.
        """
        ...


def check_key(key: str) -> str:
    """Return a key unchanged if an object may have it.

    Raises:
        UnsafePathError: a part of it is no safe name or begins with a dot, or it is too long.
    """
    # What begins with a dot is a store's own: its lock, files that are being written
    if any(part.startswith(".") for part in names.check_relative(key, what="key")):
        raise UnsafePathError(f"unsafe key {names.printable(key)}: a part of it begins with a dot")
    if len(key.encode()) > MAX_KEY_BYTES:
        raise UnsafePathError(f"unsafe key {names.printable(key)}: it is longer than {MAX_KEY_BYTES} bytes")
    return key


def check_prefix(prefix: str) -> str:
    """Return a prefix unchanged if `list` may be asked for it. Raises as `check_key` does."""
    if prefix and not prefix.endswith("/"):
        raise UnsafePathError(f"unsafe prefix {names.printable(prefix)}: it does not end with '/'")
    if prefix:
        check_key(prefix[:-1])
    return prefix


def is_key(key: str) -> bool:
    """Whether an object of ours may have this key; what else lies in a store is somebody else's."""
    try:
        check_key(key)
    except CkptsyncError:
        return False
    return True


def check_put(store: Store, key: str, data: bytes, create: bool, replacing: str | None) -> None:
    """Refuse a `put` that no store, or not this one, can do. For stores themselves.

    Raises:
        UnsafePathError: the key is none.
        LimitError: it is too large.
        ValueError: it is a condition that the store cannot keep.
    """
    check_key(key)
    if len(data) > MAX_OBJECT_BYTES:
        raise LimitError(f"object {key} has {len(data)} bytes; at most {MAX_OBJECT_BYTES} go into one")
    able = store.capabilities
    if create and replacing is not None:
        raise ValueError("an object is created or replaced, not both")
    if (create and not able.conditional_create) or (replacing is not None and not able.conditional_update):
        raise ValueError(f"{store.url} has no conditional writes")
    if replacing == "":
        raise ValueError("an object without a version cannot be replaced conditionally")
