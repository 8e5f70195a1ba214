"""`kagglehub`, as it is installed, against the Kaggle service."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support.kaggle_raw import RawClient
from support.official import PORTS, Official, fixed_port

from ckptsync.testing.kaggle import KaggleService

pytestmark = pytest.mark.slow

_WORK = """
import sys
import kagglehub
folder, notebook = sys.argv[1:]
kagglehub.dataset_upload("tester/hub-data", folder, version_notes="one")
kagglehub.dataset_upload("tester/hub-data", folder, version_notes="two")  # the first call is refused, for it is there
print("got", kagglehub.dataset_download("tester/hub-data"))
print("got", kagglehub.dataset_download("tester/hub-data/versions/1", path="in/deep/b.txt"))
print("got", kagglehub.notebook_output_download(notebook))
print("got", kagglehub.notebook_output_download(notebook, path="b/c"))
print("got", kagglehub.whoami()["username"])
"""


def contents(folder: Path) -> dict[str, bytes]:
    """Return every file of a folder."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", sorted(PORTS))
def test_datasets_and_notebooks(name: str, tmp_path: Path) -> None:
    uploads = tmp_path / "uploads"
    (uploads / "in" / "deep").mkdir(parents=True)
    (uploads / "a.bin").write_bytes(os.urandom(300_000))
    (uploads / "empty").touch()
    (uploads / "in" / "deep" / "b.txt").write_text("b")
    with fixed_port(PORTS[name]) as port, KaggleService(tmp_path / "service", port=port) as service:
        RawClient(service).finish("import os\nos.mkdir('b'); open('b/c', 'w').write('c'); open('a', 'w').write('a')")
        client = Official(tmp_path / "home", name, service.account)
        ran = client.python(_WORK, uploads, "tester/a-kernel")
        assert ran.code == 0, ran.err
        found = [line.removeprefix("got ") for line in ran.out.splitlines() if line.startswith("got ")]
        assert service.failures == []
    dataset, file, notebook, part, user = found
    assert contents(Path(dataset)) == contents(uploads)
    assert (Path(file).read_text(), Path(part).read_text(), user) == ("b", "c", "tester")
    assert contents(Path(notebook)) == {"a": b"a", "b/c": b"c"}


def test_what_arrives_otherwise_than_it_was_sent_is_noticed(tmp_path: Path) -> None:
    """The client believes x-goog-hash, and a download that breaks off is an error."""
    with fixed_port(PORTS["TEST"]) as port, KaggleService(tmp_path / "service", port=port) as service:
        RawClient(service).create_dataset({"a.csv": b"1" * 10_000, "b.csv": b"2"})
        client = Official(tmp_path / "home", "TEST", service.account)
        service.faults.add("truncated-bare", "download")
        ran = client.python("import kagglehub; kagglehub.dataset_download('tester/a-dataset')")
        assert (ran.code, "DataCorruptionError" in ran.err) == (1, True)
