"""A full replay buffer of 1M transitions with 10,000 new rows: a save and a load, beside SB3's own."""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.save_util import load_from_pkl, save_to_pkl
from timing import Timing, heading, ratio, row

from ckptsync.core import fsio, names
from ckptsync.core.manifest import SEGMENT, FileEntry
from ckptsync.training.replay import NewSegment, ReplayLog, ReplayPoint, read_replay

_SLOTS = 1_000_000
_NEW = 10_000
_REPEATS = 5


def main() -> None:
    """Print the tables."""
    warnings.simplefilter("ignore")
    for observation, action in ((3, 1), (24, 4)):
        with tempfile.TemporaryDirectory(dir=os.environ.get("CKPTSYNC_BENCH_DIR")) as folder:
            compare(Path(folder), observation, action)
    with tempfile.TemporaryDirectory(dir=os.environ.get("CKPTSYNC_BENCH_DIR")) as folder:
        merging(Path(folder))


def compare(folder: Path, observation: int, action: int) -> None:
    """Save and load one buffer both ways."""
    buffer = make(observation, action, _SLOTS)
    added = SimpleNamespace(rows=0)
    log = ReplayLog(buffer, folder, [], lambda: added.rows)
    files: list[FileEntry] = []
    for _ in range(_SLOTS // _NEW):
        files, _stall = save(log, folder, buffer, added)

    heading(f"1M slots, observations of {observation}, actions of {action}; {_NEW:,} new rows at each save")
    pickle, stalls = folder / "sb3.pkl", []
    timed: dict[str, list[float]] = {}
    for repeat in range(_REPEATS + 1):  # the first round is not counted
        for synced in (True, False):
            fill(buffer, _NEW)
            added.rows += _NEW
            with nullcontext() if synced else no_sync():
                words = "with fsync" if synced else "without fsync"
                os.sync()  # so that nobody pays for what the other has left to write
                theirs = clocked(lambda: save_sb3(pickle, buffer))
                os.sync()
                started = time.perf_counter()
                files, stall = save(log, folder, buffer, added, rows=0)
                mine = time.perf_counter() - started
            if repeat:
                timed.setdefault(f"SB3's save_replay_buffer, {words}", []).append(theirs)
                timed.setdefault(f"keep + write + sha256, {words}", []).append(mine)
                stalls.append(stall)
    medians = {name: Timing(tuple(seconds)).median for name, seconds in timed.items()}
    for name, seconds in timed.items():
        row(name, Timing(tuple(seconds)))
    row("of that the training thread is held, for 10,000 rows", f"{np.median(stalls) * 1000:.2f} ms")
    for words in ("with fsync", "without fsync"):
        theirs, mine = medians[f"SB3's save_replay_buffer, {words}"], medians[f"keep + write + sha256, {words}"]
        ratio(f"SB3 / ours, both {words}", theirs / mine, "at least 20")
    new = [entry for entry in files if entry.role != SEGMENT or _end(entry) == max(map(_end, files))]
    written = sum(entry.size_bytes for entry in new)
    row("bytes of SB3's file", f"{pickle.stat().st_size:,}")
    row("bytes written by a save", f"{written:,}")
    ratio("bytes of SB3's / bytes written", pickle.stat().st_size / written, "at least 20")

    loading(folder, pickle, files, observation, action)
    target = make(observation, action, 0)
    read_replay(folder, files, target)
    if rows_of(target) != rows_of(buffer):
        raise SystemExit("the rows that were read are others")


def loading(folder: Path, pickle: Path, files: list[FileEntry], observation: int, action: int) -> None:
    """Time loads, each in a process of its own, for it gets its memory fresh."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["bench_replay"])
    arguments = (folder, pickle, files, observation, action)
    functions = {
        "load_replay_buffer": load_sb3,
        f"read_replay, {len(files) - 1} segments": load_ours,
        "sha256 + read_replay": check_and_load_ours,
    }
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    with context.Pool(1, maxtasksperchild=1) as pool:
        for repeat in range(_REPEATS + 1):
            for name, function in functions.items():
                taken = pool.apply(function, arguments)
                seconds[name] += [taken] if repeat else []
    timings = {name: Timing(tuple(values)) for name, values in seconds.items()}
    for name, timing in timings.items():
        row(name, timing)
    theirs, mine, checked = (timing.median for timing in timings.values())
    ratio("read_replay / load_replay_buffer", mine / theirs, "at most 1")
    ratio("sha256 + read_replay / load_replay_buffer", checked / theirs, "shown")


def load_sb3(_folder: Path, pickle: Path, _files: list[FileEntry], observation: int, action: int) -> float:
    """Load SB3's file as `load_replay_buffer` does, in a process that has built the model's buffer."""
    _built = make(observation, action, 0)
    return clocked(lambda: load_from_pkl(pickle))


def load_ours(folder: Path, _pickle: Path, files: list[FileEntry], observation: int, action: int) -> float:
    """Read the segments into the buffer that was built."""
    buffer = make(observation, action, 0)
    return clocked(lambda: read_replay(folder, files, buffer))


def check_and_load_ours(folder: Path, _pickle: Path, files: list[FileEntry], observation: int, action: int) -> float:
    """The same with what resume does before: the digests of all files."""
    buffer = make(observation, action, 0)

    def check_and_load() -> None:
        for entry in files:
            fsio.sha256_file(folder / entry.path)
        read_replay(folder, files, buffer)

    return clocked(check_and_load)


def merging(folder: Path) -> None:
    """Count what merging costs where saves are small beside the buffer."""
    slots, new, saves = 200_000, 200, 2000
    buffer, added = make(3, 1, 0, slots), SimpleNamespace(rows=0)
    log = ReplayLog(buffer, folder, [], lambda: added.rows)
    written, most, seen = 0, 0, set()
    for _ in range(saves):
        with no_sync():
            files, _stall = save(log, folder, buffer, added, rows=new)
        segments = [entry for entry in files if entry.role == SEGMENT]
        written += sum(entry.size_bytes for entry in segments if entry.path not in seen)
        for path in seen - {entry.path for entry in segments}:
            (folder / path).unlink()
        seen = {entry.path for entry in segments}
        most = max(most, len(segments))
    row_bytes = sum(array.nbytes for array in vars(buffer).values() if isinstance(array, np.ndarray)) / slots
    heading(f"Merging: {saves:,} saves of {new} rows each, {slots:,} slots")
    row("segments at most", most, "goal: 128")
    ratio("bytes written / bytes of the new rows", written / (saves * new * row_bytes), "a small constant")


def save_sb3(path: Path, buffer: Any) -> None:
    """Save as SB3 does, and make it durable."""
    save_to_pkl(path, buffer)
    fsio.sync_file(path)
    fsio.sync_folder(path.parent)


@contextmanager
def no_sync() -> Iterator[None]:
    """Let nothing wait for the disk."""
    real = os.fsync
    os.fsync = lambda _descriptor: None
    try:
        yield
    finally:
        os.fsync = real


def clocked(thing: Callable[[], object]) -> float:
    """Return how many seconds something takes."""
    started = time.perf_counter()
    thing()
    return time.perf_counter() - started


def make(observation: int, action: int, rows: int, slots: int = _SLOTS) -> Any:
    """Build a buffer; `rows` of it are filled."""
    low, high = np.full(observation, -8.0, np.float32), np.full(observation, 8.0, np.float32)
    box = spaces.Box(np.full(action, -1.0, np.float32), np.full(action, 1.0, np.float32))
    buffer = ReplayBuffer(slots, spaces.Box(low, high), box, device="cpu")
    fill(buffer, rows)
    return buffer


def fill(buffer: Any, rows: int) -> None:
    """Fill slots as `add` would, a whole run of them at once."""
    random = np.random.default_rng(buffer.pos)
    while rows:
        part = slice(buffer.pos, min(buffer.pos + rows, buffer.buffer_size))
        for array in (buffer.observations, buffer.next_observations, buffer.actions, buffer.rewards):
            array[part] = random.random(array[part].shape, np.float32)
        rows -= part.stop - part.start
        buffer.full = buffer.full or part.stop == buffer.buffer_size
        buffer.pos = part.stop % buffer.buffer_size


def save(
    log: ReplayLog,
    folder: Path,
    buffer: Any,
    added: Any,
    rows: int = _NEW,
) -> tuple[list[FileEntry], float]:
    """Add rows, keep and write; return the set's files and how long `keep` took."""
    fill(buffer, rows)
    added.rows += rows
    started = time.perf_counter()
    point = log.keep()
    stall = time.perf_counter() - started
    if point is None:
        raise SystemExit(log.problem)
    files = write(log, folder, point)
    log.sealed(point, files)
    return files, stall


def write(log: ReplayLog, folder: Path, point: ReplayPoint) -> list[FileEntry]:
    """Write the files of a set as its writer does: temp, sha256, fsync, rename, fsync of the folder."""
    members = log.members(point)
    path = folder / f"a_checkpoint_{point.count}_steps.replay.safetensors"
    fsio.write_file(path, members.state)
    state = FileEntry(path.name, "replay", path.stat().st_size, fsio.sha256_file(path))
    return [state, *(_shared(folder, segment) for segment in members.segments)]


def _shared(folder: Path, segment: FileEntry | NewSegment) -> FileEntry:
    if isinstance(segment, FileEntry):
        return segment
    start, end, base = segment.start, segment.end, names.segment_folder("a")
    fsio.make_folder(folder / base)
    place, size, digest = fsio.write_by_content(
        folder / base, segment.write, lambda digest: names.segment_name(start, end, digest)
    )
    return FileEntry(f"{base}/{place.name}", SEGMENT, size, digest)


def _end(entry: FileEntry) -> int:
    parts = names.parse_segment(entry.path.rpartition("/")[2])
    return parts.end if parts is not None else 0


def rows_of(buffer: Any) -> list[bytes]:
    """Return the rows as bytes, to compare."""
    return [array.tobytes() for array in vars(buffer).values() if isinstance(array, np.ndarray)]


if __name__ == "__main__":
    main()
