"""Answers that make no sense are errors of ours, and nothing is made up from them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.kaggle import client_of

from ckptsync.core.errors import (
    CkptsyncError,
    ConfigError,
    CredentialsError,
    LimitError,
    NothingFoundError,
    ServiceError,
)
from ckptsync.core.patience import Patience
from ckptsync.runners.kaggle.answers import KernelVersion, allowances, pushed, seconds, utc
from ckptsync.runners.kaggle.client import KaggleClient
from ckptsync.runners.kaggle.errors import http_error, push_refusal
from ckptsync.testing.kaggle import KaggleService

ODD = [None, 0, 7, -1, 1.5, "", "text", "\ud800", [], [None], [7], ["a"], [{}], [{"name": 7}], {}, {"a": 1}, True]
FIELDS = [
    *("metadata", "blob", "versionNumber", "ref", "error", "invalidDatasetSources", "status", "failureMessage"),
    *(
        "files",
        "log",
        "nextPageToken",
        "kernels",
        "gpuQuota",
        "quotaRefreshTime",
        "currentVersionNumber",
        "datasetFiles",
    ),
    *("token", "createUrl", "errorMessage"),
]
SOUND: dict[str, Any] = {
    "metadata": {"currentVersionNumber": 3},
    "blob": {"source": "print()"},
    "token": "a-token",
    "createUrl": "https://storage.example/upload",
}
INSIDE = [("metadata", "currentVersionNumber"), ("blob", "source")]
CALLS: list[Callable[[KaggleClient], Any]] = [
    lambda c: c.push({"slug": "a/b"}),
    lambda c: c.kernel("a", "b"),
    lambda c: c.kernel("a", "b", 3),
    lambda c: c.own_kernels("b"),
    lambda c: c.status("a", "b", 3).session_status(),
    lambda c: list(c.output_pages("a", "b", 3)),
    lambda c: list(c.output_sizes("a", "b", 3)),
    lambda c: c.cancel(3),
    lambda c: c.quota(),
    lambda c: c.start_upload("a", 3),
    lambda c: c.dataset_version("a", "b"),
    lambda c: c.dataset_status("a", "b"),
    lambda c: c.dataset_files("a", "b", 3),
    lambda c: c.create_dataset("a", "b", "t", ["x"]),
]


@pytest.mark.parametrize("number", range(len(CALLS)))
def test_no_answer_breaks_a_call(service: KaggleService, home: Path, number: int) -> None:
    client = client_of(service, home, patience=Patience(0.0))
    asked = 0

    def call(answer: dict[str, Any]) -> None:
        def send(*_told: object) -> dict[str, Any]:
            nonlocal asked
            asked += 1
            return answer

        client._kernels._client._send = send  # every client has this transport
        CALLS[number](client)

    call(SOUND)  # else nothing behind the first look at it would be tried
    odd = [{**SOUND, field: value} for field in FIELDS for value in ODD]
    odd += [{**SOUND, part: {**SOUND[part], field: value}} for part, field in INSIDE for value in ODD]
    for answer in odd:
        try:
            call(answer)
        except CkptsyncError:
            pass
    assert asked >= 1 + len(odd)


@pytest.mark.parametrize(("fault", "said"), [("truncated-bare", "damaged or cut short"), ("html", "no JSON but")])
def test_an_answer_that_cannot_be_read_is_told_as_what_it_is(
    service: KaggleService, home: Path, fault: str, said: str
) -> None:
    client = client_of(service, home, patience=Patience(0.0))
    service.faults.add(fault, "ListKernels")
    with pytest.raises(ServiceError, match=said) as caught:
        client.own_kernels("toy")
    assert caught.value.transient


def test_a_push_without_a_version_is_none() -> None:
    assert pushed({}).version == 0
    assert pushed({"ref": "/code/me/my-kernel v36"}).version == 36
    found = pushed({"ref": "/code/me/my-kernel v36", "versionNumber": 36, "invalidModelSources": ["x/y"]})
    assert (found.owner, found.slug, found.invalid) == ("me", "my-kernel", ("Model 'x/y'",))
    assert pushed({"error": "Notebook not found", "versionNumber": 0}).error == "Notebook not found"


def test_a_kernel_without_a_number() -> None:
    with pytest.raises(ServiceError, match="which version"):
        KernelVersion.parse({"metadata": {}}, None)


def test_durations_and_times() -> None:
    assert seconds("108000s") == 108_000 and seconds("1.5s") == 1.5
    assert [seconds(odd) for odd in (None, 5, "5", "s", "-5s", "5m")] == [None] * 6
    assert utc("2026-12-05T00:00:00.123Z") == utc("2026-12-05T00:00:00") == "2026-12-05T00:00:00Z"
    assert utc("tomorrow") is None
    assert allowances({"gpuQuota": {"timeUsed": "5s"}}) == ()  # what is not told is no quota of zero


@pytest.mark.parametrize(
    ("status", "message", "kind", "transient"),
    [
        (401, "Unauthenticated", CredentialsError, False),
        (403, "Permission 'kernels.get' was denied", CredentialsError, False),
        (403, "Phone verification is required", ConfigError, False),
        (404, "No runs found", NothingFoundError, False),
        (409, "already in use", ServiceError, False),
        (429, "Too many requests", ServiceError, True),
        (500, "", ServiceError, True),
        (503, "", ServiceError, True),
        (400, "The kernel source must be less than 1 megabytes in size.", LimitError, False),
        (400, "anything", ServiceError, False),
    ],
)
def test_statuses(status: int, message: str, kind: type[CkptsyncError], transient: bool) -> None:
    error = http_error("SaveKernel", status, message)
    assert isinstance(error, kind) and error.transient is transient


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("Maximum weekly GPU quota of 30.00 hours reached.", LimitError),
        ("Maximum batch GPU session count of 2 reached.", LimitError),
        ("Maximum batch CPU session count of 5 reached.", LimitError),
        ("Notebook not found", CredentialsError),
        ("Phone verification required", ConfigError),
        ("Something new", ServiceError),
    ],
)
def test_refusals(message: str, kind: type[CkptsyncError]) -> None:
    error = push_refusal("me/my-kernel", message)
    assert isinstance(error, kind) and message in error.message and error.hint
