"""Checkpoints to an S3 server on loopback and back, beside boto3, restic and rclone on the same server.

python benchmarks/bench_store.py [dense] [frozen] [replay] [pull] [small] [faults]

With `faults` everybody goes through one proxy: 20 ms from the server, and 1 % of all requests fail.
"""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import storing
from botocore.exceptions import BotoCoreError
from storing import CKPTSYNC, SCENARIO, Bench, in_turn
from support import weed
from timing import Timing, heading, machine, ratio, row

from ckptsync.core import fsio, names
from ckptsync.core.manifest import SEGMENT, FileEntry
from ckptsync.core.readers import read_model
from ckptsync.core.sets import seal_in_place
from ckptsync.store import open_store
from ckptsync.store.repository import (
    Repository,
    create_repository,
    open_repository,
    pull_set,
    push_set,
    read_head,
    scrub,
)
from ckptsync.store.repository.keys import object_key
from ckptsync.testing.faulty_proxy import Fault, FaultyProxy
from ckptsync.testing.sb3_files import mlp_parameters, write_sb3_zip

_REPEATS = int(os.environ.get("CKPTSYNC_BENCH_REPEATS", "5"))
_SMALL_FILES, _SMALL_BYTES = 2_000, 10_000
# One by one and far away they take minutes
_FAR_FILES = 200
_LATENCY_SECONDS, _FAILING = 0.02, 0.01
_UPLOAD = """
import sys, boto3
endpoint, bucket, path, key = sys.argv[1:]
boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1").upload_file(path, bucket, key)
"""
_numbers = count(1)


def main(sections: list[str]) -> None:
    """Print the tables."""
    if (said := storing.missing("weed")) is not None:
        print(f"bench_store is left out: the server is {said}")
        return
    with tempfile.TemporaryDirectory(dir=os.environ.get("CKPTSYNC_BENCH_DIR")) as folder:
        models = Models(Path(folder))
        with storing.bench(Path(folder)) as bench:
            for section, run in _SECTIONS.items():
                if not sections or section in sections:
                    run(bench, models)


class Models:
    """Files of real trainings, made when they are asked for.

    Args:
        folder: for them.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._made: dict[str, list[Path]] = {}

    def dense(self) -> dict[str, list[Path]]:
        """Return what two trainings saved one after another, by what they are."""
        for name, algorithm, width in (("PPO", "PPO", 860), ("SAC", "SAC", 1850)):
            if name not in self._made:
                self._made[name] = storing.trained(self._folder / f"trained-{name}", algorithm, width, _REPEATS + 1)
        return {f"{name}, {_megabytes(self._made[name][0])}": self._made[name] for name in ("PPO", "SAC")}

    def frozen(self) -> list[Path]:
        """Return models of which one tenth changes from each to the next."""
        if "frozen" not in self._made:
            self._made["frozen"] = storing.partly_frozen(self._folder / "frozen", _REPEATS + 1)
        return self._made["frozen"]


def dense(bench: Bench, models: Models) -> None:
    """Push models all of whose weights change."""
    for name, files in models.dense().items():
        _dense_in_process(bench, name, files)
        _dense_processes(bench, name, files)


def _dense_in_process(bench: Bench, name: str, files: list[Path], share: float = 1.0) -> None:
    prefix, tree = _fresh(bench)
    client, store = bench.client(), open_store(bench.url(prefix))
    repository = create_repository(store)
    sets = [storing.seal(tree, number, file) for number, file in enumerate(files)]
    timed = in_turn(
        {
            "ckptsync, push_set": [partial(_push, repository, tree, item.stem) for item in sets],
            "boto3, upload_file": [
                partial(client.upload_file, str(file), weed.BUCKET, f"{prefix}-plain/{file.name}") for file in files
            ],
        }
    )
    store.close()
    heading(f"Dense: {name}, every weight changes; warm clients in one process, {_REPEATS} repeats")
    _rows(timed)
    size = sum(file.stat().st_size for file in files)
    ratio("bytes stored / bytes of the files", bench.stored_bytes(f"{prefix}/") / size, "at most 1.01")
    _compared("time / boto3's", timed, "ckptsync, push_set", "boto3, upload_file", f"at most {1.2 * share:.2f}")


def _push(repository: Repository, tree: Path, stem: str) -> None:
    push_set(repository, SCENARIO, tree, stem)


def _dense_processes(bench: Bench, name: str, files: list[Path]) -> None:
    prefix, tree = _fresh_project(bench)

    def uploads(file: Path) -> Callable[[], float]:
        key = f"{prefix}-plain/{file.name}"
        return bench.command(sys.executable, "-c", _UPLOAD, bench.endpoint, weed.BUCKET, file, key)

    timed = in_turn(
        {
            "ckptsync push": [_pushes(bench, tree, number, file) for number, file in enumerate(files)],
            "python, boto3, upload_file": [uploads(file) for file in files],
        }
    )
    heading(f"Dense: {name}; whole processes")
    _rows(timed)
    _compared("time / boto3's", timed, "ckptsync push", "python, boto3, upload_file", "shown")


def frozen(bench: Bench, models: Models) -> None:
    """Push models of which a tenth changes."""
    files = models.frozen()
    prefix, tree = _fresh_project(bench)
    things = {"ckptsync push": [_pushes(bench, tree, number, file) for number, file in enumerate(files)]}
    counted = {"ckptsync push": f"{prefix}/"}
    source = bench.folder / f"{prefix}-source"
    source.mkdir()

    def backs_up(file: Path) -> Callable[[], float]:
        def run() -> float:
            (source / "model.zip").unlink(missing_ok=True)
            os.link(file, source / "model.zip")
            return bench.restic("backup", source)()

        return run

    if (said := storing.missing("restic")) is None:
        bench.restic("init")()
        things["restic backup"] = [backs_up(file) for file in files]
        counted["restic backup"] = "restic/"
    first = {name: runs[0]() for name, runs in things.items()}
    before = {name: bench.stored_bytes(where) for name, where in counted.items()}
    # The first round is not counted, so the second change is the first one that is timed
    timed = in_turn({name: runs[1:] for name, runs in things.items()})
    heading(f"Partly frozen: {_megabytes(files[0])}, a tenth of the tensors changes; whole processes")
    _rows(timed)
    for name, seconds in first.items():
        row(f"{name}, the first of all", f"{seconds:.2f} s")
    changed = 10 * (4 << 18) * (len(files) - 1)
    for name, where in counted.items():
        goal = "at most 1.05" if name == "ckptsync push" else "shown"
        ratio(f"{name}: bytes stored / changed", (bench.stored_bytes(where) - before[name]) / changed, goal)
    if said is not None:
        row("restic", said)
    else:
        _compared("time / restic's", timed, "ckptsync push", "restic backup", "at most 0.50")


def replay(bench: Bench, models: Models) -> None:
    """Push sets whose replay buffer has new rows."""
    import bench_replay

    slots, new = 200_000, 10_000
    prefix, tree = _fresh(bench)
    fsio.make_folder(tree)
    store = open_store(bench.url(prefix))
    repository = create_repository(store)
    buffer, added = bench_replay.make(24, 4, 0, slots), SimpleNamespace(rows=0)
    log = bench_replay.ReplayLog(buffer, tree, [], lambda: added.rows)
    model = models.dense()[next(iter(models.dense()))][0]
    sizes = []
    for _ in range(10):
        files, _stall = bench_replay.save(log, tree, buffer, added, rows=new)
        push_set(repository, SCENARIO, tree, storing.seal(tree, added.rows, model, files).stem)
        sizes.append(bench.stored_bytes(f"{prefix}/"))
    store.close()
    row_bytes = sum(part.nbytes for part in vars(buffer).values() if hasattr(part, "nbytes")) / slots
    heading(f"Replay: {new:,} new rows of {row_bytes:.0f} bytes at each push, of a buffer of {slots:,}; the same model")
    stored = (sizes[-1] - sizes[0]) / (len(sizes) - 1)
    row("bytes stored by a push", f"{stored:,.0f}")
    ratio("bytes stored / bytes of the new rows", stored / (new * row_bytes), "at most 1.20")


def pull(bench: Bench, models: Models) -> None:
    """Pull the newest to an empty machine."""
    for name, files in {**models.dense(), f"partly frozen, {_megabytes(models.frozen()[0])}": models.frozen()}.items():
        _pull(bench, name, files)


def _pull(bench: Bench, name: str, files: list[Path], share: float = 1.0) -> None:
    prefix, tree = _fresh(bench)
    near = replace(bench, endpoint=bench.server.endpoint)
    store = open_store(near.url(prefix))
    repository = create_repository(store)
    for number, file in enumerate(files):
        stem = storing.seal(tree, number, file).stem
        push_set(repository, SCENARIO, tree, stem)
    store.close()
    for path in tree.glob(f"{stem}*"):
        near.client().upload_file(str(path), weed.BUCKET, f"{prefix}-plain/{path.name}")
    targets = [bench.folder / f"{prefix}-to-{number}" for number in range(_REPEATS + 1)]
    for target in targets:
        storing.project(target, bench.url(prefix))
    things = {"ckptsync pull": [bench.command(CKPTSYNC, "pull", SCENARIO, cwd=target) for target in targets]}
    if (said := storing.missing("rclone")) is None:
        plain = f"s3:{weed.BUCKET}/{prefix}-plain"
        things["rclone copy"] = [bench.rclone("copy", plain, target / "plain") for target in targets]
    timed = in_turn(things)
    heading(f"Pull of the newest to an empty machine: {name}; whole processes")
    _rows(timed)
    got = [next(target.rglob(f"checkpoints/{stem}.zip")).read_bytes() == files[-1].read_bytes() for target in targets]
    row("each brought the file to the byte", all(got))
    if said is not None:
        row("rclone", said)
    else:
        _compared("time / rclone's", timed, "ckptsync pull", "rclone copy", f"at most {1.5 * share:.2f}")
    for target in targets:
        shutil.rmtree(target)


def small(bench: Bench, _models: Models) -> None:
    """Push and pull many small files, and read many small objects, beside boto3 one by one."""
    _small(bench, _SMALL_FILES)


def _small(bench: Bench, files: int, share: float = 1.0) -> None:
    prefix, tree = _fresh(bench)
    fsio.make_folder(tree)
    client, store = bench.client(), open_store(bench.url(prefix))
    repository = create_repository(store)
    rounds = range(_few() + 1)
    sets = [_set_of_small_files(tree, number, files) for number in rounds]
    keys = [[f"{prefix}-plain/{number}/{place}" for place in range(files)] for number in rounds]
    segments = sorted((tree / names.segment_folder(SCENARIO)).iterdir())
    paths = [segments[number * files : (number + 1) * files] for number in rounds]

    def push(number: int) -> None:
        push_set(repository, SCENARIO, tree, sets[number])

    def upload(number: int) -> None:
        for path, key in zip(paths[number], keys[number], strict=True):
            client.upload_file(str(path), weed.BUCKET, key)

    def bring(number: int) -> None:
        head = read_head(repository, SCENARIO, SCENARIO)
        pull_set(repository, head.version, bench.folder / f"{prefix}-pulled-{number}")

    def download(number: int) -> None:
        target = bench.folder / f"{prefix}-downloaded-{number}"
        target.mkdir()
        for place, key in enumerate(keys[number]):
            client.download_file(weed.BUCKET, key, str(target / str(place)))

    heading(f"{files:,} files of {_SMALL_BYTES / 1000:.0f} kB; warm clients in one process")
    goal = f"at least {2 / share:.2f}"
    for ours, theirs, verb in ((push, upload, "push"), (bring, download, "pull")):
        mine, other = f"ckptsync, {verb}", f"boto3, {theirs.__name__}_file one by one"
        timed = in_turn(
            {mine: [partial(ours, number) for number in rounds], other: [partial(theirs, number) for number in rounds]}
        )
        _rows(timed)
        _compared(f"{verb}: times as fast", timed, other, mine, goal)
    store.close()
    _small_objects(bench, files, goal)


def _small_objects(bench: Bench, files: int, goal: str) -> None:
    """Write and read many small objects, each in a request of its own."""
    prefix = f"s{next(_numbers)}"
    store = open_store(bench.url(prefix))
    create_repository(store)
    repository = open_repository(store)
    client = bench.client()

    def put() -> None:
        data = [os.urandom(_SMALL_BYTES) for _ in range(files)]
        with ThreadPoolExecutor(repository.workers) as pool:
            for _ in pool.map(lambda item: store.put(object_key(_digest(item)), item, digest=_digest(item)), data):
                pass

    def put_plain() -> None:
        for number in range(files):
            client.put_object(Bucket=weed.BUCKET, Key=f"{prefix}-plain/{number}", Body=os.urandom(_SMALL_BYTES))

    def read() -> None:
        for _ in scrub(repository):
            raise RuntimeError("an object is damaged")

    def read_plain() -> None:
        for number in range(files):
            _get_plain(client, f"{prefix}-plain/{number}")

    put(), put_plain()
    heading(f"{files:,} objects of {_SMALL_BYTES / 1000:.0f} kB; warm clients in one process")
    for ours, theirs, verbs in ((read, read_plain, ("scrub", "get")), (put, put_plain, ("put", "put"))):
        mine, other = f"ckptsync, {verbs[0]}", f"boto3, {verbs[1]}_object one by one"
        # Ours first, for what it puts is not to be read by it
        timed = in_turn({mine: [ours] * (_few() + 1), other: [theirs] * (_few() + 1)})
        _rows(timed)
        _compared(f"{verbs[0]}: times as fast", timed, other, mine, goal)
    store.close()


def _get_plain(client: Any, key: str) -> bytes:
    """Read an object with boto3, which does not ask again for a body that breaks off."""
    for _ in range(5):
        with suppress(BotoCoreError):
            return client.get_object(Bucket=weed.BUCKET, Key=key)["Body"].read()
    raise RuntimeError(f"{key} cannot be read")


def faults(bench: Bench, models: Models) -> None:
    """Do all that over a way that is long and fails."""
    chance = random.Random(0)
    kinds = (Fault("status", status=503), Fault("reset", after=1_000), Fault("cut", after=100), Fault("lose"))

    def choose(_method: str, _path: str) -> Fault | None:
        return chance.choice(kinds) if chance.random() < _FAILING else None

    with FaultyProxy("127.0.0.1", bench.server.port, choose, latency_seconds=_LATENCY_SECONDS) as proxy:
        heading(f"From here on {_LATENCY_SECONDS * 1000:.0f} ms from the server, {_FAILING:.0%} of all requests fail")
        far = replace(bench, endpoint=proxy.url)
        for name, files in models.dense().items():
            _dense_in_process(far, name, files, share=1.2)
            _pull(far, name, files, share=1.2)
        _small(far, _FAR_FILES, share=1.2)


# --- shared -----------------------------------------------------------------------------------------------------------


def _fresh(bench: Bench) -> tuple[str, Path]:
    """Return a prefix of its own in the bucket, and a folder for sets."""
    prefix = f"s{next(_numbers)}"
    return prefix, bench.folder / f"{prefix}-tree"


def _fresh_project(bench: Bench) -> tuple[str, Path]:
    """Return a prefix with a repository, and where the sets of a project go whose store it is."""
    prefix, _ = _fresh(bench)
    store = open_store(bench.url(prefix))
    create_repository(store)
    store.close()
    return prefix, storing.project(bench.folder / prefix, bench.url(prefix))


def _pushes(bench: Bench, tree: Path, number: int, file: Path) -> Callable[[], float]:
    """Return what adds a set to a project's tree and tells how long `ckptsync push` takes then."""

    def run() -> float:
        storing.seal(tree, number, file)
        return bench.command(CKPTSYNC, "push", SCENARIO, cwd=tree.parents[2])()

    return run


def _set_of_small_files(tree: Path, number: int, segments: int) -> str:
    """Seal a set whose replay buffer lies in many segments, none of which another set has; return its stem."""
    stem, start = names.checkpoint_stem(SCENARIO, number), number * segments
    write_sb3_zip(tree / names.model_name(stem), mlp_parameters(), num_timesteps=number)
    report = read_model(tree / names.model_name(stem))
    files = [FileEntry(names.model_name(stem), "model", report.size_bytes, report.digest, report.content)]
    for place in range(segments):
        data = os.urandom(_SMALL_BYTES)
        name = names.segment_name(start + place, start + place + 1, _digest(data))
        fsio.make_folder(tree / names.segment_folder(SCENARIO))
        files.append(FileEntry(f"{names.segment_folder(SCENARIO)}/{name}", SEGMENT, len(data), _digest(data)))
        (tree / files[-1].path).write_bytes(data)
    seal_in_place(tree, storing.manifest(number, tuple(files), report.signature))
    return stem


def _digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def _few() -> int:
    return min(_REPEATS, 3)


def _megabytes(file: Path) -> str:
    return f"{file.stat().st_size / 1e6:.0f} MB"


def _rows(timed: dict[str, Timing]) -> None:
    for name, timing in timed.items():
        row(name, timing)


def _compared(what: str, timed: dict[str, Timing], over: str, under: str, goal: str) -> None:
    """Print the ratio of the medians, and those of each round."""
    rounds = sorted(a / b for a, b in zip(timed[over].seconds, timed[under].seconds, strict=True))
    ratio(what, timed[over].median / timed[under].median, goal)
    row("  the same of each round", f"{rounds[0]:.2f} to {rounds[-1]:.2f}")


_SECTIONS: dict[str, Callable[[Bench, Models], None]] = {
    "dense": dense,
    "frozen": frozen,
    "replay": replay,
    "pull": pull,
    "small": small,
    "faults": faults,
}


if __name__ == "__main__":
    print(machine())
    main(sys.argv[1:])
