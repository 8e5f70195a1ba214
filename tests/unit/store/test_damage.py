"""Damage and lies in a repository: found, named, and never taken for a checkpoint."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support import figures
from support.largesets import safetensors, write_large_set
from support.toysets import payload, write_set

from ckptsync.core import jsonio
from ckptsync.core.errors import CorruptError, NothingFoundError
from ckptsync.store.folder import FolderStore
from ckptsync.store.repository import (
    Repository,
    Version,
    VersionKey,
    create_repository,
    documents,
    keys,
    open_repository,
    pull_set,
    push_set,
    read_head,
    scrub,
    set_tag,
)

pytestmark = pytest.mark.slow

RUN = "run"


@pytest.fixture
def root(fast_folder: Path) -> Path:
    return fast_folder / "store"


@pytest.fixture
def repository(root: Path) -> Repository:
    return create_repository(FolderStore(root))


@pytest.fixture
def version(repository: Repository, fast_folder: Path) -> VersionKey:
    tree = fast_folder / "tree"
    push_set(repository, RUN, tree, write_set(tree, "cartpole", 100, rows=(0, 50, 100)).stem)
    tensors = {f"{number}": payload(number, size=300_000) for number in range(4)}
    write_large_set(tree, 200, {"model": safetensors(tensors)})
    write_large_set(tree, 300, {"model": safetensors({**tensors, "1": payload("new", size=300_000)})})
    for steps in (200, 300):
        pushed = push_set(repository, RUN, tree, f"cartpole_checkpoint_{steps}_steps")
    set_tag(repository, pushed.version, "good")
    return pushed.version


def flip(root: Path, chance: random.Random) -> Path:
    files = sorted(path for path in root.rglob("*") if path.is_file() and not path.name.startswith("."))
    path = chance.choice(files)
    data = bytearray(path.read_bytes())
    at = chance.randrange(len(data))
    data[at] ^= 1 << chance.randrange(8)
    path.write_bytes(data)
    return path


def assert_flips_are_found(repository: Repository, root: Path, count: int) -> None:
    chance = random.Random(7)
    for _ in range(count):
        kept = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
        path = flip(root, chance)
        assert path.relative_to(root).as_posix() in {damage.key for damage in scrub(repository)}
        path.write_bytes(kept[path])
    assert list(scrub(repository)) == []


@pytest.mark.usefixtures("version")
def test_every_flipped_bit_is_found(repository: Repository, root: Path) -> None:
    assert_flips_are_found(repository, root, 25)


@pytest.mark.prove
@pytest.mark.timeout(3_600)
@pytest.mark.usefixtures("version")
def test_every_one_of_many_flipped_bits_is_found(repository: Repository, root: Path) -> None:
    assert_flips_are_found(repository, root, 1_000)
    figures.record("store: flipped bits found by scrub", points=1_000, broken=0)


@pytest.mark.usefixtures("version")
def test_every_file_that_is_cut_short_or_gone_is_found(repository: Repository, root: Path) -> None:
    for path in sorted(root.rglob("*")):
        if not path.is_file() or path.name.startswith(".") or path.parent.name == "run":  # a head may be absent
            continue
        data = path.read_bytes()
        path.write_bytes(data[:-1])
        assert list(scrub(repository)) != [], path
        assert list(scrub(repository, read_bytes=False)) != [], path
        path.unlink()
        if "objects" in path.parts:
            assert list(scrub(repository, read_bytes=False)) != [], path
        path.write_bytes(data)


def test_scrub_says_which_versions_suffer(repository: Repository, version: VersionKey, root: Path) -> None:
    first = next(found for found in repository.versions() if found.num_timesteps == 200)
    shared = repository.read(first).objects().keys() & repository.read(version).objects().keys()
    repository.store.delete(keys.object_key(shared.pop()))
    (damage,) = scrub(repository)
    assert damage.problem == "it is not there"
    assert set(damage.versions) == {first.key, version.key}


@pytest.mark.usefixtures("version")
def test_scrub_goes_on_where_it_stopped(repository: Repository) -> None:
    seen: list[str] = []
    list(scrub(repository, progress=lambda key, size: seen.append(key)))
    rest: list[str] = []
    list(scrub(repository, after=seen[1], progress=lambda key, size: rest.append(key)))
    assert rest == seen[2:]


@pytest.mark.parametrize("how", ["gone", "short", "swapped", "flipped"])
def test_a_damaged_object_is_never_installed(
    repository: Repository, version: VersionKey, tmp_path: Path, how: str
) -> None:
    for digest, size in repository.read(version).objects().items():
        key = keys.object_key(digest)
        data = repository.store.read(key, limit=size).data
        if how == "gone":
            repository.store.delete(key)
        else:
            damaged = {"short": data[:-1], "swapped": bytes(size), "flipped": data[:-1] + bytes([data[-1] ^ 1])}[how]
            repository.store.put(key, damaged)
        with pytest.raises((CorruptError, NothingFoundError)):
            pull_set(repository, version, tmp_path)
        assert list(tmp_path.glob("*.manifest.json")) == []
        assert list(tmp_path.glob("*.zip")) == []
        repository.store.put(key, data)
    pull_set(repository, version, tmp_path)


def body_of(repository: Repository, key: VersionKey) -> dict[str, Any]:
    value = jsonio.parse(repository.store.read(key.key, limit=1 << 20).data)
    del value["digest"]
    return dict(value)


def edit(path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    """Set a value at a path such as `files/0/pieces`."""

    def apply(body: Any) -> None:
        *folders, last = [int(part) if part.isdigit() else part for part in path.split("/")]
        for part in folders:
            body = body[part]
        body[last] = value

    return apply


HUGE = 2**62
LIES = [
    edit("run", "other"),
    edit("run", "../run"),
    edit("run", 7),
    edit("schema", "ckptsync.version/2"),
    edit("schema", "ckptsync.manifest/1"),
    edit("manifest", "{}"),
    edit("manifest", None),
    edit("objects", {}),
    edit("objects", []),
    edit("objects/0", ["sha256:" + "0" * 63, 5]),
    edit("objects/0", ["../" * 5, 5]),
    edit("objects/0/1", 0),
    edit("objects/0/1", HUGE),
    edit("objects/0/1", True),
    edit("files", []),
    edit("files", "files"),
    edit("files/0", 5),
    edit("files/0/path", "../../escape"),
    edit("files/0/pieces", []),
    edit("files/0/pieces", [[0, 0, 1]]),
    edit("files/0/pieces", [[0, 0, HUGE]]),
    edit("files/0/pieces", [[9, 0, 5]]),
    edit("files/0/pieces", [[-1, 0, 5]]),
    edit("files/0/pieces", [[0, -1, 5]]),
    edit("files/0/pieces", [[0, 0]]),
    edit("files/0/pieces", [["0", 0, 5]]),
    edit("files/0/ranges", [[0, 5, "blake2b:short"]]),
    edit("files/0/ranges", [[5, 5, "blake2b:" + "0" * 64], [0, 5, "blake2b:" + "0" * 64]]),
    edit("files/0/ranges", [[0, HUGE, "blake2b:" + "0" * 64]]),
    edit("files/0/ranges", 5),
]


@pytest.mark.parametrize("number", range(len(LIES)))
def test_a_version_that_lies_is_refused(repository: Repository, version: VersionKey, number: int) -> None:
    body = body_of(repository, version)
    LIES[number](body)
    schema = body.pop("schema")
    data = documents.serialise(schema, body)
    repository.store.put(version.key, data)
    with pytest.raises(CorruptError) as raised:
        repository.read(version)
    assert version.key in raised.value.message or "not known here" in raised.value.message


def test_a_version_under_another_ones_key_is_refused(repository: Repository, version: VersionKey) -> None:
    other = next(found for found in repository.versions() if found != version)
    repository.store.put(other.key, repository.store.read(version.key, limit=1 << 20).data)
    with pytest.raises(CorruptError, match="another version"):
        repository.read(other)


def test_bytes_that_are_not_canonical_are_refused(repository: Repository, version: VersionKey) -> None:
    data = repository.store.read(version.key, limit=1 << 20).data
    repository.store.put(version.key, data.replace(b'{"files"', b'{ "files"'))
    with pytest.raises(CorruptError, match="form"):
        repository.read(version)


def test_what_is_read_is_what_was_written(repository: Repository, version: VersionKey) -> None:
    found = repository.read(version)
    assert Version.parse(found.serialise(), version) == found


@pytest.mark.usefixtures("version")
@pytest.mark.parametrize(
    "change",
    [
        edit("version", "versions/run/other/l/0000000001/x.json"),
        edit("version", "../../../etc/passwd"),
        edit("version", 7),
        edit("sequence", -1),
        edit("previous", "nothing"),
        edit("schema", "ckptsync.store-head/9"),
    ],
)
def test_a_head_that_lies_is_refused(repository: Repository, change: Callable[[dict[str, Any]], None]) -> None:
    key = keys.head_key(RUN, "cartpole")
    body = jsonio.parse(repository.store.read(key, limit=1 << 20).data)
    del body["digest"]
    change(body)
    schema = body.pop("schema")
    repository.store.put(key, documents.serialise(schema, body))
    with pytest.raises(CorruptError):
        read_head(repository, RUN, "cartpole")
    assert list(scrub(repository)) != []


def test_a_newer_repository_is_not_touched(repository: Repository) -> None:
    repository.store.put(keys.FORMAT_KEY, documents.serialise("ckptsync.repository/2", {"id": "x"}))
    for call in (open_repository, create_repository):
        with pytest.raises(CorruptError, match="not known here") as raised:
            call(repository.store)
        assert "update" in (raised.value.hint or "")


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"[]", b"null", b"\xff", b"{" * 100_000, b'{"schema":"ckptsync.repository/1"}']
)
def test_a_damaged_format_is_told(repository: Repository, data: bytes) -> None:
    repository.store.put(keys.FORMAT_KEY, data)
    with pytest.raises(CorruptError):
        open_repository(repository.store)


@pytest.mark.parametrize(
    "key",
    [
        "versions/run/cartpole/l/0000000001/000000000000000100-periodic-none-" + "0" * 63 + ".json",
        "versions/run/cartpole/l/0000000001/000000000000000100-unknown-none-" + "0" * 64 + ".json",
        "versions/run/cartpole/l/1/000000000000000100-periodic-none-" + "0" * 64 + ".json",
        "versions/run/cartpole/l/0000000001/100-periodic-none-" + "0" * 64 + ".json",
        "versions/run/cartpole/l/0000000001/000000000000000100-periodic-1e999-" + "0" * 64 + ".json",
        "versions/run/cartpole/l/0000000001/000000000000000100-periodic-01-" + "0" * 64 + ".json",
        "versions/-run/cartpole/l/0000000001/000000000000000100-periodic-none-" + "0" * 64 + ".json",
        "versions/run",
        "objects/x",
        "",
    ],
)
def test_what_is_no_version_is_none(key: str) -> None:
    assert VersionKey.parse(key) is None


@pytest.mark.parametrize("score", [None, 0.0, -0.0, 1.0, -12.5, 1e-300, 1.7976931348623157e308, 123456789.123])
def test_a_key_holds_what_it_says(score: float | None) -> None:
    key = VersionKey("run", "a scenario", "l0001-abc", 3, 2048, "best", score, "sha256:" + "a" * 64)
    assert VersionKey.parse(key.key) == key
