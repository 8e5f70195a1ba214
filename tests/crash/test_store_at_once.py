"""Several who push, remove and roll back at once, kills and faults at random: nothing lost, nothing torn, no wrong byte."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from support import figures, weed
from support.largesets import safetensors, write_large_set
from support.toysets import payload, write_set

from ckptsync.core import names, sets
from ckptsync.core.errors import LockedError, NothingFoundError, UsageError
from ckptsync.store import Store, open_store
from ckptsync.store.base import Capabilities, ObjectInfo, Stored
from ckptsync.store.folder import FolderStore
from ckptsync.store.fsspec_store import FsspecStore
from ckptsync.store.repository import (
    ROLLBACK,
    Repository,
    VersionKey,
    create_repository,
    move_head,
    open_repository,
    pull_set,
    push_set,
    read_head,
    removing,
    scrub,
)
from ckptsync.testing.faulty_proxy import Fault, FaultyProxy

RUN = "run"
STEPS = range(100, 1_100, 100)
KINDS = ("cut", "reset", "length", "lose", "half", "flip", "status")


def stem(num_timesteps: int) -> str:
    return names.checkpoint_stem("cartpole", num_timesteps)


def fill(tree: Path) -> None:
    """Ten sets that share segments, two of them with large files that share tensors."""
    tensors = {f"{number}": payload(number, size=300_000) for number in range(4)}
    for steps in STEPS[:-2]:
        write_set(tree, "cartpole", steps, rows=range(0, steps + 1, 100)[-4:])
    for steps in STEPS[-2:]:
        changed = {**tensors, "0": payload(steps, size=300_000)}
        write_large_set(tree, steps, {"model": safetensors(changed)})


class Slow:
    """A store whose every call may take a moment, so that others come in between."""

    def __init__(self, store: Store, chance: random.Random) -> None:
        self._store = store
        self._chance = chance
        self.url = store.url
        self.capabilities: Capabilities = store.capabilities

    def _pause(self) -> None:
        time.sleep(self._chance.choice((0, 0, 0, 0.0005, 0.003)))

    def put(self, key: str, data: bytes, **conditions: object) -> str:
        self._pause()
        return self._store.put(key, data, **conditions)  # type: ignore[arg-type]

    def read(self, key: str, *, limit: int) -> Stored:
        self._pause()
        return self._store.read(key, limit=limit)

    def get(self, key: str, offset: int = 0, size: int | None = None) -> Iterator[bytes]:
        self._pause()
        return self._store.get(key, offset, size)

    def head(self, key: str) -> ObjectInfo | None:
        self._pause()
        return self._store.head(key)

    def list(self, prefix: str = "", *, after: str = "") -> Iterator[ObjectInfo]:
        self._pause()
        return self._store.list(prefix, after=after)

    def delete(self, key: str) -> None:
        self._pause()
        self._store.delete(key)

    def close(self) -> None:
        self._store.close()


class Actors:
    """Threads that do things to one repository, each by a client of its own.

    Args:
        connect: a new client of the store.
        tree: where the sets lie.
        seed: of the chance.
    """

    def __init__(self, connect: Callable[[], Store], tree: Path, seed: int) -> None:
        self._connect = connect
        self._tree = tree
        self._seed = seed
        self.acked: set[VersionKey] = set()
        self.removed: set[VersionKey] = set()
        self.unexpected: list[BaseException] = []

    def run(self) -> None:
        """Three push, one removes, one rolls back."""
        jobs = [self._push, self._push, self._push, self._prune, self._roll_back]
        threads = [threading.Thread(target=self._work, args=(job, number)) for number, job in enumerate(jobs)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _work(self, job: Callable[[Repository, random.Random], None], number: int) -> None:
        chance = random.Random(f"{self._seed} {number}")
        repository = open_repository(Slow(self._connect(), chance), workers=2)
        for _ in range(3):
            try:
                job(repository, chance)
            except (LockedError, NothingFoundError, UsageError):
                continue  # somebody else was faster, or what was chosen is gone or has a name
            except BaseException as error:
                self.unexpected.append(error)

    def _push(self, repository: Repository, chance: random.Random) -> None:
        self.acked.add(push_set(repository, RUN, self._tree, stem(chance.choice(STEPS))).version)

    def _prune(self, repository: Repository, chance: random.Random) -> None:
        with removing(repository, wait_seconds=1) as remover:
            kept = remover.kept()
            gone = [key for key in repository.versions() if key not in kept and chance.random() < 0.5]
            self.removed.update(gone)
            remover.remove(gone)
            remover.sweep()

    def _roll_back(self, repository: Repository, chance: random.Random) -> None:
        found = list(repository.versions())
        if found:
            move_head(repository, read_head(repository, RUN, "cartpole"), chance.choice(found), reason=ROLLBACK)


def assert_sound(repository: Repository, target: Path) -> set[VersionKey]:
    assert list(scrub(repository)) == []
    found = set(repository.versions())
    for version in found:
        manifest = pull_set(repository, version, target).manifest
        assert sets.check_files(target, manifest) == ()
    return found


def interleave(connect: Callable[[], Store], tree: Path, target: Path, seed: int) -> None:
    actors = Actors(connect, tree, seed)
    actors.run()
    assert actors.unexpected == []
    found = assert_sound(open_repository(connect()), target)
    assert actors.acked - actors.removed <= found
    assert list(connect().list("claims/")) == []


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["conditional", "leased"])
def test_several_at_once(kind: str, fast_folder: Path) -> None:
    _interleave_often(kind, fast_folder, 3)


@pytest.mark.prove
@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("kind", ["conditional", "leased"])
def test_several_at_once_often(kind: str, fast_folder: Path) -> None:
    _interleave_often(kind, fast_folder, 250)
    figures.record(f"store: interleavings, {kind}", points=250, broken=0)


def _interleave_often(kind: str, folder: Path, count: int) -> None:
    fill(folder / "tree")
    for seed in range(count):
        connect = partial(_connect, kind, folder / f"store-{seed}")
        assert create_repository(connect()).conditional == (kind == "conditional")
        interleave(connect, folder / "tree", folder / "target", seed)


def _connect(kind: str, place: Path) -> Store:
    return FolderStore(place) if kind == "conditional" else FsspecStore(f"memory:/{place}")


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in weed.credentials().items():
        monkeypatch.setenv(name, value)


_KILLS_OF_ONE = 4
_TRIP = """
import sys
from pathlib import Path
from ckptsync.store import open_store
from ckptsync.store.repository import open_repository, pull_set, push_set
url, tree, stems, target = sys.argv[1], Path(sys.argv[2]), sys.argv[3].split(), Path(sys.argv[4])
repository = open_repository(open_store(url))
print("ready", flush=True)
for stem in stems:
    pushed = push_set(repository, "run", tree, stem)
    print("pushed", pushed.version.key, flush=True)
    pull_set(repository, pushed.version, target)
    print("pulled", pushed.version.stem, flush=True)
print("end", flush=True)
"""


def _kill_trips(s3_server: weed.Server, folder: Path, count: int) -> int:
    """Kill so many processes in the middle of their trips; a few of them in a row share a repository that was empty."""
    fill(folder / "tree")
    chance = random.Random(11)
    stems = " ".join(stem(steps) for steps in STEPS)
    killed = number = 0
    while killed < count:
        url = s3_server.url(f"kills-{os.getpid()}-{count}-{number}")
        repository = create_repository(open_store(url))
        target, acked = folder / f"target-{number}", set[str]()
        number += 1
        for _ in range(_KILLS_OF_ONE):
            command = [sys.executable, "-c", _TRIP, url, str(folder / "tree"), stems, str(target)]
            process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            time.sleep(chance.random() * 0.4)
            process.send_signal(signal.SIGKILL)
            lines = process.communicate()[0].splitlines()
            killed += "end" not in lines
            acked |= {line.removeprefix("pushed ") for line in lines if line.startswith("pushed ")}
            for stored in sets.scan(target):
                if stored.manifest is not None:
                    assert sets.check_files(target, stored.manifest) == ()
        assert acked <= {version.key for version in repository.versions()}
        assert_sound(repository, folder / f"whole-{number}")
        repository.store.close()
    return killed


@pytest.mark.slow
@pytest.mark.usefixtures("credentials")
def test_pushes_and_pulls_that_are_killed(s3_server: weed.Server, tmp_path: Path) -> None:
    _kill_trips(s3_server, tmp_path, 4)


@pytest.mark.prove
@pytest.mark.timeout(3_600)
@pytest.mark.usefixtures("credentials")
def test_many_pushes_and_pulls_that_are_killed(s3_server: weed.Server, tmp_path: Path) -> None:
    figures.record("store: pushes and pulls killed", points=_kill_trips(s3_server, tmp_path, 300), broken=0)


def _fault_trips(s3_server: weed.Server, folder: Path, count: int) -> int:
    fill(folder / "tree")
    chance = random.Random(5)
    happened = 0

    def choose(method: str, path: str) -> Fault | None:
        nonlocal happened
        if chance.random() > 0.1:
            return None
        happened += 1
        return Fault(chance.choice(KINDS), after=chance.randrange(2_000), status=chance.choice((500, 503, 429)))  # type: ignore[arg-type]

    with FaultyProxy("127.0.0.1", s3_server.port, choose) as proxy:
        url = s3_server.url(f"faults-{os.getpid()}-{count}", endpoint=proxy.url)
        repository = create_repository(open_store(url))
        for number in range(count):
            pushed = push_set(
                repository, f"run{number // len(STEPS)}", folder / "tree", stem(STEPS[number % len(STEPS)])
            )
            target = folder / f"target-{number % 3}"
            manifest = pull_set(repository, pushed.version, target).manifest
            assert sets.check_files(target, manifest) == ()
        assert list(scrub(repository)) == []
    return happened


@pytest.mark.slow
@pytest.mark.usefixtures("credentials")
def test_faults_on_the_way(s3_server: weed.Server, tmp_path: Path) -> None:
    assert _fault_trips(s3_server, tmp_path, 6) > 0


@pytest.mark.prove
@pytest.mark.timeout(3_600)
@pytest.mark.usefixtures("credentials")
def test_many_faults_on_the_way(s3_server: weed.Server, tmp_path: Path) -> None:
    figures.record(
        "store: pushes and pulls with faults", points=300, faults=_fault_trips(s3_server, tmp_path, 300), broken=0
    )
