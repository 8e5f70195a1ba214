"""Datasets: versions that are full snapshots, take time to process, and lose their archives on the way."""

from __future__ import annotations

import re
import shutil
import tarfile
import time
import zipfile
from collections.abc import Callable, Iterator

from .accounts import Account
from .blobs import Blobs
from .dataset_records import Dataset, DatasetVersion
from .downloads import Downloads, StoredFile, write_zip
from .messages import Response
from .unpacking import unpack_version
from .world import ApiError, Json, World, page, stamp

_SLUG = re.compile(r"[a-z0-9][a-z0-9-]{2,49}")


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
            "GetDatasetStatus": lambda account, request, _: {"status": self._of(account, request).status},
            "GetDataset": self._get,
            "GetDatasetMetadata": self._metadata,
            "UpdateDatasetMetadata": self._update_metadata,
            "ListDatasetFiles": self._list_files,
            "ListDatasets": self._list,
            "DownloadDataset": self._download,
            "DeleteDataset": self._delete,
        }

    def find(self, owner: str, slug: str, account: Account) -> Dataset | None:
        """Return a dataset that this user may read."""
        dataset = self._datasets.get((owner, slug))
        return dataset if dataset and (not dataset.private or dataset.owner == account.name) else None

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

    def _version(self, dataset: Dataset, request: Json) -> DatasetVersion:
        if number := request.get("datasetVersionNumber"):
            found = next((each for each in dataset.versions if each.number == number), None)
        else:
            found = dataset.newest_ready
        if found is None:
            raise ApiError(404, f"Dataset {dataset.owner}/{dataset.slug} has no such version")
        return found

    def _create(self, account: Account, request: Json, _base: str) -> Json:
        owner, slug = str(request.get("ownerSlug") or account.name), str(request.get("slug") or "")
        if owner != account.name:
            raise ApiError(403, "Permission 'datasets.create' was denied")
        if not _SLUG.fullmatch(slug):
            return _refused(f'The slug "{slug}" must have between 3 and 50 letters, digits and dashes.')
        if (owner, slug) in self._datasets:
            return _refused(f'The requested slug "{slug}" is already in use by a dataset. Please choose another slug.')
        number = self._world.number()
        dataset = Dataset(
            settings=self._world.settings,
            owner=owner,
            slug=slug,
            title=str(request.get("title") or slug),
            number=number,
            private=bool(request.get("isPrivate")),
            license_name=str(request.get("licenseName") or "unknown"),
            folder=self._world.folder / "datasets" / f"{number}-{slug}",
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
        version = DatasetVersion(
            number=number,
            folder=dataset.folder / str(number),
            created=self._world.now(),
            started=time.monotonic(),
            seconds=self._world.settings.processing_seconds,
            outcome=self._world.settings.dataset_outcome,
            notes=str(body.get("versionNotes") or ""),
        )
        for folder, blob in [(folder, self._blobs.take(token)) for folder, token in tokens]:
            target = version.folder / folder / blob.name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(blob.path, target)
            # Seen: such a name makes a version fail, and nobody is told why
            if "@" in blob.name:
                version.outcome = "failed"
        try:
            unpack_version(version.folder, self._world.settings)
        except (OSError, zipfile.BadZipFile, tarfile.TarError, EOFError):
            version.outcome = "failed"
        dataset.versions.append(version)
        url = f"https://www.kaggle.com/datasets/{dataset.owner}/{dataset.slug}"
        return {"ref": f"/{dataset.owner}/{dataset.slug}", "url": url, "status": "Ok", "error": "", "invalidTags": []}

    def _get(self, account: Account, request: Json, _base: str) -> Json:
        return self._of(account, request).describe()

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

    def _update_metadata(self, account: Account, request: Json, _base: str) -> Json:
        dataset = self._of(account, request, mine=True)
        settings = request.get("settings") or {}
        dataset.title = str(settings.get("title") or dataset.title)
        dataset.private = bool(settings.get("isPrivate"))
        return {"errors": []}

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
        return {"datasets": [dataset.describe() for dataset in some], "nextPageToken": following}

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
