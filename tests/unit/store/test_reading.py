"""Reading pieces in the order of a file: every byte in its place, in few requests."""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ckptsync.core.errors import CorruptError
from ckptsync.store.folder import FolderStore
from ckptsync.store.repository.keys import object_key
from ckptsync.store.repository.reading import Reader
from ckptsync.store.repository.versions import Piece


class CountingStore(FolderStore):
    """A folder that counts how often it is read."""

    requests = 0

    def get(self, key: str, offset: int = 0, size: int | None = None) -> Iterator[bytes]:
        """Count, and read."""
        self.requests += 1
        return super().get(key, offset, size)


@pytest.fixture
def store(fast_folder: Path) -> CountingStore:
    return CountingStore(fast_folder)


def kept(store: CountingStore, data: bytes) -> str:
    """Put an object; return its digest."""
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    store.put(object_key(digest), data)
    return digest


def read(store: CountingStore, pieces: list[Piece], ahead: int = 4) -> bytes:
    with ThreadPoolExecutor(4) as pool:
        return b"".join(bytes(part) for part in Reader(store, pool, ahead).stream(pieces))


@pytest.mark.parametrize("ahead", [1, 8])
def test_every_byte_comes_in_its_place(store: CountingStore, ahead: int) -> None:
    chance = random.Random(ahead)
    objects = {kept(store, data): data for data in (os.urandom(size) for size in (100, 900_000, 9_000_000, 20_000_000))}
    pieces, expected = [], []
    for _ in range(200):
        digest, data = chance.choice(list(objects.items()))
        offset = chance.randrange(len(data))
        size = chance.randint(1, min(len(data) - offset, 10_000_000 if chance.random() < 0.02 else 5_000))
        pieces.append(Piece(digest, len(data), offset, size))
        expected.append(data[offset : offset + size])
    assert read(store, pieces, ahead) == b"".join(expected)
    assert read(store, []) == b""


def test_what_lies_close_together_is_one_request(store: CountingStore) -> None:
    headers, tensors = os.urandom(10 * 100), os.urandom(10 * 200_100)
    first, second = kept(store, headers), kept(store, tensors)
    pieces = []
    for number in range(10):  # a header of the one, a tensor of the other, whose own headers lie between
        pieces.append(Piece(first, len(headers), 100 * number, 100))
        pieces.append(Piece(second, len(tensors), 200_100 * number, 200_000))
    found = read(store, pieces)
    assert found[:100] + found[200_100:200_200] == headers[:200]
    assert found[-200_000:] == tensors[-200_100:-100]
    assert store.requests == 2
    far = [Piece(second, len(tensors), offset, 10) for offset in (0, 1_000_000)]
    assert read(store, far) == tensors[:10] + tensors[1_000_000:1_000_010]
    assert store.requests == 4


def test_an_object_that_is_shorter_than_its_version_says(store: CountingStore) -> None:
    digest = kept(store, bytes(1_000))
    with pytest.raises(CorruptError, match="is shorter than 2000 bytes"):
        read(store, [Piece(digest, 2_000, 500, 1_000)])
