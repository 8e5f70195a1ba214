"""From URLs to stores; secrets in URLs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ckptsync.core.errors import ConfigError
from ckptsync.store import open_store
from ckptsync.store.folder import FolderStore
from ckptsync.store.fsspec_store import FsspecStore


def test_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for url, expected in (
        ("store", tmp_path / "store"),
        (str(tmp_path / "a b"), tmp_path / "a b"),
        ((tmp_path / "store").as_uri(), tmp_path / "store"),
        ("~/store", tmp_path / "home" / "store"),
    ):
        store = open_store(url)
        assert isinstance(store, FolderStore)
        assert store.url == str(expected)
    assert open_store("store", base=tmp_path / "project").url == str(tmp_path / "project" / "store")
    assert list(tmp_path.iterdir()) == []


def test_other_protocols() -> None:
    store = open_store("memory://somewhere/below")
    assert isinstance(store, FsspecStore)
    assert "conditional" in " ".join(store.capabilities.limits())
    assert open_store("/tmp").capabilities.limits() != ()


@pytest.mark.parametrize(
    "url",
    [
        "s3://AKIAEXAMPLE:canary@bucket/prefix",
        "s3://canary@bucket",
        "sftp://user:canary@host/path",
        "s3://bucket/prefix?aws_secret_access_key=canary",
        "gs://bucket?token=canary",
        "abfs://container?account_key=canary",
        "abfs://container?sas=canary",
        "s3://bucket?endpoint=http://user:canary@host",
    ],
)
def test_a_url_with_a_secret_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(ConfigError, match="holds a secret") as raised:
        open_store(url)
    assert "canary" not in raised.value.message + str(raised.value.hint)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("", "no URL"),
        ("nobody-knows://x", "nobody knows the protocol"),
        ("s3://", "no bucket"),
        ("s3://bucket?colour=blue", "colour"),
        ("file://other-machine/x", "another machine"),
        ("dropbox://x", "not installed"),
        ("s3://bucket#part", "no URL"),
        ("s3://bucket/../x", "unsafe"),
        ("http://[x", "no sense"),
    ],
)
def test_urls_that_cannot_be_opened(url: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(Exception, match=said) as raised:
        open_store(url)
    assert hasattr(raised.value, "hint")


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for package, module, url in (("botocore", "botocore.session", "s3://b"), ("fsspec", "fsspec", "memory://x")):
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(ConfigError, match=package) as raised:
            open_store(url)
        assert "pip install" in (raised.value.hint or "")


def test_nothing_heavy_is_loaded_before_it_is_used() -> None:
    code = "import sys, ckptsync.store, ckptsync.store.repository; print([n for n in ('boto3', 'botocore', 'fsspec') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
