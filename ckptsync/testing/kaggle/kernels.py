"""All kernels: found, read, listed, deleted."""

from __future__ import annotations

import re
from collections.abc import Callable

from .accounts import Account
from .messages import Response
from .records import Kernel, KernelVersion
from .runs import Run
from .world import ApiError, Json, World, page

_DENIED = "Permission 'kernels.get' was denied"


class Kernels:
    """The kernels of all accounts, and the methods of KernelsApiService that read them.

    What pushes them is in `pushing`, what asks for their runs in `sessions`.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._kernels: dict[tuple[str, str], Kernel] = {}
        # Also those of kernels that were deleted since
        self._runs: list[tuple[str, Run]] = []

    def methods(self) -> dict[str, Callable[[Account, Json, str], Json | Response]]:
        """Return what each method is answered with."""
        return {"GetKernel": self._get, "ListKernels": self._list, "DeleteKernel": self._delete}

    def add(self, kernel: Kernel) -> None:
        """Keep a kernel."""
        self._kernels[kernel.owner, kernel.slug] = kernel

    def add_run(self, kernel: Kernel, run: Run) -> None:
        """Keep a run, also when its kernel goes."""
        self._runs.append((kernel.owner, run))

    def runs(self, owner: str | None = None) -> list[Run]:
        """Return every run, or those of one account."""
        return [run for whose, run in self._runs if owner in (None, whose)]

    def find(self, owner: str, slug: str) -> Kernel | None:
        """Return a kernel."""
        return self._kernels.get((owner, slug))

    def find_number(self, number: int) -> Kernel | None:
        """Return the kernel of an id."""
        return next((kernel for kernel in self._kernels.values() if kernel.number == number), None)

    def readable(self, kernel: Kernel, account: Account) -> bool:
        """Return whether a user may read a kernel."""
        return kernel.owner == account.name or not kernel.private

    def of(self, account: Account, request: Json) -> Kernel:
        """Return the kernel that a request names and this user may read.

        Raises:
            ApiError: 403, also when there is none of this name.
        """
        owner = str(request.get("userName") or request.get("ownerSlug") or "")
        kernel = self.find(owner, str(request.get("kernelSlug") or ""))
        if kernel is None or not self.readable(kernel, account):
            raise ApiError(403, _DENIED)
        return kernel

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
        if found is None or (self._world.now() - found.pushed).total_seconds() < lag:
            raise ApiError(404, f"Version {label} of {kernel.ref} not found")
        return found

    def _get(self, account: Account, request: Json, _base: str) -> Json:
        kernel = self.of(account, request)
        version = self.version(kernel, request.get("versionLabel")) or kernel.versions[-1]
        blob = {
            "source": version.text,
            "language": version.request.get("language", "python"),
            "kernelType": version.request.get("kernelType", "script"),
            "slug": kernel.slug,
        }
        return {"metadata": kernel.describe(version), "blob": blob}

    def _list(self, account: Account, request: Json, _base: str) -> Json:
        mine, user = request.get("group") == "PROFILE", request.get("user")
        search = str(request.get("search") or "").lower()
        found = [
            kernel
            for kernel in self._kernels.values()
            if self.readable(kernel, account)
            and (not mine or kernel.owner == account.name)
            and (not user or kernel.owner == user)
            and search in f"{kernel.title.lower()} {kernel.slug}"
        ]
        found.sort(key=lambda kernel: kernel.versions[-1].pushed, reverse=True)
        if not request.get("pageToken") and (number := int(request.get("page") or 1)) > 1:
            found = found[(number - 1) * int(request.get("pageSize") or 20) :]
        some, following = page(found, request)
        return {"kernels": [kernel.describe(kernel.versions[-1]) for kernel in some], "nextPageToken": following}

    def _delete(self, account: Account, request: Json, _base: str) -> Json:
        kernel = self.of(account, request)
        if kernel.owner != account.name:
            raise ApiError(403, "Permission 'kernels.delete' was denied")
        del self._kernels[kernel.owner, kernel.slug]
        for version in kernel.ran:
            if version.run:
                version.run.cancel()
        return {"errorMessage": ""}
