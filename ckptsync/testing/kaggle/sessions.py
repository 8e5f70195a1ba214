"""The methods of KernelsApiService about runs: their status, outputs and log, cancelling, quota."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

from .accounts import Account
from .downloads import Downloads, StoredFile, write_zip
from .faults import Fault
from .kernels import Kernels
from .logs import made_up
from .messages import Response
from .quota import Quota
from .records import Kernel, KernelVersion
from .runs import Run, RunStatus
from .world import ApiError, Json, World, page, stamp

_LOG = "\ufffflog\uffff"
# What the run's status was before
_BEFORE = {RunStatus.RUNNING: RunStatus.QUEUED, RunStatus.QUEUED: RunStatus.QUEUED}


class Sessions:
    """What there is to ask about the runs of kernels."""

    def __init__(self, world: World, kernels: Kernels, quota: Quota, downloads: Downloads) -> None:
        self._world = world
        self._kernels = kernels
        self._quota = quota
        self._downloads = downloads

    def methods(self) -> dict[str, Callable[[Account, Json, str], Json | Response]]:
        """Return what each method is answered with, but for those that take part in faults."""
        return {
            "ListKernelFiles": self._list_files,
            "CancelKernelSession": self._cancel,
            "GetAcceleratorQuotaStatistics": lambda account, _request, _base: self._quota.statistics(
                self._kernels.runs(account.name)
            ),
            "ListKernelSessionOutput": self._list_output,
            "DownloadKernelOutput": self._download,
            "DownloadKernelOutputZip": self._download_zip,
        }

    def status(self, account: Account, request: Json, fault: Fault | None) -> Json:
        """Answer GetKernelSessionStatus."""
        kernel, version, run = self._run(account, request)
        settings = self._world.settings
        status, message = run.status
        before = [each for each in kernel.ran if each.number < version.number]
        lagging = time.monotonic() - run.pushed < settings.status_lag_seconds or fault is Fault.STATUS_LAG
        if lagging and not request.get("versionLabel") and before and before[-1].run:
            status, message = before[-1].run.status
        elif fault is Fault.STATUS_LAG:
            status, message = _BEFORE.get(status, RunStatus.RUNNING), ""
        return {
            "status": settings.status_word or status.value,
            "failureMessage": message,
            "failureMessageNullable": message,
            "hasFailureMessage": bool(message),
        }

    def stream(self, account: Account, request: Json) -> Response:
        """Answer the log stream: events while the run goes on, the stored log after its end."""
        if number := request.get("kernelSessionId"):
            run = self._session(account, int(number))
        else:
            _kernel, _version, run = self._run(account, request)
        if run.made_up.log_bytes:
            return _streamed("", run.made_up.log_bytes, "", escape=False)
        if run.status[0].last:
            return Response(
                200, self._log(run).encode("utf-8", "surrogateescape"), {"Content-Type": "application/json"}
            )
        return Response(200, run.log.follow(self._world.closing), {"Content-Type": "text/event-stream"})

    def stored(self, owner: str, slug: str, version: int, index: int) -> StoredFile | None:
        """Return the file that a signed URL stands for; index -1 is all of them as one zip."""
        kernel = self._kernels.find(owner, slug)
        found = next((each for each in kernel.versions if each.number == version), None) if kernel else None
        if kernel is None or found is None or found.run is None:
            return None
        files = found.run.files()
        if index >= 0:
            return files[index] if index < len(files) else None
        archive = self._world.folder / "kernels" / f"{kernel.number}-{slug}" / f"{version}-{len(files)}.zip"
        with self._world.lock:
            if not archive.exists():
                write_zip(archive, files)
        return StoredFile("_output_.zip", archive)

    def _run(self, account: Account, request: Json) -> tuple[Kernel, KernelVersion, Run]:
        kernel = self._kernels.of(account, request)
        label = request.get("versionLabel") or (f"v{number}" if (number := request.get("versionNumber")) else None)
        version = self._kernels.version(kernel, label) or (kernel.ran[-1] if kernel.ran else None)
        if version is None or version.run is None:
            raise ApiError(404, "No runs found")
        return kernel, version, version.run

    def _session(self, account: Account, number: int) -> Run:
        run = next((run for run in self._kernels.runs(account.name) if run.number == number), None)
        if run is None:
            raise ApiError(403, "Permission 'kernelSessions.cancel' was denied")
        return run

    def _log(self, run: Run) -> str:
        text = run.stored_log()
        if self._world.settings.log_bytes == "replaced":
            return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        return text

    def _list_output(self, account: Account, request: Json, base: str) -> Json | Response:
        kernel, version, run = self._run(account, request)
        files = run.files()
        some, following = page(range(len(files)), request)
        answer = {
            "files": [
                {
                    "url": self._downloads.url(base, _key(kernel, version, index), files[index].name),
                    "fileName": files[index].name,
                }
                for index in some
            ],
            "log": _LOG if run.made_up.log_bytes else self._log(run),
            "nextPageToken": following,
        }
        if not run.made_up.log_bytes:
            return answer
        head, tail = json.dumps(answer, ensure_ascii=False).split(_LOG)
        return _streamed(head, run.made_up.log_bytes, tail, escape=True)

    def _list_files(self, account: Account, request: Json, _base: str) -> Json:
        _kernel, version, run = self._run(account, request)
        some, following = page(run.files(), request)
        files = [{"name": each.name, "size": each.size, "creationDate": stamp(version.pushed)} for each in some]
        return {"files": files, "nextPageToken": following}

    def _download(self, account: Account, request: Json, base: str) -> Response:
        kernel, version, run = self._run(account, request)
        name, index = "_output_.zip", -1
        if wanted := request.get("filePath"):
            names = [file.name for file in run.files()]
            if wanted not in names:
                raise ApiError(404, f"{wanted} is not among the outputs of {kernel.ref}")
            name, index = str(wanted), names.index(wanted)
        return Response(302, b"", {"Location": self._downloads.url(base, _key(kernel, version, index), name)})

    def _download_zip(self, account: Account, request: Json, base: str) -> Response:
        run = self._session(account, int(request.get("kernelSessionId") or 0))
        kernel, version = self._kernels.of_run(run)
        return Response(302, b"", {"Location": self._downloads.url(base, _key(kernel, version, -1), "_output_.zip")})

    def _cancel(self, account: Account, request: Json, _base: str) -> Json:
        run = self._session(account, int(request.get("kernelSessionId") or 0))
        if run.status[0].last:
            return {"errorMessage": "The session has ended."}
        run.cancel()
        return {"errorMessage": ""}


def spoil_listing(answer: Json, fault: Fault | None) -> bool:
    """Put a listing's page into another order, or one of its files into it twice; return whether there was any."""
    files: list[Any] = next((answer[name] for name in ("files", "datasetFiles") if name in answer), [])
    if fault is Fault.LISTED_TWICE and files:
        files.append(files[len(files) // 2])
    elif fault is Fault.LISTED_SHUFFLED and len(files) > 1:
        random.Random(len(files)).shuffle(files)  # noqa: S311  (nothing secret)
    else:
        return False
    return True


def _key(kernel: Kernel, version: KernelVersion, index: int) -> str:
    return f"kernels/{kernel.owner}/{kernel.slug}/{version.number}/{index}"


def _streamed(head: str, size: int, tail: str, *, escape: bool) -> Response:
    """Answer with a made-up log, piece by piece, inside a JSON string or by itself."""

    @cache
    def piece(text: str) -> bytes:
        return (json.dumps(text)[1:-1] if escape else text).encode()

    def pieces() -> Iterator[bytes]:
        yield head.encode()
        yield from map(piece, made_up(size))
        yield tail.encode()

    length = sum(map(len, pieces())) if size < 1 << 20 else None
    return Response(200, pieces(), {"Content-Type": "application/json; charset=utf-8"}, length=length)
