"""What the service keeps of a dataset and its versions, and how far their processing is."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Literal

from .downloads import StoredFile
from .settings import Settings
from .world import Json, stamp

# What a version passes through, in this order
_STAGES = (
    "NOT_YET_PERSISTED",
    "BLOBS_RECEIVED",
    "BLOBS_DECOMPRESSED",
    "BLOBS_COPIED_TO_SDS",
    "INDIVIDUAL_BLOBS_COMPRESSED",
)


@dataclass
class DatasetVersion:
    """One version of a dataset.

    Args:
        number: from 1 on.
        folder: its files, as they are mounted.
        created: when it was made.
        started: the same by time.monotonic.
        seconds: how long processing takes.
        outcome: how it ends, as in Settings.
        notes: what its maker says of it.
    """

    number: int
    folder: Path
    created: datetime
    started: float
    seconds: float
    outcome: Literal["ready", "failed", "never"]
    notes: str = ""
    _files: list[StoredFile] = field(default_factory=list)

    @property
    def status(self) -> str:
        """How far it is."""
        passed = time.monotonic() - self.started
        if passed < self.seconds:
            return _STAGES[int(passed / self.seconds * len(_STAGES))]
        return {"ready": "READY", "failed": "FAILED", "never": _STAGES[-1]}[self.outcome]

    def files(self) -> list[StoredFile]:
        """Return every file, by name."""
        if not self._files:
            paths = sorted(path for path in self.folder.rglob("*") if path.is_file())
            self._files = [StoredFile(path.relative_to(self.folder).as_posix(), path) for path in paths]
        return self._files


@dataclass
class Dataset:
    """One dataset and its versions; `settings` say what is told of it too early or too late."""

    settings: Settings
    owner: str
    slug: str
    title: str
    number: int
    private: bool
    license_name: str
    folder: Path
    versions: list[DatasetVersion] = field(default_factory=list)

    @property
    def newest_ready(self) -> DatasetVersion | None:
        """What a run that starts now gets."""
        ready = [version for version in self.versions if version.status == "READY"]
        return ready[-1] if ready else None

    @property
    def status(self) -> str:
        """The status of the newest version, or for a while still that of the one before."""
        newest = self.versions[-1]
        lagging = time.monotonic() - newest.started < self.settings.dataset_status_lag_seconds
        return (self.versions[-2] if lagging and len(self.versions) > 1 else newest).status

    def describe(self) -> Json:
        """Return the dataset as GetDataset has it."""
        newest = self.versions[-1] if self.settings.dataset_number_at_once else self.newest_ready
        return {
            "id": self.number,
            "ref": f"{self.owner}/{self.slug}",
            "title": self.title,
            "ownerName": self.owner,
            "ownerRef": self.owner,
            "isPrivate": self.private,
            "licenseName": self.license_name,
            "totalBytes": sum(file.size for file in newest.files()) if newest else 0,
            "lastUpdated": stamp(self.versions[-1].created),
            "currentVersionNumber": newest.number if newest else 0,
            "versions": [
                {
                    "versionNumber": version.number,
                    "creationDate": stamp(version.created),
                    "creatorName": self.owner,
                    "versionNotes": version.notes,
                    "status": version.status,
                }
                for version in reversed(self.versions)
            ],
        }
