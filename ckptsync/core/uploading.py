"""Sending files out of a session that has no credentials: the grant that lets it, and the sending itself.

What a grant allows is little: to write below the prefix of one session, for a time. It is a secret all the same, so it
travels in a file of its own and is in no message.
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import secrets
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from . import fsio, jsonio, names
from .errors import CkptsyncError, ConfigError, LimitError, ServiceError
from .patience import Failures, Patience

GRANT_NAME = "ckptsync-live.json"
GRANT_SCHEMA = "ckptsync.upload-grant/1"
MAX_GRANT_BYTES = 64 << 10
# A set is there when its seal is: the manifest behind the mark of the one key that the session was given
SEALED_SUFFIX = ".sealed"

_SILENT_SECONDS = 30.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.75, 15.0
_MOST_ATTEMPTS = 6
_MARK_BYTES = 64
_MOST_ANSWER_BYTES = 64 << 10


@dataclass(frozen=True)
class Target:
    """Where objects may be written to.

    Args:
        url: `https://...`, to which forms are posted, or `file://...`, a folder.
        fields: of the form, the policy and its signature among them; `key` is what all keys begin with.
    """

    url: str
    fields: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class UploadGrant:
    """What lets one session write below its prefix.

    Args:
        session: the session's id.
        generation: its generation.
        target: where it may write.
        expires_at: until when, in seconds since 1970.
        max_bytes: how large one object may be.
        key: marks what it has sealed, so that nobody else who can write there passes for it.
    """

    session: str
    generation: int
    target: Target
    expires_at: float
    max_bytes: int
    key: str = field(default_factory=lambda: secrets.token_hex(32), repr=False)

    def to_bytes(self) -> bytes:
        """Return the file that travels to the session; it holds secrets."""
        return jsonio.canonical({"schema": GRANT_SCHEMA, **asdict(self)})

    @classmethod
    def parse(cls, data: bytes) -> UploadGrant:
        """Read what `to_bytes` gave.

        Raises:
            ConfigError: it is anything else.
        """
        try:
            value: dict[str, Any] = dict(jsonio.parse(data))
            if value.pop("schema") != GRANT_SCHEMA:
                raise ValueError
            target = value.pop("target")
            fields = {str(name): str(text) for name, text in target["fields"].items()}
            grant = cls(**value, target=Target(str(target["url"]), fields))
            names.parse_session_id(grant.session)
            bytes.fromhex(grant.key)
            float(grant.expires_at), int(grant.max_bytes)
            return grant
        except (KeyError, TypeError, ValueError, AttributeError, CkptsyncError):
            raise ConfigError(f"{GRANT_NAME} is damaged") from None  # what is wrong with it might show a secret

    def seal(self, manifest: bytes) -> bytes:
        """Put this session's mark before the bytes of a manifest."""
        return self._mark(manifest) + manifest

    def opened(self, sealed: bytes) -> bytes | None:
        """Return the manifest behind the mark; None when somebody else has made it."""
        mark, manifest = sealed[:_MARK_BYTES], sealed[_MARK_BYTES:]
        return manifest if hmac.compare_digest(mark, self._mark(manifest)) else None

    def _mark(self, manifest: bytes) -> bytes:
        message = f"{self.session}\n{self.generation}\n".encode() + manifest
        return hmac.new(bytes.fromhex(self.key), message, hashlib.sha256).hexdigest().encode()


def upload(
    grant: UploadGrant,
    name: str,
    source: Path | bytes,
    *,
    deadline: Callable[[], float],
    pause: Callable[[float], object] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> int:
    """Send one file, again where that may help, and return its size; memory stays bounded.

    Args:
        grant: lets it be sent.
        name: the object's name below the grant's prefix.
        source: the file, or its bytes.
        deadline: says when to give up, on the clock; it may come nearer meanwhile.
        pause: waits before another attempt; receives seconds.
        clock: tells the time.

    Raises:
        NothingFoundError: the file is gone.
        LimitError: it is larger than the grant allows.
        ServiceError: it did not arrive; not transient where another attempt is of no use.
        StorageError: a folder could not be written to.
    """
    names.check_relative(name, what="name of an upload")
    size = len(source) if isinstance(source, bytes) else _size(source)
    if size > grant.max_bytes:
        raise LimitError(f"{name} has {size} bytes; at most {grant.max_bytes} may be sent as one object")
    place = urlsplit(grant.target.url)
    if place.scheme == "file":
        _write(Path(unquote(place.path), name), source)
        return size
    failures = Failures(Patience(float("inf"), _FIRST_PAUSE, _LONGEST_PAUSE, clock=clock))
    while True:
        try:
            left = deadline() - clock()
            if left <= 0:
                raise ServiceError(f"there is no time left to send {name}")
            _post(grant.target, name, source, size, min(left, _SILENT_SECONDS))
            return size
        except ServiceError as error:
            wait = failures.pause_after(error)
            if failures.count == _MOST_ATTEMPTS or clock() + wait >= deadline():
                raise
            pause(wait)


def _size(path: Path) -> int:
    with fsio.open_regular(path) as file:
        return file.seek(0, 2)


def _write(path: Path, source: Path | bytes) -> None:
    fsio.make_folder(path.parent)
    if isinstance(source, bytes):
        fsio.write_bytes(path, source)
    else:
        fsio.copy_file(source, path)


def _post(target: Target, name: str, source: Path | bytes, size: int, seconds: float) -> None:
    place = urlsplit(target.url)
    boundary = secrets.token_hex(16)
    head = _form(boundary, {**target.fields, "key": target.fields.get("key", "") + name})
    tail = f"\r\n--{boundary}--\r\n".encode()
    connection = _connect(place.scheme, place.hostname or "", place.port, seconds)
    try:
        connection.putrequest("POST", place.path + ("" if place.path.endswith("/") else "/"))
        connection.putheader("Content-Type", f"multipart/form-data; boundary={boundary}")
        connection.putheader("Content-Length", str(len(head) + size + len(tail)))
        connection.endheaders()
        try:
            connection.send(head)
            for piece in _pieces(source):
                connection.send(piece)
            connection.send(tail)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it has perhaps answered before it heard all
        answer = connection.getresponse()
        answer.read(_MOST_ANSWER_BYTES)
        status, again = answer.status, answer.getheader("Retry-After", "")
    except (OSError, http.client.HTTPException) as error:
        raise ServiceError(f"{name} could not be sent to {place.hostname}: {type(error).__name__}") from None
    finally:
        connection.close()
    if status >= 300:
        transient = status >= 500 or status in (408, 429)
        reason = "the server is busy" if transient else "the grant does not allow it, or has expired"
        wait = float(again) if again.isdigit() else None
        raise ServiceError(
            f"{place.hostname} refuses {name} with status {status}: {reason}", transient=transient, retry_after=wait
        )


def _connect(scheme: str, host: str, port: int | None, seconds: float) -> http.client.HTTPConnection:
    if scheme == "https":
        return http.client.HTTPSConnection(host, port, timeout=seconds, context=ssl.create_default_context())
    if scheme != "http":
        raise ServiceError("the grant names neither a server nor a folder", transient=False)
    return http.client.HTTPConnection(host, port, timeout=seconds)


def _form(boundary: str, fields: Mapping[str, str]) -> bytes:
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{text}\r\n'
        for name, text in fields.items()
    ]
    parts.append(
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="file"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    )
    return "".join(parts).encode()


def _pieces(source: Path | bytes) -> Iterator[bytes]:
    return iter((source,)) if isinstance(source, bytes) else fsio.chunks(source)
