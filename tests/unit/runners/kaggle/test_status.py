"""Status, cancelling, limits: what the service says, and what it does not say."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from support.kaggle import client_of, runner_of, submission

from ckptsync.core.errors import ConfigError, CredentialsError, NothingFoundError, ServiceError
from ckptsync.core.patience import Patience
from ckptsync.runners.base import RemoteRunner, SessionHandle, SessionState, StreamingRunner, Submission
from ckptsync.runners.kaggle.answers import WorkerStatus
from ckptsync.testing.kaggle import KaggleService

pytestmark = pytest.mark.slow

LONG = "import time; time.sleep(600)\n"
KERNEL = "tester/ckptsync-toy"
SHORT = Patience(0.3, first_pause=0.01, longest_pause=0.05)


@pytest.mark.parametrize(
    ("word", "message", "state"),
    [
        ("complete", "", SessionState.COMPLETE),
        ("COMPLETE", "", SessionState.COMPLETE),
        ("KernelWorkerStatus.RUNNING", "", SessionState.RUNNING),
        ("KERNEL_WORKER_STATUS_ERROR", "", SessionState.ERROR),
        ("queued", "", SessionState.QUEUED),
        ("newScript", "", SessionState.QUEUED),
        ("cancelRequested", "", SessionState.RUNNING),
        ("CANCEL_ACKNOWLEDGED", "", SessionState.CANCELLED),
        (
            "cancelAcknowledged",
            "Your notebook was stopped because it exceeded the max allowed execution duration.",
            SessionState.TIMED_OUT,
        ),
        ("error", "Your notebook tried to allocate more memory than is available.", SessionState.ERROR),
        ("completed", "", SessionState.UNKNOWN),
        ("", "", SessionState.UNKNOWN),
        ("finished\x1b[2J", "", SessionState.UNKNOWN),
    ],
)
def test_words_of_the_service(word: str, message: str, state: SessionState) -> None:
    status = WorkerStatus(word, message).session_status()
    assert status.state is state
    assert "\x1b" not in status.message


@pytest.mark.parametrize("answer", [{}, {"status": None}, {"status": 2}, {"status": ["complete"]}])
def test_an_answer_without_a_status_is_no_queued(answer: dict[str, object]) -> None:
    assert WorkerStatus.parse(answer).session_status().state is SessionState.UNKNOWN


def test_an_unknown_word_is_never_an_end(service: KaggleService, home: Path) -> None:
    runner = runner_of(service, home)
    handle = runner.start(submission("toy/s0001"))
    service.settings.status_word = "archived"
    status = runner.status(handle)
    assert status.state is SessionState.UNKNOWN and "archived" in status.message


def test_the_status_is_of_the_sessions_own_version(service: KaggleService, home: Path) -> None:
    runner = runner_of(service, home)
    first = runner.start(submission("toy/s0001", does="raise SystemExit(3)\n"))
    assert service.run(KERNEL).wait(10)
    service.settings.status_lag_seconds = 60.0
    second = runner.start(submission("toy/s0002", generation=2, does=LONG))
    assert runner.status(first).state is SessionState.ERROR
    assert runner.status(second).state in (SessionState.RUNNING, SessionState.QUEUED)


def test_the_end_of_the_run_before_is_not_believed(service: KaggleService, home: Path) -> None:
    runner = runner_of(service, home)
    runner.start(submission("toy/s0001"))
    assert service.run(KERNEL).wait(10)
    service.settings.status_lag_seconds = service.settings.version_lag_seconds = 0.4
    second = runner.start(submission("toy/s0002", generation=2, does=LONG))
    assert runner.status(second).state in (SessionState.RUNNING, SessionState.QUEUED)


def test_a_version_that_the_service_does_not_know(service: KaggleService, home: Path) -> None:
    runner = runner_of(service, home)
    handle = runner.start(submission("toy/s0001"))
    other = SessionHandle("toy/s0002", "kaggle", {**handle.reference, "version": 7})
    status = runner.status(other)
    assert status.state is SessionState.UNKNOWN and "version 1 is the newest" in status.message


def test_a_service_that_knows_no_versions_by_number(service: KaggleService, home: Path) -> None:
    runner = runner_of(service, home, patience=SHORT)
    handle = runner.start(submission("toy/s0001"))
    assert service.run(KERNEL).wait(10)
    service.settings.version_lag_seconds = 1e6
    status = runner.status(handle)
    assert status.state is SessionState.COMPLETE and "refuses its number" in status.message


def test_a_kernel_that_was_deleted(service: KaggleService, home: Path) -> None:
    runner = runner_of(service, home)
    handle = runner.start(submission("toy/s0001"))
    lost = SessionHandle("toy/s0001", "kaggle", {**handle.reference, "slug": "ckptsync-gone"})
    with pytest.raises(NothingFoundError, match="version 1 of tester/ckptsync-gone"):
        runner.status(lost)


def test_credentials_that_end_in_the_middle(service: KaggleService, home: Path) -> None:
    runner = runner_of(service, home)
    handle = runner.start(submission("toy/s0001", does=LONG))
    service.accounts.revoke(service.account.key)
    with pytest.raises(CredentialsError) as refused:
        runner.status(handle)
    assert not refused.value.transient
    assert service.account.key not in str(refused.value)


@pytest.mark.parametrize("fault", ["429", "500", "html", "drop-in", "truncated", "truncated-bare"])
def test_reads_are_made_again(service: KaggleService, home: Path, fault: str) -> None:
    service.settings.retry_after_seconds = 0
    runner = runner_of(service, home)
    handle = runner.start(submission("toy/s0001", does=LONG))
    service.faults.add(fault, "GetKernelSessionStatus", times=3)
    assert runner.status(handle).state in (SessionState.RUNNING, SessionState.QUEUED)


def test_an_outage_is_transient(service: KaggleService, home: Path) -> None:
    runner = runner_of(service, home, patience=SHORT)
    handle = runner.start(submission("toy/s0001", does=LONG))
    service.faults.add("502", times=10_000)
    with pytest.raises(ServiceError) as failed:
        runner.status(handle)
    assert failed.value.transient


# --- cancelling


def test_a_session_that_does_not_say_its_container_cannot_be_cancelled(service: KaggleService, home: Path) -> None:
    runner = runner_of(service, home)
    handle = runner.start(Submission("toy/s0001", 1, LONG.encode()))
    with pytest.raises(ServiceError, match="cannot be cancelled from here") as refused:
        runner.cancel(handle)
    assert "kaggle.com/code/tester/ckptsync-toy" in (refused.value.hint or "")


def test_a_container_that_somebody_makes_up(service: KaggleService, home: Path) -> None:
    runner = runner_of(service, home)
    does = "print('x [CKPTSYNC] container session 12', flush=True)\n" + LONG
    handle = runner.start(Submission("toy/s0001", 1, does.encode()))
    with pytest.raises(ServiceError, match="cannot be cancelled from here"):
        runner.cancel(handle)


# --- the log


@pytest.mark.parametrize("way", ["raw", "replaced"])
def test_a_log_that_is_no_text(service: KaggleService, home: Path, way: str) -> None:
    service.settings.log_bytes = way  # type: ignore[assignment]
    runner = runner_of(service, home)
    handle = runner.start(submission("toy/s0001", does="os.write(1, b'caf\\xe9 \\xff\\x00 end\\n')\n"))
    assert service.run(KERNEL).wait(10)
    log = runner.log(handle)
    assert b"caf" in log and log.endswith(b" end\n")


def test_a_log_whose_stream_fails(service: KaggleService, home: Path) -> None:
    runner = runner_of(service, home, patience=SHORT)
    handle = runner.start(submission("toy/s0001", does="print('said', flush=True)\n"))
    assert service.run(KERNEL).wait(10)
    service.faults.add("500", "stream", times=1000)
    assert b"said" in runner.log(handle)


def test_following_until_the_end(service: KaggleService, home: Path) -> None:
    runner = runner_of(service, home)
    assert isinstance(runner, StreamingRunner) and isinstance(runner, RemoteRunner)
    handle = runner.start(
        submission("toy/s0001", does="import time\nfor n in range(5): print(n, flush=True); time.sleep(0.1)\n")
    )
    followed = b"".join(runner.follow(handle))
    assert followed == runner.log(handle)
    assert followed.endswith(b"0\n1\n2\n3\n4\n")
    assert b"".join(runner.follow(handle, len(followed) - 4)) == b"3\n4\n"


@pytest.mark.parametrize("fault", ["drop-in", "500"])
def test_a_stream_that_breaks_ends(service: KaggleService, home: Path, fault: str) -> None:
    runner = runner_of(service, home)
    handle = runner.start(submission("toy/s0001", does="print('x' * 1000, flush=True)\n"))
    assert service.run(KERNEL).wait(10)
    service.faults.add(fault, "stream")
    try:
        assert len(b"".join(runner.follow(handle))) <= 1100
    except ServiceError as error:
        assert error.transient


# --- limits, and a clock that is wrong


def test_limits(service: KaggleService, home: Path) -> None:
    service.settings.gpu_hours_used = 12.5
    service.settings.quota_renews_at = "2026-12-05T00:00:00Z"
    found = runner_of(service, home).limits()
    assert found.session_seconds == 12 * 3600
    assert found.output_bytes == 20 * 10**9
    assert {a.kind: (a.allowed_seconds, a.left_seconds, a.renews_at) for a in found.allowances} == {
        "gpu": (108_000.0, 63_000.0, "2026-12-05T00:00:00Z"),
        "tpu": (72_000.0, 72_000.0, "2026-12-05T00:00:00Z"),
    }
    assert runner_of(service, home, accelerator="tpu").limits().session_seconds == 9 * 3600
    assert runner_of(service, home, budget_seconds=60.0).limits().session_seconds == 60


@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "America/Los_Angeles"])
def test_a_clock_that_is_a_day_off_and_any_time_zone(
    service: KaggleService, home: Path, zone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import time

    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        service.settings.clock_offset_seconds = 86_400.0 if "Pacific" in zone else -86_400.0
        service.faults.add("429-date", "GetKernelSessionStatus")
        runner = runner_of(service, home)
        handle = runner.start(submission("toy/s0001", does="open('left', 'w').write('x')\n"))
        assert service.run(KERNEL).wait(10)
        assert runner.status(handle).state is SessionState.COMPLETE
        assert [file.path for file in runner.outputs(handle)] == ["left"]
        assert [d.handle for d in runner.discover("toy")] == [handle]
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize("owner", ["a b", "../x", "tester/other", "ü", ""])
def test_an_owner_with_odd_characters(service: KaggleService, home: Path, owner: str) -> None:
    client = client_of(service, home)
    with pytest.raises((ConfigError, ValueError)):
        runner_of(service, home, client=client, owner=owner).find(submission("toy/s0001"))
    assert service.requests == []


def test_a_runner_serves_threads_that_ask_for_the_same_kernel(service: KaggleService, home: Path) -> None:
    runner = runner_of(service, home)
    handle = runner.start(submission("toy/s0001", does=LONG))
    seen: list[SessionState] = []
    threads = [threading.Thread(target=lambda: seen.append(runner.status(handle).state)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 8 and not any(state.finished for state in seen)
