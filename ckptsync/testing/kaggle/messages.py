"""Requests and answers as the parts of the service see them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from .faults import Fault
from .world import Json

CHUNK = 256 * 1024


@dataclass
class Request:
    """One request as its handler sees it.

    Args:
        method: GET, POST or PUT.
        path: decoded, without the query.
        query: its parameters.
        headers: by lower-case name.
        base: the address at which the client reached us, for the URLs that we hand out.
        read: gives the next bytes of the body, at most as many as asked for; empty at its end.
        fault: what is to go wrong with the answer, where its handler has to do it.
    """

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    base: str
    read: Callable[[int], bytes]
    fault: Fault | None = None

    def json(self) -> Json:
        """Return the body as a JSON object.

        Raises:
            ValueError: it is none.
        """
        body = b"".join(iter(lambda: self.read(CHUNK), b""))
        value = json.loads(body or b"{}")
        if not isinstance(value, dict):
            raise ValueError("not a JSON object")
        return value


@dataclass
class Response:
    """One answer.

    Args:
        status: the HTTP status.
        body: bytes, or pieces that come one by one.
        headers: beside Content-Length, Date and the like.
        file: in place of a body, an open file; its bytes from `offset` on are sent.
        length: how many bytes there are in a file, or in pieces where that is known beforehand.
    """

    status: int = 200
    body: bytes | Iterable[bytes] = b""
    headers: dict[str, str] = field(default_factory=dict)
    file: BinaryIO | None = None
    offset: int = 0
    length: int | None = None

    @classmethod
    def of_json(cls, value: object, status: int = 200) -> Response:
        """Answer with JSON; bytes that are no UTF-8 (decoded with surrogateescape) go out as they came in."""
        body = json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogateescape")
        return cls(status, body, {"Content-Type": "application/json; charset=utf-8"})

    @classmethod
    def error(cls, status: int, message: str) -> Response:
        """Answer with an error as the API words it."""
        return cls.of_json({"code": status, "message": message}, status)

    def size(self) -> int | None:
        """Return how many bytes the body has, where that is known beforehand."""
        if self.length is not None:
            return self.length
        return len(self.body) if isinstance(self.body, bytes) else None

    @property
    def live(self) -> bool:
        """Whether its pieces come one by one, and each is to be sent when it has come."""
        return not isinstance(self.body, bytes)

    def close(self) -> None:
        """Let go of its file."""
        if self.file is not None:
            self.file.close()

    def pieces(self, size: int = CHUNK) -> Iterator[bytes]:
        """Yield the body."""
        if self.file is not None:
            left = self.length or 0
            self.file.seek(self.offset)
            while left and (piece := self.file.read(min(size, left))):
                left -= len(piece)
                yield piece
        elif isinstance(self.body, bytes):
            yield from (self.body[start : start + size] for start in range(0, len(self.body), size))
        else:
            yield from self.body


@dataclass
class Call:
    """One request in the service's log.

    Args:
        name: see Faults; other paths as they are.
        path: what was asked for, without the query.
        user: whose secret it carried.
        authorized: whether it carried one at all; a signed URL needs none and should get none.
        status: of the answer; 0 when there was none.
        fault: what went wrong on purpose.
        sent: bytes of the answer's body that were sent.
        finished: time.monotonic when the answer was out.
    """

    name: str
    path: str
    user: str = ""
    authorized: bool = False
    status: int = 0
    fault: Fault | None = None
    sent: int = 0
    finished: float = 0.0
