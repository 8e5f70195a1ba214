"""Files to the service's storage: resumable, every byte or an error."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import urllib3

from ...core import fsread
from ...core.errors import CkptsyncError, CorruptError, ServiceError
from ...core.patience import Failures
from .client import KaggleClient
from .errors import ABSENT
from .web import CHUNK

_DONE = (200, 201)
_INCOMPLETE = 308
_RANGE = re.compile(r"bytes=0-(?P<last>[0-9]+)", re.ASCII)


def upload(client: KaggleClient, name: str, path: Path) -> str:
    """Upload one file and return the token that stands for it.

    A connection that breaks is taken up where the storage says that it stopped; an upload that the storage
    has forgotten or refuses begins anew.

    Raises:
        CkptsyncError: it could not be done within the client's patience: then there is no token.
    """
    size = path.stat().st_size
    failures = Failures(client.patience)
    while True:
        token, url = client.start_upload(name, size)
        try:
            _send(client, name, path, size, url, failures)
            return token
        except ABSENT as error:  # this upload has expired, or its address has
            failures.wait(ServiceError(f"Kaggle does not take the upload of {name}: {error.message}"))


def _send(client: KaggleClient, name: str, path: Path, size: int, url: str, failures: Failures) -> None:
    what = f"the upload of {name}"
    offset = 0
    while True:
        try:
            offset_now = _put(client, what, path, size, url, offset)
        except CkptsyncError as error:
            failures.wait(error)
            # The answer that was lost may have been the last one
            offset_now = client.patience.call(lambda: _received(client, what, size, url))
        if offset_now is None:
            return
        if offset_now > offset:
            failures.heard()
        else:
            failures.wait(ServiceError(f"Kaggle keeps nothing of {name} behind byte {offset}"))
        offset = offset_now


def _put(client: KaggleClient, what: str, path: Path, size: int, url: str, offset: int) -> int | None:
    """Send the file from an offset on; returns None when the storage has all of it, else how far it got."""
    headers = {"Content-Type": "application/octet-stream"}
    if size:
        headers["Content-Range"] = f"bytes {offset}-{size - 1}/{size}"
    with fsread.open_regular(path) as file:
        file.seek(offset)
        data = _Rest(file, size - offset, path) if size > offset else b""
        with client.web.open("PUT", url, what=what, headers=headers, data=data) as response:
            return _answer(client, what, response)


def _received(client: KaggleClient, what: str, size: int, url: str) -> int | None:
    headers = {"Content-Range": f"bytes */{size}"}
    with client.web.open("PUT", url, what=what, headers=headers, data=b"") as response:
        return _answer(client, what, response)


def _answer(client: KaggleClient, what: str, response: urllib3.BaseHTTPResponse) -> int | None:
    body = client.web.body(response, what=what)
    if response.headers.get("Content-Type", "").startswith("text/html"):
        raise ServiceError(f"a page for people came in answer to {what}")
    if response.status in _DONE:
        return None
    if response.status == _INCOMPLETE:
        match = _RANGE.fullmatch(response.headers.get("Range", ""))
        return int(match["last"]) + 1 if match else 0
    raise client.web.error(what, response, body)


class _Rest:
    """The rest of a file, as a body of known length: without one it would be sent in a way that has no resuming."""

    def __init__(self, file: BinaryIO, length: int, path: Path) -> None:
        self._file = file
        self._length = length
        self._path = path

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[bytes]:
        left = self._length
        while left:
            piece = self._file.read(min(CHUNK, left))
            if not piece:
                raise CorruptError(
                    f"{self._path} became shorter while it was uploaded", hint="run the same command again"
                )
            left -= len(piece)
            yield piece
