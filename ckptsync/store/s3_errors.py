"""What S3 and boto3 say when something fails, in words of ours."""

from __future__ import annotations

from typing import Any

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
from .base import PreconditionError

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
        error: what boto3 raised.
        url: the store, without secrets.
        action: what was tried, as in "cannot <action>".

    Raises:
        Exception: it is neither boto3's nor of the network: a mistake of ours, to be seen as it is.
    """
    if isinstance(error, CkptsyncError):
        return error
    code = _code(error)
    if code is None:
        return _without_answer(error, url, action)
    status = _status(error)
    said = f"cannot {action} in {url}: the server says {names.printable(code)}"
    if code in ("PreconditionFailed", "412"):
        return PreconditionError(
            f"cannot {action} in {url}: somebody else wrote it meanwhile", hint="run the same command again"
        )
    if code == "NoSuchBucket":
        return NothingFoundError(f"cannot {action} in {url}: there is no such bucket", hint="make it, or name another")
    if code in _REFUSED_KEYS:
        return CredentialsError(f"{said}: the credentials are wrong or have expired", hint=_VARIABLES)
    if code in ("RequestTimeTooSkewed", "RequestExpired"):
        return ServiceError(f"{said}: the clock here is wrong", hint="set this machine's clock", transient=False)
    if code in _ELSEWHERE or status in (301, 307):
        region = _header(error, "x-amz-bucket-region")
        known = f": it lies in {names.printable(region)}" if region else ""
        return ConfigError(f"{said}: the bucket lies in another region{known}", hint="add '?region=...' to the URL")
    if code in _FULL or status == 507:
        return LimitError(
            f"{said}: its room or quota is used up", hint="make room in the store, then run the same command again"
        )
    if is_changed(error):
        return ServiceError(f"{said}: the bytes changed on their way", transient=True)
    if code in _BUSY or status == 429 or (status >= 500 and code != "NotImplemented"):
        return ServiceError(said, transient=True, retry_after=_retry_after(error))
    if status in (401, 403):
        return CredentialsError(f"{said}: these credentials may not do that, or are wrong", hint=_VARIABLES)
    if is_missing(error):
        return NothingFoundError(f"cannot {action} in {url}: it is not there")
    return ServiceError(f"{said} (status {status})", transient=False)


def _without_answer(error: Exception, url: str, action: str) -> CkptsyncError:
    from botocore import exceptions as known

    said = f"cannot {action} in {url}"
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
    if not isinstance(error, known.BotoCoreError | known.HTTPClientError | OSError):
        raise error
    # All else is the way there: no connection, a broken one, a reading that takes too long, no sense in the answer
    return ServiceError(f"{said}: {type(error).__name__}", hint="check the network and the endpoint", transient=True)


def _code(error: Exception) -> str | None:
    response = getattr(error, "response", None)
    if not isinstance(response, dict):
        return None
    return str(response.get("Error", {}).get("Code") or _status(error))


def _status(error: Exception) -> int:
    return int(_metadata(error).get("HTTPStatusCode") or 0)


def _header(error: Exception, name: str) -> str | None:
    found = _metadata(error).get("HTTPHeaders", {}).get(name)
    return None if found is None else str(found)


def _metadata(error: Exception) -> dict[str, Any]:
    response = getattr(error, "response", None) or {}
    return response.get("ResponseMetadata", {}) or {}


def _retry_after(error: Exception) -> float | None:
    text = _header(error, "retry-after") or ""
    return min(float(text), 60.0) if text.isdigit() else None
