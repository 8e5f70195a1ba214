"""Sending files out of a session that has no credentials, by the grant that it was given.

It comes with connections over TLS and all that they need, so only who sends imports it.
"""

from __future__ import annotations

import http.client
import secrets
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

from . import fsio, names
from .errors import LimitError, ServiceError
from .grants import Target, UploadGrant
from .patience import Failures, Patience

_SILENT_SECONDS = 30.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.75, 15.0
_MOST_ATTEMPTS = 6
_MOST_ANSWER_BYTES = 64 << 10


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
