"""A replay buffer of numpy alone, built like SB3's, and a folder of segments: for tests that need no torch."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces

from ckptsync.core import fsio, names
from ckptsync.core.manifest import SEGMENT, FileEntry
from ckptsync.training.replay import NewSegment, ReplayLog, ReplayPoint, read_replay


class Ring:
    """A user's own class whose rows never change once they were added."""

    rows_are_final = True

    def __init__(self, slots: int, width: int = 2, n_envs: int = 1) -> None:
        self.buffer_size = slots
        self.n_envs = n_envs
        self.observation_space = spaces.Box(-1, 1, (width,), np.float32)
        self.action_space = spaces.Discrete(3)
        self.device = "cpu"
        self.pos = 0
        self.full = False
        self.observations = np.zeros((slots, n_envs, width), np.float32)
        self.rewards = np.zeros((slots, n_envs), np.float32)
        self.added = 0

    def size(self) -> int:
        return self.buffer_size if self.full else self.pos

    def add(self, rows: int = 1) -> None:
        for _ in range(rows):
            self.added += 1
            self.put(self.pos, float(self.added))
            self.pos += 1
            if self.pos == self.buffer_size:
                self.pos, self.full = 0, True

    def put(self, slot: int, value: float) -> None:
        self.observations[slot] = value
        self.rewards[slot] = -value

    def reset(self) -> None:
        self.pos, self.full = 0, False

    @property
    def rows(self) -> list[float]:
        """What the used slots hold, oldest first."""
        order = (np.arange(self.size()) + (self.pos if self.full else 0)) % self.buffer_size
        return self.rewards[order, 0].tolist()


class Shelf:
    """A folder of sets with one replay buffer; does what the writer of sets does."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.made = 0

    def log(self, buffer: Any, files: Sequence[FileEntry] = (), added: Any = None) -> ReplayLog:
        return ReplayLog(buffer, self.folder, files, added or (lambda: buffer.added))

    def seal(self, log: ReplayLog, point: ReplayPoint) -> list[FileEntry]:
        """Write the files of a moment, tell the log, and return what the manifest would name."""
        files = self.write(log, point)
        log.sealed(point, files)
        return files

    def write(self, log: ReplayLog, point: ReplayPoint) -> list[FileEntry]:
        members = log.members(point)
        segments = [
            self._share(segment) if isinstance(segment, NewSegment) else segment for segment in members.segments
        ]
        self.made += 1
        path = self.folder / f"a_checkpoint_{self.made}_steps.replay.safetensors"
        fsio.write_file(path, members.state)
        rows = [names.check_segment("a", entry.path) for entry in segments]
        assert all(later.start >= earlier.end for earlier, later in pairwise(rows))
        return [FileEntry(path.name, "replay", path.stat().st_size, fsio.sha256_file(path)), *segments]

    def _share(self, segment: NewSegment) -> FileEntry:
        base = names.segment_folder("a")
        fsio.make_folder(self.folder / base)
        place, size, digest = fsio.write_by_content(
            self.folder / base, segment.write, lambda digest: names.segment_name(segment.start, segment.end, digest)
        )
        return FileEntry(f"{base}/{place.name}", SEGMENT, size, digest)

    def collect(self, files: Sequence[FileEntry]) -> None:
        """Remove every segment that the newest set does not name."""
        needed = {entry.path for entry in files}
        base = names.segment_folder("a")
        for name in fsio.list_names(self.folder / base):
            if f"{base}/{name}" not in needed:
                (self.folder / base / name).unlink()

    def load(self, files: Sequence[FileEntry], buffer: Any) -> None:
        assert read_replay(self.folder, files, buffer) is None
