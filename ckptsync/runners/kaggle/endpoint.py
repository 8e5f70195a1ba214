"""Where the service is, and to whom credentials may be sent."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from urllib.parse import urlsplit

from ...core.errors import ConfigError

URL_VARIABLE = "CKPTSYNC_KAGGLE_URL"
ENVIRONMENT_VARIABLE = "KAGGLE_API_ENVIRONMENT"
# As the official SDK has them; its production hosts leave out `/api`
_BASES = {
    "PROD": "https://api.kaggle.com",
    "LOCALHOST": "http://localhost/api",
    "TEST": "http://localhost:7777/api",
}


def api_base(environ: Mapping[str, str]) -> str:
    """Return what every request begins with, without the final `/`.

    Args:
        environ: `CKPTSYNC_KAGGLE_URL` counts before `KAGGLE_API_ENVIRONMENT`.

    Raises:
        ConfigError: the address is neither https nor on this machine, or the environment is not known.
    """
    url = environ.get(URL_VARIABLE)
    if url:
        if not is_safe(url):
            raise ConfigError(
                f"{URL_VARIABLE} must be https, or http on this machine: credentials are sent there",
                hint=f"export {URL_VARIABLE}=http://127.0.0.1:PORT",
            )
        return url.rstrip("/") + "/api"
    chosen = environ.get(ENVIRONMENT_VARIABLE) or "PROD"
    if chosen not in _BASES:
        raise ConfigError(f"{ENVIRONMENT_VARIABLE} is {chosen!r}, expected one of {', '.join(_BASES)}")
    return _BASES[chosen]


def is_safe(url: str) -> bool:
    """Tell whether something may be sent to an address: https, or http on this machine; no user or password in it."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        _ = parts.port  # raises where it is no number
    except ValueError:
        return False
    if not host or parts.username is not None or parts.password is not None:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host))


def is_loopback(host: str) -> bool:
    """Tell whether a host is this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
