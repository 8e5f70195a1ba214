"""From a URL to a store."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, urlsplit

from ..core import names
from ..core.errors import ConfigError
from .asking import PATIENCE
from .base import Store

_HINT = "give secrets in the environment (AWS_*, the variables of the service), never in a URL"


def open_store(url: str, *, base: Path | None = None, patience_seconds: float | None = None) -> Store:
    """Open a store; nothing is sent or written yet.

        data/store, ../nas/store, file:///...                 a folder
        s3://bucket/prefix?endpoint=http://host:9000          S3 and compatibles; also `region`, `profile`
        sftp://host/path, gs://bucket/prefix, ...             whatever fsspec speaks; what follows `?` are its options

    Args:
        url: where it is.
        base: relative folders begin here; the current folder when None.
        patience_seconds: how long a server that fails is tried again; None: the store's own time.

    Raises:
        ConfigError: the URL holds a secret (which is not shown), makes no sense, or a package is missing.
    """
    parts = _checked(url)
    options = dict(parse_qsl(parts.query))
    if parts.scheme in ("", "file"):
        from .folder import FolderStore

        if parts.scheme and parts.netloc not in ("", "localhost"):
            raise ConfigError(f"{url} names another machine: mount its folder, or use sftp://")
        path = Path(parts.path if parts.scheme else url).expanduser()
        return FolderStore(((base or Path.cwd()) / path).resolve())
    patience = PATIENCE if patience_seconds is None else replace(PATIENCE, seconds=patience_seconds)
    if parts.scheme == "s3":
        from .s3 import S3Store

        prefix = parts.path.strip("/")
        if not parts.netloc:
            raise ConfigError(f"{names.printable(url)} names no bucket", hint="s3://bucket/prefix")
        return S3Store(parts.netloc, f"{prefix}/" if prefix else "", options, patience=patience)
    from .fsspec_store import FsspecStore

    return FsspecStore(parts._replace(query="").geturl(), options, patience=patience)


def _checked(url: str) -> SplitResult:
    """Take a URL apart, unless it holds what must not be shown."""
    try:
        parts = urlsplit(url) if "://" in url else SplitResult("", "", url, "", "")
        secret = parts.password is not None
    except ValueError:
        raise ConfigError("the URL of the store makes no sense") from None
    if parts.scheme == "s3" and "@" in parts.netloc:
        secret = True
    secret = secret or any(_looks_secret(name, value) for name, value in parse_qsl(parts.query, keep_blank_values=True))
    if secret:
        raise ConfigError(f"the URL of the store ({parts.scheme}://...) holds a secret", hint=_HINT)
    if not url.strip() or parts.fragment:
        raise ConfigError(f"{names.printable(url)} is no URL of a store", hint="a folder, or s3://bucket/prefix")
    return parts


def _looks_secret(name: str, value: str) -> bool:
    words = name.casefold()
    nested = urlsplit(value) if "://" in value else None
    return (
        names.names_secret(name)
        or words.endswith("key")
        or words in ("pass", "sas", "sig", "signature", "passphrase", "auth")
        or (nested is not None and nested.username is not None)
    )
