"""Uploads: blobs that come in by resumable PUT before they become files of a dataset."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from pathlib import Path

from .faults import Fault
from .messages import Request, Response
from .world import ApiError, Json, World

PREFIX = "/upload/"
_CHUNK = 1 << 20
_RANGE = re.compile(r"bytes (?:(\d+)-(\d+)|\*)/(\d+)")


@dataclass
class Blob:
    """One file on its way in.

    Args:
        name: its file name, without folders.
        length: how long it will be.
        path: where its bytes come together.
        expired: its upload can no longer go on.
    """

    name: str
    length: int
    path: Path
    expired: bool = False

    @property
    def received(self) -> int:
        """How many bytes are here."""
        return self.path.stat().st_size

    @property
    def complete(self) -> bool:
        """Whether all of them are."""
        return self.received == self.length


class Blobs:
    """The service's uploads, by their token."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._blobs: dict[str, Blob] = {}
        self._folder = world.folder / "blobs"
        self._folder.mkdir(parents=True, exist_ok=True)

    def start(self, request: Json, base: str) -> Json:
        """Answer StartBlobUpload."""
        name = str(request.get("name") or "")
        if not name or "/" in name:
            raise ApiError(400, f"Invalid file name {name!r}")
        token = secrets.token_hex(20)
        blob = Blob(name, int(request.get("contentLength") or 0), self._folder / token)
        blob.path.touch()
        with self._world.lock:
            self._blobs[token] = blob
        return {"token": token, "createUrl": f"{base}{PREFIX}{token}"}

    def put(self, request: Request) -> Response:
        """Answer a PUT: the whole file, the rest of it, or the question how much is here."""
        refusals = {Fault.UPLOAD_REFUSED: 403, Fault.UPLOAD_BROKEN: 500}
        if request.fault in refusals:
            return Response(refusals[request.fault], b"upload refused")
        blob = self._blobs.get(request.path.removeprefix(PREFIX))
        if blob is not None and request.fault is Fault.UPLOAD_EXPIRED:
            blob.expired = True
        if blob is None or blob.expired:
            return Response(404, b"upload not found")
        given = _RANGE.fullmatch(request.headers.get("content-range", ""))
        asks = given is not None and given[1] is None
        start = int(given[1]) if given and not asks else 0
        if not asks and start <= blob.received and request.fault is not Fault.UPLOAD_IDLE:  # a gap is not taken
            self._receive(request, blob, start)
        return Response(503, b"try again") if request.fault is Fault.UPLOAD_CUT else _progress(blob)

    def take(self, token: str) -> Blob:
        """Return an upload that is to become a file.

        Raises:
            ApiError: it is not known, or not all of it is here.
        """
        blob = self._blobs.get(token)
        if blob is None or not blob.complete:
            raise ApiError(400, "A file of the request was not uploaded")
        return blob

    def _receive(self, request: Request, blob: Blob, start: int) -> None:
        """Write what comes in as it comes in, for a connection may break at any byte."""
        limit = blob.length if request.fault is not Fault.UPLOAD_CUT else (start + blob.length) // 2
        with blob.path.open("r+b", buffering=0) as file:
            file.seek(start)
            file.truncate()
            while (piece := request.read(_CHUNK)) and start < limit:
                start += file.write(piece[: limit - start])


def _progress(blob: Blob) -> Response:
    if blob.complete:
        return Response.of_json({}, 200)
    headers = {"Range": f"bytes=0-{blob.received - 1}"} if blob.received else {}
    return Response(308, b"", headers)
