"""Every store keeps the contract of stores: a folder, what fsspec speaks, S3 against a real server."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import count, product
from pathlib import Path

import pytest
from support import sftp, weed
from support.largesets import write_large_set

from ckptsync.core.errors import (
    CkptsyncError,
    ConfigError,
    CorruptError,
    CredentialsError,
    NothingFoundError,
    ServiceError,
)
from ckptsync.core.grants import Target, UploadGrant
from ckptsync.core.patience import Patience
from ckptsync.core.uploading import upload
from ckptsync.store import s3
from ckptsync.store.asking import PATIENCE
from ckptsync.store.base import GrantingStore, Store
from ckptsync.store.folder import FolderStore
from ckptsync.store.fsspec_store import FsspecStore
from ckptsync.store.opening import open_store
from ckptsync.store.repository import create_repository, pull_set, push_set
from ckptsync.store.s3 import S3Store
from ckptsync.testing.faulty_proxy import Fault, FaultyProxy, Kind
from ckptsync.testing.store_contracts import StoreContract, payload

_NUMBERS = count()
QUICK = replace(PATIENCE, seconds=20, first_pause=0.002, longest_pause=0.02)


class TestFolder(StoreContract):
    @pytest.fixture
    def store(self, fast_folder: Path) -> Store:
        return FolderStore(fast_folder / "store")

    @pytest.fixture
    def other(self, fast_folder: Path) -> Store:
        return FolderStore(fast_folder / "store")

    def test_links_are_no_objects(self, store: Store, fast_folder: Path) -> None:
        store.put("a/b", b"1")
        (fast_folder / "store" / "a" / "link").symlink_to(fast_folder / "store" / "a" / "b")
        (fast_folder / "store" / "folder").symlink_to(fast_folder)
        assert self.keys(store.list()) == ["a/b"]
        for key in ("a/link", "folder/x"):
            with pytest.raises(CkptsyncError, match="link"):
                store.read(key, limit=1)


class TestFsspecMemory(StoreContract):
    @pytest.fixture
    def store(self) -> Store:
        return FsspecStore(f"memory://contract-{next(_NUMBERS)}/prefix", patience=QUICK)

    @pytest.fixture
    def other(self, store: Store) -> Store:
        return FsspecStore(store.url, patience=QUICK)


class TestFsspecFiles(StoreContract):
    """As with sftp: written under another name, then renamed."""

    @pytest.fixture
    def store(self, fast_folder: Path) -> Store:
        return FsspecStore(f"local://{fast_folder}/store", patience=QUICK)

    @pytest.fixture
    def other(self, store: Store) -> Store:
        return FsspecStore(store.url, patience=QUICK)


@pytest.fixture(scope="session")
def sftp_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sftp.Server]:
    with sftp.serving(tmp_path_factory.mktemp("sftp")) as running:
        yield running


@pytest.mark.slow  # a real server
class TestSftp(StoreContract):
    @pytest.fixture
    def store(self, sftp_server: sftp.Server, fast_folder: Path) -> Iterator[Store]:
        store = open_store(sftp_server.url(fast_folder / "store"))
        yield store
        store.close()

    @pytest.fixture
    def other(self, sftp_server: sftp.Server, fast_folder: Path) -> Iterator[Store]:
        other = open_store(sftp_server.url(fast_folder / "store"))
        yield other
        other.close()

    def test_a_server_that_nobody_has_named_is_refused(
        self, sftp_server: sftp.Server, fast_folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HOME", str(fast_folder))
        store = open_store(sftp_server.url(fast_folder / "store", checked=True))
        with pytest.raises(CredentialsError, match="known_hosts does not say") as refused:
            store.put("a", b"1")
        assert f"ssh-keyscan -p {sftp_server.port} 127.0.0.1" in str(refused.value.hint)
        (fast_folder / ".ssh").mkdir()
        (fast_folder / ".ssh/known_hosts").write_text(sftp_server.known())
        store.put("a", b"1")
        assert store.read("a", limit=1).data == b"1"
        store.close()

    @pytest.mark.parametrize("key", ["another", "none"])
    def test_who_is_not_let_in_is_told_at_once(
        self, sftp_server: sftp.Server, fast_folder: Path, monkeypatch: pytest.MonkeyPatch, key: str
    ) -> None:
        monkeypatch.setenv("HOME", str(fast_folder))
        monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
        url = sftp_server.url(fast_folder / "store").replace(
            str(sftp_server.key), str(sftp_server.key.with_name("host"))
        )
        store = open_store(
            url if key == "another" else url.replace(f"key_filename={sftp_server.key.with_name('host')}&", "")
        )
        with pytest.raises(CredentialsError, match="permission is refused"):
            store.put("a", b"1")

    def test_a_connection_that_breaks_is_made_anew(self, tmp_path: Path) -> None:
        with sftp.serving(tmp_path) as server:
            store = open_store(server.url(tmp_path / "store"))
            store.put("a", b"1")
        with sftp.serving(tmp_path, server.port):
            assert store.read("a", limit=1).data == b"1"
            store.close()

    def test_options_that_it_does_not_know_are_named(self, sftp_server: sftp.Server, fast_folder: Path) -> None:
        store = open_store(sftp_server.url(fast_folder / "store") + "&colour=blue")
        with pytest.raises(ConfigError, match="with these options: key_filename, host_key_policy, colour"):
            store.head("a")

    def test_what_it_refuses_is_told_at_once(self, store: Store) -> None:
        store.put("a/b", b"1")
        with pytest.raises(ServiceError, match=r"cannot write a in sftp://.*: 'Is a directory'") as refused:
            store.put("a", b"2")
        assert not refused.value.transient


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in weed.credentials().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def s3_store(endpoint: str, prefix: str, *, bucket: str = weed.BUCKET, read_seconds: float = 30) -> S3Store:
    options = {"endpoint": endpoint, "region": "us-east-1"}
    return S3Store(bucket, f"{prefix}/", options, patience=QUICK, read_seconds=read_seconds)


@pytest.mark.slow  # a real server, and half a second for every client
@pytest.mark.usefixtures("credentials")
class TestS3(StoreContract):
    files_and_folders_share_names = True

    @pytest.fixture
    def store(self, s3_server: weed.Server) -> Iterator[Store]:
        store = open_store(s3_server.url(f"contract-{next(_NUMBERS)}"))
        yield store
        store.close()

    @pytest.fixture
    def other(self, store: Store, s3_server: weed.Server) -> Iterator[Store]:
        other = open_store(s3_server.url(store.url.split("/", 3)[3].rstrip("/")))
        yield other
        other.close()

    def test_a_long_list(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(s3, "_PAGE", 7)
        super().test_a_long_list(store)

    def test_wrong_bytes_are_refused_by_the_server(self, store: Store) -> None:
        with pytest.raises(CorruptError, match="another sha256"):
            store.put("a", b"one", digest="sha256:" + "0" * 64)
        assert store.head("a") is None

    def test_a_wrong_key_is_told(self, s3_server: weed.Server, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary-of-a-secret")
        store = s3_store(s3_server.endpoint, "wrong")
        for call in (
            lambda: store.put("a", b"1"),
            lambda: store.read("a", limit=1),
            lambda: list(store.get("a")),
            lambda: store.head("a"),
            lambda: list(store.list()),
            lambda: store.delete("a"),
        ):
            with pytest.raises(CredentialsError) as raised:
                call()
            assert "canary" not in raised.value.message + str(raised.value.hint)

    def test_a_grant_lets_write_below_its_prefix_and_nothing_else(self, store: Store) -> None:
        assert isinstance(store, GrantingStore)
        store.put("heads/toy.json", b"1")
        target = store.grant("inbox/toy/", seconds=60, max_bytes=1_000)
        grant = UploadGrant("toy/s0001", 1, target, 0.0, 1_000)

        def send(grant: UploadGrant, data: bytes = b"bytes") -> int:
            return upload(grant, "toy.json", data, deadline=lambda: 1e12)

        assert send(grant) == 5
        assert store.read("inbox/toy/toy.json", limit=9).data == b"bytes"
        beside = str(target.fields["key"]).replace("inbox/toy/", "heads/")
        ended = store.grant("inbox/toy/", seconds=-60, max_bytes=1_000)
        for other, data in (
            (replace(grant, target=Target(target.url, {**target.fields, "key": beside})), b"2"),
            (replace(grant, max_bytes=10_000), bytes(2_000)),
            (replace(grant, target=ended), b"2"),
            (replace(grant, target=Target(target.url, {**target.fields, "x-amz-signature": "0" * 64})), b"2"),
        ):
            with pytest.raises(ServiceError, match="refuses"):
                send(other, data)
        assert store.read("heads/toy.json", limit=9).data == b"1"
        assert store.read("inbox/toy/toy.json", limit=9).data == b"bytes"

    def test_a_bucket_that_is_not_there_is_told(self, s3_server: weed.Server) -> None:
        store = s3_store(s3_server.endpoint, "x", bucket="no-such-bucket")
        for call in (lambda: store.read("a", limit=1), lambda: store.head("a"), lambda: list(store.list())):
            with pytest.raises(NothingFoundError, match="no such bucket"):
                call()

    def test_no_credentials_are_told(self, s3_server: weed.Server, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in weed.credentials():
            monkeypatch.delenv(name)
        with pytest.raises(CredentialsError, match="no credentials"):
            s3_store(s3_server.endpoint, "x").head("a")

    def test_a_server_that_is_not_there_is_told(self) -> None:
        store = S3Store("b", "", {"endpoint": "http://127.0.0.1:9", "region": "us-east-1"}, patience=Patience(0.0))
        with pytest.raises(ServiceError) as raised:
            store.head("a")
        assert raised.value.transient


@pytest.mark.slow  # a real server, and half a second for every client
@pytest.mark.usefixtures("credentials")
class TestS3ThroughAFaultyProxy:
    """Whatever happens on the way: the right bytes, or an error, and never anything else."""

    @pytest.fixture
    def proxy(self, s3_server: weed.Server) -> Iterator[FaultyProxy]:
        with FaultyProxy("127.0.0.1", s3_server.port) as proxy:
            yield proxy

    @pytest.fixture
    def store(self, proxy: FaultyProxy) -> Iterator[Store]:
        store = s3_store(proxy.url, f"faulty-{next(_NUMBERS)}", read_seconds=0.5)
        yield store
        store.close()

    @pytest.mark.parametrize("kind", ["cut", "reset", "length", "lose", "slow"])
    def test_reading_goes_on_where_it_broke(self, store: Store, proxy: FaultyProxy, kind: Kind) -> None:
        data = payload(1_000_000)
        store.put("a", data)
        for after in (0, 1, 300_000, 999_999):
            proxy.next(Fault(kind, after=after), Fault(kind, after=after // 2))
            assert b"".join(store.get("a", 5)) == data[5:]
            proxy.next(Fault(kind, after=after))
            assert store.read("a", limit=2_000_000).data == data

    @pytest.mark.parametrize("kind", ["cut", "reset", "length"])
    def test_what_is_not_there_is_told_when_the_answer_breaks(
        self, store: Store, proxy: FaultyProxy, kind: Kind
    ) -> None:
        """In its head or in the text that says so."""
        for after in range(0, 600, 60):
            proxy.next(Fault(kind, after=after))
            with pytest.raises(NothingFoundError):
                store.read("nothing", limit=1)
            assert proxy.waiting == 0

    def test_reading_goes_on_after_a_stall(self, store: Store, proxy: FaultyProxy) -> None:
        data = payload(1_000_000)
        store.put("a", data)
        proxy.next(Fault("stall", after=300_000))
        assert b"".join(store.get("a")) == data

    def test_writing_is_repeated(self, store: Store, proxy: FaultyProxy) -> None:
        for number, fault in enumerate([Fault("half"), Fault("flip", after=700), Fault("lose"), Fault("reset")]):
            data = payload(200_000 + number)
            proxy.next(fault)
            store.put("a", data)
            assert proxy.waiting == 0
            assert store.read("a", limit=200_009).data == data

    def test_a_lost_answer_to_a_condition_is_no_conflict(self, store: Store, proxy: FaultyProxy) -> None:
        proxy.next(Fault("lose"))
        store.put("a", b"mine", create=True)
        read = store.read("a", limit=9)
        assert read.data == b"mine"
        proxy.next(Fault("lose"))
        store.put("a", b"mine too", replacing=read.version)
        assert store.read("a", limit=9).data == b"mine too"

    def test_what_passes_is_tried_again(self, store: Store, proxy: FaultyProxy) -> None:
        store.put("x/a", b"1")
        for status, call in product(
            (429, 500, 502, 503, 504),
            (
                lambda: store.put("x/a", b"1"),
                lambda: store.read("x/a", limit=1),
                lambda: list(store.get("x/a")),
                lambda: store.head("x/a"),
                lambda: list(store.list()),
                lambda: store.delete("x/b"),
            ),
        ):
            before = len(proxy.requests)
            proxy.next(*[Fault("status", status=status)] * 2)
            call()
            assert len(proxy.requests) >= before + 3

    def test_what_does_not_pass_is_told_at_once(self, store: Store, proxy: FaultyProxy) -> None:
        for status in (400, 401, 403):
            proxy.requests.clear()
            proxy.next(Fault("status", status=status))
            with pytest.raises((CredentialsError, ServiceError)) as raised:
                store.read("a", limit=1)
            assert not raised.value.transient
            assert len([request for request in proxy.requests if request.endswith("/a")]) == 1

    def test_a_service_that_never_recovers_is_an_error_in_time(self, proxy: FaultyProxy) -> None:
        waited: list[float] = []
        clock = [0.0]

        def sleep(seconds: float) -> None:
            waited.append(seconds)
            clock[0] += seconds

        proxy.next(*[Fault("status", status=503, retry_after=7)] * 50)
        patience = replace(PATIENCE, seconds=60, sleep=sleep, clock=lambda: clock[0])
        store = S3Store(weed.BUCKET, "x/", {"endpoint": proxy.url, "region": "us-east-1"}, patience=patience)
        with pytest.raises(ServiceError):
            store.head("a")
        assert sum(waited) <= 60
        assert min(waited) >= 7
        store.close()


@pytest.mark.slow
@pytest.mark.usefixtures("credentials")
@pytest.mark.parametrize("size", [3_000, 2_000_000, 9_000_000])
def test_a_file_that_disagrees_with_its_seal_is_not_pushed(s3_server: weed.Server, tmp_path: Path, size: int) -> None:
    """Also where the server is the one who checks."""
    repository = create_repository(s3_store(s3_server.endpoint, f"seal-{next(_NUMBERS)}"))
    manifest = write_large_set(tmp_path / "tree", 100, {"model": payload(size)})
    path = tmp_path / "tree" / manifest.model.path
    sound = path.read_bytes()
    path.write_bytes(sound[:-1] + b"x")
    with pytest.raises(CorruptError):
        push_set(repository, "run", tmp_path / "tree", manifest.stem)
    assert list(repository.versions()) == []
    path.write_bytes(sound)
    version = push_set(repository, "run", tmp_path / "tree", manifest.stem).version
    pull_set(repository, version, tmp_path / "pulled")
    assert (tmp_path / "pulled" / manifest.model.path).read_bytes() == sound
