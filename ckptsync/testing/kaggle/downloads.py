"""Signed URLs: what they point to, how long they hold, and files as a storage service gives them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from urllib.parse import quote

from .faults import Fault
from .messages import Request, Response
from .world import World

PREFIX = "/storage/"
_EXPIRED = (
    b"<?xml version='1.0' encoding='UTF-8'?><Error><Code>ExpiredToken</Code><Message>Invalid argument.</Message>"
    b"<Details>The provided token has expired.</Details></Error>"
)
_MISSING = b"<?xml version='1.0' encoding='UTF-8'?><Error><Code>NoSuchKey</Code></Error>"
_CHUNK = 1 << 20


@dataclass(frozen=True)
class StoredFile:
    """One file that can be downloaded.

    Args:
        name: as listings have it; foreign text.
        path: where its bytes are; None: it is made up.
        content: the bytes of a made-up file.
    """

    name: str
    path: Path | None = None
    content: bytes = b""

    @property
    def size(self) -> int:
        """How long it is."""
        return len(self.content) if self.path is None else self.path.stat().st_size

    @property
    def modified(self) -> datetime:
        """When it was last changed."""
        return datetime.fromtimestamp(0 if self.path is None else self.path.stat().st_mtime, UTC)


class Downloads:
    """Makes signed URLs and answers them."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._digests: dict[tuple[str, int, int], str] = {}

    def url(self, base: str, key: str, name: str) -> str:
        """Return a signed URL for what `key` stands for; its last part is the file's name.

        Hostile names cannot stand in the path of a URL as they are, so the key is what finds the file.
        """
        last = name.rsplit("/", 1)[-1]
        path = f"{PREFIX}{key}/{last if last.strip('.') else 'file'}"
        expires = f"{time.monotonic() + self._world.settings.url_seconds:.3f}"
        return f"{base}{quote(path)}?expires={expires}&signature={self._sign(path, expires)}"

    def refused(self, request: Request) -> Response | None:
        """Return the XML page of a URL that is not signed or has expired; None: it holds."""
        expires = request.query.get("expires", "0")
        if not hmac.compare_digest(self._sign(request.path, expires), request.query.get("signature", "")):
            return _xml(403, _MISSING.replace(b"NoSuchKey", b"SignatureDoesNotMatch"))
        faults = {Fault.URL_EXPIRED: 400, Fault.URL_EXPIRED_DENIED: 403, Fault.URL_EXPIRED_OK: 200}
        if request.fault in faults:
            return _xml(faults[request.fault], _EXPIRED)
        if time.monotonic() > float(expires):
            return _xml(self._world.settings.expired_status, _EXPIRED)
        return None

    def send(self, request: Request, file: StoredFile | None) -> Response:
        """Answer with a file, from the byte on that the request's Range asks for."""
        if file is None:
            return _xml(404, _MISSING)
        size = file.size
        etag = f'"{size:x}-{int(file.modified.timestamp() * 1e6):x}"'
        headers = {
            "Content-Type": "application/octet-stream",
            "Accept-Ranges": "bytes",
            "ETag": etag,
            "Last-Modified": format_datetime(file.modified, usegmt=True),
        }
        if self._world.settings.content_hash:
            headers["x-goog-hash"] = f"md5={self._md5(file)}"
        start, end, status = 0, size - 1, 200
        wanted = request.headers.get("range", "")
        if wanted.startswith("bytes=") and request.headers.get("if-range", etag) in (etag, headers["Last-Modified"]):
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            start = int(first) if first else max(size - int(last), 0)
            end = min(int(last), size - 1) if first and last else size - 1
            if start >= size:
                return Response(416, b"", {"Content-Range": f"bytes */{size}"})
            headers["Content-Range"] = f"bytes {start}-{end}/{size}"
            status = 206
        if file.path is None:
            return Response(status, file.content[start : end + 1], headers)
        return Response(status, headers=headers, file=file.path.open("rb"), offset=start, length=end - start + 1)

    def _md5(self, file: StoredFile) -> str:
        if file.path is None:
            return _base64_md5([file.content])
        stat = file.path.stat()
        key = (str(file.path), stat.st_size, stat.st_mtime_ns)
        if key not in self._digests:
            self._digests[key] = _base64_md5(_pieces(file.path))
        return self._digests[key]

    def _sign(self, path: str, expires: str) -> str:
        return hmac.new(
            self._world.secret, f"{path}\n{expires}".encode("utf-8", "surrogateescape"), "sha256"
        ).hexdigest()


def write_zip(path: Path, files: Sequence[StoredFile]) -> None:
    """Write a zip of these files, complete or not at all."""
    building = path.with_name(f"{path.name}.building")
    with zipfile.ZipFile(building, "w") as archive:
        for file in files:
            if file.path is not None:
                archive.write(file.path, file.name)
    building.rename(path)


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        yield from iter(lambda: file.read(_CHUNK), b"")


def _base64_md5(pieces: list[bytes] | Iterator[bytes]) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    for piece in pieces:
        digest.update(piece)
    return base64.b64encode(digest.digest()).decode()


def _xml(status: int, page: bytes) -> Response:
    return Response(status, page, {"Content-Type": "application/xml; charset=UTF-8"})
