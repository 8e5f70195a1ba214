"""URLs of stores: taken apart, unless they hold a secret."""

from __future__ import annotations

from urllib.parse import SplitResult, parse_qsl, urlsplit

from . import names
from .errors import ConfigError

_HINT = "give secrets in the environment (AWS_*, the variables of the service), never in a URL"
_SECRETS = frozenset({"pass", "sas", "sig", "passphrase", "auth", "connection_string", "connectionstring"})


def split_store_url(url: str) -> SplitResult:
    """Take the URL of a store apart; a path without `://` is a path.

    Raises:
        ConfigError: it makes no sense, or holds a secret, which is not shown then.
    """
    try:
        parts = urlsplit(url) if "://" in url else SplitResult("", "", url, "", "")
        secret = parts.password is not None or (parts.scheme == "s3" and "@" in parts.netloc)
        options = parse_qsl(parts.query, keep_blank_values=True)
        secret = secret or any(_looks_secret(name, value) for name, value in options)
    except ValueError:
        raise ConfigError("the URL of the store makes no sense") from None
    if secret:
        raise ConfigError(f"the URL of the store ({parts.scheme}://...) holds a secret", hint=_HINT)
    if parts.fragment:
        shown = names.printable(parts._replace(fragment="").geturl())
        raise ConfigError(f"{shown} is followed by '#...', which no URL of a store is", hint="write '#' as %23")
    if not url.strip():
        raise ConfigError(f"{names.printable(url)} is no URL of a store", hint="a folder, or s3://bucket/prefix")
    return parts


def _looks_secret(name: str, value: str) -> bool:
    words = name.casefold()
    nested = urlsplit(value) if "://" in value else None
    return (
        names.names_secret(name)
        or words.endswith(("key", "signature"))
        or words in _SECRETS
        or (nested is not None and nested.username is not None)
    )
