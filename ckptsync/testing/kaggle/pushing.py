"""SaveKernel: a push becomes a version and starts to run, or is refused in one of Kaggle's ways."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

from .accounts import Account
from .dataset_records import Dataset
from .datasets import Datasets
from .kernels import Kernels
from .messages import Response
from .mounts import Source, lay_inputs
from .quota import Quota
from .records import SOURCES, Kernel, KernelVersion
from .runs import Run
from .world import ApiError, Json, World, slugify

_REF = re.compile(r"([^/]+)/([^/]+)(?:/\d+)?")  # the number of a version is dropped, in silence
_SHAPES = ("NvidiaTeslaT4", "NvidiaTeslaP100", "NvidiaL4", "TpuV5E8", "Tpu1VmV38", "TpuV6E8", "None")
_VERIFIED_ONLY = ("enableGpu", "enableTpu", "enableInternet")
_TITLE_LENGTH = 5


class Pushing:
    """Takes pushes."""

    def __init__(self, world: World, kernels: Kernels, datasets: Datasets, quota: Quota) -> None:
        self._world = world
        self._kernels = kernels
        self._datasets = datasets
        self._quota = quota

    def methods(self) -> dict[str, Callable[[Account, Json, str], Json | Response]]:
        """Return what SaveKernel is answered with."""
        return {"SaveKernel": self._save}

    def _save(self, account: Account, request: Json, _base: str) -> Json:
        settings = self._world.settings
        if len(str(request.get("text") or "").encode()) >= settings.source_limit_bytes:
            raise ApiError(400, "The kernel source must be less than 1 megabytes in size.")
        kernel = self._target(account, request)
        if kernel is None:
            if settings.foreign_kernel == "denied":
                raise ApiError(403, "Permission 'kernels.update' was denied")
            return _refused("Notebook not found")
        if not account.verified and any(request.get(name) for name in _VERIFIED_ONLY):
            raise ApiError(403, "Phone verification is required for accelerators and internet access.")
        if settings.running_push == "conflict" and any(each.run and not each.run.status[0].last for each in kernel.ran):
            raise ApiError(409, "A session of this notebook is still running.")
        runs = request.get("kernelExecutionType") != "QUICK_SAVE"
        if runs and (reason := self._quota.refusal(self._kernels.runs(account.name), _accelerator(request))):
            return _refused(reason)
        return self._add_version(account, kernel, request, runs=runs)

    def _target(self, account: Account, request: Json) -> Kernel | None:
        """Return the kernel that a push is for, a new one when there is none; None: it is not this user's."""
        if number := request.get("id"):
            found = self._kernels.find_number(int(number))
            return found if found and found.owner == account.name else None
        owner, _, slug = str(request.get("slug") or "").partition("/")
        if owner != account.name:
            return None
        if found := self._kernels.find(owner, slug):
            return found
        title = str(request.get("newTitle") or "")
        if len(title) < _TITLE_LENGTH:
            raise ApiError(400, f"Title must be at least {_TITLE_LENGTH} characters")
        slug = slugify(title)  # whatever the request calls it
        for other, kind in (
            (self._datasets.find(owner, slug, account), "dataset"),
            (self._kernels.find(owner, slug), "notebook"),
        ):
            if other:
                raise ApiError(409, f'The requested title "{title}" is already in use by a {kind}.')
        return Kernel(owner, slug, title, self._world.number())

    def _add_version(self, account: Account, kernel: Kernel, request: Json, *, runs: bool) -> Json:
        script = _script(request)
        kept, invalid = self._sources(account, request)
        accelerator = _accelerator(request)
        stored = {**request, **kept}
        if stored.get("machineShape") not in _SHAPES:
            stored["machineShape"] = "NvidiaTeslaT4" if accelerator == "gpu" else "None"  # in silence
        number = kernel.versions[-1].number + 1 if kernel.versions else 1
        version = KernelVersion(number, stored, self._world.now())
        kernel.title = str(request.get("newTitle") or kernel.title)
        kernel.versions.append(version)
        self._kernels.add(kernel)
        if runs:
            longest = self._world.settings.session_limit_seconds
            version.run = Run(
                self._world,
                self._world.folder / "kernels" / f"{kernel.number}-{kernel.slug}" / str(number),
                script,
                limit_seconds=min(float(request.get("sessionTimeoutSeconds") or longest), longest),
                accelerator=accelerator,
                mount=lambda inputs: self._mount(account, stored, inputs),
            )
            self._kernels.add_run(kernel, version.run)
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
        """Return the sources that are there, and those that are not, each list in its field."""
        known: dict[str, Callable[[str], bool]] = {
            "datasetDataSources": lambda ref: self._dataset(ref, account) is not None,
            "kernelDataSources": lambda ref: self._kernel(ref, account) is not None,
            "competitionDataSources": lambda ref: ref in self._world.settings.competitions,
            "modelDataSources": lambda ref: False,
        }
        kept: Json = {}
        invalid: Json = {}
        for name in SOURCES:
            refs = [str(ref) for ref in request.get(name) or []]
            kept[name] = [ref for ref in refs if known[name](ref)]
            field = f"invalid{name[0].upper()}{name[1:].replace('DataSources', 'Sources')}"
            invalid[field] = [ref for ref in refs if not known[name](ref)]
        return kept, invalid

    def _dataset(self, ref: str, account: Account) -> Dataset | None:
        match = _REF.fullmatch(ref)
        return self._datasets.find(match[1], match[2], account) if match else None

    def _kernel(self, ref: str, account: Account) -> Kernel | None:
        match = _REF.fullmatch(ref)
        kernel = self._kernels.find(match[1], match[2]) if match else None
        return kernel if kernel and self._kernels.readable(kernel, account) else None

    def _mount(self, account: Account, request: Json, inputs: Path) -> None:
        """Lay the inputs of a run that starts now."""
        sources = []
        with self._world.lock:
            for ref in request["datasetDataSources"]:
                dataset = self._dataset(ref, account)
                if dataset and (version := dataset.newest_ready):
                    sources.append(Source("datasets", dataset.owner, dataset.slug, tuple(version.files())))
            for ref in request["kernelDataSources"]:
                kernel = self._kernel(ref, account)
                if kernel and (last := kernel.last_complete) and last.run:
                    sources.append(Source("notebooks", kernel.owner, kernel.slug, tuple(last.run.left), last.text))
            sources += [Source("competitions", "", slug) for slug in request["competitionDataSources"]]
        lay_inputs(inputs, sources, self._world.settings)


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
    try:
        cells = json.loads(text)["cells"]
        return "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    except (ValueError, TypeError, KeyError) as error:
        raise ApiError(400, "The source is no notebook") from error


def _refused(error: str) -> Json:
    return {"ref": "", "url": "", "versionNumber": 0, "error": error}
