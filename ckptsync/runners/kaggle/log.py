"""What a session printed, as bytes: from the service's JSON records, stored or live, of any size.

    stored   [{"stream_name":"stdout","time":6.4,"data":"...\\n"}\\n,{...}\\n]
    live     data: {"stream_name":"stdout","time":6.4,"data":"...\\n"}     events, closed by   data: END_OF_LOG

A stored log is read record by record: one of a gigabyte never lies in memory.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterable, Iterator
from typing import Any

from ...core.errors import ServiceError
from ...core.patience import Patience
from .client import KaggleClient
from .errors import ABSENT
from .web import AnswerTooLargeError

# What `read` gives at once; whoever wants more asks from behind it
MAX_BYTES = 16 << 20
# A live stream says nothing when the session says nothing
IDLE_SECONDS = 1.0
_END = "END_OF_LOG"
_MAX_RECORD = 4 << 20
_STREAM_SECONDS = 300.0


class Logs:
    """Reads the log of a kernel's version.

    Args:
        client: of the service.
        patience: for reads that fail.
        idle_seconds: how long a live stream may be silent until what it said is all there is for now.
    """

    def __init__(self, client: KaggleClient, patience: Patience, *, idle_seconds: float = IDLE_SECONDS) -> None:
        self._client = client
        self._patience = patience
        self._idle_seconds = idle_seconds

    def read(self, owner: str, slug: str, version: int, offset: int = 0) -> bytes:
        """Return what was printed so far from a byte offset on, at most MAX_BYTES of it.

        Only the stream tells what a running session prints; it is silent while nothing happens, so it is tried
        once, and what is stored is asked for then.
        """
        try:
            return _some(self._stream(owner, slug, version, self._idle_seconds), offset)
        except (*ABSENT, ServiceError):
            pass
        try:
            return _some(self._listed(owner, slug, version), offset)
        except AnswerTooLargeError:
            timeout = self._client.web.timeout
            return self._patience.call(lambda: _some(self._stream(owner, slug, version, timeout), offset))

    def _listed(self, owner: str, slug: str, version: int) -> Iterator[bytes]:
        for _page, log in self._client.output_pages(owner, slug, version):
            if isinstance(log, str):
                yield from stored([log.encode("utf-8", "replace")])
            return  # every page has all of it

    def follow(self, owner: str, slug: str, version: int, offset: int = 0) -> Iterator[bytes]:
        """Stream the log from a byte offset on, until it ends or the connection breaks."""
        yield from _behind(self._stream(owner, slug, version, _STREAM_SECONDS), offset)

    def _stream(self, owner: str, slug: str, version: int, timeout: float) -> Iterator[bytes]:
        with self._client.log_stream(owner, slug, version, timeout=timeout) as response:
            chunks = self._client.web.chunks(response, what=f"the log of {owner}/{slug}")
            if response.headers.get("Content-Type", "").lower().startswith("text/event-stream"):
                yield from live(_until_silent(chunks))
            else:
                yield from stored(_whole(chunks))


def _some(parts: Iterable[bytes], offset: int) -> bytes:
    found = bytearray()
    for part in _behind(parts, offset):
        found += part[: MAX_BYTES - len(found)]
        if len(found) == MAX_BYTES:
            break
    return bytes(found)


def _whole(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Pass a stored log on, and see to it that it has its end: its length may not have been told."""
    last = b""
    for chunk in chunks:
        last = chunk.rstrip()[-1:] or last
        yield chunk
    if last not in (b"]", b""):
        raise ServiceError("the stored log was cut short")


def _until_silent(chunks: Iterator[bytes]) -> Iterator[bytes]:
    try:
        yield from chunks
    except ServiceError:
        return  # silence, or a break: what came is what there is for now


def _behind(parts: Iterable[bytes], offset: int) -> Iterator[bytes]:
    for part in parts:
        if offset >= len(part):
            offset -= len(part)
        else:
            yield part[offset:]
            offset = 0


def live(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Turn a stream of events into what they say."""
    rest = b""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            if not line.startswith(b"data:"):
                continue
            payload = line.removeprefix(b"data:").strip().decode("utf-8", "replace")
            if payload == _END:
                return
            try:
                yield _said(json.loads(payload))
            except (ValueError, RecursionError):
                yield payload.encode() + b"\n"


def stored(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Turn a stored log into what it says; what is no record comes as it is."""
    decoder = json.JSONDecoder()
    text = codecs.getincrementaldecoder("utf-8")("replace")
    rest = ""
    for chunk in _then_none(chunks):
        rest += text.decode(chunk or b"", final=chunk is None)
        position = 0
        while True:
            position = _next_record(rest, position)
            if position >= len(rest):
                break
            try:
                record, position = decoder.raw_decode(rest, position)
            except (ValueError, RecursionError):
                if chunk is not None and len(rest) - position < _MAX_RECORD:
                    break  # its end is still to come
                yield rest[position:].encode("utf-8", "replace")
                position = len(rest)
                break
            yield _said(record)
        rest = rest[position:]


def _next_record(text: str, position: int) -> int:
    while position < len(text) and text[position] in "[,] \r\n\t":
        position += 1
    return position


def _then_none(chunks: Iterable[bytes]) -> Iterator[bytes | None]:
    yield from chunks
    yield None


def _said(record: Any) -> bytes:
    data = record.get("data") if isinstance(record, dict) else record
    # A lone surrogate, which JSON can say, has no UTF-8
    return data.encode("utf-8", "replace") if isinstance(data, str) else b""
