"""Checkpoints get into a session whole, or no session is started."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from support.kaggle import client_of, runner_of, submission

from ckptsync.core.errors import ConfigError, CorruptError, LimitError, ServiceError
from ckptsync.core.patience import Patience
from ckptsync.runners.base import SessionHandle, Submission
from ckptsync.runners.kaggle.runner import KaggleRunner
from ckptsync.runners.kaggle.upload import upload
from ckptsync.testing.kaggle import KaggleService

pytestmark = pytest.mark.slow

SHORT = Patience(0.2, first_pause=0.01, longest_pause=0.05)
PRINTS = """
for place, _folders, found in os.walk(os.environ["CKPTSYNC_INPUT_DIR"]):
    for name in found:
        import hashlib
        print(name, hashlib.sha256(open(os.path.join(place, name), "rb").read()).hexdigest(), flush=True)
open("toy_left", "w").write("left")
"""
PACK = "toy_checkpoint_100_steps.ckpt"


@pytest.fixture
def packs(tmp_path: Path) -> dict[str, Path]:
    found = {PACK: tmp_path / PACK, "empty.ckpt": tmp_path / "empty.ckpt"}
    found[PACK].write_bytes(bytes(range(256)) * 12_000)
    found["empty.ckpt"].write_bytes(b"")
    return found


def saw(service: KaggleService, runner: KaggleRunner, handle: SessionHandle) -> str:
    assert service.run("tester/ckptsync-toy", handle.reference["version"]).wait(10)
    return runner.log(handle).decode()


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("layout", ["new", "old"])
def test_a_dataset_brings_the_inputs(service: KaggleService, home: Path, packs: dict[str, Path], layout: str) -> None:
    service.settings.mount_layout = layout  # type: ignore[assignment]
    runner = runner_of(service, home)
    for number in (1, 2):  # created, then given another version
        packs[PACK].write_bytes(bytes([number]) * 1000)
        wanted = submission(f"toy/s000{number}", generation=number, inputs=packs, does=PRINTS)
        log = saw(service, runner, runner.start(wanted))
        assert f"{PACK} {digest(packs[PACK])}" in log
        assert f"empty.ckpt {digest(packs['empty.ckpt'])}" in log


def test_a_session_starts_when_its_dataset_is_ready_and_not_before(
    service: KaggleService, home: Path, packs: dict[str, Path]
) -> None:
    runner = runner_of(service, home)
    runner.start(submission("toy/s0001", inputs=packs))
    service.settings.processing_seconds = 0.3
    service.settings.dataset_number_at_once = True
    packs[PACK].write_bytes(b"newer")
    handle = runner.start(submission("toy/s0002", generation=2, inputs=packs, does=PRINTS))
    assert f"{PACK} {digest(packs[PACK])}" in saw(service, runner, handle)


def test_a_ready_that_is_of_the_version_before_is_not_believed(
    service: KaggleService, home: Path, packs: dict[str, Path]
) -> None:
    runner = KaggleRunner(
        client=client_of(service, home),
        patience=Patience(2.0, first_pause=0.02, longest_pause=0.05),
        dataset_settle_seconds=0.4,
        log_idle_seconds=0.2,
        listing_settle_seconds=0.01,
    )
    runner.start(submission("toy/s0001", inputs=packs))
    service.settings.processing_seconds = 0.3
    service.settings.dataset_number_at_once = True
    service.settings.dataset_status_lag_seconds = 0.2
    packs[PACK].write_bytes(b"newer")
    handle = runner.start(submission("toy/s0002", generation=2, inputs=packs, does=PRINTS))
    assert f"{PACK} {digest(packs[PACK])}" in saw(service, runner, handle)


@pytest.mark.parametrize(("outcome", "said"), [("failed", "could not process"), ("never", "not ready after 0.3 s")])
def test_a_dataset_that_does_not_become_ready(
    service: KaggleService, home: Path, packs: dict[str, Path], outcome: str, said: str
) -> None:
    service.settings.dataset_outcome = outcome  # type: ignore[assignment]
    with pytest.raises(ServiceError, match=said):
        runner_of(service, home, patience=SHORT, dataset_seconds=0.3).start(submission("toy/s0001", inputs=packs))
    assert service.runs() == []


def test_a_dataset_that_holds_something_else(service: KaggleService, home: Path, tmp_path: Path) -> None:
    import zipfile

    changed = tmp_path / "toy_checkpoint_1_steps.zip"  # what is no pack is unpacked there
    with zipfile.ZipFile(changed, "w") as archive:
        archive.writestr("policy", b"x" * 100)
    with pytest.raises(ServiceError, match="does not hold what was uploaded: expected 'toy_checkpoint_1_steps"):
        runner_of(service, home, patience=SHORT).start(submission("toy/s0001", inputs={changed.name: changed}))
    assert service.runs() == []


def test_more_files_than_a_dataset_holds(service: KaggleService, home: Path, tmp_path: Path) -> None:
    packs = {f"{number}.ckpt": tmp_path / "x" for number in range(51)}
    (tmp_path / "x").write_bytes(b"x")
    with pytest.raises(LimitError, match="51 files"):
        runner_of(service, home).start(submission("toy/s0001", inputs=packs))
    assert service.requests == []


@pytest.mark.parametrize("fault", ["drop-after", "truncated", "html", "503", "429"])
@pytest.mark.parametrize("call", ["CreateDataset", "CreateDatasetVersion"])
def test_a_dataset_whose_creation_is_not_answered(
    service: KaggleService, home: Path, packs: dict[str, Path], call: str, fault: str
) -> None:
    runner = runner_of(service, home, patience=SHORT)
    if call == "CreateDatasetVersion":
        runner.start(submission("toy/s0001", inputs=packs))
    service.settings.retry_after_seconds = 0
    service.faults.add(fault, call)
    packs[PACK].write_bytes(b"newer")
    wanted = submission("toy/s0002", generation=2, inputs=packs, does=PRINTS)
    handle = runner.start(wanted)
    assert f"{PACK} {digest(packs[PACK])}" in saw(service, runner, handle)


@pytest.mark.parametrize(
    "fault",
    [
        "drop-before",
        "drop-after",
        "drop-in",
        "truncated",
        "upload-403",
        "upload-500",
        "upload-404",
        "upload-cut",
        "upload-idle",
        "503",
    ],
)
def test_an_upload_goes_on(service: KaggleService, home: Path, packs: dict[str, Path], fault: str) -> None:
    service.faults.add(fault, "upload", times=2)
    runner = runner_of(service, home)
    log = saw(service, runner, runner.start(submission("toy/s0001", inputs=packs, does=PRINTS)))
    assert f"{PACK} {digest(packs[PACK])}" in log
    assert service.faults.fired[fault] == 2  # type: ignore[index]


@pytest.mark.parametrize(("fault", "said"), [("upload-500", "the upload of"), ("upload-idle", "keeps nothing of")])
def test_an_upload_that_cannot_be_done_starts_nothing(
    service: KaggleService, home: Path, packs: dict[str, Path], fault: str, said: str
) -> None:
    service.faults.add(fault, "upload", times=100_000)
    with pytest.raises(ServiceError, match=said):
        runner_of(service, home, patience=SHORT).start(submission("toy/s0001", inputs=packs))
    assert service.runs() == []


def test_a_file_that_becomes_shorter_is_not_sent(service: KaggleService, home: Path, packs: dict[str, Path]) -> None:
    client = client_of(service, home)
    start = client.start_upload

    def shortened(name: str, size: int) -> tuple[str, str]:
        packs[PACK].write_bytes(b"short")
        return start(name, size)

    client.start_upload = shortened  # type: ignore[method-assign]
    with pytest.raises(CorruptError, match="became shorter"):
        upload(client, PACK, packs[PACK])


# --- the output of the session before


def after(
    service: KaggleService, handle: SessionHandle, packs: dict[str, Path], session: str = "toy/s0002"
) -> Submission:
    assert service.run("tester/ckptsync-toy", handle.reference["version"]).wait(10)
    wanted = submission(session, generation=2, inputs=packs, does=PRINTS)
    return Submission(session, 2, wanted.script, {PACK: packs[PACK]}, previous=handle)


def uploads(service: KaggleService) -> int:
    return [call.name for call in service.requests].count("upload")


@pytest.mark.parametrize("carrier", ["auto", "output"])
def test_the_newest_complete_session_carries_its_own_outputs(
    service: KaggleService, home: Path, packs: dict[str, Path], carrier: str
) -> None:
    runner = runner_of(service, home, carrier=carrier)
    first = runner.start(submission("toy/s0001", does=PRINTS))
    handle = runner.start(after(service, first, packs))
    assert f"toy_left {hashlib.sha256(b'left').hexdigest()}" in saw(service, runner, handle)
    assert uploads(service) == 0


def test_what_is_no_set_goes_by_a_dataset_all_the_same(
    service: KaggleService, home: Path, packs: dict[str, Path], tmp_path: Path
) -> None:
    code = tmp_path / "ckptsync-code-0123456789ab.ckpt"
    code.write_bytes(b"code")
    runner = runner_of(service, home)
    first = runner.start(submission("toy/s0001", does=PRINTS))
    wanted = after(service, first, packs)
    both = Submission(wanted.session, 2, wanted.script, {**wanted.inputs, code.name: code}, previous=first)
    log = saw(service, runner, runner.start(both))
    assert "toy_left" in log and f"{code.name} {digest(code)}" in log
    assert PACK not in log


@pytest.mark.parametrize("ends", ["raise SystemExit(1)\n", "import time; time.sleep(60)\n"])
def test_a_session_that_did_not_complete_is_never_mounted(
    service: KaggleService, home: Path, packs: dict[str, Path], ends: str
) -> None:
    service.settings.session_limit_seconds = 0.5
    runner = runner_of(service, home)
    wanted = after(service, runner.start(submission("toy/s0001", does=ends)), packs)
    with pytest.raises(ConfigError, match=r"toy/s0001 is (error|timed out), not complete"):
        runner_of(service, home, carrier="output").start(wanted)
    assert f"{PACK} {digest(packs[PACK])}" in saw(service, runner, runner.start(wanted))


def test_a_session_that_is_not_the_newest_is_never_mounted(
    service: KaggleService, home: Path, packs: dict[str, Path]
) -> None:
    runner = runner_of(service, home)
    first = runner.start(submission("toy/s0001", does=PRINTS))
    wanted = after(service, runner.start(submission("toy/s0002", generation=2)), packs, "toy/s0003")
    stale = Submission(
        "toy/s0003", 3, wanted.script.replace(b'"generation":2', b'"generation":3'), wanted.inputs, previous=first
    )
    with pytest.raises(ConfigError, match="not the kernel's newest version"):
        runner_of(service, home, carrier="output").start(stale)
    runner.start(stale)
    assert uploads(service) == 1
