"""What the service keeps of a kernel and its versions."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from .runs import Run, RunStatus
from .world import Json, stamp

# The fields of a push that name sources
SOURCES = ("datasetDataSources", "kernelDataSources", "competitionDataSources", "modelDataSources")


@dataclass
class KernelVersion:
    """One version of a kernel.

    Args:
        number: from 1 on.
        request: what was pushed, the source as `text`; of the sources those that were found.
        pushed: when.
        run: its execution; None for one that was only saved.
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
    def private(self) -> bool:
        """Whether only its owner may read it."""
        return bool(self.versions[-1].request.get("isPrivate", True))

    @property
    def ran(self) -> list[KernelVersion]:
        """The versions that were run."""
        return [version for version in self.versions if version.run is not None]

    @property
    def last_complete(self) -> KernelVersion | None:
        """The version whose outputs another kernel gets."""
        found = [each for each in self.ran if each.run and each.run.status[0] is RunStatus.COMPLETE]
        return found[-1] if found else None

    def describe(self, version: KernelVersion) -> Json:
        """Return the kernel's metadata as of a version; the number in it is always the newest."""
        request = version.request
        return {
            "id": self.number,
            "ref": self.ref,
            "title": self.title,
            "author": self.owner,
            "slug": self.slug,
            "lastRunTime": stamp(self.versions[-1].pushed),
            "language": request.get("language", "python"),
            "kernelType": request.get("kernelType", "script"),
            "isPrivate": self.private,
            "enableGpu": bool(request.get("enableGpu")),
            "enableTpu": bool(request.get("enableTpu")),
            "enableInternet": bool(request.get("enableInternet")),
            "categoryIds": request.get("categoryIds") or [],
            **{name: request.get(name) or [] for name in SOURCES},
            "totalVotes": 0,
            "currentVersionNumber": self.versions[-1].number,
            "dockerImage": request.get("dockerImage") or "",
            "machineShape": request.get("machineShape") or "None",
        }
