"""Datasets: versions that are full snapshots, take time to process, and lose their archives on the way."""

from __future__ import annotations

import shutil
import tarfile
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from .accounts import Account
from .blobs import Blobs
from .downloads import Downloads, StoredFile
from .http import Response
from .unpacking import unpack_version
from .world import ApiError, Json, World, page, stamp

# What a version passes through, in this order
_STAGES = (
    "NOT_YET_PERSISTED",
    "BLOBS_RECEIVED",
    "BLOBS_DECOMPRESSED",
    "BLOBS_COPIED_TO_SDS",
    "INDIVIDUAL_BLOBS_COMPRESSED",
)
_SLUG_LENGTHS = range(3, 51)


@dataclass
class Version:
    """One version of a dataset.

    Args:
        number: from 1 on.
        folder: its files, as they are mounted.
        created: when it was made; `started`: the same by time.monotonic.
        broken: it can never be processed.
    """

    number: int
    folder: Path
    created: datetime
    started: float
    notes: str = ""
    broken: bool = False
    _files: list[StoredFile] = field(default_factory=list)

    def files(self) -> list[StoredFile]:
        """Return every file, by name."""
        if not self._files:
            paths = sorted(path for path in self.folder.rglob("*") if path.is_file())
            self._files = [StoredFile(path.relative_to(self.folder).as_posix(), path) for path in paths]
        return self._files


@dataclass
class Dataset:
    """One dataset and its versions."""

    owner: str
    slug: str
    title: str
    number: int
    private: bool
    license_name: str
    folder: Path
    versions: list[Version] = field(default_factory=list)


class Datasets:
    """All datasets, and DatasetApiService."""

    def __init__(self, world: World, blobs: Blobs, downloads: Downloads) -> None:
        self._world = world
        self._blobs = blobs
        self._downloads = downloads
        self._datasets: dict[tuple[str, str], Dataset] = {}

    def methods(self) -> dict[str, Callable[[Account, Json, str], Json | Response]]:
        """Return what each method of the service is answered with."""
        return {
            "CreateDataset": self._create,
            "CreateDatasetVersion": self._create_version,
            "CreateDatasetVersionById": self._create_version,
            "GetDatasetStatus": lambda account, request, _: {"status": self._status(self._of(account, request))},
            "GetDataset": self._get,
            "GetDatasetMetadata": self._metadata,
            "ListDatasetFiles": self._list_files,
            "ListDatasets": self._list,
            "DownloadDataset": self._download,
            "DeleteDataset": self._delete,
        }

    def find(self, owner: str, slug: str, account: Account) -> Dataset | None:
        """Return a dataset that this user may read."""
        dataset = self._datasets.get((owner, slug))
        return dataset if dataset and (not dataset.private or dataset.owner == account.name) else None

    def newest_ready(self, dataset: Dataset) -> Version | None:
        """Return what a run that starts now gets."""
        ready = [version for version in dataset.versions if self._stage(version) == "READY"]
        return ready[-1] if ready else None

    def stored(self, owner: str, slug: str, version: int, index: int) -> StoredFile | None:
        """Return the file that a signed URL stands for; index -1 is all of them as one zip."""
        dataset = self._datasets.get((owner, slug))
        found = next((each for each in dataset.versions if each.number == version), None) if dataset else None
        if found is None:
            return None
        if index >= 0:
            return found.files()[index] if index < len(found.files()) else None
        archive = found.folder.with_name(f"{found.folder.name}.zip")
        with self._world.lock:
            if not archive.exists():
                write_zip(archive, found.files())
        return StoredFile(f"{slug}.zip", archive)

    def _stage(self, version: Version) -> str:
        settings = self._world.settings
        passed = time.monotonic() - version.started
        if passed >= settings.processing_seconds:
            if version.broken or settings.dataset_outcome == "failed":
                return "FAILED"
            return "READY" if settings.dataset_outcome == "ready" else _STAGES[-1]
        return _STAGES[int(passed / settings.processing_seconds * len(_STAGES))]

    def _status(self, dataset: Dataset) -> str:
        newest = dataset.versions[-1]
        lag = self._world.settings.dataset_status_lag_seconds
        if len(dataset.versions) > 1 and time.monotonic() - newest.started < lag:
            return self._stage(dataset.versions[-2])
        return self._stage(newest)

    def _of(self, account: Account, request: Json, *, mine: bool = False) -> Dataset:
        owner, slug = str(request.get("ownerSlug") or account.name), str(request.get("datasetSlug") or "")
        if number := request.get("id"):
            owner, slug = next(
                (key for key, each in self._datasets.items() if each.number == number), (owner, str(number))
            )
        dataset = self.find(owner, slug, account)
        if dataset is None:
            raise ApiError(404 if owner == account.name else 403, f"Dataset {owner}/{slug} not found")
        if mine and dataset.owner != account.name:
            raise ApiError(403, "Permission 'datasets.update' was denied")
        return dataset

    def _version(self, dataset: Dataset, request: Json) -> Version:
        if number := request.get("datasetVersionNumber"):
            found = next((each for each in dataset.versions if each.number == number), None)
        else:
            found = self.newest_ready(dataset)
        if found is None:
            raise ApiError(404, f"Dataset {dataset.owner}/{dataset.slug} has no such version")
        return found

    def _create(self, account: Account, request: Json, _base: str) -> Json:
        owner, slug = str(request.get("ownerSlug") or account.name), str(request.get("slug") or "")
        if owner != account.name:
            raise ApiError(403, "Permission 'datasets.create' was denied")
        if len(slug) not in _SLUG_LENGTHS:
            return _refused(f'The slug "{slug}" must have between 3 and 50 characters.')
        if (owner, slug) in self._datasets:
            return _refused(f'The requested slug "{slug}" is already in use by a dataset. Please choose another slug.')
        dataset = Dataset(
            owner=owner,
            slug=slug,
            title=str(request.get("title") or slug),
            number=self._world.number(),
            private=bool(request.get("isPrivate")),
            license_name=str(request.get("licenseName") or "unknown"),
            folder=self._world.folder / "datasets" / owner / slug,
        )
        answer = self._add_version(dataset, request)
        if answer["status"] == "Ok":
            self._datasets[owner, slug] = dataset
        return answer

    def _create_version(self, account: Account, request: Json, _base: str) -> Json:
        return self._add_version(self._of(account, request, mine=True), request.get("body") or {})

    def _add_version(self, dataset: Dataset, body: Json) -> Json:
        tokens = list(_tokens(body, ""))
        if not tokens:
            return _refused("A dataset needs at least one file.")
        limit = self._world.settings.top_level_files
        if sum(not folder for folder, _token in tokens) > limit:
            return _refused(f"A dataset may have at most {limit} files at its top level.")
        number = dataset.versions[-1].number + 1 if dataset.versions else 1
        version = Version(
            number=number,
            folder=dataset.folder / str(number),
            created=self._world.now(),
            started=time.monotonic(),
            notes=str(body.get("versionNotes") or ""),
        )
        for folder, token in tokens:
            blob = self._blobs.take(token)
            target = version.folder / folder / blob.name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(blob.path, target)
            # Seen: such a name makes a version fail, and nobody is told why
            version.broken |= "@" in blob.name
        try:
            unpack_version(version.folder, self._world.settings)
        except (OSError, zipfile.BadZipFile, tarfile.TarError, EOFError):
            version.broken = True
        dataset.versions.append(version)
        url = f"https://www.kaggle.com/datasets/{dataset.owner}/{dataset.slug}"
        return {"ref": f"/{dataset.owner}/{dataset.slug}", "url": url, "status": "Ok", "error": "", "invalidTags": []}

    def _get(self, account: Account, request: Json, _base: str) -> Json:
        return self._describe(self._of(account, request))

    def _describe(self, dataset: Dataset) -> Json:
        newest = dataset.versions[-1] if self._world.settings.dataset_number_at_once else self.newest_ready(dataset)
        return {
            "id": dataset.number,
            "ref": f"{dataset.owner}/{dataset.slug}",
            "title": dataset.title,
            "ownerName": dataset.owner,
            "ownerRef": dataset.owner,
            "isPrivate": dataset.private,
            "licenseName": dataset.license_name,
            "totalBytes": sum(file.size for file in newest.files()) if newest else 0,
            "lastUpdated": stamp(dataset.versions[-1].created),
            "currentVersionNumber": newest.number if newest else 0,
            "versions": [
                {
                    "versionNumber": version.number,
                    "creationDate": stamp(version.created),
                    "creatorName": dataset.owner,
                    "versionNotes": version.notes,
                    "status": self._stage(version).title().replace("_", ""),
                }
                for version in reversed(dataset.versions)
            ],
        }

    def _metadata(self, account: Account, request: Json, _base: str) -> Json:
        dataset = self._of(account, request)
        info = {
            "datasetId": dataset.number,
            "datasetSlug": dataset.slug,
            "ownerUser": dataset.owner,
            "title": dataset.title,
            "isPrivate": dataset.private,
            "licenses": [{"name": dataset.license_name}],
        }
        return {"info": info, "errorMessage": ""}

    def _list_files(self, account: Account, request: Json, _base: str) -> Json:
        version = self._version(self._of(account, request), request)
        files, following = page(version.files(), request)
        return {
            "datasetFiles": [
                {"name": file.name, "totalBytes": file.size, "creationDate": stamp(version.created)} for file in files
            ],
            "nextPageToken": following,
        }

    def _list(self, account: Account, request: Json, _base: str) -> Json:
        search = str(request.get("search") or "")
        seen = [each for key, each in self._datasets.items() if self.find(*key, account) and search in each.slug]
        some, following = page(seen, request)
        return {"datasets": [self._describe(dataset) for dataset in some], "nextPageToken": following}

    def _download(self, account: Account, request: Json, base: str) -> Response:
        dataset = self._of(account, request)
        version = self._version(dataset, request)
        name, index = f"{dataset.slug}.zip", -1
        if wanted := request.get("fileName"):
            names = [file.name for file in version.files()]
            if wanted not in names:
                raise ApiError(404, f"{wanted} is not in {dataset.owner}/{dataset.slug}")
            name, index = str(wanted), names.index(wanted)
        key = f"datasets/{dataset.owner}/{dataset.slug}/{version.number}/{index}"
        return Response(302, b"", {"Location": self._downloads.url(base, key, name)})

    def _delete(self, account: Account, request: Json, _base: str) -> Json:
        dataset = self._of(account, request, mine=True)
        del self._datasets[dataset.owner, dataset.slug]
        return {"error": ""}


def write_zip(path: Path, files: list[StoredFile]) -> None:
    """Write a zip of these files, complete or not at all."""
    building = path.with_name(f"{path.name}.building")
    with zipfile.ZipFile(building, "w") as archive:
        for file in files:
            if file.path is not None:
                archive.write(file.path, file.name)
    building.rename(path)


def _tokens(body: Json, folder: str) -> Iterator[tuple[str, str]]:
    """Yield (folder, token) of every file of a request; kagglehub sends whole trees of folders."""
    for file in body.get("files") or []:
        yield folder, str(file.get("token") or "")
    for inner in body.get("directories") or []:
        name = str(inner.get("name") or "")
        if not name or "/" in name or name in (".", ".."):
            raise ApiError(400, f"Invalid folder name {name!r}")
        yield from _tokens(inner, f"{folder}/{name}" if folder else name)


def _refused(error: str) -> Json:
    return {"status": "Error", "error": error, "ref": "", "url": "", "invalidTags": []}
