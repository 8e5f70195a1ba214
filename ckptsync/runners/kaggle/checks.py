"""What `doctor` looks at: is everything in place for sessions on Kaggle?"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from ...core.errors import CkptsyncError
from ...core.patience import Patience
from ..base import Allowance
from .credentials import find

# A machine without a network must not hold `doctor` up
_TIMEOUT = 5.0
_PATIENCE = Patience(3.0)
# Files of secrets that people put beside their project, where they are committed and packed one day
_SECRET_FILES = ("kaggle.json", "access_token", "access_token.txt")


@dataclass(frozen=True)
class ServiceCheck:
    """One check.

    Args:
        name: what was looked at.
        ok: whether all is well.
        found: what was found; never a secret.
        fix: what to do; empty when all is well.
    """

    name: str
    ok: bool
    found: str
    fix: str = ""


def checks(
    folders: tuple[Path, ...], environ: Mapping[str, str] = os.environ, home: Path | None = None
) -> Iterator[ServiceCheck]:
    """Yield what was found; the first thing that is missing ends it, for the others need it.

    Args:
        folders: the project's folder and those of its kernels, where no secret should lie.
        environ: where the endpoint and credentials are named.
        home: the user's home folder.
    """
    for path in (folder / name for folder in folders for name in _SECRET_FILES):
        if path.exists():
            fix = f"mv {path} ~/.kaggle/ && chmod 600 ~/.kaggle/{path.name}"
            yield ServiceCheck("kaggle secrets", False, f"{path} is a secret and lies in the project", fix)
    if find_spec("kagglesdk") is None:
        yield ServiceCheck("kaggle package", False, "not installed", "pip install 'ckptsync[kaggle]'")
        return
    yield ServiceCheck("kaggle package", True, "installed")
    home = home or Path.home()
    try:
        found = find(environ, home)
    except CkptsyncError as error:
        yield ServiceCheck("kaggle credentials", False, error.message, error.hint or "")
        return
    if found.readable_by_others:
        said = f"{found.source}, which other users of this machine can read"
        yield ServiceCheck("kaggle credentials", False, said, f"chmod 600 {found.path}")
    else:
        yield ServiceCheck("kaggle credentials", True, found.source)
    yield _account(environ, home)


def _account(environ: Mapping[str, str], home: Path) -> ServiceCheck:
    from .client import KaggleClient

    try:
        client = KaggleClient(environ, home, timeout=_TIMEOUT, patience=_PATIENCE)
        left = [hours_left(allowance) for allowance in client.quota()]
        return ServiceCheck("kaggle account", True, "; ".join([client.username, *left]))
    except CkptsyncError as error:
        fix = error.hint or "check the network, and kaggle.com in a browser; then run 'ckptsync doctor' again"
        return ServiceCheck("kaggle account", False, error.message, fix)


def hours_left(allowance: Allowance) -> str:
    """Return in words how much of a machine is left."""
    renews = f", renews at {allowance.renews_at}" if allowance.renews_at else ""
    left, allowed = allowance.left_seconds / 3600, allowance.allowed_seconds / 3600
    return f"{left:.1f} of {allowed:g} {allowance.kind} hours left{renews}"
