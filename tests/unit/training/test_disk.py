"""Sets stay within the room that there is: on small disks in memory, and below a limit of the working folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support import disks
from support.loops import model_writer

from ckptsync.core import fsio, heads, sets
from ckptsync.core.errors import StorageError
from ckptsync.core.forecast import SetSize
from ckptsync.core.layout import TrainingTree
from ckptsync.core.session import EventLog, SavePolicy, read_events
from ckptsync.training.disk import Disk, Room
from ckptsync.training.writer import Chain, Draft, Member, SetKeeper

KB = 1 << 10
SET = 200 * KB


class Bench:
    """A keeper of sets of 200 kB and more on a disk, with the room it looks after."""

    def __init__(self, disk: Path, policy: SavePolicy, *, max_output_bytes: int | None = None, end: int = 1000) -> None:
        self.disk = disk
        self.tree = TrainingTree(disk / "models")
        fsio.make_folder(self.tree.checkpoints)
        self.events_path = disk.parent / "events.jsonl"
        self.room = Room(
            self.tree, "a", "l1", policy, Disk(disk, max_output_bytes), EventLog(self.events_path, None), end_steps=end
        )
        self.keeper = SetKeeper(self.tree, "a", Chain("l1", 1), policy, None, room=self.room)

    def save(self, steps: int, *, score: float = 0.0, kind: str = "periodic", last_chance: bool = False) -> None:
        """Save a set."""
        members = (
            Member("model", "zip", model_writer(steps)),
            Member("resume", "safetensors", lambda file: file.write(b"x" * SET) and None),
        )
        draft = Draft(steps, members, metrics={"ep_rew_mean": score})
        self.keeper.write(draft, kind, last_chance=last_chance)

    def steps(self) -> list[int]:
        """N of the sets that are there, each whole."""
        found = sets.scan(self.tree.checkpoints)
        for stored in found:
            assert stored.manifest is not None
            assert sets.check_files(self.tree.checkpoints, stored.manifest) == ()
        return [stored.num_timesteps for stored in found]

    def told(self) -> list[str]:
        """Codes of the warnings."""
        return [event["code"] for event in read_events(self.events_path) if event["event"] == "warning"]

    def removed(self) -> list[str]:
        """What went before a save."""
        return [event["stem"] for event in read_events(self.events_path) if event["event"] == "removed"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk with room for eight sets and a little."""
    with disks.small(tmp_path / "disk", size=8 * SET + 300 * KB) as disk:
        yield disk


def test_with_room_enough_nothing_is_said(small_disk: Path) -> None:
    bench = Bench(small_disk, SavePolicy(keep_last=3))
    for steps in range(100, 1000, 100):
        bench.save(steps)
    assert bench.steps() == [100, 700, 800, 900]  # the first is the best
    assert bench.told() == []


def test_on_a_tight_disk_what_would_go_anyway_goes_before_the_save(small_disk: Path) -> None:
    bench = Bench(small_disk, SavePolicy(keep_last=3))
    for steps in (100, 200, 300, 400):
        bench.save(steps)
    with disks.full(small_disk, leave=SET // 2):
        bench.save(500)
        assert bench.steps() == [100, 300, 400, 500]
        bench.save(600)
    assert bench.steps() == [100, 400, 500, 600]
    assert bench.removed() == ["a_checkpoint_200_steps", "a_checkpoint_300_steps"]
    assert "disk.tight" in bench.told()


def test_what_would_not_fit_is_not_begun_and_the_next_save_is_as_ever(small_disk: Path) -> None:
    bench = Bench(small_disk, SavePolicy(keep_last=2))
    for steps in (100, 200, 300):
        bench.save(steps)
    before = sorted(path.name for path in bench.tree.checkpoints.iterdir())
    with disks.full(small_disk, leave=4 * KB):
        for _ in range(2):
            with pytest.raises(StorageError, match=r"needs .* and .* are free") as caught:
                bench.save(400)
            assert "ckptsync clean" in (caught.value.hint or "")
            bench_now = sorted(path.name for path in bench.tree.checkpoints.iterdir())
            assert bench_now == before
    bench.save(400)
    assert bench.steps() == [100, 300, 400]


def test_a_last_save_takes_the_room_of_older_ones(small_disk: Path) -> None:
    bench = Bench(small_disk, SavePolicy(keep_last=5))
    for steps, score in ((100, 0.0), (200, 9.0), (300, 1.0), (400, 1.0), (500, 1.0)):
        bench.save(steps, score=score)
    with disks.full(small_disk, leave=4 * KB):
        with pytest.raises(StorageError):
            bench.save(600, score=1.0)
        bench.save(600, score=1.0, kind="emergency", last_chance=True)
        left = bench.steps()
        assert left[-1] == 600
        assert {200, 500} <= set(left)
        head = heads.read_head(bench.tree, "a")
        assert head is not None
        assert head.num_timesteps == 600


def test_milestones_best_and_newest_survive_any_shortage(small_disk: Path) -> None:
    bench = Bench(small_disk, SavePolicy(keep_last=1, keep_every_steps=200))
    for steps, score in ((100, 9.0), (200, 0.0), (300, 1.0)):
        bench.save(steps, score=score)
    with disks.full(small_disk, leave=4 * KB), pytest.raises(StorageError):
        bench.save(310, kind="emergency", last_chance=True)
    assert bench.steps() == [100, 200, 300]


def test_what_cannot_fit_is_refused_at_the_start(small_disk: Path) -> None:
    bench = Bench(small_disk, SavePolicy(keep_last=5))
    with pytest.raises(StorageError, match=r"the checkpoints of a will need 2\.\d MB more in .* are free") as caught:
        bench.room.expect(SetSize(own_bytes=500_000, model_bytes=400_000), 0)
    assert "set keep_last to 3 (it is 5)" in (caught.value.hint or "")
    with pytest.raises(StorageError) as caught:
        bench.room.expect(SetSize(own_bytes=1_500_000, model_bytes=1_400_000), 0)
    assert "keep_last" not in (caught.value.hint or "")


def test_what_may_not_fit_is_told_once(small_disk: Path) -> None:
    bench = Bench(small_disk, SavePolicy(keep_last=2, keep_every_steps=100))
    bench.room.expect(SetSize(own_bytes=SET, model_bytes=8 * KB), 0)
    assert bench.told() == ["disk.tight"]
    for steps in (100, 200, 300):
        bench.save(steps)
    assert bench.told() == ["disk.tight"]


def test_the_limit_of_the_working_folder_counts_with_all_that_lies_in_it(tmp_path: Path) -> None:
    working = tmp_path / "working"
    bench = Bench(working, SavePolicy(keep_last=2), max_output_bytes=5 * SET)
    bench.save(100)
    (working / "video").write_bytes(b"x" * 4 * SET)
    with pytest.raises(StorageError, match="and 0 B are free"):
        bench.save(200)
    (working / "video").unlink()
    bench.save(200)
    assert bench.steps() == [100, 200]


def test_the_first_set_of_a_loop_of_ones_own_is_tried(small_disk: Path) -> None:
    bench = Bench(small_disk, SavePolicy())
    with disks.full(small_disk, leave=4 * KB), pytest.raises(StorageError, match="No space left"):
        bench.save(100)
    assert bench.steps() == []
