"""A store of 10,000 checkpoints, in a folder and on an S3 server: listing, pruning, pushing one more; time and memory.

python benchmarks/bench_store_many.py [folder] [s3]
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import count
from pathlib import Path

import storing
from storing import CKPTSYNC, SCENARIO
from timing import heading, machine, peak_memory, row

from ckptsync.core import names
from ckptsync.core.manifest import Manifest
from ckptsync.store import open_store
from ckptsync.store.repository import Repository, Version, VersionKey, create_repository, push_set, read_head
from ckptsync.store.repository.versions import StoredFile
from ckptsync.testing.sb3_files import mlp_parameters, write_sb3_zip

_STEPS = (10, 100, 1_000, 10_000)
_REPEATS = int(os.environ.get("CKPTSYNC_BENCH_REPEATS", "5"))


def main(kinds: list[str]) -> None:
    """Print the tables."""
    with tempfile.TemporaryDirectory(dir=os.environ.get("CKPTSYNC_BENCH_DIR")) as folder:
        if not kinds or "folder" in kinds:
            _measure("a folder", Path(folder) / "folder", str(Path(folder) / "store"))
        if kinds and "s3" not in kinds:
            return
        if (said := storing.missing("weed")) is not None:
            row("on an S3 server", said)
            return
        with storing.bench(Path(folder)) as bench:
            _measure("an S3 server on loopback", Path(folder) / "s3", bench.url("many"))


def _measure(name: str, folder: Path, url: str) -> None:
    """Fill a store step by step; measure a push at each step, and the rest at the end."""
    tree = storing.project(folder, url)
    store = open_store(url)
    repository = create_repository(store)
    filling = _Filling(repository, tree)
    heading(f"{_STEPS[-1]:,} checkpoints in {name}; whole processes, {_REPEATS} repeats")
    listing, pruning = [CKPTSYNC, "ls", "--store", SCENARIO], [CKPTSYNC, "prune", "--dry-run", SCENARIO]
    for step in _STEPS:
        filling.up_to(step)
        taken = [_clocked(_command([CKPTSYNC, "push", SCENARIO], folder), filling.seal) for _ in range(_REPEATS + 1)]
        row(f"push of one more, of {step:,} in the store", _told(taken[1:]), "goal: the same at each step")
    for words, goal in ((listing, "goal: under 2 s"), (pruning, "goal: under 5 s")):
        taken = [_clocked(_command(words, folder)) for _ in range(_REPEATS + 1)]
        row(" ".join(str(word) for word in ("ckptsync", *words[1:])), _told(taken[1:]), goal)
        row("  peak memory", f"{peak_memory(words, cwd=folder) / 1e6:.0f} MB", "goal: under 200 MB")
    filling.seal()
    pushing = [CKPTSYNC, "push", SCENARIO]
    row("push, peak memory", f"{peak_memory(pushing, cwd=folder) / 1e6:.0f} MB", "goal: under 200 MB")
    store.close()


class _Filling:
    """Puts small checkpoints into a store: the first by a push, many as versions that lie where the first one does.

    Args:
        repository: where to.
        tree: where the sets of the project go, of which only a few are kept.
    """

    def __init__(self, repository: Repository, tree: Path) -> None:
        self._repository = repository
        self._tree = tree
        self._model = tree.parents[2] / "model.zip"
        self._numbers = count(1)
        self._sealed: list[str] = []
        write_sb3_zip(self._model, mlp_parameters(), num_timesteps=0)
        push_set(repository, SCENARIO, tree, self.seal())
        head = read_head(repository, SCENARIO, SCENARIO)
        if head is None:
            raise RuntimeError("the first push has set no head")
        self._first = repository.read(head.version)
        self._there = 1

    def seal(self) -> str:
        """Add a set to the tree, which keeps the newest two; return its stem."""
        stem = storing.seal(self._tree, next(self._numbers), self._model).stem
        self._sealed.append(stem)
        for old in self._sealed[:-2]:
            for path in self._tree.glob(f"{old}.*"):
                path.unlink()
        self._sealed = self._sealed[-2:]
        return stem

    def up_to(self, total: int) -> None:
        """Write versions until there are so many."""
        wanted = [next(self._numbers) for _ in range(total - self._there)]
        with ThreadPoolExecutor(16) as pool:
            for _ in pool.map(self._write, wanted):
                pass
        self._there = total
        push_set(self._repository, SCENARIO, self._tree, self.seal())

    def _write(self, number: int) -> None:
        file = self._first.files[0]
        entry = replace(file.entry, path=names.model_name(names.checkpoint_stem(SCENARIO, number)))
        seal = storing.manifest(number, (entry,), self._first.manifest.signature).serialise()
        manifest = Manifest.parse(seal)
        key = VersionKey.of(SCENARIO, manifest)
        version = Version(key, manifest, seal, (StoredFile(entry, file.pieces),))
        self._repository.store.put(key.key, version.serialise())


def _command(words: list[str | Path], folder: Path) -> Callable[[], float]:
    return storing.command(*words, cwd=folder, home=folder)


def _clocked(run: Callable[[], float], before: Callable[[], object] = lambda: None) -> float:
    before()
    return run()


def _told(seconds: list[float]) -> str:
    return f"{statistics.median(seconds):.2f} s  ({min(seconds):.2f} to {max(seconds):.2f})"


if __name__ == "__main__":
    print(machine())
    main(sys.argv[1:])
