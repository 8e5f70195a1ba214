"""What S3 and botocore say when something fails, in words of ours."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from ..core import names
from ..core.errors import (
    CkptsyncError,
    ConfigError,
    CredentialsError,
    LimitError,
    NothingFoundError,
    ServiceError,
    UsageError,
)
from .base import NoBucketError, PreconditionError

_DATE = "%a, %d %b %Y %H:%M:%S GMT"  # as servers write it

_REFUSED_KEYS = {
    *("InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "ExpiredToken", "ExpiredTokenException"),
    *("TokenRefreshRequired", "AuthFailure", "InvalidClientTokenId", "NotSignedUp", "InvalidSecurity"),
}
_ELSEWHERE = {
    *("PermanentRedirect", "TemporaryRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"),
    *("301", "307", "Moved Permanently", "InvalidRegion"),
}
_FULL = {"QuotaExceeded", "XMinioStorageFull", "InsufficientStorage", "ServiceQuotaExceededException", "507"}
_CHANGED_ON_THE_WAY = {
    *("BadDigest", "InvalidDigest", "XAmzContentChecksumMismatch", "XAmzContentSHA256Mismatch", "IncompleteBody"),
}
_BUSY = {
    *("SlowDown", "ServiceUnavailable", "InternalError", "RequestTimeout", "Throttling", "TooManyRequests"),
    *("OperationAborted", "ConditionalRequestConflict", "409", "429", "500", "502", "503", "504"),
}
# What every answer has; one without it comes from something else than an S3 server
_FIELDS = frozenset({"ETag", "ContentLength", "LastModified", "Body"})
# What TLS says when there is none behind the endpoint, or not the expected one; all else of it may pass
_NO_TLS, _NO_TRUST = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "UNKNOWN_PROTOCOL"), "CERTIFICATE_VERIFY_FAILED"
_VARIABLES = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or AWS_PROFILE), then run the same command again"


def is_missing(error: Exception) -> bool:
    """Whether an answer says that the object is not there; a bucket that is not there is another matter."""
    return _code(error) in ("NoSuchKey", "404", "NotFound")


def is_beyond_the_end(error: Exception) -> bool:
    """Whether an answer says that the object ends before what was asked for."""
    return _code(error) in ("InvalidRange", "416")


def is_changed(error: Exception) -> bool:
    """Whether an answer says that the bytes are not those of the checksum."""
    return _code(error) in _CHANGED_ON_THE_WAY


def translate(error: Exception, *, url: str, action: str) -> CkptsyncError:
    """Return what happened as an error of ours.

    Args:
        error: what botocore raised.
        url: the store, without secrets.
        action: what was tried, as in "cannot <action>".

    Raises:
        Exception: it is neither botocore's nor of the network: a mistake of ours, to be seen as it is.
    """
    if isinstance(error, CkptsyncError):
        return error
    code = _code(error)
    if code is None:
        return _without_answer(error, url, action)
    status = _status(error)
    word = f"answers with status {status}" if code.isdigit() else f"says {names.printable(code)}"
    said = f"cannot {action} in {url}: the server {word}"
    if code in ("PreconditionFailed", "412"):
        return PreconditionError(
            f"cannot {action} in {url}: somebody else wrote it meanwhile", hint="run the same command again"
        )
    if code == "NoSuchBucket":
        return NoBucketError(f"cannot {action} in {url}: there is no such bucket", hint="make it, or name another")
    if code in _REFUSED_KEYS:
        return CredentialsError(f"{said}: the credentials are wrong or have expired", hint=_VARIABLES)
    if code in ("RequestTimeTooSkewed", "RequestExpired"):
        here, there = datetime.now(UTC).strftime(_DATE), _header(error, "date") or "unknown"
        return ServiceError(
            f"{said}: the clock here is wrong: here it is {here}, there {names.printable(there)}",
            hint="set this machine's clock, then run the same command again",
            transient=False,
        )
    if code in _ELSEWHERE or status in (301, 307):
        region = _header(error, "x-amz-bucket-region") or _field(error, "Region")
        known = f": it lies in {names.printable(region)}" if region else ""
        return ConfigError(f"{said}: the bucket lies in another region{known}", hint="set 'region=...' in the URL")
    if code in _FULL or status == 507:
        return LimitError(
            f"{said}: its room or quota is used up", hint="make room in the store, then run the same command again"
        )
    if is_changed(error):
        return ServiceError(f"{said}: the bytes changed on their way", transient=True)
    if code in _BUSY or status == 429 or (status >= 500 and code != "NotImplemented"):
        return ServiceError(f"{said}: it is busy or failing", transient=True, retry_after=_retry_after(error))
    if status in (401, 403):
        allow = f"let them read, list, write and delete in {url}, or {_VARIABLES}"
        return CredentialsError(f"{said}: these credentials may not do that, or are wrong", hint=allow)
    if is_missing(error):
        return NothingFoundError(f"cannot {action} in {url}: it is not there")
    numbered = said if code.isdigit() else f"{said} (status {status})"
    return ServiceError(numbered, hint="check that the endpoint is that of an S3 server", transient=False)


def _without_answer(error: Exception, url: str, action: str) -> CkptsyncError:
    from botocore import exceptions as known
    from urllib3.exceptions import HTTPError  # what breaks in the middle of an answer that tells of an error

    said = f"cannot {action} in {url}"
    if isinstance(error, KeyError) and error.args and error.args[0] in _FIELDS:
        return ServiceError(
            f"{said}: the answer is none of S3's: it has no {error.args[0]}",
            hint="check the endpoint: something else answers there",
            transient=False,
        )
    if isinstance(error, known.NoCredentialsError | known.PartialCredentialsError | known.CredentialRetrievalError):
        return CredentialsError(f"{said}: no credentials were found", hint=_VARIABLES)
    if isinstance(error, known.TokenRetrievalError | known.UnauthorizedSSOTokenError):
        return CredentialsError(f"{said}: the sign-in has expired", hint="sign in again, then run the same command")
    if isinstance(error, known.ProfileNotFound):
        return ConfigError(f"{said}: there is no such profile", hint="set AWS_PROFILE, or '?profile=...' in the URL")
    if isinstance(error, known.NoRegionError):
        return ConfigError(f"{said}: no region is known", hint="add '?region=...' to the URL")
    if isinstance(error, known.ParamValidationError | known.InvalidEndpointConfigurationError):
        return UsageError(f"{said}: the bucket's name or the endpoint is not valid")
    if not isinstance(error, known.BotoCoreError | known.HTTPClientError | HTTPError | OSError):
        raise error
    place = _endpoint(error)
    if isinstance(error, known.SSLError):
        if any(word in str(error) for word in _NO_TLS):
            return ConfigError(f"{said}: {place} does not speak TLS", hint="has the endpoint to begin with http:// ?")
        if _NO_TRUST in str(error):
            return ConfigError(
                f"{said}: the certificate of {place} is not trusted", hint="set AWS_CA_BUNDLE to that of its authority"
            )
    # All else is the way there: no connection, a broken one, a reading that takes too long, no sense in the answer
    return ServiceError(
        f"{said}: {place} cannot be reached: {type(error).__name__}",
        hint="check the network and the endpoint, then run the same command again",
        transient=True,
    )


def _endpoint(error: Exception) -> str:
    """Return scheme and host of the URL that a call went to, and no more of it: the rest holds signatures."""
    asked = (getattr(error, "kwargs", None) or {}).get("endpoint_url")
    parts = urlsplit(asked) if isinstance(asked, str) else None
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}" if parts is not None and parts.netloc else "the server"


def _code(error: Exception) -> str | None:
    response = getattr(error, "response", None)
    if not isinstance(response, dict):
        return None
    return str(response.get("Error", {}).get("Code") or _status(error))


def _status(error: Exception) -> int:
    return int(_metadata(error).get("HTTPStatusCode") or 0)


def _field(error: Exception, name: str) -> str | None:
    found = (getattr(error, "response", None) or {}).get("Error", {}).get(name)
    return None if found is None else str(found)


def _header(error: Exception, name: str) -> str | None:
    found = _metadata(error).get("HTTPHeaders", {}).get(name)
    return None if found is None else str(found)


def _metadata(error: Exception) -> dict[str, Any]:
    response = getattr(error, "response", None) or {}
    return response.get("ResponseMetadata", {}) or {}


def _retry_after(error: Exception) -> float | None:
    text = _header(error, "retry-after") or ""
    return min(float(text), 60.0) if text.isdigit() else None
