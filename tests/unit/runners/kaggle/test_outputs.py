"""What a session left comes back byte for byte, and nothing else is ever taken for it."""

from __future__ import annotations

import hashlib
import threading
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.kaggle import PATIENCE, client_of, runner_of, submission

from ckptsync.core.errors import CorruptError, LimitError, NothingFoundError, ServiceError
from ckptsync.core.patience import Patience
from ckptsync.runners.base import OutputFile, SessionHandle
from ckptsync.runners.kaggle.runner import KaggleRunner
from ckptsync.testing.kaggle import KaggleService, Outputs, StoredFile

pytestmark = pytest.mark.slow

SHORT = Patience(0.3, first_pause=0.01, longest_pause=0.05)
KERNEL = "tester/ckptsync-toy"
DATA = bytes(range(256)) * 12_000


@pytest.fixture
def ended(service: KaggleService, home: Path) -> SessionHandle:
    handle = runner_of(service, home).start(submission("toy/s0001"))
    assert service.run(KERNEL).wait(10)
    return handle


def left(service: KaggleService, tmp_path: Path, *files: str, data: bytes = DATA) -> None:
    """Let the run have left files with these names, whatever they are."""
    stored = tmp_path / "stored"
    stored.write_bytes(data)
    service.replace_outputs(KERNEL, Outputs(tuple(StoredFile(name, stored) for name in files)))


def read(runner: KaggleRunner, handle: SessionHandle, offset: int = 0, path: str = "model.zip") -> bytes:
    listed = {file.path: file for file in runner.outputs(handle)}
    return b"".join(runner.read_output(handle, listed[path], offset))


@pytest.mark.parametrize(
    "fault",
    [
        *("429", "429-date", "429-bare", "500", "502", "503", "html", "drop-before", "drop-after"),
        *("drop-in", "truncated", "truncated-bare", "url-400", "url-403", "url-200"),
    ],
)
def test_a_download_goes_on_behind_every_fault(
    service: KaggleService, home: Path, ended: SessionHandle, tmp_path: Path, fault: str
) -> None:
    service.settings.retry_after_seconds = 0
    left(service, tmp_path, "model.zip")
    service.faults.add(fault, "download", times=2)
    assert read(runner_of(service, home), ended) == DATA
    assert service.faults.fired[fault] == 2  # type: ignore[index]


@pytest.mark.parametrize("fault", ["drop-in", "truncated", "truncated-bare"])
def test_a_download_goes_on_where_it_broke(
    service: KaggleService, home: Path, ended: SessionHandle, tmp_path: Path, fault: str
) -> None:
    left(service, tmp_path, "model.zip")
    service.faults.add(fault, "download")
    assert read(runner_of(service, home), ended, 1000) == DATA[1000:]
    calls = [call for call in service.requests if call.name == "download"]
    assert [call.status for call in calls][1:] == [206]
    # Of a connection that is reset, what has arrived and was not read yet is lost
    assert sum(call.sent for call in calls) <= len(DATA) * (2 if fault == "drop-in" else 1.1)
    assert not any(call.authorized for call in calls)


@pytest.mark.parametrize("status", [400, 403, 404])
def test_addresses_that_expired_are_signed_anew(
    service: KaggleService, home: Path, ended: SessionHandle, tmp_path: Path, status: int
) -> None:
    service.settings.url_seconds, service.settings.expired_status = 0.2, status
    left(service, tmp_path, *(f"{number}.bin" for number in range(30)), data=b"x" * 1000)
    runner = runner_of(service, home)
    listed = runner.outputs(ended)
    threading.Event().wait(0.3)
    with ThreadPoolExecutor(6) as pool:
        read_all = list(pool.map(lambda file: b"".join(runner.read_output(ended, file)), listed))
    assert read_all == [b"x" * 1000] * 30
    assert [call.name for call in service.requests].count("ListKernelSessionOutput") < 15  # not once for each file


def test_many_threads_share_a_runner(service: KaggleService, home: Path, ended: SessionHandle, tmp_path: Path) -> None:
    left(service, tmp_path, *(f"{number}.bin" for number in range(40)), data=DATA[:100_000])
    service.faults.rate(0.2, seed=1, names=["download"], kinds=["drop-in", "truncated", "url-403", "500"])
    runner = runner_of(service, home)
    with ThreadPoolExecutor(8) as pool:
        files = runner.outputs(ended)
        got = list(pool.map(lambda file: b"".join(runner.read_output(ended, file)), files))
    assert got == [DATA[:100_000]] * 40


def test_every_page_is_listed(service: KaggleService, home: Path, ended: SessionHandle, tmp_path: Path) -> None:
    names = [f"deep/er/{number:04}" for number in range(451)]
    left(service, tmp_path, *names, data=b"x")
    service.faults.add("listed-shuffled", times=3)
    service.faults.add("listed-twice", times=3)
    assert [file.path for file in runner_of(service, home).outputs(ended)] == names


def test_a_listing_that_still_grows_is_waited_for(service: KaggleService, home: Path, tmp_path: Path) -> None:
    service.settings.listing_seconds = 0.4
    handle = runner_of(service, home).start(submission("toy/s0001"))
    left(service, tmp_path, *(f"{number:03}" for number in range(300)), data=b"x")
    assert service.run(KERNEL).wait(10)
    runner = KaggleRunner(client=client_of(service, home), patience=PATIENCE, listing_settle_seconds=0.05)
    assert len(runner.outputs(handle)) == 300


def test_outputs_that_come_late(service: KaggleService, home: Path, tmp_path: Path) -> None:
    service.settings.listing_seconds = 1e6
    runner = runner_of(service, home, patience=SHORT)
    handle = runner.start(submission("toy/s0001"))
    assert service.run(KERNEL).wait(10)
    assert runner.outputs(handle) == []  # also after a while: there may be none at all
    client = client_of(service, home)
    listed, sizes = [0], client.output_sizes

    def later(owner: str, slug: str, version: int) -> Iterator[tuple[str, int | None]]:
        listed[0] += 1
        if listed[0] == 2:
            service.settings.listing_seconds = 0.0
            left(service, tmp_path, "model.zip")
        return sizes(owner, slug, version)

    client.output_sizes = later  # type: ignore[method-assign]
    assert [file.path for file in runner_of(service, home, client=client).outputs(handle)] == ["model.zip"]


@pytest.mark.parametrize("times", [1, 2])
def test_a_status_that_lags_hides_no_outputs(
    service: KaggleService, home: Path, ended: SessionHandle, tmp_path: Path, times: int
) -> None:
    left(service, tmp_path, "model.zip")
    service.faults.add("status-lag", "GetKernelSessionStatus", times=times)
    assert read(runner_of(service, home), ended) == DATA


def test_a_running_session_has_no_outputs_yet(service: KaggleService, home: Path) -> None:
    runner = runner_of(service, home)
    handle = runner.start(submission("toy/s0001", does="import time; time.sleep(600)\n"))
    assert runner.outputs(handle) == []


HOSTILE = [
    "../up",
    "/absolute",
    "a/../../b",
    "line\nbreak",
    "nul\x00",
    "C:\\windows",
    "ünï/cödé",
    "spa ce",
    "%2e%2e/x",
    "a?b#c",
]


def test_hostile_names_pass_through_as_they_are(
    service: KaggleService, home: Path, ended: SessionHandle, tmp_path: Path
) -> None:
    left(service, tmp_path, *HOSTILE, data=b"data")
    runner = runner_of(service, home)
    assert {file.path for file in runner.outputs(ended)} == set(HOSTILE)
    for name in HOSTILE:  # whoever checked the name may have it
        assert read(runner, ended, path=name) == b"data"


def test_one_name_for_two_files(service: KaggleService, home: Path, ended: SessionHandle, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    (tmp_path / "b").write_bytes(b"yy")
    two = (StoredFile("same", tmp_path / "a"), StoredFile("same", tmp_path / "b"))
    service.replace_outputs(KERNEL, Outputs(two))
    with pytest.raises(CorruptError, match="'same' twice, with 1 and 2 bytes"):
        runner_of(service, home).outputs(ended)


def test_far_too_many_files(
    service: KaggleService, home: Path, ended: SessionHandle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ckptsync.runners.kaggle.listing.MAX_OUTPUTS", 300)
    left(service, tmp_path, *(str(number) for number in range(301)), data=b"")
    with pytest.raises(LimitError, match="more than 300 files"):
        runner_of(service, home).outputs(ended)


def test_an_output_that_is_a_page_for_people(
    service: KaggleService, home: Path, ended: SessionHandle, tmp_path: Path
) -> None:
    page = b"<!DOCTYPE html><html>my report</html>"
    left(service, tmp_path, "report.html", "feed.xml", data=page)
    runner = runner_of(service, home)
    assert read(runner, ended, path="report.html") == read(runner, ended, path="feed.xml") == page


def test_a_download_that_never_works_ends(
    service: KaggleService, home: Path, ended: SessionHandle, tmp_path: Path
) -> None:
    left(service, tmp_path, "model.zip")
    service.faults.add("url-403", "download", times=1000)
    with pytest.raises(ServiceError, match="model") as failed:
        read(runner_of(service, home, patience=SHORT), ended)
    assert failed.value.transient
    assert "Signature" not in failed.value.message and "?" not in failed.value.message


def test_a_file_that_grew(service: KaggleService, home: Path, ended: SessionHandle, tmp_path: Path) -> None:
    left(service, tmp_path, "model.zip", data=b"x" * 100)
    runner = runner_of(service, home, patience=SHORT)
    file = runner.outputs(ended)[0]
    (tmp_path / "stored").write_bytes(b"x" * 200)
    with pytest.raises((CorruptError, ServiceError)):
        list(runner.read_output(ended, file))


def test_reading_without_a_listing_and_without_a_size(
    service: KaggleService, home: Path, ended: SessionHandle, tmp_path: Path
) -> None:
    left(service, tmp_path, "model.zip")
    runner = runner_of(service, home)
    assert b"".join(runner.read_output(ended, OutputFile("model.zip"), 5)) == DATA[5:]
    assert b"".join(runner.read_output(ended, OutputFile("model.zip"), len(DATA))) == b""
    with pytest.raises(NothingFoundError):
        list(runner.read_output(ended, OutputFile("other")))


def test_a_log_of_any_size_hinders_nothing(
    service: KaggleService, home: Path, ended: SessionHandle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ckptsync.runners.kaggle.web.MAX_ANSWER_BYTES", 1 << 20)
    monkeypatch.setattr("ckptsync.runners.kaggle.log.MAX_BYTES", 1 << 18)
    stored = tmp_path / "stored"
    stored.write_bytes(DATA)
    service.replace_outputs(KERNEL, Outputs((StoredFile("model.zip", stored),), log_bytes=16 << 20))
    runner = runner_of(service, home)
    tracemalloc.start()
    try:
        assert hashlib.sha256(read(runner, ended)).digest() == hashlib.sha256(DATA).digest()
        first = runner.log(ended)
        assert len(first) == 1 << 18
        assert runner.log(ended, 1 << 18)[:10] == b"x" * 10
        _now, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 12 << 20  # the service runs in this process, too


def test_a_log_is_read_in_parts(
    service: KaggleService, home: Path, ended: SessionHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = runner_of(service, home)
    whole = runner.log(ended)
    assert whole.startswith(b"[CKPTSYNC] container session ")
    monkeypatch.setattr("ckptsync.runners.kaggle.log.MAX_BYTES", 7)
    parts = [runner.log(ended, offset) for offset in range(0, len(whole) + 7, 7)]
    assert b"".join(parts) == whole
    assert {len(part) for part in parts[:-2]} == {7}
    assert runner.log(ended, len(whole) + 100) == b""


def test_listings_that_never_agree_are_told(
    service: KaggleService, home: Path, ended: SessionHandle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few of the files that only one of the two listings has are named."""
    client = client_of(service, home)
    sizes = client.output_sizes

    def fewer(owner: str, slug: str, version: int) -> Iterator[tuple[str, int | None]]:
        yield from (each for each in sizes(owner, slug, version) if each[0] == "both")
        yield "alone", 1

    monkeypatch.setattr(client, "output_sizes", fewer)
    left(service, tmp_path, "both", *(f"{number:04}" for number in range(1_207)), data=b"x")
    with pytest.raises(ServiceError) as failed:
        runner_of(service, home, client=client, patience=SHORT).outputs(ended)
    assert failed.value.message.endswith(
        "do not agree: 'alone' without an address, '0000', '0001', '0002' and 1,204 more without a size"
    )


def test_chunks_are_bounded(service: KaggleService, home: Path, ended: SessionHandle, tmp_path: Path) -> None:
    left(service, tmp_path, "model.zip", data=bytes(5 << 20))
    runner = runner_of(service, home)
    assert max(map(len, runner.read_output(ended, runner.outputs(ended)[0]))) <= 1 << 20
