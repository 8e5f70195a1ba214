"""A submission runs once, whatever the service does with the push."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.kaggle import bundle_script, client_of, runner_of, submission

from ckptsync.core.errors import ConfigError, CredentialsError, LimitError, LockedError, ServiceError
from ckptsync.core.patience import Patience
from ckptsync.runners.base import SessionHandle, SessionState, Submission
from ckptsync.runners.kaggle.answers import KernelVersion, Pushed
from ckptsync.runners.kaggle.errors import ForbiddenError
from ckptsync.runners.kaggle.runner import KaggleRunner
from ckptsync.testing.kaggle import KaggleService

pytestmark = pytest.mark.slow

LONG = "import time; time.sleep(600)\n"
SHORT = Patience(0.2, first_pause=0.01, longest_pause=0.05)


def push_by_hand(service: KaggleService, home: Path, script: bytes, slug: str = "ckptsync-toy") -> int:
    """Push as another actor would, who looks at nothing."""
    fields = {
        "slug": f"tester/{slug}",
        "new_title": slug.replace("-", " "),
        "text": script.decode(),
        "language": "python",
        "kernel_type": "script",
        "is_private": True,
    }
    return client_of(service, home).push(fields).version


@pytest.mark.parametrize("fault", ["drop-after", "drop-in", "truncated", "truncated-bare"])
def test_a_push_whose_answer_is_lost_is_found(service: KaggleService, home: Path, fault: str) -> None:
    service.faults.add(fault, "SaveKernel")
    handle = runner_of(service, home).start(submission("toy/s0001"))
    assert handle.reference["version"] == 1
    assert len(service.runs()) == 1
    assert service.faults.fired[fault] == 1  # type: ignore[index]


@pytest.mark.parametrize("fault", ["429", "429-bare", "500", "502", "503", "html", "drop-before"])
def test_a_push_that_did_nothing_is_made_again(service: KaggleService, home: Path, fault: str) -> None:
    service.settings.retry_after_seconds = 0
    service.faults.add(fault, "SaveKernel")
    handle = runner_of(service, home, patience=SHORT).start(submission("toy/s0001"))
    assert handle.reference == {
        "owner": "tester",
        "slug": "ckptsync-toy",
        "version": 1,
        "generation": 1,
        "lineage": "20260101-aaaaaa",
        "address": "kaggle.com/code/tester/ckptsync-toy",
    }
    assert len(service.runs()) == 1


def test_a_lost_push_is_found_when_its_version_is_known_only_later(service: KaggleService, home: Path) -> None:
    service.settings.version_lag_seconds = 0.3
    first = runner_of(service, home).start(submission("toy/s0001"))
    service.faults.add("drop-after", "SaveKernel")
    second = runner_of(service, home).start(submission("toy/s0002", generation=2))
    # To whom only numbers count, the newest version would be unknown and the session not there
    assert runner_of(service, home).find(submission("toy/s0001")) == first
    assert second.reference["version"] == 2
    assert len(service.runs()) == 2


def test_nothing_is_pushed_when_no_push_is_answered(service: KaggleService, home: Path) -> None:
    service.faults.add("503", "SaveKernel", times=100)
    runner = runner_of(service, home, patience=SHORT)
    with pytest.raises(ServiceError) as failed:
        runner.start(submission("toy/s0001"))
    assert failed.value.transient
    assert service.runs() == []
    assert runner.find(submission("toy/s0001")) is None


def test_of_doubles_the_lowest_version_is_the_session(service: KaggleService, home: Path) -> None:
    wanted = submission("toy/s0001", does=LONG)
    assert push_by_hand(service, home, wanted.script) == 1
    assert push_by_hand(service, home, wanted.script) == 2
    runner = runner_of(service, home)
    found = runner.find(wanted)
    assert found is not None and found.reference["version"] == 1
    assert [d.handle for d in runner.discover("toy")] == [found]
    assert runner.start(wanted) == found
    assert len(service.runs()) == 2


def test_a_service_that_ignores_numbers_of_versions(service: KaggleService, home: Path) -> None:
    client = client_of(service, home)
    kernel = client.kernel

    def newest(owner: str, slug: str, version: int | None = None) -> KernelVersion:
        found = kernel(owner, slug)
        return found if version is None else replace(found, number=version)

    client.kernel = newest  # type: ignore[method-assign]
    runner = runner_of(service, home, client=client)
    runner.start(submission("toy/s0001"))
    runner.start(submission("toy/s0002", generation=2))
    # Else the second session would be taken for a double whose first version is the other one
    with pytest.raises(ServiceError, match="cannot be told apart"):
        runner_of(service, home, client=client).find(submission("toy/s0002", generation=2))


def beaten(service: KaggleService, home: Path, script: bytes) -> KaggleRunner:
    """Return a runner before whose push somebody else's arrives."""
    client = client_of(service, home)
    push = client.push

    def late(fields: Mapping[str, Any]) -> Pushed:
        push_by_hand(service, home, script)
        return push(fields)

    client.push = late  # type: ignore[method-assign]
    return runner_of(service, home, client=client)


@pytest.mark.parametrize(
    "other",
    [
        bundle_script("toy/s0001", lineage="20260101-bbbbbb", does=LONG),
        bundle_script("toy/s0001", params={"other": 1}, does=LONG),
        bundle_script("toy/s0002", generation=2, does=LONG),
    ],
)
def test_who_comes_second_gives_way(service: KaggleService, home: Path, other: bytes) -> None:
    with pytest.raises(LockedError, match="version 1 of tester/ckptsync-toy"):
        beaten(service, home, other).start(submission("toy/s0001", does=LONG))
    assert service.run("tester/ckptsync-toy", 2).wait(10)
    assert service.run("tester/ckptsync-toy", 2).status[0] == "cancelAcknowledged"
    assert service.run("tester/ckptsync-toy", 1).status[0] == "running"
    assert [d.handle.reference["version"] for d in runner_of(service, home).discover("toy")][-1] == 1


def test_a_double_that_appears_late_is_cancelled(service: KaggleService, home: Path) -> None:
    wanted = submission("toy/s0001", does=LONG)
    handle = beaten(service, home, wanted.script).start(wanted)
    assert handle.reference["version"] == 1
    assert service.run("tester/ckptsync-toy", 2).wait(10)
    assert service.run("tester/ckptsync-toy", 1).status[0] == "running"


def test_a_session_of_another_lineage_is_another_one(service: KaggleService, home: Path) -> None:
    runner = runner_of(service, home)
    handle = runner.start(submission("toy/s0001"))
    theirs = submission("toy/s0001", lineage="20260101-bbbbbb")
    assert runner.find(theirs) is None
    found = runner.find(Submission("toy/s0001", 1, b""))  # who does not say the lineage is told it
    assert found == handle and found.reference["lineage"] == "20260101-aaaaaa"


def test_nothing_is_pushed_behind_a_session_that_is_ahead(service: KaggleService, home: Path) -> None:
    runner = runner_of(service, home)
    runner.start(submission("toy/s0002", generation=2))
    for behind in (
        submission("toy/s0001"),
        submission("toy/s0002", generation=2, lineage="20260101-bbbbbb"),
        submission("toy/s0003", generation=2),
    ):
        with pytest.raises(LockedError, match="toy/s0002"):
            runner.start(behind)
    assert len(service.runs()) == 1


def test_an_older_session_that_was_stuck_hides_nothing(service: KaggleService, home: Path) -> None:
    for session, generation in (("toy/s0001", 1), ("toy/s0002", 2), ("toy/s0001", 1)):
        push_by_hand(service, home, bundle_script(session, generation=generation))
    with pytest.raises(LockedError, match="toy/s0002"):
        runner_of(service, home).start(submission("toy/s0002", generation=2, lineage="20260101-bbbbbb"))
    found = runner_of(service, home).find(submission("toy/s0002", generation=2))
    assert found is not None and found.reference["version"] == 2


@pytest.mark.parametrize("accelerator", ["none", "gpu"])
def test_too_many_sessions(service: KaggleService, home: Path, accelerator: str) -> None:
    service.settings.cpu_sessions = service.settings.gpu_sessions = 0
    with pytest.raises(LimitError, match="session count of 0 reached"):
        runner_of(service, home, accelerator=accelerator).start(submission("toy/s0001"))


def test_a_quota_that_is_used_up_is_told_before_anything_is_sent(service: KaggleService, home: Path) -> None:
    service.settings.gpu_hours_used = 30.0
    service.settings.quota_renews_at = "2026-12-05T00:00:00Z"
    with pytest.raises(LimitError, match="30 hours on Kaggle is used up") as refused:
        runner_of(service, home, accelerator="gpu").start(submission("toy/s0001"))
    assert refused.value.available_at == "2026-12-05T00:00:00Z"
    assert "SaveKernel" not in [call.name for call in service.requests]
    runner_of(service, home).start(submission("toy/s0001"))  # a machine without one may run


def test_the_service_refuses_for_the_quota(service: KaggleService, home: Path) -> None:
    service.settings.gpu_hours_used = 30.0
    service.settings.quota_renews_at = "2026-12-05T00:00:00Z"
    # The quota cannot be asked for before, and can afterwards
    service.faults.add("503", "GetAcceleratorQuotaStatistics")
    runner = runner_of(service, home, patience=Patience(0.0, first_pause=0.0), accelerator="gpu")
    with pytest.raises(LimitError, match="Maximum weekly GPU quota") as refused:
        runner.start(submission("toy/s0001"))
    assert refused.value.available_at == "2026-12-05T00:00:00Z"


def test_a_phone_that_is_not_verified(service: KaggleService, home: Path) -> None:
    account = service.add_account("newcomer", verified=False)
    with pytest.raises(ConfigError, match="Phone verification") as refused:
        runner_of(service, home, account=account, internet=True).start(submission("toy/s0001"))
    assert "verify a phone number" in (refused.value.hint or "")


@pytest.mark.parametrize("way", ["error", "denied"])
def test_somebody_elses_kernel(service: KaggleService, home: Path, way: str) -> None:
    service.settings.foreign_kernel = way  # type: ignore[assignment]
    account = service.add_account("stranger")
    handle = runner_of(service, home, private=False).start(submission("toy/s0001"))
    theirs = runner_of(service, home, account=account, owner="tester")
    assert theirs.find(submission("toy/s0001")) == handle  # it is public
    with pytest.raises(ForbiddenError):
        theirs.start(submission("toy/s0002", generation=2))


def test_somebody_elses_private_kernel(service: KaggleService, home: Path) -> None:
    account = service.add_account("stranger")
    runner_of(service, home).start(submission("toy/s0001"))
    with pytest.raises(CredentialsError, match="user stranger may not see it"):
        runner_of(service, home, account=account, owner="tester").find(submission("toy/s0001"))


def test_a_kernel_that_is_something_else(service: KaggleService, home: Path) -> None:
    push_by_hand(service, home, b"print('my notebook')\n")
    with pytest.raises(ConfigError, match="holds no session of ckptsync"):
        runner_of(service, home).start(submission("toy/s0001"))
    assert len(service.runs()) == 1


def test_a_slug_that_a_dataset_has(service: KaggleService, home: Path, tmp_path: Path) -> None:
    (tmp_path / "toy_checkpoint_1_steps.ckpt").write_bytes(b"x")
    with_input = submission(
        "toy/s0001", inputs={"toy_checkpoint_1_steps.ckpt": tmp_path / "toy_checkpoint_1_steps.ckpt"}
    )
    runner_of(service, home, kernel="some-kernel").start(with_input)
    with pytest.raises(ServiceError, match="already in use by a dataset") as refused:
        runner_of(service, home, kernel="some-kernel-inputs").start(submission("toy/s0002", generation=2))
    assert not refused.value.transient


def test_another_slug_than_was_asked_for(service: KaggleService, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ckptsync.runners.kaggle.pushing.title_of", lambda slug: "Something Else")
    with pytest.raises(ConfigError, match="made the kernel 'tester/something-else'"):
        runner_of(service, home).start(submission("toy/s0001"))


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"datasets": ("tester/nothing",)}, "Dataset 'tester/nothing'"),
        ({"competitions": ("atlantis",)}, "Competition 'atlantis'"),
        ({"kernels": ("tester/nothing",)}, "Kernel 'tester/nothing'"),
        ({"models": ("tester/m/jax/v/1",)}, "Model 'tester/m/jax/v/1'"),
    ],
)
def test_a_source_that_does_not_exist_is_no_warning(
    service: KaggleService, home: Path, settings: dict[str, tuple[str, ...]], named: str
) -> None:
    with pytest.raises(ConfigError, match=named):
        runner_of(service, home, **settings).start(submission("toy/s0001", does=LONG))
    assert service.run("tester/ckptsync-toy").wait(10)
    assert service.run("tester/ckptsync-toy").status[0] == "cancelAcknowledged"


def test_a_script_of_more_than_a_megabyte(service: KaggleService, home: Path) -> None:
    with pytest.raises(LimitError, match="at most 1,000,000"):
        runner_of(service, home).start(Submission("toy/s0001", 1, b"#" * 1_000_001))
    assert service.runs() == []


def test_a_script_of_another_session(service: KaggleService, home: Path) -> None:
    with pytest.raises(ConfigError, match="another session"):
        runner_of(service, home).start(Submission("toy/s0001", 1, bundle_script("toy/s0002", generation=2)))


def test_what_is_pushed(service: KaggleService, home: Path) -> None:
    wanted = submission("toy/s0001")
    runner = runner_of(service, home, accelerator="NvidiaTeslaP100", internet=True, docker_image="gcr.io/x@sha256:1")
    runner.start(Submission(wanted.session, 1, wanted.script, budget_seconds=90.4))
    pushed = service.version("tester/ckptsync-toy").request
    assert pushed["isPrivate"] is True
    assert pushed["enableGpu"] is True and pushed["enableInternet"] is True and not pushed.get("enableTpu")
    assert pushed["machineShape"] == "NvidiaTeslaP100"
    assert pushed["dockerImage"] == "gcr.io/x@sha256:1"
    assert pushed["sessionTimeoutSeconds"] == 90
    assert pushed["text"].encode() == wanted.script
    assert service.account.key not in pushed["text"]


def test_no_internet_no_accelerator_and_private_unless_told(service: KaggleService, home: Path) -> None:
    runner_of(service, home).start(submission("toy/s0001"))
    pushed = service.version("tester/ckptsync-toy").request
    assert pushed["isPrivate"] is True
    assert (pushed["enableGpu"], pushed["enableTpu"], pushed["enableInternet"]) == (False, False, False)


def test_runs_are_kept_apart(service: KaggleService, home: Path) -> None:
    runner = runner_of(service, home)
    handles = [runner.start(submission(session)) for session in ("a_b/s0001", "a-b/s0001", "A_B/s0001", "日本/s0001")]
    assert len({handle.reference["slug"] for handle in handles}) == 4
    for handle in handles:
        assert len(handle.reference["slug"]) <= 43
        assert [d.handle for d in runner.discover(handle.session.rpartition("/")[0])] == [handle]


def test_discovered_sessions_come_newest_first(service: KaggleService, home: Path) -> None:
    runner = runner_of(service, home)
    assert runner.discover("toy") == []
    handles = [runner.start(submission(f"toy/s000{n}", generation=n)) for n in (1, 2, 3)]
    push_by_hand(service, home, b"print('by hand')\n")
    fresh = runner_of(service, home)
    assert [d.handle for d in fresh.discover("toy")] == handles[::-1]
    assert [d.spec.generation for d in fresh.discover("toy", limit=2)] == [3, 2]
    assert fresh.discover("other") == []
    assert isinstance(handles[0], SessionHandle)
    assert fresh.status(handles[0]).state is not SessionState.UNKNOWN
