"""The calls of the service, through the official SDK: its requests go out, values of ours come back.

Answers are read here and not by the SDK, which takes a missing status for QUEUED, fails with a bare KeyError
at a word that it does not know, and reads an answer of any size.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import requests
from kagglesdk.blobs.services.blob_api_service import BlobApiClient
from kagglesdk.blobs.types import blob_api_service as blob_types
from kagglesdk.datasets.services.dataset_api_service import DatasetApiClient
from kagglesdk.datasets.types import dataset_api_service as dataset_types
from kagglesdk.kaggle_env import KaggleEnv
from kagglesdk.kaggle_http_client import KaggleHttpClient
from kagglesdk.kernels.services.kernels_api_service import KernelsApiClient
from kagglesdk.kernels.types import kernels_api_service as kernel_types
from kagglesdk.kernels.types.kernels_enums import KernelsListViewType
from kagglesdk.security.services.oauth_service import OAuthClient
from kagglesdk.security.types.oauth_service import IntrospectTokenRequest
from kagglesdk.users.services.account_service import AccountClient
from kagglesdk.users.types.account_service import ApiVersion, GenerateAccessTokenRequest

from ... import __version__
from ...core.errors import CkptsyncError, CredentialsError, ServiceError
from ..base import Allowance
from . import credentials as found_credentials
from .answers import Address, KernelVersion, Pushed, WorkerStatus, allowances, items, pushed
from .credentials import Credentials
from .endpoint import api_base
from .errors import ABSENT, ForbiddenError
from .retry import Patience
from .web import Web

PAGE = 200
MAX_PAGES = 1000
_REFUSED = (401, 403)

T = TypeVar("T")


class _Transport(KaggleHttpClient):  # type: ignore[misc]
    """The SDK's way to send, with ours: bounds, our own errors, plain JSON for an answer."""

    def __init__(self, send: Callable[[str, str, bytes], dict[str, Any]]) -> None:
        super().__init__(env=KaggleEnv.PROD)
        self._send = send

    def call(self, service_name: str, request_name: str, request: Any, response_type: Any) -> dict[str, Any]:
        return self._send(service_name, request_name, json.dumps(request.to_dict(request)).encode())


class KaggleClient:
    """Speaks with the service.

    Every call that only reads is made again while the service fails, as `patience` says; a call that changes
    something is made once.

    Args:
        environ: where the endpoint and credentials are named.
        home: the user's home folder.
        timeout: how long one answer may take, in seconds.
        patience: how long reads are tried again.
    """

    def __init__(
        self,
        environ: Mapping[str, str] = os.environ,
        home: Path | None = None,
        *,
        timeout: float = 60.0,
        patience: Patience | None = None,
    ) -> None:
        self._environ = environ
        self._home = home or Path.home()
        self._base = api_base(environ)
        self._credentials: Credentials | None = None
        self._seen: list[Credentials] = []  # their secrets must not stand in any message
        self._lock = threading.RLock()
        self.web = Web(timeout, self._redact)
        self.patience = patience or Patience()
        transport = _Transport(self._send)
        self._kernels = KernelsApiClient(transport)
        self._datasets = DatasetApiClient(transport)
        self._blobs = BlobApiClient(transport)
        anonymous = _Transport(self._send_anonymously)
        self._oauth = OAuthClient(anonymous)
        self._accounts = AccountClient(anonymous)

    # --- who we are

    @property
    def credentials(self) -> Credentials:
        """Ours, with the name of their user.

        Raises:
            CredentialsError: there are none, or the service knows none of them.
        """
        with self._lock:
            if self._credentials is None:
                self._credentials = self._choose()
            return self._credentials

    @property
    def username(self) -> str:
        """The user that the credentials are for."""
        return self.credentials.username or ""

    def _choose(self) -> Credentials:
        refused = None
        for found in found_credentials.find_all(self._environ, self._home):
            self._seen.append(found)
            chosen = found if found.token is not None or found.key is not None else self._renewed(found)
            if chosen.username:
                return chosen
            username = self._introspect(chosen)
            if username:
                return replace(chosen, username=username)
            refused = found
        if refused is None:
            raise found_credentials.no_credentials()
        raise CredentialsError(
            f"Kaggle does not know the token in {refused.source}, or it has expired",
            hint="create a new one at kaggle.com/settings, then run 'ckptsync doctor'",
        )

    def _introspect(self, credentials: Credentials) -> str | None:
        request = IntrospectTokenRequest()
        request.token = credentials.token
        try:
            answer = self.patience.call(lambda: self._oauth.introspect_token(request))
        except (*ABSENT, ServiceError) as error:
            if error.transient:
                raise
            return None
        return str(answer.get("username") or "") if answer.get("active") is True else None

    def _renewed(self, credentials: Credentials) -> Credentials:
        request = GenerateAccessTokenRequest()
        request.refresh_token = credentials.refresh_token
        request.api_version = ApiVersion.API_VERSION_V1
        try:
            answer = self.patience.call(lambda: self._accounts.generate_access_token(request))
        except CkptsyncError as error:
            if error.transient:
                raise
            raise CredentialsError(
                f"the login in {credentials.source} is over: {error.message}", hint="kaggle auth login"
            ) from None
        if not isinstance(answer.get("token"), str) or not answer["token"]:
            raise ServiceError("Kaggle gave no token for the login that was stored")
        renewed = replace(credentials, token=answer["token"], username=answer.get("userName") or credentials.username)
        self._seen.append(renewed)
        return renewed

    def _authorization(self, *, renew: bool) -> str:
        with self._lock:
            if renew:
                self._credentials = self._renewed(self.credentials)
            value = self.credentials.authorization
        if value is None:
            raise found_credentials.no_credentials()
        return value

    def _redact(self, text: str) -> str:
        for known in self._seen:
            text = known.redact(text)
        return text

    def _send(self, service: str, method: str, body: bytes) -> dict[str, Any]:
        try:
            return self._post(service, method, body, self._authorization(renew=False))
        except CredentialsError as error:
            # A login ends after hours, in the middle of a wait, and is refused with 403 as well: as if it were not allowed
            ours = self.credentials
            if ours.refresh_token is None or (isinstance(error, ForbiddenError) and self._introspect(ours)):
                raise
        return self._post(service, method, body, self._authorization(renew=True))

    def _send_anonymously(self, service: str, method: str, body: bytes) -> dict[str, Any]:
        return self._post(service, method, body, None)

    def _post(self, service: str, method: str, body: bytes, authorization: str | None) -> dict[str, Any]:
        headers = {"Content-Type": "application/json", **_agent(authorization)}
        return self.web.json("POST", f"{self._base}/v1/{service}/{method}", what=method, headers=headers, data=body)

    def _read(self, ask: Callable[[], T]) -> T:
        _ = self.credentials  # has a patience of its own; one within the other would be both, multiplied
        return self.patience.call(ask)

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
        return KernelVersion.parse(self._read(lambda: self._kernels.get_kernel(request)), version)

    def own_kernels(self, search: str) -> list[str]:
        """Return `owner/slug` of kernels of ours that match a word."""
        request = kernel_types.ApiListKernelsRequest()
        request.group, request.search, request.page_size = KernelsListViewType.PROFILE, search, 100
        answer = self._read(lambda: self._kernels.list_kernels(request))
        return [k["ref"] for k in items(answer.get("kernels")) if isinstance(k, dict) and isinstance(k.get("ref"), str)]

    def status(self, owner: str, slug: str, version: int | None) -> WorkerStatus:
        """Return the status of a version's run; of the newest run without a number."""
        request = kernel_types.ApiGetKernelSessionStatusRequest()
        request.user_name, request.kernel_slug = owner, slug
        if version is not None:
            request.version_label = f"v{version}"
        return WorkerStatus.parse(self._read(lambda: self._kernels.get_kernel_session_status(request)))

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
        url = f"{self._base}/v1/kernels.KernelsApiService/DownloadKernelOutput"

        def ask() -> str:
            headers = {"Content-Type": "application/json", **_agent(self._authorization(renew=False))}
            with self.web.open("POST", url, what=what, headers=headers, data=body) as response:
                if response.status_code >= 400:
                    raise self.web.error(what, response, self.web.body(response, what=what))
                if location := response.headers.get("Location"):
                    return str(location)
                raise ServiceError(f"Kaggle answered {what} with no address")

        return self._read(ask)

    @contextmanager
    def log_stream(self, owner: str, slug: str, version: int, *, timeout: float) -> Iterator[requests.Response]:
        """Open the log of a version's run: live events while it runs, what is stored of it afterwards."""
        url = f"{self._base}/v1/kernels/logs/stream/{owner}/{slug}?versionLabel=v{version}"
        headers = {"Accept": "text/event-stream, */*", **_agent(self._authorization(renew=False))}
        what = f"the log of {owner}/{slug}"
        with self.web.open("GET", url, what=what, headers=headers, timeout=timeout) as response:
            if response.status_code >= 300:
                raise self.web.error(what, response, self.web.body(response, what=what))
            yield response

    def cancel(self, container_session: int) -> None:
        """Cancel a run by the id that its container prints."""
        request = kernel_types.ApiCancelKernelSessionRequest()
        request.kernel_session_id = container_session
        answer = self._read(lambda: self._kernels.cancel_kernel_session(request))
        if message := answer.get("errorMessage"):
            said = self.web.redact(str(message))[:300]
            raise ServiceError(f"Kaggle did not cancel the session: {said}", transient=False)

    def quota(self) -> tuple[Allowance, ...]:
        """Return what is left of the machines that are counted."""
        return allowances(self._read(lambda: self._kernels.get_accelerator_quota_statistics()))

    # --- datasets and blobs

    def start_upload(self, name: str, size: int) -> tuple[str, str]:
        """Return (token, address) for a file to be uploaded."""
        request = blob_types.ApiStartBlobUploadRequest()
        request.type, request.name = blob_types.ApiBlobType.DATASET, name
        request.content_length, request.content_type = size, "application/octet-stream"
        answer = self._read(lambda: self._blobs.start_blob_upload(request))  # one too many is forgotten by the service
        token, url = answer.get("token"), answer.get("createUrl")
        if not isinstance(token, str) or not isinstance(url, str):
            raise ServiceError("Kaggle gave no address for an upload")
        return token, url

    def dataset_version(self, owner: str, slug: str) -> int:
        """Return the number of a dataset's current version."""
        request = dataset_types.ApiGetDatasetRequest()
        request.owner_slug, request.dataset_slug = owner, slug
        number = self._read(lambda: self._datasets.get_dataset(request)).get("currentVersionNumber")
        return number if isinstance(number, int) else 0

    def dataset_status(self, owner: str, slug: str) -> str:
        """Return the word for a dataset's state, in capital letters."""
        request = dataset_types.ApiGetDatasetStatusRequest()
        request.owner_slug, request.dataset_slug = owner, slug
        return str(self._read(lambda: self._datasets.get_dataset_status(request)).get("status") or "").upper()

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
            answer = self._read(lambda: ask(request))
            yield answer
            token = str(answer.get("nextPageToken") or "")
            if not token:
                return
            if token in seen:
                raise ServiceError("Kaggle's listing goes round in a circle", transient=False)
            seen.add(token)
            request.page_token = token
        raise ServiceError(f"Kaggle's listing has more than {MAX_PAGES} pages", transient=False)


def _agent(authorization: str | None) -> dict[str, str]:
    agent = {"User-Agent": f"ckptsync/{__version__}"}
    return {**agent, "Authorization": authorization} if authorization is not None else agent


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
