"""Kernels and their versions: pushed, refused, read, listed, deleted."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from .accounts import Account
from .datasets import Datasets
from .http import Response
from .mounts import Source, lay_inputs
from .quota import Quota
from .runs import Run, RunStatus
from .world import ApiError, Json, World, page, slugify, stamp

_SOURCES = ("datasetDataSources", "kernelDataSources", "competitionDataSources", "modelDataSources")
_REF = re.compile(r"([^/]+)/([^/]+)(?:/\d+)?")  # a version's number is dropped, in silence
_SHAPES = ("NvidiaTeslaT4", "NvidiaTeslaP100", "NvidiaL4", "TpuV5E8", "Tpu1VmV38", "TpuV6E8", "None")
_DENIED = "Permission 'kernels.get' was denied"


@dataclass
class KernelVersion:
    """One version of a kernel.

    Args:
        number: from 1 on.
        request: what was pushed, the source as `text`; sources are those that were found.
        run: its execution; None for one that was only saved.
        pushed: when.
    """

    number: int
    request: Json
    pushed: datetime
    run: Run | None = None

    @property
    def text(self) -> str:
        """The source."""
        return str(self.request.get("text") or "")


@dataclass
class Kernel:
    """One kernel and its versions."""

    owner: str
    slug: str
    title: str
    number: int
    versions: list[KernelVersion] = field(default_factory=list)

    @property
    def ref(self) -> str:
        """How it is named everywhere."""
        return f"{self.owner}/{self.slug}"

    @property
    def ran(self) -> list[KernelVersion]:
        """The versions that were run."""
        return [version for version in self.versions if version.run is not None]


class Kernels:
    """All kernels, and the methods of KernelsApiService about them; those about their runs are in `sessions`."""

    def __init__(self, world: World, datasets: Datasets, quota: Quota) -> None:
        self._world = world
        self._datasets = datasets
        self._quota = quota
        self._kernels: dict[tuple[str, str], Kernel] = {}
        # Also those of kernels that were deleted since
        self._runs: list[tuple[str, Run]] = []

    def methods(self) -> dict[str, Callable[[Account, Json, str], Json | Response]]:
        """Return what each method is answered with."""
        return {
            "SaveKernel": self._save,
            "GetKernel": self._get,
            "ListKernels": self._list,
            "DeleteKernel": self._delete,
        }

    def runs(self, owner: str | None = None) -> list[Run]:
        """Return every run, or those of one account."""
        return [run for whose, run in self._runs if owner in (None, whose)]

    def find(self, owner: str, slug: str) -> Kernel | None:
        """Return a kernel."""
        return self._kernels.get((owner, slug))

    def of_run(self, run: Run) -> tuple[Kernel, KernelVersion]:
        """Return whose run it is.

        Raises:
            ApiError: the kernel was deleted.
        """
        for kernel in self._kernels.values():
            for version in kernel.versions:
                if version.run is run:
                    return kernel, version
        raise ApiError(403, _DENIED)

    def of(self, account: Account, owner: str, slug: str) -> Kernel:
        """Return a kernel that this user may read.

        Raises:
            ApiError: 403, also when there is none of this name.
        """
        kernel = self.find(owner, slug)
        if kernel is None or not self._readable(kernel, account):
            raise ApiError(403, _DENIED)
        return kernel

    def version(self, kernel: Kernel, label: str | None) -> KernelVersion | None:
        """Return the version of a label (`v3`), None without a label.

        Raises:
            ApiError: 404, also for a bare number and for a version that is too new to be known.
        """
        if not label:
            return None
        match = re.fullmatch(r"v(\d+)", label)
        found = next((each for each in kernel.versions if match and each.number == int(match[1])), None)
        lag = self._world.settings.version_lag_seconds
        if found is None or (lag and (self._world.now() - found.pushed).total_seconds() < lag):
            raise ApiError(404, f"Version {label} of {kernel.ref} not found")
        return found

    def _readable(self, kernel: Kernel, account: Account) -> bool:
        return kernel.owner == account.name or not kernel.versions[-1].request.get("isPrivate", True)

    def _save(self, account: Account, request: Json, _base: str) -> Json:
        settings = self._world.settings
        if len(str(request.get("text") or "").encode()) >= settings.source_limit_bytes:
            raise ApiError(400, "The kernel source must be less than 1 megabytes in size.")
        kernel = self._target(account, request)
        if kernel is None:
            if settings.foreign_kernel == "denied":
                raise ApiError(403, "Permission 'kernels.update' was denied")
            return _refused("Notebook not found")
        if not account.verified and any(request.get(name) for name in ("enableGpu", "enableTpu", "enableInternet")):
            raise ApiError(403, "Phone verification is required for accelerators and internet access.")
        if settings.running_push == "conflict" and any(not run.status[0].last for run in _runs(kernel)):
            raise ApiError(409, "A session of this notebook is still running.")
        runs = request.get("kernelExecutionType") != "QUICK_SAVE"
        accelerator = _accelerator(request)
        if runs and (reason := self._quota.refusal(self.runs(account.name), accelerator)):
            return _refused(reason)
        return self._add_version(account, kernel, request, accelerator, runs=runs)

    def _target(self, account: Account, request: Json) -> Kernel | None:
        """Return the kernel that a push is for, a new one when there is none; None: it is not this user's."""
        if number := request.get("id"):
            return next(
                (each for each in self._kernels.values() if each.number == number and _is_of(each, account)), None
            )
        owner, _, slug = str(request.get("slug") or "").partition("/")
        if owner != account.name:
            return None
        if found := self.find(owner, slug):
            return found
        title = str(request.get("newTitle") or "")
        if len(title) < 5:
            raise ApiError(400, "Title must be at least five characters")
        slug = slugify(title)  # whatever the request calls it
        if self._datasets.find(owner, slug, account):
            raise ApiError(409, f'The requested title "{title}" is already in use by a dataset.')
        if found := self.find(owner, slug):
            raise ApiError(409, f'The requested title "{title}" is already in use by a notebook.')
        return Kernel(owner, slug, title, self._world.number())

    def _add_version(self, account: Account, kernel: Kernel, request: Json, accelerator: str, *, runs: bool) -> Json:
        kept, invalid = self._sources(account, request)
        stored = {**request, **kept}
        if stored.get("machineShape") not in _SHAPES:
            stored["machineShape"] = "NvidiaTeslaT4" if accelerator == "gpu" else "None"  # in silence
        number = kernel.versions[-1].number + 1 if kernel.versions else 1
        version = KernelVersion(number, stored, self._world.now())
        kernel.title = str(request.get("newTitle") or kernel.title)
        kernel.versions.append(version)
        self._kernels[kernel.owner, kernel.slug] = kernel
        if runs:
            asked = float(request.get("sessionTimeoutSeconds") or self._world.settings.session_limit_seconds)
            version.run = Run(
                self._world,
                self._world.folder / "kernels" / f"{kernel.number}-{kernel.slug}" / str(number),
                _script(request),
                limit_seconds=min(asked, self._world.settings.session_limit_seconds),
                accelerator=accelerator,
                mount=lambda inputs: self._mount(account, stored, inputs),
            )
            self._runs.append((kernel.owner, version.run))
        return {
            "ref": f"/code/{kernel.ref} v{number}",
            "url": f"https://www.kaggle.com/code/{kernel.ref}",
            "versionNumber": number,
            "kernelId": kernel.number,
            "error": "",
            "invalidTags": [],
            **invalid,
        }

    def _sources(self, account: Account, request: Json) -> tuple[Json, Json]:
        """Return the sources that are there, and those that are not, each as its field."""
        known: dict[str, Callable[[str], bool]] = {
            "datasetDataSources": lambda ref: self._dataset(ref, account) is not None,
            "kernelDataSources": lambda ref: self._kernel(ref, account) is not None,
            "competitionDataSources": lambda ref: ref in self._world.settings.competitions,
            "modelDataSources": lambda ref: False,
        }
        kept: Json = {}
        invalid: Json = {}
        for name in _SOURCES:
            refs = [str(ref) for ref in request.get(name) or []]
            kept[name] = [ref for ref in refs if known[name](ref)]
            invalid[f"invalid{name[0].upper()}{name[1:].replace('DataSources', 'Sources')}"] = [
                ref for ref in refs if not known[name](ref)
            ]
        return kept, invalid

    def _dataset(self, ref: str, account: Account) -> Any:
        match = _REF.fullmatch(ref)
        return self._datasets.find(match[1], match[2], account) if match else None

    def _kernel(self, ref: str, account: Account) -> Kernel | None:
        match = _REF.fullmatch(ref)
        kernel = self.find(match[1], match[2]) if match else None
        return kernel if kernel and self._readable(kernel, account) else None

    def _mount(self, account: Account, request: Json, inputs: Path) -> None:
        sources = []
        with self._world.lock:
            for ref in request["datasetDataSources"]:
                dataset = self._dataset(ref, account)
                version = self._datasets.newest_ready(dataset) if dataset else None
                if version:
                    sources.append(Source("datasets", dataset.owner, dataset.slug, tuple(version.files())))
            for ref in request["kernelDataSources"]:
                kernel = self._kernel(ref, account)
                last = _last_complete(kernel) if kernel else None
                if kernel and last and last.run:
                    sources.append(Source("notebooks", kernel.owner, kernel.slug, tuple(last.run.files()), last.text))
            sources += [Source("competitions", "", slug) for slug in request["competitionDataSources"]]
        lay_inputs(inputs, sources, self._world.settings)

    def _get(self, account: Account, request: Json, _base: str) -> Json:
        kernel = self.of(account, str(request.get("userName") or ""), str(request.get("kernelSlug") or ""))
        version = self.version(kernel, request.get("versionLabel")) or kernel.versions[-1]
        blob = {
            "source": version.text,
            "language": version.request.get("language", "python"),
            "kernelType": version.request.get("kernelType", "script"),
            "slug": kernel.slug,
        }
        return {"metadata": _describe(kernel, version), "blob": blob}

    def _list(self, account: Account, request: Json, _base: str) -> Json:
        mine, user = request.get("group") == "PROFILE", request.get("user")
        search = str(request.get("search") or "").lower()
        found = [
            kernel
            for kernel in self._kernels.values()
            if self._readable(kernel, account)
            and (not mine or kernel.owner == account.name)
            and (not user or kernel.owner == user)
            and search in f"{kernel.title.lower()} {kernel.slug}"
        ]
        found.sort(key=lambda kernel: kernel.versions[-1].pushed, reverse=True)
        if not request.get("pageToken") and (number := int(request.get("page") or 1)) > 1:
            found = found[(number - 1) * int(request.get("pageSize") or 20) :]
        some, following = page(found, request)
        return {"kernels": [_describe(kernel, kernel.versions[-1]) for kernel in some], "nextPageToken": following}

    def _delete(self, account: Account, request: Json, _base: str) -> Json:
        kernel = self.of(account, str(request.get("userName") or ""), str(request.get("kernelSlug") or ""))
        if kernel.owner != account.name:
            raise ApiError(403, "Permission 'kernels.delete' was denied")
        del self._kernels[kernel.owner, kernel.slug]
        for run in _runs(kernel):
            run.cancel()
        return {"errorMessage": ""}


def _describe(kernel: Kernel, version: KernelVersion) -> Json:
    request = version.request
    return {
        "id": kernel.number,
        "ref": kernel.ref,
        "title": kernel.title,
        "author": kernel.owner,
        "slug": kernel.slug,
        "lastRunTime": stamp(kernel.versions[-1].pushed),
        "language": request.get("language", "python"),
        "kernelType": request.get("kernelType", "script"),
        "isPrivate": bool(request.get("isPrivate", True)),
        "enableGpu": bool(request.get("enableGpu")),
        "enableTpu": bool(request.get("enableTpu")),
        "enableInternet": bool(request.get("enableInternet")),
        "categoryIds": request.get("categoryIds") or [],
        **{name: request.get(name) or [] for name in _SOURCES},
        "totalVotes": 0,
        "currentVersionNumber": kernel.versions[-1].number,
        "dockerImage": request.get("dockerImage") or "",
        "machineShape": request.get("machineShape") or "None",
    }


def _is_of(kernel: Kernel, account: Account) -> bool:
    return kernel.owner == account.name


def _runs(kernel: Kernel) -> list[Run]:
    return [version.run for version in kernel.versions if version.run]


def _last_complete(kernel: Kernel) -> KernelVersion | None:
    complete = [each for each in kernel.ran if each.run and each.run.status[0] is RunStatus.COMPLETE]
    return complete[-1] if complete else None


def _accelerator(request: Json) -> str:
    shape = str(request.get("machineShape") or "").lower()
    if request.get("enableTpu") or shape.startswith("tpu"):
        return "tpu"
    return "gpu" if request.get("enableGpu") or shape.startswith("nvidia") else ""


def _script(request: Json) -> str:
    """Return what is executed: the source, or all code of a notebook."""
    text = str(request.get("text") or "")
    if request.get("kernelType") != "notebook":
        return text
    cells = json.loads(text).get("cells") or []
    return "\n".join("".join(cell["source"]) for cell in cells if cell.get("cell_type") == "code")


def _refused(error: str) -> Json:
    return {"ref": "", "url": "", "versionNumber": 0, "error": error}
