"""Whole sessions on the Kaggle service: what is pushed unpacks there, finds its inputs and goes on."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.chain import Machine, Session
from support.kaggle import runner_of

from ckptsync.runners.base import SessionHandle, SessionState, Submission
from ckptsync.runners.bundle import MAX_SCRIPT_BYTES, build_bundle
from ckptsync.runners.kaggle.runner import KaggleRunner
from ckptsync.testing.kaggle import KaggleService

pytestmark = pytest.mark.slow  # three sessions, and what the service takes for each

TOY = Path(__file__).parents[2] / "kernels" / "toy"


@pytest.fixture
def toy(tmp_path: Path) -> Machine:
    return Machine(tmp_path, TOY, tmp_path / "cache")


class Trips:
    """Sessions of one run on the service, each with what the one before left."""

    def __init__(self, runner: KaggleRunner, toy: Machine) -> None:
        self.runner = runner
        self.toy = toy
        self.handle: SessionHandle | None = None

    def go(self, *, expect: SessionState = SessionState.COMPLETE, **fields: object) -> Session:
        spec = self.toy.spec(**fields)
        bundle = build_bundle(self.toy.kernel, spec, cache=self.toy.cache)
        submission = Submission(
            spec.session,
            spec.generation,
            bundle.script,
            inputs={**self.toy.packs, **bundle.inputs},
            title=spec.session,
            previous=self.handle,
        )
        self.handle = self.runner.start(submission)
        while not (status := self.runner.status(self.handle)).state.finished:
            time.sleep(0.05)
        log = self.runner.log(self.handle).decode()
        assert status.state is expect, log
        working = self.toy.root / "outputs" / str(spec.generation)
        for file in self.runner.outputs(self.handle):
            target = working / file.path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(b"".join(self.runner.read_output(self.handle, file)))
        return Session(working, status.exit_code or 0, log)


@pytest.fixture
def trips(request: pytest.FixtureRequest, toy: Machine, tmp_path: Path) -> Iterator[Trips]:
    carrier, settings = request.param
    with KaggleService(tmp_path / "service", **settings) as service:
        yield Trips(runner_of(service, tmp_path, carrier=carrier), toy)
    assert service.failures == []


@pytest.mark.parametrize(
    "trips",
    [
        ("dataset", {"mount_layout": "new"}),
        ("dataset", {"mount_layout": "old"}),
        ("output", {"mount_layout": "new"}),
        ("output", {"mount_layout": "old", "kernel_mount": "zip"}),
    ],
    indirect=True,
    ids=str,
)
def test_three_sessions_go_on_from_each_other(trips: Trips) -> None:
    for number, (start, end) in enumerate(((0, 300), (300, 600), (600, 2000)), start=1):
        session = trips.go(max_steps=300 if number < 3 else None)
        block = session.info["scenarios"]["x"]
        assert (block["started_at"], block["num_timesteps"]) == (start, end), session.log
        trips.toy.carry(session)
    assert session.info["cause"] == "target"


@pytest.mark.parametrize("trips", [("auto", {}), ("output", {"kernel_mount": "zip"})], indirect=True, ids=str)
def test_code_that_a_script_cannot_hold_travels_along(trips: Trips, tmp_path: Path) -> None:
    trips.toy.kernel = tmp_path / "kernel"
    shutil.copytree(TOY, trips.toy.kernel)
    (trips.toy.kernel / "data.bin").write_bytes(os.urandom(MAX_SCRIPT_BYTES))
    trips.toy.carry(trips.go(max_steps=300))
    session = trips.go(max_steps=300)
    assert session.info["scenarios"]["x"]["started_at"] == 300


@pytest.mark.parametrize("trips", [("output", {"kernel_mount": "code"})], indirect=True, ids=str)
def test_a_mount_without_the_checkpoint_is_no_start_from_zero(trips: Trips) -> None:
    trips.toy.carry(trips.go(max_steps=300))
    session = trips.go(expect=SessionState.ERROR)
    assert session.info["cause"] == "error"
    assert "Nothing is started from zero in its place" in session.info["error"]
    assert "looked in: " in session.log
    assert not session.tree.checkpoints.exists()
