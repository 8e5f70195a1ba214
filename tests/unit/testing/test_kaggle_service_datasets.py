"""The Kaggle service: uploads, datasets, their versions, what becomes of archives in them."""

from __future__ import annotations

import gzip
import io
import tarfile
import time
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import pytest
from support.kaggle_raw import DATASETS, RawClient

from ckptsync.testing.kaggle import KaggleService
from ckptsync.testing.kaggle.dataset_records import DatasetVersion

pytestmark = pytest.mark.slow


def zipped(files: dict[str, bytes]) -> bytes:
    """Return a zip."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def tarred(files: dict[str, bytes], mode: str = "w:gz") -> bytes:
    """Return a tar."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:  # type: ignore[call-overload]
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def test_a_dataset_and_its_versions(client: RawClient) -> None:
    assert client.create_dataset({"a.csv": b"1", "b.csv": b"22"})["status"] == "Ok"
    assert client.dataset_files() == {"a.csv": 1, "b.csv": 2}
    assert client.add_version({"c.csv": b"333"})["status"] == "Ok"
    assert client.dataset_files() == {"c.csv": 3}  # a version is all that it has, nothing of the one before
    assert client.dataset_files(datasetVersionNumber=1) == {"a.csv": 1, "b.csv": 2}
    told = client.dataset("GetDataset")
    assert (told["currentVersionNumber"], [each["versionNumber"] for each in told["versions"]]) == (2, [2, 1])
    assert client.dataset("GetDatasetStatus") == {"status": "READY"}


def test_processing_passes_its_stages_in_order(tmp_path: Path) -> None:
    def status(passed: float) -> str:
        started = time.monotonic() - passed
        return DatasetVersion(1, tmp_path, datetime.now(UTC), started, seconds=1000, outcome="ready").status

    assert [status(passed) for passed in (100, 300, 500, 700, 900, 1000)] == [
        *("NOT_YET_PERSISTED", "BLOBS_RECEIVED", "BLOBS_DECOMPRESSED", "BLOBS_COPIED_TO_SDS"),
        *("INDIVIDUAL_BLOBS_COMPRESSED", "READY"),
    ]


def test_until_a_version_is_ready_the_one_before_is_given(client: RawClient, service: KaggleService) -> None:
    client.create_dataset({"a.csv": b"1"})
    service.settings.processing_seconds = 60
    client.add_version({"a.csv": b"22"})
    assert client.dataset("GetDatasetStatus")["status"] == "NOT_YET_PERSISTED"
    assert client.dataset("GetDataset")["currentVersionNumber"] == 1
    assert client.dataset_files() == {"a.csv": 1}
    service.settings.processing_seconds = 0.05
    client.add_version({"a.csv": b"333"})
    while client.dataset("GetDatasetStatus")["status"] != "READY":
        time.sleep(0.01)
    assert client.dataset("GetDataset")["currentVersionNumber"] == 3
    assert client.dataset_files() == {"a.csv": 3}


@pytest.mark.parametrize(("outcome", "status"), [("failed", "FAILED"), ("never", "INDIVIDUAL_BLOBS_COMPRESSED")])
def test_a_version_that_never_becomes_ready(
    client: RawClient, service: KaggleService, outcome: str, status: str
) -> None:
    service.settings.dataset_outcome = outcome  # type: ignore[assignment]
    client.create_dataset({"a.csv": b"1"})
    assert client.dataset("GetDatasetStatus") == {"status": status}
    listing = {"ownerSlug": "tester", "datasetSlug": "a-dataset"}
    assert client.post("ListDatasetFiles", DATASETS, **listing).status_code == 404


def test_a_run_gets_the_version_before_while_the_new_one_is_processed(
    client: RawClient, service: KaggleService
) -> None:
    client.create_dataset({"a.csv": b"old"})
    service.settings.processing_seconds = 60
    client.add_version({"a.csv": b"new"})
    shows = "import os; print(open(os.environ['CKPTSYNC_INPUT_DIR'] + '/datasets/tester/a-dataset/a.csv').read())"
    assert '"data":"old\\n"' in client.finish(shows, datasetDataSources=["tester/a-dataset"]).log.text()


def test_what_is_told_too_early(client: RawClient, service: KaggleService) -> None:
    client.create_dataset({"a.csv": b"1"})
    service.settings.processing_seconds = service.settings.dataset_status_lag_seconds = 60
    service.settings.dataset_number_at_once = True
    client.add_version({"a.csv": b"22"})
    assert client.dataset("GetDatasetStatus") == {"status": "READY"}
    assert client.dataset("GetDataset")["currentVersionNumber"] == 2
    assert client.dataset_files() == {"a.csv": 1}
    service.settings.dataset_status_lag_seconds = 0
    assert client.dataset("GetDatasetStatus") == {"status": "NOT_YET_PERSISTED"}


PTH = zipped({"archive/data.pkl": b"p", "archive/version": b"3"})
MODEL = {"data": b"{}", "policy.pth": PTH, "notes.txt": b"n"}


@pytest.mark.parametrize(
    ("settings", "files", "expected"),
    [
        (
            {},
            {"model.zip": zipped(MODEL), "x": b"x"},
            ["model/data", "model/notes.txt", "model/policy/archive/data.pkl"],
        ),
        ({"unpack_torch": False}, {"model.zip": zipped(MODEL), "x": b"x"}, ["model/policy.pth"]),
        ({"unpack_nested": False}, {"model.zip": zipped(MODEL), "x": b"x"}, ["model/policy.pth"]),
        ({"unpack": "none"}, {"model.zip": zipped(MODEL)}, ["model.zip"]),
        ({}, {"model.bin": zipped(MODEL), "x": b"x"}, ["model.bin/data"]),
        ({"unpack": "suffix"}, {"model.bin": zipped(MODEL), "x": b"x"}, ["model.bin"]),
        ({"unpack": "suffix"}, {"model.zip": zipped(MODEL), "x": b"x"}, ["model/data"]),
        ({}, {"only.zip": zipped(MODEL)}, ["data", "notes.txt"]),
        ({"single_archive_at_root": False}, {"only.zip": zipped(MODEL)}, ["only/data"]),
        ({}, {"a.tar.gz": tarred({"in/b": b"b"}), "x": b"x"}, ["a/in/b"]),
        ({}, {"a.tar": tarred({"in/b": b"b"}, "w"), "x": b"x"}, ["a/in/b"]),
        ({}, {"scan.nii.gz": gzip.compress(b"scan"), "x": b"x"}, ["scan.nii"]),
        ({}, {"a.zip": zipped({"b.nii.gz": gzip.compress(b"scan")}), "x": b"x"}, ["a/b.nii"]),
        ({}, {"arrays.npz": zipped({"a.npy": b"a"}), "x": b"x"}, ["arrays.npz"]),
        ({}, {"not.zip": b"plain", "x": b"x"}, ["not.zip"]),
        ({}, {"bad.zip": zipped({"../../escape": b"e", "/absolute": b"a", "ok": b"o"}), "x": b"x"}, ["bad/ok"]),
    ],
)
def test_archives(
    client: RawClient, service: KaggleService, settings: dict[str, object], files: dict[str, bytes], expected: list[str]
) -> None:
    for name, value in settings.items():
        setattr(service.settings, name, value)
    client.create_dataset(files)
    found = client.dataset_files()
    assert set(expected) <= set(found)
    assert not {name for name in files if name not in expected and name != "x"} & set(found)
    assert not any("escape" in name or "absolute" in name for name in found)


def test_an_archive_that_cannot_be_read_fails_later(client: RawClient) -> None:
    content = bytearray(zipped({"a": b"a" * 1000, "b": b"b"}))
    content[40] ^= 0xFF  # of the data: the directory at the end still says that this is a zip
    assert client.create_dataset({"a.zip": bytes(content), "x": b"x"})["status"] == "Ok"
    assert client.dataset("GetDatasetStatus") == {"status": "FAILED"}


@pytest.mark.parametrize(
    ("slug", "files", "words"),
    [
        ("a-dataset", {f"{i}.csv": b"1" for i in range(51)}, "at most 50 files"),
        ("a-dataset", {}, "at least one file"),
        ("no/slug", {"a": b"1"}, "letters, digits and dashes"),
    ],
)
def test_refused_datasets(client: RawClient, slug: str, files: dict[str, bytes], words: str) -> None:
    answer = client.create_dataset(files, slug)
    assert (answer["status"], words in answer["error"]) == ("Error", True)


def test_a_slug_is_taken_once(client: RawClient) -> None:
    client.create_dataset({"a": b"1"})
    assert "already in use" in client.create_dataset({"a": b"1"})["error"]
    assert client.dataset("DeleteDataset") == {"error": ""}
    assert client.create_dataset({"b": b"1"})["status"] == "Ok"
    assert client.dataset_files() == {"b": 1}


def test_a_name_that_fails_later_and_says_nothing(client: RawClient) -> None:
    assert client.create_dataset({"a@b.csv": b"1"})["status"] == "Ok"
    assert client.dataset("GetDatasetStatus") == {"status": "FAILED"}


def test_datasets_of_others(client: RawClient, service: KaggleService) -> None:
    client.create_dataset({"a": b"1"})
    other = RawClient(service, service.add_account("other"))
    asked = {"ownerSlug": "tester", "datasetSlug": "a-dataset"}
    assert other.post("GetDatasetStatus", DATASETS, **asked).status_code == 403
    assert other.post("GetDatasetStatus", DATASETS, ownerSlug="other", datasetSlug="none").status_code == 404
    assert other.post("CreateDatasetVersion", DATASETS, **asked, body={}).status_code == 403
    assert other.push("", datasetDataSources=["tester/a-dataset"])["invalidDatasetSources"] == ["tester/a-dataset"]


def test_whole_trees_of_folders(client: RawClient) -> None:
    inner = {"name": "deep", "files": [{"token": client.upload(b"22", "b.csv")}]}
    tree = [{"name": "in", "files": [], "directories": [inner]}]
    files = [{"token": client.upload(b"1", "a.csv")}]
    client.call("CreateDataset", DATASETS, slug="a-dataset", title="a dataset", files=files, directories=tree)
    assert client.dataset_files() == {"a.csv": 1, "in/deep/b.csv": 2}
    bad = [{"name": "..", "files": files}]
    answer = client.post("CreateDataset", DATASETS, slug="b-dataset", title="b dataset", directories=bad)
    assert answer.status_code == 400


def test_an_upload_that_is_not_complete_is_no_file(client: RawClient) -> None:
    start = client.call("StartBlobUpload", "blobs.BlobApiService", type="DATASET", name="a", contentLength=5)
    for token in (start["token"], "unknown"):
        answer = client.post("CreateDataset", DATASETS, slug="a-dataset", title="a dataset", files=[{"token": token}])
        assert answer.status_code == 400


def test_an_upload_is_resumed_where_it_broke(client: RawClient) -> None:
    content = bytes(range(200))
    start = client.call("StartBlobUpload", "blobs.BlobApiService", type="DATASET", name="a", contentLength=200)
    url = start["createUrl"]

    def put(data: bytes, content_range: str) -> tuple[int, str | None]:
        answer = client.bare.put(url, data=data, headers={"Content-Range": content_range}, timeout=5)
        return answer.status_code, answer.headers.get("Range")

    assert put(b"", "bytes */200") == (308, None)
    assert put(content[:50], "bytes 0-49/200") == (308, "bytes=0-49")
    assert put(content[80:], "bytes 80-199/200") == (308, "bytes=0-49")  # a gap is not taken
    assert put(content[50:], "bytes 50-199/200") == (200, None)
    assert put(b"", "bytes */200") == (200, None)
    client.call("CreateDataset", DATASETS, slug="a-dataset", title="a dataset", files=[{"token": start["token"]}])
    assert client.dataset_files() == {"a": 200}


def test_downloads(client: RawClient) -> None:
    client.create_dataset({"a.csv": b"1", "b.csv": b"22"})
    client.add_version({"a.csv": b"333"})
    asked = {"ownerSlug": "tester", "datasetSlug": "a-dataset"}

    def location(**more: object) -> str:
        answer = client.http.post(
            f"{client.service.url}/api/v1/{DATASETS}/DownloadDataset",
            json={**asked, **more},
            allow_redirects=False,
            timeout=5,
        )
        assert answer.status_code == 302
        return answer.headers["Location"]

    assert client.download(location(fileName="a.csv")).content == b"333"
    assert client.download(location(fileName="b.csv", datasetVersionNumber=1)).content == b"22"
    with zipfile.ZipFile(io.BytesIO(client.download(location(datasetVersionNumber=1)).content)) as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == {"a.csv": b"1", "b.csv": b"22"}
    assert client.post("DownloadDataset", DATASETS, **asked, fileName="none").status_code == 404
