"""What the file systems of fsspec raise, as errors of ours."""

from __future__ import annotations

import errno
import ftplib

from ..core import names
from ..core.errors import CkptsyncError, CredentialsError, NothingFoundError, ServiceError, storage_error

_CLOSED = "Socket is closed"  # what paramiko says of a connection that broke
# In the names of exceptions: of paramiko, google.auth, botocore and others
_ABOUT_CREDENTIALS = ("Authentication", "Credentials", "Token", "PasswordRequired")
_NO_KEY = "No authentication methods available"  # paramiko, where there is no key at all
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


def translated(error: Exception, action: str, url: str) -> CkptsyncError:
    """Return the error of ours that says it; transient where another attempt may help.

    Args:
        error: what was raised.
        action: what was tried, such as `read KEY`.
        url: of the store, without secrets.
    """
    said = f"cannot {action} in {url}"
    if isinstance(error, FileNotFoundError | IsADirectoryError | NotADirectoryError):
        return NothingFoundError(f"{said}: it is not there")
    if isinstance(error, PermissionError) or _is_about_credentials(error):
        return CredentialsError(
            f"{said}: permission is refused ({type(error).__name__})", hint="check the credentials for this store"
        )
    if isinstance(error, OSError) and error.errno in _DISK_FULL:
        return storage_error(error, url)
    if isinstance(error, NotImplementedError | TypeError):
        return ServiceError(f"{said}: this kind of store cannot do that", transient=False)
    if isinstance(error, ftplib.error_perm):
        return ServiceError(f"{said}: {names.printable(str(error))}", transient=False)
    if type(error) is OSError and error.errno is None and str(error) != _CLOSED:
        # What a server over ssh answers to all that has no number of its own, a full disk and a folder among it
        return ServiceError(f"{said}: {names.printable(str(error))}", transient=False)
    # What the many implementations raise is not known; their texts may hold secrets
    broke = "it cannot be reached, or the connection broke: " if isinstance(error, OSError) else ""
    return ServiceError(f"{said}: {broke}{type(error).__name__}", transient=True)


def _is_about_credentials(error: Exception) -> bool:
    """Whether a server lets nobody in with what it was shown: asking again does not help."""
    kind = type(error).__name__
    status = getattr(error, "code", None) or getattr(getattr(error, "response", None), "status_code", None)
    return status in (401, 403) or any(word in kind for word in _ABOUT_CREDENTIALS) or str(error) == _NO_KEY
