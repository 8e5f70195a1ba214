"""The service as a whole: where requests go, and how it is started, watched and stopped."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from .accounts import Account, Accounts
from .blobs import PREFIX as UPLOADS
from .blobs import Blobs
from .datasets import Datasets
from .downloads import PREFIX as DOWNLOADS
from .downloads import Downloads
from .faults import DOWNLOAD, STREAM, UPLOAD, Fault, Faults, possible
from .http import Server
from .kernels import Kernels
from .messages import Call, Request, Response
from .pushing import Pushing
from .quota import Quota
from .records import KernelVersion
from .runs import Outputs, Run
from .sessions import Sessions, spoil_listing
from .settings import Settings
from .world import ApiError, Json, World

_API = re.compile(r"(?:/api)?/v1/([A-Za-z0-9.]+Service)/([A-Za-z]+)")
_LOG_STREAM = re.compile(r"(?:/api)?/v1/kernels/logs/stream/([^/]+)/([^/]+)")
_STORED = re.compile(rf"{DOWNLOADS}(kernels|datasets)/([^/]+)/([^/]+)/(\d+)/(-?\d+)/.+", re.DOTALL)
_Method = Callable[[Account, Json, str], Json | Response]


class KaggleService:
    """A service on loopback that speaks Kaggle's protocol and really runs what is pushed.

        with KaggleService(folder, time_scale=3600, queued_seconds=0.1) as service:
            environment = service.environment()      # for a client: the address and a key
            service.faults.add("drop-after", "SaveKernel")
            ...
            run = service.run("tester/my-kernel")     # the newest version's
            assert run.wait(10) and run.status[0] == "complete"

    Args:
        folder: an empty folder, for runs, datasets and uploads; it is left as it is at the end.
        port: on 127.0.0.1; 0: a free one.
        user: the first account's name; `add_account` makes more.
        settings: any of Settings, by name.

    Attributes:
        settings: may be changed at any time.
        faults: what goes wrong, see Faults.
        account: the first account, with its `name`, `key`, `token` and `refresh_token`.
        requests: every request so far, see Call.
        failures: tracebacks of errors in the service itself; a test that cares checks that there are none.
    """

    def __init__(self, folder: Path, *, port: int = 0, user: str = "tester", **settings: Any) -> None:
        self.settings = Settings(**settings)
        self.faults = Faults()
        self._world = World(folder.absolute(), self.settings)
        self.failures = self._world.failures
        self.accounts = Accounts(self._world)
        self.account = self.accounts.add(user)
        self._downloads = Downloads(self._world)
        self._blobs = Blobs(self._world)
        self._datasets = Datasets(self._world, self._blobs, self._downloads)
        quota = Quota(self._world)
        self._kernels = Kernels(self._world)
        pushing = Pushing(self._world, self._kernels, self._datasets, quota)
        self._sessions = Sessions(self._world, self._kernels, quota, self._downloads)
        kernel_methods = self._kernels.methods() | pushing.methods() | self._sessions.methods()
        self._methods: dict[str, _Method] = {
            **{f"datasets.DatasetApiService/{name}": do for name, do in self._datasets.methods().items()},
            **{f"kernels.KernelsApiService/{name}": do for name, do in kernel_methods.items()},
            "blobs.BlobApiService/StartBlobUpload": lambda _account, request, base: self._blobs.start(request, base),
        }
        self._server = Server(port, self._world, self.faults, _name_of, self._answer)
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """The address, for CKPTSYNC_KAGGLE_URL."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return self._server.server_port

    @property
    def requests(self) -> list[Call]:
        """Every request so far, oldest first."""
        return list(self._server.calls)

    def environment(self, account: Account | None = None) -> dict[str, str]:
        """Return the environment variables by which a client finds the service and signs in."""
        whose = account or self.account
        return {"CKPTSYNC_KAGGLE_URL": self.url, "KAGGLE_USERNAME": whose.name, "KAGGLE_KEY": whose.key}

    def add_account(self, name: str, *, verified: bool = True) -> Account:
        """Add a user; one whose phone is not verified gets neither accelerators nor internet."""
        return self.accounts.add(name, verified=verified)

    def version(self, ref: str, number: int | None = None) -> KernelVersion:
        """Return a version of a kernel (`owner/slug`), the newest without a number.

        Raises:
            KeyError: there is none.
        """
        owner, _, slug = ref.partition("/")
        with self._world.lock:
            kernel = self._kernels.find(owner, slug)
            found = [each for each in kernel.versions if number in (None, each.number)] if kernel else []
        if not found:
            raise KeyError(f"{ref} version {number}")
        return found[-1]

    def run(self, ref: str, number: int | None = None) -> Run:
        """Return the run of a kernel's version: `status`, `wait(seconds)`, `cancel()`, `files()`.

        Raises:
            KeyError: there is none.
        """
        run = self.version(ref, number).run
        if run is None:
            raise KeyError(f"{ref} version {number} was not run")
        return run

    def runs(self) -> list[Run]:
        """Return every run that was ever started, oldest first."""
        with self._world.lock:
            return self._kernels.runs()

    def replace_outputs(self, ref: str, outputs: Outputs, number: int | None = None) -> None:
        """Let a run have left something else than it did: hostile names, far too many, a huge log."""
        self.run(ref, number).made_up = outputs

    def start(self) -> Self:
        """Listen from now on."""
        serve = self._server.serve_forever
        self._thread = threading.Thread(target=serve, args=(0.02,), name=f"kaggle service {self.port}")
        self._thread.start()
        return self

    def stop(self) -> None:
        """End every run and connection; when this returns, no thread and no process of the service is left."""
        self._world.closing.set()
        if self._thread is None:
            self._server.server_close()
        else:
            self._server.close()
            self._thread.join()
            self._thread = None
        for run in self.runs():  # now that nobody can push another one
            run.kill()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _answer(self, request: Request, call: Call) -> Response:
        try:
            return self._route(request, call)
        except ApiError as error:
            return Response.error(error.status, error.message)
        except ConnectionError:
            raise
        except Exception:  # noqa: BLE001  (as any service: 500, and the reason in its own log)
            self._world.failed()
            return Response.error(500, "Internal error")

    def _route(self, request: Request, call: Call) -> Response:
        if request.path.startswith(UPLOADS) and request.method == "PUT":
            return self._counted(request.fault, self._blobs.put(request))
        if request.path.startswith(DOWNLOADS):
            return self._stored(request)
        account = self.accounts.signed_in(request.headers.get("authorization", ""))
        call.user = account.name if account else ""
        if match := _LOG_STREAM.fullmatch(request.path):
            wanted = {"userName": match[1], "kernelSlug": match[2], **request.query}
            return self._sessions.stream(_signed_in(account), wanted)
        match = _API.fullmatch(request.path)
        if match is None:
            raise ApiError(404, f"There is nothing at {request.path}")
        try:
            body = request.json()
        except ValueError as error:
            raise ApiError(400, "The body is not a JSON object") from error
        return self._call(f"{match[1]}/{match[2]}", account, body, request)

    def _call(self, method: str, account: Account | None, body: Json, request: Request) -> Response:
        if method == "security.OAuthService/IntrospectToken":
            return Response.of_json(self.accounts.introspect(body))
        if method == "users.AccountService/GenerateAccessToken":
            return Response.of_json(self.accounts.generate(body))
        user = _signed_in(account)
        if method == "api.v1.DiagnosticsService/Hello":
            return Response.of_json({"userName": user.name})
        if method == "kernels.KernelsApiService/GetKernelSessionLogsStream":
            return self._sessions.stream(user, body)
        with self._world.lock:
            if method == "kernels.KernelsApiService/GetKernelSessionStatus":
                return self._counted(request.fault, Response.of_json(self._sessions.status(user, body, request.fault)))
            if method not in self._methods:
                raise ApiError(404, f"{method} is not known")
            answer = self._methods[method](user, body, request.base)
        if isinstance(answer, Response):
            return answer
        if spoil_listing(answer, request.fault):
            self._counted(request.fault, Response())
        return Response.of_json(answer)

    def _stored(self, request: Request) -> Response:
        refused = self._downloads.refused(request)
        if refused is not None:
            return self._counted(request.fault, refused)
        match = _STORED.fullmatch(request.path)
        if match is None:
            return self._downloads.send(request, None)
        kind = self._sessions if match[1] == "kernels" else self._datasets
        return self._downloads.send(request, kind.stored(match[2], match[3], int(match[4]), int(match[5])))

    def _counted(self, fault: Fault | None, response: Response) -> Response:
        """Count a fault that the answer itself shows."""
        if fault is not None and fault not in possible(""):
            self.faults.happened(fault)
        return response


def _signed_in(account: Account | None) -> Account:
    if account is None:
        raise ApiError(401, "Unauthenticated")
    return account


def _name_of(request: Request) -> str:
    """Return the name by which faults and the log know a request."""
    if request.path.startswith(UPLOADS):
        return UPLOAD
    if request.path.startswith(DOWNLOADS):
        return DOWNLOAD
    if _LOG_STREAM.fullmatch(request.path):
        return STREAM
    match = _API.fullmatch(request.path)
    return match[2] if match else request.path
