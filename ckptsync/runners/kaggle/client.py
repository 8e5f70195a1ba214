"""The calls of the service: the SDK's requests go out, values of ours come back.

The one place that knows the names of the service's fields.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import urllib3
from kagglesdk.blobs.services.blob_api_service import BlobApiClient
from kagglesdk.blobs.types import blob_api_service as blob_types
from kagglesdk.datasets.services.dataset_api_service import DatasetApiClient
from kagglesdk.datasets.types import dataset_api_service as dataset_types
from kagglesdk.kernels.services.kernels_api_service import KernelsApiClient
from kagglesdk.kernels.types import kernels_api_service as kernel_types
from kagglesdk.kernels.types.kernels_enums import KernelsListViewType

from ...core.errors import ServiceError
from ...core.patience import Patience
from ..base import Allowance
from .answers import Address, KernelVersion, Pushed, WorkerStatus, allowances, items, pushed
from .connection import Connection, headers_for

PAGE = 200
MAX_PAGES = 1000


class KaggleClient(Connection):
    """Speaks with the service.

    Every call that only reads is made again while the service fails; a call that changes something is made once.
    The arguments are those of Connection.
    """

    def __init__(
        self,
        environ: Mapping[str, str] = os.environ,
        home: Path | None = None,
        *,
        timeout: float = 60.0,
        patience: Patience | None = None,
    ) -> None:
        super().__init__(environ, home, timeout=timeout, patience=patience)
        self._kernels = KernelsApiClient(self.transport)
        self._datasets = DatasetApiClient(self.transport)
        self._blobs = BlobApiClient(self.transport)

    # --- kernels

    def push(self, fields: Mapping[str, Any]) -> Pushed:
        """Save a version of a kernel and run it. Made once: an answer that is lost may stand for a run.

        Args:
            fields: of the SDK's ApiSaveKernelRequest.
        """
        request = kernel_types.ApiSaveKernelRequest()
        for name, value in fields.items():
            setattr(request, name, value)
        return pushed(self._kernels.save_kernel(request))

    def kernel(self, owner: str, slug: str, version: int | None = None) -> KernelVersion:
        """Return a version of a kernel with its source; the newest without a number."""
        request = kernel_types.ApiGetKernelRequest()
        request.user_name, request.kernel_slug = owner, slug
        if version is not None:
            request.version_label = f"v{version}"
        return KernelVersion.parse(self.read(lambda: self._kernels.get_kernel(request)), version)

    def own_kernels(self, search: str) -> list[str]:
        """Return `owner/slug` of kernels of ours that match a word."""
        request = kernel_types.ApiListKernelsRequest()
        request.group, request.search, request.page_size = KernelsListViewType.PROFILE, search, 100
        answer = self.read(lambda: self._kernels.list_kernels(request))
        return [k["ref"] for k in items(answer.get("kernels")) if isinstance(k, dict) and isinstance(k.get("ref"), str)]

    def status(self, owner: str, slug: str, version: int | None) -> WorkerStatus:
        """Return the status of a version's run; of the newest run without a number."""
        request = kernel_types.ApiGetKernelSessionStatusRequest()
        request.user_name, request.kernel_slug = owner, slug
        if version is not None:
            request.version_label = f"v{version}"
        return WorkerStatus.parse(self.read(lambda: self._kernels.get_kernel_session_status(request)))

    def output_pages(self, owner: str, slug: str, version: int) -> Iterator[tuple[list[Address], Any]]:
        """Yield (addresses of outputs, the log) of a version's run, page by page."""
        request = kernel_types.ApiListKernelSessionOutputRequest()
        request.user_name, request.kernel_slug, request.version_label = owner, slug, f"v{version}"
        for answer in self._pages(request, self._kernels.list_kernel_session_output):
            yield [Address.parse(item) for item in items(answer.get("files"))], answer.get("log")

    def output_sizes(self, owner: str, slug: str, version: int) -> Iterator[tuple[str, int | None]]:
        """Yield (name, size) of the outputs of a version's run."""
        request = kernel_types.ApiListKernelFilesRequest()
        request.user_name, request.kernel_slug, request.version_label = owner, slug, f"v{version}"
        for answer in self._pages(request, self._kernels.list_kernel_files):
            for item in items(answer.get("files")):
                yield _named_size(item, "size")

    def output_address(self, owner: str, slug: str, version: int, path: str) -> str:
        """Return the address of one output, without a listing."""
        request = kernel_types.ApiDownloadKernelOutputRequest()
        request.owner_slug, request.kernel_slug, request.file_path = owner, slug, path
        request.version_number = version
        body = json.dumps(request.to_dict(request)).encode()
        what = "the address of an output"
        url = f"{self.base}/v1/kernels.KernelsApiService/DownloadKernelOutput"

        def ask() -> str:
            headers = {"Content-Type": "application/json", **headers_for(self.authorization())}
            with self.web.open("POST", url, what=what, headers=headers, data=body) as response:
                if response.status >= 400:
                    raise self.web.error(what, response, self.web.body(response, what=what))
                if location := response.headers.get("Location"):
                    return str(location)
                raise ServiceError(f"Kaggle answered {what} with no address")

        return self.read(ask)

    @contextmanager
    def log_stream(self, owner: str, slug: str, version: int, *, timeout: float) -> Iterator[urllib3.BaseHTTPResponse]:
        """Open the log of a version's run: live events while it runs, what is stored of it afterwards."""
        url = f"{self.base}/v1/kernels/logs/stream/{owner}/{slug}?versionLabel=v{version}"
        headers = {"Accept": "text/event-stream, */*", **headers_for(self.authorization())}
        what = f"the log of {owner}/{slug}"
        with self.web.open("GET", url, what=what, headers=headers, timeout=timeout) as response:
            if response.status >= 300:
                raise self.web.error(what, response, self.web.body(response, what=what))
            yield response

    def cancel(self, container_session: int) -> None:
        """Cancel a run by the id that its container prints."""
        request = kernel_types.ApiCancelKernelSessionRequest()
        request.kernel_session_id = container_session
        answer = self.read(lambda: self._kernels.cancel_kernel_session(request))
        if message := answer.get("errorMessage"):
            said = self.web.redact(str(message))[:300]
            raise ServiceError(f"Kaggle did not cancel the session: {said}", transient=False)

    def quota(self) -> tuple[Allowance, ...]:
        """Return what is left of the machines that are counted."""
        return allowances(self.read(lambda: self._kernels.get_accelerator_quota_statistics()))

    # --- datasets and blobs

    def start_upload(self, name: str, size: int) -> tuple[str, str]:
        """Return (token, address) for a file to be uploaded."""
        request = blob_types.ApiStartBlobUploadRequest()
        request.type, request.name = blob_types.ApiBlobType.DATASET, name
        request.content_length, request.content_type = size, "application/octet-stream"
        answer = self.read(lambda: self._blobs.start_blob_upload(request))  # one too many is forgotten by the service
        token, url = answer.get("token"), answer.get("createUrl")
        if not isinstance(token, str) or not isinstance(url, str):
            raise ServiceError("Kaggle gave no address for an upload")
        return token, url

    def dataset_version(self, owner: str, slug: str) -> int:
        """Return the number of a dataset's current version."""
        request = dataset_types.ApiGetDatasetRequest()
        request.owner_slug, request.dataset_slug = owner, slug
        number = self.read(lambda: self._datasets.get_dataset(request)).get("currentVersionNumber")
        return number if isinstance(number, int) else 0

    def dataset_status(self, owner: str, slug: str) -> str:
        """Return the word for a dataset's state, in capital letters."""
        request = dataset_types.ApiGetDatasetStatusRequest()
        request.owner_slug, request.dataset_slug = owner, slug
        return str(self.read(lambda: self._datasets.get_dataset_status(request)).get("status") or "").upper()

    def dataset_files(self, owner: str, slug: str, version: int) -> dict[str, int | None]:
        """Return name -> size of the files of a dataset's version."""
        request = dataset_types.ApiListDatasetFilesRequest()
        request.owner_slug, request.dataset_slug, request.dataset_version_number = owner, slug, version
        files: dict[str, int | None] = {}
        for answer in self._pages(request, self._datasets.list_dataset_files):
            files.update(_named_size(item, "totalBytes") for item in items(answer.get("datasetFiles")))
        return files

    def create_dataset(self, owner: str, slug: str, title: str, tokens: list[str]) -> str:
        """Create a private dataset from uploaded files; returns the service's complaint, or nothing."""
        request = dataset_types.ApiCreateDatasetRequest()
        request.owner_slug, request.slug, request.title = owner, slug, title
        request.license_name, request.is_private, request.files = (
            "unknown",
            True,
            [_new_file(token) for token in tokens],
        )
        return _complaint(self._datasets.create_dataset(request))

    def create_dataset_version(self, owner: str, slug: str, notes: str, tokens: list[str]) -> str:
        """Give a dataset a new version, which takes the place of all before; returns a complaint, or nothing."""
        body = dataset_types.ApiCreateDatasetVersionRequestBody()
        body.version_notes, body.files = notes, [_new_file(token) for token in tokens]
        body.delete_old_versions = True
        request = dataset_types.ApiCreateDatasetVersionRequest()
        request.owner_slug, request.dataset_slug, request.body = owner, slug, body
        return _complaint(self._datasets.create_dataset_version(request))

    def _pages(self, request: Any, ask: Callable[[Any], dict[str, Any]]) -> Iterator[dict[str, Any]]:
        request.page_size = PAGE
        seen = {""}
        for _ in range(MAX_PAGES):
            answer = self.read(lambda: ask(request))
            yield answer
            token = str(answer.get("nextPageToken") or "")
            if not token:
                return
            if token in seen:
                raise ServiceError("Kaggle's listing goes round in a circle", transient=False)
            seen.add(token)
            request.page_token = token
        raise ServiceError(f"Kaggle's listing has more than {MAX_PAGES} pages", transient=False)


def _named_size(item: Any, key: str) -> tuple[str, int | None]:
    if not isinstance(item, dict) or not isinstance(item.get("name"), str):
        raise ServiceError("Kaggle lists a file without a name")
    size = item.get(key, 0)  # a default is left out of an answer
    return item["name"], int(size) if isinstance(size, int | str) and str(size).isascii() and str(
        size
    ).isdigit() else None


def _new_file(token: str) -> Any:
    file = dataset_types.ApiDatasetNewFile()
    file.token = token
    return file


def _complaint(answer: Mapping[str, Any]) -> str:
    if answer.get("error") or str(answer.get("status") or "ok").lower() != "ok":
        return str(answer.get("error") or f"status {answer.get('status')}")
    return ""
