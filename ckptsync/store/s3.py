"""S3 and compatible servers, by botocore, which is loaded on use.

Every object fits into one request, so there are no multipart uploads to be completed or swept; what is large is many
objects, sent side by side. The server is told the checksum of what it gets and refuses anything else. Attempts are
counted here alone, with one patience for all of them.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from typing import Any, TypeVar

from ..core.errors import ConfigError, CorruptError, NothingFoundError, ServiceError
from ..core.grants import Target
from ..core.patience import Failures, Patience
from . import base, s3_client, s3_errors
from .asking import PATIENCE, ask
from .base import Capabilities, ObjectInfo, PreconditionError, Stored

_READ_SECONDS = 30
_CHUNK = 256 << 10
_PAGE = 1_000

T = TypeVar("T")


class S3Store:
    """Keeps objects in a bucket, below a prefix.

    Args:
        bucket: its name.
        prefix: empty, or with a `/` at its end.
        options: `endpoint`, `region`, `profile`; the rest is the SDK's own configuration (AWS_*, ~/.aws).
        patience: how long a server that fails is asked again.
        read_seconds: how long the server may say nothing.

    Raises:
        ConfigError: botocore is not installed, an option is unknown, or a value makes no sense.
    """

    capabilities = Capabilities(
        conditional_create=True, conditional_update=True, checks_uploads=True, whole_or_nothing=True
    )

    def __init__(
        self,
        bucket: str,
        prefix: str = "",
        options: Mapping[str, str] | None = None,
        *,
        patience: Patience = PATIENCE,
        read_seconds: float = _READ_SECONDS,
    ) -> None:
        self.url = f"s3://{bucket}/{prefix}"
        self._bucket = bucket
        self._prefix = base.check_prefix(prefix)
        self._patience = patience
        self._client = self._connect(options or {}, read_seconds)
        self._bucket_is_there = False

    def put(
        self,
        key: str,
        data: bytes,
        *,
        create: bool = False,
        replacing: str | None = None,
        digest: str | None = None,
        checked: bool = False,
    ) -> str:
        """Write an object in one request; see `Store`."""
        from . import s3_sending

        base.check_put(self, key, data, create, replacing)
        raw = bytes.fromhex(digest.removeprefix("sha256:")) if digest else hashlib.sha256(data).digest()
        if digest is None or checked:
            told = s3_sending.known(data, raw)
        else:
            told = {"ChecksumSHA256": base64.b64encode(raw).decode("ascii")}
        condition = {"IfNoneMatch": "*"} if create else {"IfMatch": replacing} if replacing is not None else {}
        attempts = 0

        def send() -> str:
            nonlocal attempts
            attempts += 1
            try:
                answer = self._client.put_object(**self._place(key), Body=data, **told, **condition)
            except Exception as error:
                if s3_errors.is_changed(error) and hashlib.sha256(data).digest() != raw:
                    raise CorruptError(f"{key}: the bytes to be sent have another sha256 than expected") from None
                raise
            return str(answer["ETag"])

        try:
            return self._call(f"write {key}", send)
        except PreconditionError:
            # An attempt whose answer was lost may have written it: then what stands in the way is our own
            found = self.read(key, limit=base.MAX_OBJECT_BYTES) if attempts > 1 else None
            if found is None or found.data != data:
                raise
            return found.version

    def read(self, key: str, *, limit: int) -> Stored:
        """Read a small object whole; see `Store`."""

        def fetch() -> Stored:
            answer = self._client.get_object(**self._place(key))
            if answer["ContentLength"] > limit:
                answer["Body"].close()
                raise CorruptError(f"{self.url}{key} is larger than {limit} bytes, which is no size for such an object")
            return Stored(answer["Body"].read(), answer["ETag"])

        return self._call(f"read {key}", fetch)

    def get(self, key: str, offset: int = 0, size: int | None = None) -> Iterator[bytes]:
        """Stream an object's bytes; see `Store`."""
        end = None if size is None else offset + size
        version: str | None = None
        failures = Failures(self._patience)
        while end is None or offset < end:
            try:
                answer = self._open(key, offset, end, version)
                if answer is None:
                    return
                version = answer["ETag"]
                with closing(answer["Body"]) as body:
                    for chunk in body.iter_chunks(_CHUNK):
                        offset += len(chunk)
                        yield chunk
                        failures.heard()
                return
            except Exception as error:  # noqa: BLE001  # translated, it is raised where it is not borne
                failures.wait(self._translated(error, f"read {key}"))

    def head(self, key: str) -> ObjectInfo | None:
        """Say what an object is; see `Store`."""
        try:
            answer = self._call(f"look at {key}", lambda: self._client.head_object(**self._place(key)))
        except NothingFoundError:
            if not self._bucket_is_there:  # the answer has no words: is it the object or the bucket that is missing?
                next(self.list(), None)
            return None
        return ObjectInfo(key, answer["ContentLength"], answer["LastModified"].timestamp())

    def list(self, prefix: str = "", *, after: str = "") -> Iterator[ObjectInfo]:
        """List the objects below a prefix; see `Store`."""
        start = self._prefix + base.check_prefix(prefix)
        last = self._prefix + after if after else ""
        first, more = "", True
        while more:
            page = self._call(f"list {prefix or 'everything'}", self._page(start, last))
            more = bool(page.get("IsTruncated"))
            found = page.get("Contents", [])
            if more and (not found or found[0]["Key"] == first):
                raise ServiceError(
                    f"{self.url} lists endlessly: it promises more, and gives nothing new", transient=False
                )
            for item in found:
                first, last = found[0]["Key"], item["Key"]
                key = last[len(self._prefix) :]
                if last.startswith(start) and base.is_key(key):
                    yield ObjectInfo(key, item["Size"], item["LastModified"].timestamp())

    def delete(self, key: str) -> None:
        """Remove an object; see `Store`."""
        self._call(f"remove {key}", lambda: self._client.delete_object(**self._place(key)))

    def grant(self, prefix: str, *, seconds: float, max_bytes: int) -> Target:
        """Sign a policy for posting objects below a prefix; nothing is sent. See `GrantingStore`."""
        start = self._prefix + base.check_prefix(prefix)
        try:
            signed = self._client.generate_presigned_post(
                self._bucket,
                start + "${filename}",
                Conditions=[["starts-with", "$key", start], ["content-length-range", 1, max_bytes]],
                ExpiresIn=round(seconds),
            )
        except Exception as error:
            raise self._translated(error, "sign a policy") from error
        return Target(signed["url"], {**signed["fields"], "key": start})

    def close(self) -> None:
        """Let go of connections; see `Store`."""
        self._client.close()

    def _connect(self, options: Mapping[str, str], read_seconds: float) -> Any:
        try:
            return s3_client.connect(self.url, options, read_seconds)
        except ConfigError:
            raise
        except Exception as error:
            raise self._translated(error, "open a store") from error

    def _open(self, key: str, offset: int, end: int | None, version: str | None) -> Any:
        """Begin to read; None when the object ends before the offset."""
        whole = offset == 0 and end is None
        wanted = {} if whole else {"Range": f"bytes={offset}-{'' if end is None else end - 1}"}
        same = {"IfMatch": version} if version is not None else {}
        try:
            return self._client.get_object(**self._place(key), **wanted, **same)
        except Exception as error:
            if s3_errors.is_beyond_the_end(error):
                return None
            raise

    def _page(self, start: str, last: str) -> Callable[[], Any]:
        behind = {"StartAfter": last} if last else {}
        return lambda: self._client.list_objects_v2(Bucket=self._bucket, Prefix=start, MaxKeys=_PAGE, **behind)

    def _place(self, key: str) -> dict[str, str]:
        return {"Bucket": self._bucket, "Key": self._prefix + base.check_key(key)}

    def _call(self, action: str, function: Callable[[], T]) -> T:
        answer = ask(self._patience, function, lambda error: self._translated(error, action))
        self._bucket_is_there = True
        return answer

    def _translated(self, error: Exception, action: str) -> Any:
        return s3_errors.translate(error, url=self.url, action=action)
