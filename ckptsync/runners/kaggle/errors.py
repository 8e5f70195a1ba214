"""What the service's refusals mean: HTTP statuses and words of its answers, as errors with a next step.

Every text of the service is foreign: it is cut, escaped and cleaned of secrets before it gets here.
"""

from __future__ import annotations

import re
from typing import Any

from ...core.errors import CkptsyncError, ConfigError, CredentialsError, LimitError, NothingFoundError, ServiceError

_PHONE = re.compile(r"phone", re.IGNORECASE)
_LIMIT = re.compile(r"quota|session count|maximum .* reached|too many .*sessions?", re.IGNORECASE)
_COUNT = re.compile(r"session count|too many .*sessions?", re.IGNORECASE)
_NOT_OURS = re.compile(r"notebook not found|kernel not found", re.IGNORECASE)
_TOO_LARGE = re.compile(r"less than .* megabyte|too large", re.IGNORECASE)


class ForbiddenError(CredentialsError):
    """The service does not let us, or there is no such thing: it says the same for both (403)."""


class MissingError(NothingFoundError):
    """The service does not know it (404)."""


class ConflictError(ServiceError):
    """It stands against something that is there already (409)."""


class BusyError(ServiceError):
    """The service was asked too often and has done nothing (429)."""


# What the service says of a kernel or dataset that does not exist
ABSENT = (ForbiddenError, MissingError)


def http_error(what: str, status: int, message: str, retry_after: float | None = None) -> CkptsyncError:
    """Return the error for an answer that is none.

    Args:
        what: what was asked for, a phrase such as "the status of u/k".
        status: of HTTP, or the `code` in the body.
        message: the service's words; may be empty.
        retry_after: how many seconds the service asks to wait.
    """
    said = f"Kaggle refused {what}: {message or 'without a reason'} (HTTP {status})"
    if status == 401:
        return CredentialsError(
            f"Kaggle does not accept our credentials: {message or 'HTTP 401'}",
            hint="they are wrong or expired; create a token at kaggle.com/settings, then run 'ckptsync doctor'",
        )
    if status == 403:
        if _PHONE.search(message):
            return ConfigError(said, hint="verify a phone number at kaggle.com/settings, or use no gpu and no internet")
        return ForbiddenError(said, hint="check owner and kernel; 'ckptsync doctor' shows whose credentials are used")
    if status in (404, 410):
        return MissingError(said)
    if status == 409:
        return ConflictError(said, transient=False, hint="set another 'kernel' in [runners.kaggle] if it stays so")
    if status == 429:
        return BusyError(f"Kaggle asks us to slow down at {what}: {message}", retry_after=retry_after)
    if status >= 500:
        return ServiceError(
            f"Kaggle failed at {what}: {message or 'no reason'} (HTTP {status})", retry_after=retry_after
        )
    if _TOO_LARGE.search(message):
        return LimitError(said, hint="move large files out of the kernel folder, into a dataset")
    return ServiceError(said, transient=False)


def push_refusal(kernel: str, message: str, *, renews_at: str | None = None) -> CkptsyncError:
    """Return the error for a push that was answered with `error` set; nothing has started then.

    Args:
        kernel: `owner/slug`.
        message: the service's words.
        renews_at: when the quota renews, in ISO 8601 UTC, where that is known.
    """
    said = f"Kaggle did not start a session of {kernel}: {message}"
    if _LIMIT.search(message):
        if _COUNT.search(message):
            hint = "wait until a session has ended; 'ckptsync status' shows yours"
            return LimitError(said, hint=hint, transient=True)
        return LimitError(said, hint='wait until the quota renews, or set accelerator = "none"', available_at=renews_at)
    if _PHONE.search(message):
        return ConfigError(said, hint="verify a phone number at kaggle.com/settings, or use no gpu and no internet")
    if _NOT_OURS.search(message):
        hint = "the kernel is not yours or was never saved; set owner and kernel in [runners.kaggle]"
        return ForbiddenError(said, hint=hint)
    if _TOO_LARGE.search(message):
        return LimitError(said, hint="move large files out of the kernel folder, into a dataset")
    return ServiceError(said, transient=False, hint="see kaggle.com/work for what is there already")


def reason_of(body: Any) -> tuple[int | None, str]:
    """Return (code, message) of an error body in any of the shapes that the service uses.

    {"code": 404, "message": "..."}   and   {"error": {"code": 429, "message": "...", "status": "..."}}
    """
    inner = body.get("error") if isinstance(body, dict) else None
    found = inner if isinstance(inner, dict) else body if isinstance(body, dict) else {}
    code, message = found.get("code"), found.get("message")
    return code if isinstance(code, int) else None, message if isinstance(message, str) else ""
