"""Which versions are installed here, without importing anything, and how a checkpoint's differ."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from ..core import fsio
from ..core.findings import Finding, warning

COMPARED = ("python", "torch", "stable_baselines3", "numpy", "gymnasium")
_DIST_INFO = re.compile(r"(?P<name>[A-Za-z0-9_.]+)-(?P<version>[^-]+)\.dist-info", re.ASCII)


@cache
def installed_versions() -> Mapping[str, str]:
    """Return library -> version of those in COMPARED that are installed here.

    Read from the names of the `.dist-info` folders: `importlib.metadata` takes longer to import than
    judging a checkpoint takes.
    """
    found = {"python": ".".join(map(str, sys.version_info[:3]))}
    for folder in sys.path:
        if not folder or not Path(folder).is_dir():
            continue
        for name in fsio.list_names(Path(folder)):
            match = _DIST_INFO.fullmatch(name)
            if match and (key := match["name"].lower().replace(".", "_")) in COMPARED:
                found.setdefault(key, match["version"])
    return found


def skew(written_by: Mapping[str, str]) -> tuple[Finding, ...]:
    """Return a warning for each library whose major or minor version differs from the one installed here."""
    here = installed_versions()
    return tuple(
        warning(
            "version.skew",
            name,
            here[name],
            written_by[name],
            f"written with {name} {written_by[name]}; here is {here[name]}",
        )
        for name in COMPARED
        if name in written_by and name in here and _minor(written_by[name]) != _minor(here[name])
    )


def _minor(version: str) -> tuple[str, ...]:
    return tuple(version.split("+")[0].split(".")[:2])
