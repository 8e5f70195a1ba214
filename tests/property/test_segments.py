"""Any course of saves, removals, moves, returns and crashes: no set lacks a segment, and none is left that nobody needs."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule
from support.toysets import write_set

from ckptsync.core import names, sets
from ckptsync.core.manifest import Manifest
from ckptsync.core.sets import SetWriter

# Where segments may begin and end: few places, so that sets share many of them
ROWS = st.lists(st.integers(0, 6).map(lambda number: number * 10), min_size=2, max_size=6, unique=True).map(sorted)


class Course(RuleBasedStateMachine):
    """A tree, its attic, and the sets that are known to be in each."""

    there: Bundle[Manifest] = Bundle("there")
    resting: Bundle[Manifest] = Bundle("resting")

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(
            tempfile.mkdtemp(prefix="ckptsync-test-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None)
        )
        self.tree, self.attic = self.root / "tree", self.root / "attic"
        self.tree.mkdir()
        self.steps = 0

    def teardown(self) -> None:
        shutil.rmtree(self.root)

    @rule(target=there, rows=ROWS, salt=st.integers(0, 1))
    def save(self, rows: list[int], salt: int) -> Manifest:
        self.steps += 1
        return write_set(self.tree, "cartpole", self.steps, members=1, rows=rows, rows_salt=salt)

    @rule(manifest=consumes(there))
    def remove(self, manifest: Manifest) -> None:
        sets.remove_set(self.tree, manifest)

    @rule(target=resting, manifest=consumes(there))
    def set_aside(self, manifest: Manifest) -> Manifest:
        stored = sets.find(self.tree, manifest.stem)
        assert stored is not None
        sets.set_aside(stored, self.attic)
        return manifest

    @rule(target=there, manifest=consumes(resting))
    def bring_back(self, manifest: Manifest) -> Manifest:
        place = sets.attic_folder(self.attic, manifest.digest)
        sets.copy_set(place, manifest, self.tree)
        shutil.rmtree(place)
        return manifest

    @rule(start=st.integers(0, 5), data=st.binary(min_size=1, max_size=9))
    def die_while_saving(self, start: int, data: bytes) -> None:
        stem = names.checkpoint_stem("cartpole", 10**6)
        writer = SetWriter(self.tree, stem, [names.model_name(stem)])
        writer.share(start, start + 1, lambda file: void(file.write(data)))
        sets.sweep(self.tree)

    @rule(target=there, manifest=consumes(there))
    def die_while_removing(self, manifest: Manifest) -> object:
        seal = self.tree / (manifest.stem + names.MANIFEST_SUFFIX)
        seal.rename(seal.with_name(manifest.stem + names.DELETING_SUFFIX))
        sets.sweep(self.tree)
        return multiple()

    @invariant()
    def every_set_is_whole(self) -> None:
        for folder in [self.tree, *(self.attic.iterdir() if self.attic.is_dir() else [])]:
            needed = set()
            for stored in sets.scan(folder):
                assert stored.manifest is not None
                assert sets.check_files(folder, stored.manifest) == ()
                needed |= {entry.path for entry in stored.manifest.segments}
            left = {path.relative_to(folder).as_posix() for path in folder.glob("*_replay/*")}
            assert left == needed


def void(_value: object) -> None:
    """Drop a value."""


TestCourse = Course.TestCase
TestCourse.settings = settings(stateful_step_count=12)
