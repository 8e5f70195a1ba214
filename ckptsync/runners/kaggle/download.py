"""Stream one output: by ranges, over connections that are kept, through addresses that expire.

What the storage sends is held against the size that was listed; what it sends in place of a file, such as a page
that says why there is none, is never taken for one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import urllib3

from ...core import names
from ...core.errors import CkptsyncError, CorruptError, NothingFoundError, ServiceError
from ...core.patience import Failures, Patience
from ..base import OutputFile
from .web import Web

_CONTENT_RANGE = re.compile(r"bytes (?P<first>[0-9]+)-[0-9]+/(?P<total>[0-9]+|\*)", re.ASCII)
_UNSATISFIED = re.compile(r"bytes \*/(?P<total>[0-9]+)", re.ASCII)
_PAGES = ("text/html", "application/xml", "text/xml")
_PAGE_NAMES = (".html", ".htm", ".xml", ".xhtml", ".svg")
_EXPIRED = (400, 401, 403, 404, 410)
_NOT_SATISFIABLE = 416


class _ExpiredError(ServiceError):
    """The address does not hold any more."""


class Downloads:
    """Downloads the outputs of one version; safe to be used by many threads at once.

    Args:
        web: sends the requests.
        patience: how long a file may take without a new byte.
        address: given a name, and an address of it that did not work (or None), returns one that may.
    """

    def __init__(self, web: Web, patience: Patience, address: Callable[[str, str | None], str]) -> None:
        self._web = web
        self._patience = patience
        self._address = address

    def read(self, file: OutputFile, offset: int) -> Iterator[bytes]:
        """Stream a file from a byte offset on, in chunks of at most 1 MB; goes on by itself behind failures.

        Raises:
            NothingFoundError: there is no such output.
            CorruptError: the storage has more bytes than were listed.
            ServiceError: nothing came within the patience.
        """
        if file.size_bytes is not None and offset >= file.size_bytes:
            return
        failures = Failures(self._patience)
        url = self._address(file.path, None)
        while True:
            try:
                for chunk in self._stream(file, url, offset):
                    offset += len(chunk)
                    failures.heard()
                    yield chunk
                return
            except _ExpiredError as error:
                failures.wait(error)
                url = self._address(file.path, url)
            except CkptsyncError as error:
                failures.wait(error)

    def _stream(self, file: OutputFile, url: str, offset: int) -> Iterator[bytes]:
        what = f"the output {names.printable(file.path)}"
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        with self._web.open("GET", url, what=what, headers=headers) as response:
            total, skip = self._announced(response, what, file, offset)
            received = -skip
            for chunk in self._web.chunks(response, what=what):
                # A storage that knows no ranges sends it all from the beginning
                fresh = chunk[-received:] if received < 0 else chunk
                received += len(chunk)
                if total is not None and offset + received > total:
                    raise CorruptError(f"{what} has more than the {total} bytes that were listed")
                if fresh:
                    yield fresh
            if total is not None and offset + received < total:
                raise ServiceError(f"{what} ended after {offset + received} of {total} bytes")

    def _announced(
        self, response: urllib3.BaseHTTPResponse, what: str, file: OutputFile, offset: int
    ) -> tuple[int | None, int]:
        """Return (size of the whole file, bytes to skip), after a look at whether this is the file at all."""
        status, size = response.status, file.size_bytes
        if status in _EXPIRED:
            raise _ExpiredError(f"the address of {what} does not hold any more (HTTP {status})")
        if status == _NOT_SATISFIABLE:
            match = _UNSATISFIED.fullmatch(response.headers.get("Content-Range", ""))
            if match and int(match["total"]) == offset and size in (None, offset):
                return offset, 0
            raise _ExpiredError(f"the storage has no bytes of {what} from {offset} on")
        if status not in (200, 206):
            error = self._web.error(what, response, self._web.body(response, what=what))
            raise error if error.transient else ServiceError(error.message)
        length = response.headers.get("Content-Length", "")
        encoded = response.headers.get("Content-Encoding", "identity") != "identity"
        told = int(length) if length.isdigit() and not encoded else None
        if status == 206:
            match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
            if match is None or int(match["first"]) != offset:
                raise ServiceError(f"the storage sent another part of {what} than was asked for")
            whole, skip = int(match["total"]) if match["total"].isdigit() else None, 0
        else:
            whole, skip = told, offset
        kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        page = kind in _PAGES and not file.path.lower().endswith(_PAGE_NAMES)
        if (size is not None and whole not in (None, size)) or (page and (size is None or whole != size)):
            raise _ExpiredError(f"in place of {what} came {kind or 'something'} of {whole} bytes, expected {size}")
        return size if size is not None else whole, skip


def not_listed(path: str) -> NothingFoundError:
    """Return the error for a name that is no output of the session."""
    return NothingFoundError(f"the session left no file {names.printable(path)}")
