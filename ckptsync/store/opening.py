"""From a URL to a store."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qsl

from ..core import names
from ..core.errors import CkptsyncError, ConfigError
from ..core.units import duration_text
from ..core.urls import split_store_url
from .asking import PATIENCE
from .base import Store


def open_store(
    url: str,
    *,
    base: Path | None = None,
    patience_seconds: float | None = None,
    tell: Callable[[str], object] = lambda text: None,
) -> Store:
    """Open a store; nothing is sent or written yet.

        data/store, ../nas/store, file:///...                 a folder
        s3://bucket/prefix?endpoint=http://host:9000          S3 and compatibles; also `region`, `profile`
        sftp://host/path, gs://bucket/prefix, ...             whatever fsspec speaks; what follows `?` are its options

    Args:
        url: where it is.
        base: relative folders begin here; the current folder when None.
        patience_seconds: how long a server that fails is tried again; None: the store's own time.
        tell: is given a line, once, when a server goes on failing.

    Raises:
        ConfigError: the URL holds a secret (which is not shown), makes no sense, or a package is missing.
    """
    parts = split_store_url(url)
    options = dict(parse_qsl(parts.query))
    if parts.scheme in ("", "file"):
        from .folder import FolderStore

        if parts.scheme and parts.netloc not in ("", "localhost"):
            raise ConfigError(f"{url} names another machine: mount its folder, or use sftp://")
        path = Path(parts.path if parts.scheme else url).expanduser()
        return FolderStore(((base or Path.cwd()) / path).resolve())
    seconds = PATIENCE.seconds if patience_seconds is None else patience_seconds
    patience = replace(PATIENCE, seconds=seconds, tell=_once(tell, seconds))
    if parts.scheme == "s3":
        from .s3 import S3Store

        prefix = parts.path.strip("/")
        if not parts.netloc:
            raise ConfigError(f"{names.printable(url)} names no bucket", hint="s3://bucket/prefix")
        return S3Store(parts.netloc, f"{prefix}/" if prefix else "", options, patience=patience)
    from .fsspec_store import FsspecStore

    return FsspecStore(url.partition("?")[0], options, patience=patience)


def _once(tell: Callable[[str], object], seconds: float) -> Callable[[CkptsyncError], object]:
    said: list[CkptsyncError] = []

    def told(error: CkptsyncError) -> None:
        said.append(error)
        if len(said) == 1:
            tell(f"{error.message}; it is tried again for {duration_text(seconds)} at most")

    return told
