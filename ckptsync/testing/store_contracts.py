"""The contract suite of stores: what every implementation of `ckptsync.store.base.Store` must keep.

    class TestMyStore(StoreContract):
        @pytest.fixture
        def store(self): yield MyStore(...)          # empty
        @pytest.fixture
        def other(self, store): yield MyStore(...)   # another client of the same place

What a store says that it cannot do is not asked of it, but it must refuse to pretend.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import product

import pytest

from ..core.errors import CorruptError, LimitError, NothingFoundError, UnsafePathError
from ..store.base import MAX_OBJECT_BYTES, ObjectInfo, PreconditionError, Store, StreamingStore

ODD_KEYS = (
    "a/with space",
    "a/plus+and&and=and?and#",
    "a/percent%20",
    "a/[brackets]*",
    "a/ünïcödé",
    "a/quote'and\"",
    "a/-dash~tilde,comma;semicolon@at$dollar!",
)
UNSAFE_KEYS = ("", "/a", "a/", "a//b", "../a", "a/../b", "a/./b", "a\\b", "a\nb", ".hidden", "a/.hidden", "x" * 800)


_BLOCK = b"".join(hashlib.sha256(index.to_bytes(4, "big")).digest() for index in range(4_096))


def payload(size: int) -> bytes:
    """Return bytes that do not repeat within a hundred kilobytes."""
    return (_BLOCK * (size // len(_BLOCK) + 1))[:size]


class StoreContract:
    """What every store must keep."""

    long_list = 60
    """How many objects make a long list."""
    files_and_folders_share_names = False
    """Whether `a` and `a/b` can both be there; nobody may need it."""

    def keys(self, found: Iterable[ObjectInfo]) -> list[str]:
        """The keys of what was listed."""
        return [info.key for info in found]

    def test_what_was_written_is_read(self, store: Store, other: Store) -> None:
        """Whole, by every client, at once."""
        store.put("a/b", b"first")
        assert store.read("a/b", limit=10).data == b"first"
        assert other.read("a/b", limit=10).data == b"first"
        other.put("a/b", b"second, which is longer")
        assert store.read("a/b", limit=100).data == b"second, which is longer"

    def test_an_empty_object(self, store: Store) -> None:
        """It is there, and has no bytes."""
        store.put("empty", b"")
        assert store.read("empty", limit=0).data == b""
        assert b"".join(store.get("empty")) == b""
        head = store.head("empty")
        assert head is not None
        assert head.size_bytes == 0

    def test_ranges(self, store: Store) -> None:
        """Any part, and nothing behind the end."""
        data = payload(3_000_000)
        store.put("large", data)
        assert b"".join(store.get("large")) == data
        for offset, size in ((0, 1), (0, 3_000_000), (1, 2_999_999), (2_999_999, 1), (1_000_000, 1_500_000), (7, 0)):
            assert b"".join(store.get("large", offset, size)) == data[offset : offset + size]
        assert b"".join(store.get("large", 2_000_000)) == data[2_000_000:]
        assert b"".join(store.get("large", 2_999_990, 100)) == data[-10:]
        assert b"".join(store.get("large", 3_000_000, 5)) == b""
        assert b"".join(store.get("large", 9_000_000)) == b""

    def test_a_large_object_comes_in_pieces(self, store: Store) -> None:
        """None of them is as large as the object, and whoever reads may stop early."""
        store.put("large", payload(20_000_000))
        stream = store.get("large")
        assert len(next(stream)) <= 8 << 20

    def test_what_is_not_there(self, store: Store) -> None:
        """Reading says so, looking says None, removing is content."""
        store.put("a/b/c", b"")
        for key in ("nothing", "a/b", "a/b/c/d"):
            with pytest.raises(NothingFoundError):
                store.read(key, limit=10)
            with pytest.raises(NothingFoundError):
                list(store.get(key))
            assert store.head(key) is None
            store.delete(key)
        assert self.keys(store.list()) == ["a/b/c"]

    def test_reading_whole_has_a_limit(self, store: Store) -> None:
        """What is larger than it may be is refused, not loaded."""
        store.put("a", b"12345")
        assert store.read("a", limit=5).data == b"12345"
        with pytest.raises(CorruptError, match="larger than 4"):
            store.read("a", limit=4)

    def test_an_object_comes_as_a_stream(self, store: Store) -> None:
        """Of any size, from its start again where it was cut short; another error than the store's is the caller's."""
        if not isinstance(store, StreamingStore):
            return
        begun: list[int] = []

        def chunks() -> Iterator[bytes]:
            begun.append(1)
            yield payload(3_000_000)
            if len(begun) == 1:
                raise NothingFoundError("it is gone")
            yield b"the end"

        with pytest.raises(NothingFoundError, match="it is gone"):
            store.put_stream("inbox/large", chunks)
        store.put_stream("inbox/large", chunks)
        assert b"".join(store.get("inbox/large")) == payload(3_000_000) + b"the end"
        assert self.keys(store.list()) == ["inbox/large"]
        with pytest.raises(UnsafePathError):
            store.put_stream("../a", chunks)
        assert len(begun) == 2

    def test_an_object_has_a_limit(self, store: Store) -> None:
        """What is larger goes into several."""
        with pytest.raises(LimitError):
            store.put("a", bytes(MAX_OBJECT_BYTES + 1))

    def test_head(self, store: Store) -> None:
        """Length, and a time of the store's clock."""
        before = time.time()
        store.put("a", b"12345")
        head = store.head("a")
        assert head is not None
        assert (head.key, head.size_bytes) == ("a", 5)
        assert head.modified is None or abs(head.modified - before) < 3_600

    def test_list_in_order(self, store: Store, other: Store) -> None:
        """All of them, each once; those of one folder in order."""
        keys = ["a", "a-b", "a/b", "a/b-c", "a/b/c", "a0", "b/1", "b/10", "b/2", "ä", "z"]
        if not self.files_and_folders_share_names:
            keys = [key for key in keys if not any(longer.startswith(f"{key}/") for longer in keys)]
        for key in reversed(keys):
            store.put(key, key.encode())
        found = self.keys(other.list())
        assert sorted(found) == sorted(keys)
        for folder in {key.rpartition("/")[0] for key in keys}:
            inside = [key for key in found if key.rpartition("/")[0] == folder]
            assert inside == sorted(inside)
        assert {info.key: info.size_bytes for info in other.list()} == {key: len(key.encode()) for key in keys}

    def test_list_below_a_prefix(self, store: Store) -> None:
        """Only what lies below it."""
        for key in ("a/1", "a/b/1", "a/b/2", "ab/1", "b/1"):
            store.put(key, b"")
        assert self.keys(store.list("a/")) == ["a/1", "a/b/1", "a/b/2"]
        assert self.keys(store.list("a/b/")) == ["a/b/1", "a/b/2"]
        assert self.keys(store.list("c/")) == []
        with pytest.raises(UnsafePathError):
            list(store.list("a"))

    def test_list_from_a_key_on(self, store: Store) -> None:
        """A listing can be taken up again where it stopped."""
        for folder in ("a", "a-", "b", "c"):
            for name in ("1", "2", "x/3"):
                store.put(f"{folder}/{name}", b"")
        keys = self.keys(store.list())
        for at, key in enumerate(keys):
            assert self.keys(store.list(after=key)) == keys[at + 1 :]
        assert self.keys(store.list("a/", after="a/1")) == ["a/2", "a/x/3"]

    def test_a_long_list(self, store: Store) -> None:
        """More than one page of any server."""
        keys = [f"many/{number:05d}" for number in range(self.long_list)]
        for key in keys:
            store.put(key, b"")
        assert self.keys(store.list("many/")) == keys

    def test_delete(self, store: Store, other: Store) -> None:
        """It is gone for everybody, and may be written again."""
        store.put("a/b", b"1")
        store.put("a/c", b"2")
        other.delete("a/b")
        assert store.head("a/b") is None
        assert self.keys(store.list()) == ["a/c"]
        store.put("a/b", b"3")
        assert other.read("a/b", limit=1).data == b"3"

    def test_odd_keys(self, store: Store) -> None:
        """What a scenario may be called is kept as it is."""
        for key in ODD_KEYS:
            store.put(key, key.encode())
        assert self.keys(store.list("a/")) == sorted(ODD_KEYS)
        for key in ODD_KEYS:
            assert store.read(key, limit=100).data == key.encode()
            store.delete(key)
        assert self.keys(store.list()) == []

    def test_unsafe_keys(self, store: Store) -> None:
        """They reach neither the store nor a path."""
        calls: tuple[Callable[[str], object], ...] = (
            lambda key: store.put(key, b""),
            lambda key: store.read(key, limit=1),
            lambda key: list(store.get(key)),
            store.head,
            store.delete,
        )
        for key, call in product(UNSAFE_KEYS, calls):
            with pytest.raises(UnsafePathError):
                call(key)
        assert self.keys(store.list()) == []

    def test_many_threads(self, store: Store) -> None:
        """One store serves them all."""
        sound: list[bool] = []

        def work(number: int) -> None:
            for turn in range(4):
                data = payload(50_000 + number * 10 + turn)
                store.put(f"t/{number}/{turn}", data)
                sound.append(b"".join(store.get(f"t/{number}/{turn}")) == data)

        _together(work, 8)
        assert sound == [True] * 32
        assert len(list(store.list("t/"))) == 32

    def test_creating_what_is_there_fails(self, store: Store, other: Store) -> None:
        """The first one stays."""
        if not store.capabilities.conditional_create:
            with pytest.raises(ValueError, match="conditional"):
                store.put("a", b"", create=True)
            return
        store.put("a", b"first", create=True)
        with pytest.raises(PreconditionError):
            other.put("a", b"second", create=True)
        assert store.read("a", limit=9).data == b"first"

    def test_only_one_of_many_creates(self, store: Store, other: Store) -> None:
        """Whatever they do at once."""
        if not store.capabilities.conditional_create:
            return
        won: list[int] = []

        def work(number: int) -> None:
            try:
                (store, other)[number % 2].put("a", b"%d" % number, create=True)
                won.append(number)
            except PreconditionError:
                pass

        _together(work, 8)
        assert len(won) == 1
        assert store.read("a", limit=9).data == b"%d" % won[0]

    def test_replacing_what_has_changed_fails(self, store: Store, other: Store) -> None:
        """A version stands for the bytes that were read."""
        if not store.capabilities.conditional_update:
            with pytest.raises(ValueError, match="conditional"):
                store.put("a", b"", replacing="1")
            return
        store.put("a", b"first")
        before = store.read("a", limit=9)
        other.put("a", b"second", replacing=other.read("a", limit=9).version)
        with pytest.raises(PreconditionError):
            store.put("a", b"third", replacing=before.version)
        assert store.read("a", limit=9).data == b"second"
        store.delete("a")
        with pytest.raises((PreconditionError, NothingFoundError)):
            store.put("a", b"fourth", replacing=before.version)
        assert store.head("a") is None

    def test_counting_up_by_many_loses_nothing(self, store: Store, other: Store) -> None:
        """Read, add one, replace: as heads move."""
        if not store.capabilities.conditional_update:
            return
        store.put("count", b"0")

        def work(number: int) -> None:
            client, left = (store, other)[number % 2], 3
            while left:
                read = client.read("count", limit=9)
                try:
                    client.put("count", b"%d" % (int(read.data) + 1), replacing=read.version)
                    left -= 1
                except PreconditionError:
                    pass

        _together(work, 4)
        assert store.read("count", limit=9).data == b"12"

    def test_the_url_says_where_it_is(self, store: Store) -> None:
        """For messages; there is no secret in it."""
        assert store.url
        with pytest.raises(NothingFoundError) as raised:
            store.read("no/such/object", limit=1)
        assert "no/such/object" in raised.value.message


def _together(work: Callable[[int], None], count: int) -> None:
    threads = [threading.Thread(target=work, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
