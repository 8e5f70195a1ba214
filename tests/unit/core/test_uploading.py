"""Uploads by a grant: against a real server that answers as it is told."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ckptsync.core.errors import ConfigError, LimitError, NothingFoundError, ServiceError, UnsafePathError
from ckptsync.core.grants import Target, UploadGrant
from ckptsync.core.uploading import upload

SECRET = "a-signature-that-nobody-sees"


class Receiver(ThreadingHTTPServer):
    """Answers with the next of `answers`, then with 204, and keeps what it was sent."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: list[int] = []
        self.bodies: list[bytes] = []

    def grant(self, **fields: object) -> UploadGrant:
        target = Target(f"http://127.0.0.1:{self.server_port}/bucket", {"policy": SECRET, "key": "inbox/toy/s0001/1/"})
        return replace(UploadGrant("toy/s0001", 1, target, 2e9, 10_000_000), **fields)  # type: ignore[arg-type]


class Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        self.server.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
        status = self.server.answers.pop(0) if self.server.answers else 204
        if not status:
            self.close_connection = True  # it hangs up without a word
            return
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_arguments: object) -> None:
        """Stay quiet."""


@pytest.fixture
def server() -> Iterator[Receiver]:
    with Receiver() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def send(grant: UploadGrant, source: Path | bytes, *, name: str = "data/a.zip", until: float = 1e12) -> list[float]:
    """Send something; return the pauses between attempts."""
    pauses: list[float] = []
    upload(grant, name, source, deadline=lambda: until, pause=pauses.append)
    return pauses


def test_a_file_arrives_as_it_is_under_the_prefix(server: Receiver, tmp_path: Path) -> None:
    data = bytes(range(256)) * 10_000
    (tmp_path / "a").write_bytes(data)
    assert send(server.grant(), tmp_path / "a") == []
    (body,) = server.bodies
    assert b'name="key"\r\n\r\ninbox/toy/s0001/1/data/a.zip\r\n' in body
    assert b"\r\n\r\n" + data + b"\r\n--" in body


def test_what_may_pass_is_tried_again(server: Receiver) -> None:
    server.answers = [503, 0, 429]
    pauses = send(server.grant(), b"bytes")
    assert len(server.bodies) == 4
    assert len(pauses) == 3
    assert all(0 < pause <= 15 for pause in pauses)


@pytest.mark.parametrize("status", [400, 403, 404, 301])
def test_what_is_refused_is_not_tried_again_and_shows_no_secret(server: Receiver, status: int) -> None:
    server.answers = [status]
    with pytest.raises(ServiceError) as caught:
        send(server.grant(), b"bytes")
    assert not caught.value.transient
    assert len(server.bodies) == 1
    assert SECRET not in str(caught.value) + repr(server.grant())


def test_it_gives_up(server: Receiver) -> None:
    server.answers = [500] * 50
    with pytest.raises(ServiceError, match="busy"):
        send(server.grant(), b"bytes")
    assert len(server.bodies) == 6
    with pytest.raises(ServiceError, match="no time left"):
        send(server.grant(), b"bytes", until=0.0)
    assert len(server.bodies) == 6


def test_what_is_not_sent_at_all(server: Receiver, tmp_path: Path) -> None:
    with pytest.raises(LimitError):
        send(server.grant(max_bytes=4), b"bytes")
    with pytest.raises(UnsafePathError):
        send(server.grant(), b"bytes", name="../heads/toy.json")
    with pytest.raises(NothingFoundError):
        send(server.grant(), tmp_path / "gone")
    assert server.bodies == []


def test_a_folder_is_written_to(tmp_path: Path) -> None:
    grant = UploadGrant("toy/s0001", 1, Target((tmp_path / "a store").as_uri()), 2e9, 100)
    send(grant, b"bytes")
    assert (tmp_path / "a store/data/a.zip").read_bytes() == b"bytes"


def test_a_grant_travels_and_marks_what_its_session_seals(server: Receiver) -> None:
    grant = server.grant()
    assert UploadGrant.parse(grant.to_bytes()) == grant
    sealed = grant.seal(b"{}")
    assert grant.opened(sealed) == b"{}"
    assert grant.opened(sealed[:-1] + b"]") is None
    assert grant.opened(b"") is None
    assert server.grant().opened(sealed) is None  # another key
    assert replace(grant, generation=2).opened(sealed) is None


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b'{"schema": "ckptsync.upload-grant/1", "key": 1}'])
def test_a_damaged_grant_is_told_without_what_is_in_it(data: bytes) -> None:
    with pytest.raises(ConfigError):
        UploadGrant.parse(data)
