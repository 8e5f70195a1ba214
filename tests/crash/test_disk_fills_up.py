"""A disk that fills up while a session trains: no save that would not fit is begun, training goes on, nothing is lost."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

import pytest
from support import disks
from support.loops import events, model_writer

from ckptsync.core import fsio, heads, sets
from ckptsync.core.errors import StorageError
from ckptsync.core.layout import TrainingTree
from ckptsync.core.session import read_session_info
from ckptsync.training import TrainingSession

KB = 1 << 10
MODEL = 120 * KB


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working folder on a disk of its own, with room for about twelve models; saves are tried again at once."""
    with disks.small(tmp_path / "disk", size=12 * MODEL) as folder, monkeypatch.context() as patch:
        patch.chdir(folder)
        patch.setattr("ckptsync.training.saver._RETRY_SECONDS", 0.0)
        yield folder


def write(steps: int):
    """Return what writes a model that is large beside what a session writes all the time."""

    def fill(file: BinaryIO) -> None:
        model_writer(steps, hidden=(128, 128))(file)

    return fill


def session(tree: TrainingTree, **arguments: int) -> TrainingSession:
    """Return a session that saves at every hundredth step and keeps two sets."""
    return TrainingSession(tree.root, "a", 1000, every_steps=100, every_seconds=None, **{"keep_last": 2, **arguments})


def test_training_goes_on_while_the_disk_is_full_and_saves_again_when_it_is_not(disk: Path) -> None:
    tree = TrainingTree(disk / "models")
    full = ExitStack()
    with session(tree) as opened:
        scenario, steps, cause = opened.scenario, opened.scenario.begin(), None
        while cause is None:
            cause = scenario.clean_point(steps, write(steps), metrics={"ep_rew_mean": 1.0})
            if steps == 300:
                full.enter_context(disks.full(disk, leave=8 * KB))
            if steps == 600:
                before = [stored.num_timesteps for stored in sets.scan(tree.checkpoints)]
                full.close()
            steps += 50
    assert cause == "target"
    assert before[-1] in (300, 350)
    assert [event["num_timesteps"] for event in events("save")][-1] == 1000
    failed = events("failed-save")
    assert failed
    assert all(350 <= event["num_timesteps"] <= 600 for event in failed)
    assert "are free" in failed[0]["error"]
    for stored in sets.scan(tree.checkpoints):
        assert stored.manifest is not None
        assert sets.check_files(tree.checkpoints, stored.manifest) == ()
    head = heads.read_head(tree, "a")
    assert head is not None
    assert head.num_timesteps == 1000


def test_a_policy_that_cannot_fit_is_refused_before_any_training(disk: Path) -> None:
    tree = TrainingTree(disk / "models")
    with session(tree) as opened:
        opened.scenario.begin()
        opened.scenario.seal(100, write(100))
    with (
        pytest.raises(StorageError, match="will need"),
        TrainingSession(tree.root, "a", 1000, keep_last=50) as opened,
    ):
        opened.scenario.begin()
    assert events("save") == []
    [error] = events("error")
    assert error["type"] == "StorageError"
    assert "set keep_last to" in error["hint"]
    assert read_session_info(Path("session_info.json"))["cause"] == "error"


def test_the_last_save_fits_where_older_sets_can_give_way(disk: Path) -> None:
    tree = TrainingTree(disk / "models")
    with session(tree, keep_last=4) as opened:
        scenario, steps, cause = opened.scenario, opened.scenario.begin(), None
        with ExitStack() as full:
            while cause is None:
                if steps == 950:
                    full.enter_context(disks.full(disk, leave=8 * KB))
                cause = scenario.clean_point(steps, write(steps), metrics={"ep_rew_mean": float(steps < 500)})
                steps += 50
            assert fsio.free_bytes(disk) < 4 * MODEL
    assert cause == "target"
    left = [stored.num_timesteps for stored in sets.scan(tree.checkpoints)]
    assert left[-2:] == [900, 1000]
    assert len(left) < 5
    assert events("failed-save") == []
    warned = {event["code"] for event in events("warning")}
    assert warned == {"disk.tight", "export.failed"}
