"""The command `kaggle`, as it is installed, against the Kaggle service: the client judges whether the service is right."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from support.kaggle_raw import RawClient
from support.official import PORTS, Official, fixed_port

from ckptsync.testing.kaggle import KaggleService, Outputs, StoredFile

pytestmark = pytest.mark.slow

KERNEL = "tester/my-kernel"
DATASET = "tester/my-data"


@pytest.fixture
def service(tmp_path: Path) -> Iterator[KaggleService]:
    """A service where the client looks for it."""
    with fixed_port(PORTS["LOCALHOST"]) as port, KaggleService(tmp_path / "service", port=port) as service:
        yield service
    assert service.failures == []


@pytest.fixture
def client(service: KaggleService, tmp_path: Path) -> Official:
    """The client, signed in with a key."""
    return Official(tmp_path / "home", "LOCALHOST", service.account)


def kernel_folder(folder: Path, script: str, **more: Any) -> Path:
    """Write a folder that can be pushed."""
    folder.mkdir(exist_ok=True)
    (folder / "train.py").write_text(script)
    metadata = {"id": KERNEL, "title": "My kernel", "code_file": "train.py", "language": "python"}
    metadata |= {"kernel_type": "script", "enable_gpu": False, "enable_internet": False, **more}
    (folder / "kernel-metadata.json").write_text(json.dumps(metadata))
    return folder


def dataset_folder(folder: Path) -> Path:
    """Write a folder that can become a dataset: a file, an empty one, an archive, a folder."""
    (folder / "sub").mkdir(parents=True)
    (folder / "data.csv").write_text("a,b\n1,2\n")
    (folder / "empty.txt").write_text("")
    (folder / "sub" / "inner.txt").write_text("inner")
    with zipfile.ZipFile(folder / "model.zip", "w") as archive:
        archive.writestr("policy/weights", "w")
    metadata = {"title": "My data", "id": DATASET, "licenses": [{"name": "CC0-1.0"}]}
    (folder / "dataset-metadata.json").write_text(json.dumps(metadata))
    return folder


def test_a_kernel_s_whole_trip(client: Official, service: KaggleService, tmp_path: Path) -> None:
    script = "for i in range(25): open(f'{i:02}.txt', 'w').write(str(i) * i)\nprint('hello')"
    folder = kernel_folder(tmp_path / "kernel", script)
    pushed = client.kaggle("kernels", "push", "-p", folder)
    assert (pushed.code, "Kernel version 1 successfully pushed" in pushed.out) == (0, True)
    assert service.run(KERNEL).wait(10)
    assert 'has status "KernelWorkerStatus.COMPLETE"' in client.kaggle("kernels", "status", KERNEL).out
    assert client.kaggle("kernels", "output", KERNEL, "-p", tmp_path / "out").code == 0
    got = {path.name: path.read_text() for path in (tmp_path / "out").iterdir()}
    assert json.loads(got.pop("my-kernel.log"))[0]["data"] == "hello\n"
    assert got == {f"{i:02}.txt": str(i) * i for i in range(25)}
    files = client.kaggle("kernels", "files", KERNEL, "-v", "--page-size", "30").out
    assert [line.split(",")[:2] for line in files.splitlines()[1:3]] == [["00.txt", "0"], ["01.txt", "1"]]
    assert client.kaggle("kernels", "logs", "-f", KERNEL).out == "hello\n"
    assert KERNEL in client.kaggle("kernels", "list", "-m").out


def test_versions_of_a_kernel(client: Official, service: KaggleService, tmp_path: Path) -> None:
    for number in (1, 2):
        RawClient(service).finish(f"open('n', 'w').write('{number}')", "my-kernel")
    assert client.kaggle("kernels", "pull", f"{KERNEL}/1", "-p", tmp_path / "old").code == 0
    assert "write('1')" in (tmp_path / "old" / "my-kernel.py").read_text()
    assert client.kaggle("kernels", "pull", KERNEL, "-p", tmp_path / "new", "-m").code == 0
    pulled = json.loads((tmp_path / "new" / "kernel-metadata.json").read_text())
    assert (pulled["id"], pulled["is_private"], pulled["machine_shape"]) == (KERNEL, True, "None")
    client.kaggle("kernels", "output", f"{KERNEL}/1", "-p", tmp_path / "out")
    assert (tmp_path / "out" / "n").read_text() == "1"
    missing = client.kaggle("kernels", "status", f"{KERNEL}/9")
    assert (missing.code, "Version v9" in missing.err) == (1, True)


def test_the_log_of_a_run_that_goes_on(client: Official, service: KaggleService) -> None:
    script = "import time\nfor i in range(5):\n    print('line', i, flush=True)\n    time.sleep(0.3)"
    RawClient(service).push(script, "my-kernel")
    followed = client.kaggle("kernels", "logs", "-f", KERNEL)
    assert (followed.code, followed.out) == (0, "".join(f"line {i}\n" for i in range(5)))
    assert "stream" in [call.name for call in service.requests]


def test_a_refused_push_is_printed_and_exits_0(client: Official, service: KaggleService, tmp_path: Path) -> None:
    service.settings.gpu_hours_used = 30
    ran = client.kaggle("kernels", "push", "-p", kernel_folder(tmp_path / "kernel", "", enable_gpu=True))
    assert (ran.code, ran.out.strip()) == (*(0, "Kernel push error: Maximum weekly GPU quota of 30.00 hours reached."),)
    theirs = kernel_folder(tmp_path / "kernel", "", id="other/my-kernel")
    assert client.kaggle("kernels", "push", "-p", theirs).out.strip() == "Kernel push error: Notebook not found"
    large = client.kaggle("kernels", "push", "-p", kernel_folder(tmp_path / "kernel", "#" * 1_000_000))
    assert (large.code, "less than 1 megabytes" in large.err) == (1, True)
    assert service.runs() == []


def test_invalid_sources_are_only_a_warning(client: Official, service: KaggleService, tmp_path: Path) -> None:
    folder = kernel_folder(
        tmp_path / "kernel", "", dataset_sources=["tester/none"], kernel_sources=[KERNEL], competition_sources=["none"]
    )
    ran = client.kaggle("kernels", "push", "-p", folder)
    assert ran.out.count("could not be added to the kernel") == 3
    assert (ran.code, "successfully pushed" in ran.out, len(service.runs())) == (0, True, 1)


def test_the_end_of_a_failed_run(client: Official, service: KaggleService) -> None:
    service.settings.session_limit_seconds = 0.5
    RawClient(service).finish("import time; time.sleep(60)", "my-kernel")
    ran = client.kaggle("kernels", "status", KERNEL)
    assert "KernelWorkerStatus.CANCEL_ACKNOWLEDGED" in ran.out
    assert "exceeded the max allowed execution duration" in ran.out


def test_a_dataset_s_whole_trip(client: Official, service: KaggleService, tmp_path: Path) -> None:
    folder = dataset_folder(tmp_path / "data")
    assert "is being created" in client.kaggle("datasets", "create", "-p", folder, "-r", "zip").out
    assert client.kaggle("datasets", "status", DATASET).out.strip() == "ready"
    listed = client.kaggle("datasets", "files", DATASET, "-v").out
    names = [line.split(",")[0] for line in listed.splitlines()[1:] if line]
    assert names == ["data.csv", "empty.txt", "model/policy/weights", "sub/inner.txt"]
    (folder / "data.csv").write_text("new\n")
    assert client.kaggle("datasets", "version", "-p", folder, "-m", "second", "-r", "tar").code == 0
    told = json.loads(client.kaggle("datasets", "status", DATASET, "--format", "json").out)
    assert told == {"status": "ready", "current_version_number": 2}
    assert client.kaggle("datasets", "download", DATASET, "-p", tmp_path / "all", "--unzip").code == 0
    assert (tmp_path / "all" / "data.csv").read_text() == "new\n"
    assert (tmp_path / "all" / "model" / "policy" / "weights").read_text() == "w"
    assert client.kaggle("datasets", "download", f"{DATASET}/1", "-f", "data.csv", "-p", tmp_path / "one").code == 0
    assert (tmp_path / "one" / "data.csv").read_text() == "a,b\n1,2\n"
    again = client.kaggle("datasets", "create", "-p", folder)
    assert (again.code, "already in use" in again.out) == (0, True)


def test_an_upload_that_breaks_off_is_resumed(client: Official, service: KaggleService, tmp_path: Path) -> None:
    folder = dataset_folder(tmp_path / "data")
    for name in ("empty.txt", "model.zip"):
        (folder / name).unlink()
    content = bytes(range(256)) * 4000
    (folder / "data.csv").write_bytes(content)
    service.faults.add("upload-cut", "upload")
    service.faults.add("drop-before", "upload", skip=2)  # the first is cut, the second asks, the third brings the rest
    assert client.kaggle("datasets", "create", "-p", folder).code == 0
    assert service.faults.fired == {"upload-cut": 1, "drop-before": 1}
    client.kaggle("datasets", "download", DATASET, "-f", "data.csv", "-p", tmp_path / "out")
    assert (tmp_path / "out" / "data.csv").read_bytes() == content


def test_quota(client: Official, service: KaggleService) -> None:
    service.settings.gpu_hours_used = 12.5
    rows = [line.split(",") for line in client.kaggle("quota", "-v").out.splitlines()]
    assert [row[:4] for row in rows[1:]] == [
        ["GPU", "12.50h", "17.50h", "30.00h"],
        ["TPU", "0.00h", "20.00h", "20.00h"],
    ]
    assert datetime.fromisoformat(rows[1][4]) - datetime.now(UTC) < timedelta(days=7)


def test_ways_to_sign_in(service: KaggleService, tmp_path: Path) -> None:
    def lists(where: str, **more: str) -> int:
        return Official(tmp_path / where, "LOCALHOST", None, more).kaggle("kernels", "list", "-m").code

    def config(where: str, name: str, text: str) -> str:
        folder = tmp_path / where / ".kaggle"
        folder.mkdir(parents=True)
        (folder / name).write_text(text)
        (folder / name).chmod(0o600)
        return where

    account = service.account
    assert lists("nothing") == 1
    assert lists("token", KAGGLE_API_TOKEN=account.token) == 0
    assert lists("wrong", KAGGLE_USERNAME=account.name, KAGGLE_KEY="wrong") == 1
    assert lists(config("token-file", "access_token", account.token)) == 0
    assert lists(config("key-file", "kaggle.json", json.dumps({"username": account.name, "key": account.key}))) == 0
    credentials = {"refresh_token": account.refresh_token, "username": account.name}
    assert lists(config("oauth", "credentials.json", json.dumps(credentials))) == 0
    assert "GenerateAccessToken" in [call.name for call in service.requests]
    service.accounts.revoke(account.token)
    assert lists("revoked", KAGGLE_API_TOKEN=account.token) == 1


def test_what_the_client_refuses_of_outputs(client: Official, service: KaggleService, tmp_path: Path) -> None:
    RawClient(service).finish("open('a', 'w').write('x')", "my-kernel")
    service.faults.add("url-403", "download")
    expired = client.kaggle("kernels", "output", KERNEL, "-p", tmp_path / "expired")
    assert (expired.code, list((tmp_path / "expired").iterdir())) == (1, [])
    service.replace_outputs(KERNEL, Outputs((StoredFile("../escape", content=b"x"),)))
    hostile = client.kaggle("kernels", "output", KERNEL, "-p", tmp_path / "hostile")
    assert (hostile.code, "Refusing to download" in hostile.err) == (1, True)


def test_deleting(client: Official, service: KaggleService) -> None:
    RawClient(service).push("", "my-kernel")
    RawClient(service).create_dataset({"a.csv": b"1"}, "my-data")
    assert client.kaggle("kernels", "delete", KERNEL, "-y").code == 0
    assert client.kaggle("datasets", "delete", DATASET, "-y").code == 0
    assert RawClient(service).post("GetKernel", userName="tester", kernelSlug="my-kernel").status_code == 403
    assert client.kaggle("datasets", "status", DATASET).code == 1
