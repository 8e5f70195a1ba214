"""HTTP with bounds: time limits, no secret to a stranger, errors of our own.

By urllib3 itself: for thousands of small files, what `requests` puts on top takes as long as the files.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import requests
import urllib3

from ..._version import __version__
from ...core import names
from ...core.errors import CkptsyncError, ConfigError, ServiceError
from .endpoint import is_loopback, is_safe
from .errors import http_error, reason_of

CHUNK = 1 << 20
# A page of a listing repeats the whole log; one that is longer is read in another way
MAX_ANSWER_BYTES = 8 << 20
_CONNECT_SECONDS = 10.0
_LONGEST_WISH = 3600.0
_MAX_REASON = 300
# Connections that are kept; a download uses as many as it has threads
_KEPT_CONNECTIONS = 64
_USER_AGENT = f"ckptsync/{__version__}"

# What urllib3 raises when a connection breaks at any moment
BROKEN = (urllib3.exceptions.HTTPError, OSError)


class AnswerTooLargeError(ServiceError):
    """An answer is larger than what is read of one."""


class Web:
    """Sends requests and gives answers that are streams.

    Args:
        timeout: how long one answer, or the next piece of it, may take, in seconds.
        redact: takes secrets out of foreign text.
    """

    def __init__(self, timeout: float, redact: Callable[[str], str] = str) -> None:
        self.timeout = timeout
        self.redact = redact
        self._near = urllib3.PoolManager(maxsize=_KEPT_CONNECTIONS)
        self._far = _pool_by_environment()

    @contextmanager
    def open(
        self,
        method: str,
        url: str,
        *,
        what: str,
        headers: Mapping[str, str] | None = None,
        data: bytes | Body | None = None,
        timeout: float | None = None,
    ) -> Iterator[urllib3.BaseHTTPResponse]:
        """Send a request; gives the answer, whatever its status, with its body still to be read.

        No redirect is followed, so that nothing is sent to where nobody looked at the address. Safe to be used by
        many threads at once.

        Raises:
            ConfigError: the address is neither https nor on this machine.
            ServiceError: no answer came.
        """
        if not is_safe(url):
            raise ConfigError(f"{what}: {host_of(url)} is reached neither by https nor on this machine; refused")
        try:
            pool = self._near if is_loopback(urlsplit(url).hostname or "") else self._far
            length = {} if data is None else {"Content-Length": str(len(data))}
            response = pool.request(
                method,
                url,
                headers={"User-Agent": _USER_AGENT, "Accept-Encoding": "identity", **length, **(headers or {})},
                body=data,
                preload_content=False,
                redirect=False,
                retries=False,
                timeout=urllib3.Timeout(connect=min(_CONNECT_SECONDS, self.timeout), read=timeout or self.timeout),
            )
        except BROKEN as error:
            raise broken(what, url, error) from None
        response.url = url  # whole, for messages that name the host
        try:
            yield response
        finally:
            if not response.closed:  # not read to its end, so the connection is of no more use
                response.close()
            response.release_conn()

    def error(self, what: str, response: urllib3.BaseHTTPResponse, body: bytes) -> CkptsyncError:
        """Return the error for an answer whose status says that it is one."""
        code, message = reason_of(_lenient(body))
        said = names.printable(self.redact(message)[:_MAX_REASON])[1:-1] if message else ""
        return http_error(what, code or response.status, said, retry_after(response.headers))

    def json(
        self, method: str, url: str, *, what: str, headers: Mapping[str, str] | None = None, data: bytes | None = None
    ) -> dict[str, Any]:
        """Send a request and return the JSON object that answers it.

        Raises:
            CkptsyncError: as `http_error` has it for a refusal; ServiceError where there is no answer, or
                one that makes no sense, such as a page for people.
            AnswerTooLargeError: it is not read to its end.
        """
        with self.open(method, url, what=what, headers=headers, data=data) as response:
            body = self.body(response, what=what, limit=MAX_ANSWER_BYTES)
            if response.status >= 400:
                raise self.error(what, response, body)
            if 300 <= response.status < 400:
                raise ServiceError(f"Kaggle sends {what} elsewhere (HTTP {response.status})", transient=False)
        try:
            found = json.loads(body.decode("utf-8", "replace"))
        except (ValueError, RecursionError):
            kind = response.headers.get("Content-Type", "no type")[:60]
            wrong = "damaged or cut short" if "json" in kind.lower() else f"no JSON but {names.printable(kind)}"
            raise ServiceError(f"the answer to {what} is {wrong}") from None
        if not isinstance(found, dict):
            raise ServiceError(f"the answer to {what} is no JSON object")
        code, _message = reason_of(found)
        if code is not None and code >= 400:
            raise self.error(what, response, body)
        return found

    def body(self, response: urllib3.BaseHTTPResponse, *, what: str, limit: int = CHUNK) -> bytes:
        """Read a whole answer, and see to it that it is whole.

        Raises:
            AnswerTooLargeError: it is larger than `limit`.
            ServiceError: the connection broke.
        """
        parts, size = [], 0
        for chunk in self.chunks(response, what=what):
            size += len(chunk)
            if size > limit:
                raise AnswerTooLargeError(f"the answer to {what} is larger than {limit:,} bytes", transient=False)
            parts.append(chunk)
        return b"".join(parts)

    def chunks(self, response: urllib3.BaseHTTPResponse, *, what: str) -> Iterator[bytes]:
        """Stream the body in pieces of at most 1 MB, as they come.

        Raises:
            ServiceError: it stops before its announced end, or stalls.
        """
        try:
            while chunk := response.read1(CHUNK, decode_content=True):
                yield chunk
        except BROKEN as error:
            raise broken(what, response.url or "", error) from None


class Body(Protocol):
    """A body of known length that is sent piece by piece."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[bytes]: ...


def _pool_by_environment() -> urllib3.PoolManager:
    """Return connections through the proxy, and trusting the authorities, that the environment names."""
    # requests knows all the variables, and which hosts are left out of them
    found = requests.Session().merge_environment_settings("https://api.kaggle.com", {}, None, None, None)
    authorities = requests.certs.where() if found["verify"] is True else str(found["verify"])
    trusted = {"ca_cert_dir" if Path(authorities).is_dir() else "ca_certs": authorities}
    proxy = requests.utils.select_proxy("https://api.kaggle.com", found["proxies"])
    if not proxy:
        return urllib3.PoolManager(maxsize=_KEPT_CONNECTIONS, cert_reqs="CERT_REQUIRED", **trusted)
    user, password = requests.utils.get_auth_from_url(proxy)
    signed = urllib3.make_headers(proxy_basic_auth=f"{user}:{password}") if user else None
    proxy = requests.utils.prepend_scheme_if_needed(proxy, "http")
    return urllib3.ProxyManager(
        proxy, proxy_headers=signed, maxsize=_KEPT_CONNECTIONS, cert_reqs="CERT_REQUIRED", **trusted
    )


def broken(what: str, url: str, error: Exception) -> ServiceError:
    """Return the error for a connection that failed; its own text may quote a signed address, so it is left out."""
    if isinstance(error, urllib3.exceptions.TimeoutError | TimeoutError):
        return ServiceError(f"{host_of(url)} did not answer {what} in time")
    if isinstance(error, urllib3.exceptions.SSLError):
        return ServiceError(f"{host_of(url)} shows a certificate that is not trusted; {what} was not sent")
    return ServiceError(f"the connection to {host_of(url)} broke at {what} ({type(error).__name__})")


def host_of(url: str) -> str:
    """Return the host of an address, and nothing of what may be a secret in it."""
    try:
        parts = urlsplit(url)
        return names.printable(parts.hostname or "nowhere")[1:-1] + (f":{parts.port}" if parts.port else "")
    except ValueError:
        return "an address that is none"


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return how many seconds the service asks to wait.

    A date is taken relative to the service's own clock, which its answer names: ours may be wrong.
    """
    wish = headers.get("Retry-After", "").strip()
    if not wish:
        return None
    try:
        seconds = float(wish)
    except ValueError:
        try:
            then = parsedate_to_datetime(wish).timestamp()
            now = parsedate_to_datetime(headers["Date"]).timestamp() if "Date" in headers else time.time()
        except (ValueError, TypeError):
            return None
        seconds = then - now
    return min(max(seconds, 0.0), _LONGEST_WISH) if seconds == seconds else None


def _lenient(body: bytes) -> Any:
    try:
        return json.loads(body.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return None
