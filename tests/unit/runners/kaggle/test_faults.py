"""A whole session with all kinds of faults at every request: what comes back is whole, and it ran once."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path

import pytest
from support.kaggle import client_of, submission

from ckptsync.core.errors import CkptsyncError
from ckptsync.core.patience import Patience
from ckptsync.runners.base import SessionHandle, Submission
from ckptsync.runners.kaggle.runner import KaggleRunner
from ckptsync.runners.kaggle.settings import KaggleSettings
from ckptsync.testing.kaggle import KaggleService

PATIENCE = Patience(5.0, first_pause=0.005, longest_pause=0.05)
DOES = """
import hashlib
for place, _folders, found in os.walk(os.environ["CKPTSYNC_INPUT_DIR"]):
    for name in found:
        print(name, hashlib.sha256(open(os.path.join(place, name), "rb").read()).hexdigest(), flush=True)
open("large", "wb").write(bytes(range(256)) * 2000)
open("small", "wb").write(b"s")
"""
LEFT = {"large": bytes(range(256)) * 2000, "small": b"s"}
PACK = "toy_checkpoint_10_steps.ckpt"
RATES = [0.1, 0.25, 0.4]


def started(runner: KaggleRunner, wanted: Submission) -> SessionHandle:
    """Start as a user would: again, as long as the error says that this may help."""
    for _ in range(20):
        try:
            return runner.find(wanted) or runner.start(wanted)
        except CkptsyncError as error:
            if not error.transient:
                raise
    raise AssertionError("not started after 20 commands")


def trip(folder: Path, rate: float, seed: int) -> None:
    pack = folder / PACK
    pack.write_bytes(random.Random(seed).randbytes(200_000))
    wanted = submission("toy/s0001", inputs={PACK: pack}, does=DOES)
    quick = {"stall_seconds": 0.3, "slow_seconds": 0.02, "retry_after_seconds": 0}
    with KaggleService(folder / "service", **quick) as service:
        service.faults.rate(rate, seed=seed)
        client = client_of(service, folder, patience=PATIENCE, timeout=1.0)
        runner = KaggleRunner(
            KaggleSettings(dataset_seconds=10.0),
            client=client,
            dataset_settle_seconds=0.0,
            listing_settle_seconds=0.01,
            log_idle_seconds=0.2,
        )
        handle = started(runner, wanted)
        assert len(service.runs()) == 1 and service.runs()[0].wait(20)
        while not runner.status(handle).state.finished:
            pass  # each look waits for the service
        files = runner.outputs(handle)
        assert {file.path: b"".join(runner.read_output(handle, file)) for file in files} == LEFT
        assert f"{PACK} {hashlib.sha256(pack.read_bytes()).hexdigest()}" in runner.log(handle).decode()
        assert [found.handle for found in runner.discover("toy")] == [handle]
        assert service.failures == []


@pytest.mark.slow
@pytest.mark.parametrize("rate", RATES)
def test_a_session_under_faults(tmp_path: Path, rate: float) -> None:
    trip(tmp_path, rate, seed=7)


@pytest.mark.prove
@pytest.mark.parametrize("rate", RATES)
def test_many_sessions_under_faults(tmp_path: Path, rate: float) -> None:
    for seed in range(25):
        (tmp_path / str(seed)).mkdir()
        trip(tmp_path / str(seed), rate, seed)
