"""`kagglesdk`, as it is installed, against the Kaggle service: every answer parses into the types that it stands for."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from kagglesdk.blobs.types.blob_api_service import ApiBlobType, ApiStartBlobUploadRequest
from kagglesdk.datasets.types.dataset_api_service import (
    ApiCreateDatasetRequest,
    ApiCreateDatasetVersionRequest,
    ApiCreateDatasetVersionRequestBody,
    ApiDatasetNewFile,
    ApiGetDatasetRequest,
    ApiGetDatasetStatusRequest,
    ApiListDatasetFilesRequest,
)
from kagglesdk.datasets.types.dataset_enums import DatabundleVersionStatus
from kagglesdk.kaggle_client import KaggleClient
from kagglesdk.kaggle_env import KaggleEnv
from kagglesdk.kernels.types.kernels_api_service import (
    ApiCancelKernelSessionRequest,
    ApiDownloadKernelOutputRequest,
    ApiDownloadKernelOutputZipRequest,
    ApiGetAcceleratorQuotaStatisticsRequest,
    ApiGetKernelRequest,
    ApiGetKernelSessionLogsStreamRequest,
    ApiGetKernelSessionStatusRequest,
    ApiListKernelFilesRequest,
    ApiListKernelSessionOutputRequest,
    ApiListKernelsRequest,
    ApiSaveKernelRequest,
)
from kagglesdk.kernels.types.kernels_enums import KernelExecutionType, KernelsListViewType, KernelWorkerStatus

from ckptsync.testing.kaggle import KaggleService


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[KaggleService]:
    """A service on a free port."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.delenv("KAGGLE_API_TOKEN", raising=False)
    with KaggleService(tmp_path / "service") as service:
        yield service
    assert service.failures == []


@pytest.fixture
def client(service: KaggleService) -> Iterator[Any]:
    """The client, which has no setting for a free port; everything else is as it is."""
    account = service.account
    with KaggleClient(env=KaggleEnv.TEST, username=account.name, password=account.key) as client:
        client.http_client()._endpoint = service.url
        yield client


def fill(kind: type[Any], **fields: Any) -> Any:
    """Build a request."""
    request = kind()
    for name, value in fields.items():
        setattr(request, name, value)
    return request


def push(client: Any, text: str, **fields: Any) -> Any:
    """Push a script."""
    return client.kernels.kernels_api_client.save_kernel(
        fill(
            ApiSaveKernelRequest,
            **{"slug": "tester/a-kernel", "new_title": "A kernel", "text": text, "language": "python"},
            **{"kernel_type": "script", "is_private": True, **fields},
        )
    )


def of(kind: type[Any], **fields: Any) -> Any:
    """Build a request about the kernel."""
    return fill(kind, user_name="tester", kernel_slug="a-kernel", **fields)


def test_kernels(client: Any, service: KaggleService) -> None:
    api = client.kernels.kernels_api_client
    pushed = push(client, "open('a', 'w').write('one')", dataset_data_sources=["tester/none"])
    assert (pushed.version_number, pushed.error, pushed.invalid_dataset_sources) == (1, "", ["tester/none"])
    assert service.run("tester/a-kernel").wait(10)
    status = api.get_kernel_session_status(of(ApiGetKernelSessionStatusRequest, version_label="v1"))
    assert (status.status, status.failure_message) == (KernelWorkerStatus.COMPLETE, "")
    output = api.list_kernel_session_output(of(ApiListKernelSessionOutputRequest, page_size=1))
    assert [file.file_name for file in output.files] == ["a"]
    files = api.list_kernel_files(of(ApiListKernelFilesRequest)).files
    assert [(file.name, file.size) for file in files] == [("a", 3)]
    assert push(client, "", kernel_execution_type=KernelExecutionType.QUICK_SAVE).version_number == 2
    kernel = api.get_kernel(of(ApiGetKernelRequest, version_label="v1"))
    assert (kernel.blob.source, kernel.metadata.current_version_number) == ("open('a', 'w').write('one')", 2)
    # The client's datetimes are UTC without saying so
    assert abs(kernel.metadata.last_run_time.replace(tzinfo=UTC) - datetime.now(UTC)) < timedelta(minutes=1)
    listed = api.list_kernels(fill(ApiListKernelsRequest, group=KernelsListViewType.PROFILE)).kernels
    assert [each.ref for each in listed] == ["tester/a-kernel"]
    download = fill(ApiDownloadKernelOutputRequest, owner_slug="tester", kernel_slug="a-kernel", file_path="a")
    assert api.download_kernel_output(download).content == b"one"
    number = service.run("tester/a-kernel", 1).number
    archive = api.download_kernel_output_zip(fill(ApiDownloadKernelOutputZipRequest, kernel_session_id=number))
    assert archive.content.startswith(b"PK")


def test_every_status(client: Any, service: KaggleService) -> None:
    api = client.kernels.kernels_api_client

    def status() -> Any:
        return api.get_kernel_session_status(of(ApiGetKernelSessionStatusRequest)).status

    service.settings.queued_seconds = 60
    push(client, "")
    assert status() is KernelWorkerStatus.QUEUED
    service.settings.queued_seconds = 0
    push(client, "import signal, time; signal.signal(15, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)")
    run = service.run("tester/a-kernel")
    while "deaf" not in run.log.text():
        time.sleep(0.01)
    assert status() is KernelWorkerStatus.RUNNING
    cancelled = api.cancel_kernel_session(fill(ApiCancelKernelSessionRequest, kernel_session_id=run.number))
    assert cancelled.error_message == ""
    assert status() is KernelWorkerStatus.CANCEL_REQUESTED
    run.kill()
    assert status() is KernelWorkerStatus.CANCEL_ACKNOWLEDGED
    push(client, "1/0")
    assert service.run("tester/a-kernel").wait(10)
    assert status() is KernelWorkerStatus.ERROR
    service.settings.status_word = "hibernating"
    with pytest.raises(KeyError):  # the client itself does not survive a new word
        status()


def test_errors(client: Any, service: KaggleService) -> None:
    api = client.kernels.kernels_api_client
    with pytest.raises(requests.HTTPError, match=r"Permission 'kernels\.get' was denied") as denied:
        api.get_kernel_session_status(of(ApiGetKernelSessionStatusRequest))
    assert denied.value.response.status_code == 403
    service.faults.add("429")
    with pytest.raises(requests.HTTPError, match="Too many requests") as limited:
        push(client, "")
    assert limited.value.response.headers["Retry-After"] == "1"


def test_the_log_stream(client: Any, service: KaggleService) -> None:
    push(client, "print('x')")
    assert service.run("tester/a-kernel").wait(10)
    request = of(ApiGetKernelSessionLogsStreamRequest)
    answer = client.kernels.kernels_api_client.get_kernel_session_logs_stream(request)
    assert answer.json()[0]["data"] == "x\n"


def test_quota(client: Any, service: KaggleService) -> None:
    service.settings.gpu_hours_used = 1
    request = ApiGetAcceleratorQuotaStatisticsRequest()
    quota = client.kernels.kernels_api_client.get_accelerator_quota_statistics(request)
    assert quota.gpu_quota.time_used == timedelta(hours=1)
    assert quota.gpu_quota.total_time_allowed == timedelta(hours=30)
    assert timedelta(0) < quota.quota_refresh_time.replace(tzinfo=UTC) - datetime.now(UTC) <= timedelta(days=7)


def upload(client: Any, content: bytes, name: str) -> Any:
    """Upload a file and return it as a dataset takes it."""
    request = fill(ApiStartBlobUploadRequest, type=ApiBlobType.DATASET, name=name, content_length=len(content))
    started = client.blobs.blob_api_client.start_blob_upload(request)
    assert requests.put(started.create_url, data=content, timeout=5).status_code == 200
    return fill(ApiDatasetNewFile, token=started.token)


def test_datasets(client: Any, service: KaggleService) -> None:
    api = client.datasets.dataset_api_client
    names = {"owner_slug": "tester", "dataset_slug": "a-dataset"}
    new = {"owner_slug": "tester", "slug": "a-dataset", "title": "A dataset", "is_private": True}
    created = api.create_dataset(fill(ApiCreateDatasetRequest, **new, files=[upload(client, b"1", "a")]))
    assert (created.status, created.error) == ("Ok", "")
    service.settings.processing_seconds = 60
    body = fill(ApiCreateDatasetVersionRequestBody, version_notes="two", files=[upload(client, b"22", "b")])
    assert api.create_dataset_version(fill(ApiCreateDatasetVersionRequest, **names, body=body)).status == "Ok"
    status = api.get_dataset_status(fill(ApiGetDatasetStatusRequest, **names)).status
    assert status is DatabundleVersionStatus.NOT_YET_PERSISTED
    dataset = api.get_dataset(fill(ApiGetDatasetRequest, **names))
    assert (dataset.current_version_number, dataset.is_private) == (1, True)
    assert [version.version_notes for version in dataset.versions] == ["two", ""]
    files = api.list_dataset_files(fill(ApiListDatasetFilesRequest, **names)).dataset_files
    assert [(file.name, file.total_bytes) for file in files] == [("a", 1)]
