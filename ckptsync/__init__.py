"""ckptsync: one endless training run out of many sessions that end.

The public names are resolved on use, so that importing the package costs nothing and the CLI's side
never pulls in what training needs.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from ._version import __version__

if TYPE_CHECKING:
    from .core.errors import CkptsyncError, ExitCode
    from .core.findings import Finding, Severity, Verdict
    from .core.manifest import Manifest
    from .core.readers import ModelReport, read_model
    from .core.signature import Signature
    from .project.config import Project, RunConfig, load_project
    from .sync.inspect import diff_paths, show_path
    from .sync.verify import VerifyReport, verify_path
    from .training import TrainingSession

_PLACES = {
    "CkptsyncError": "core.errors",
    "ExitCode": "core.errors",
    "Finding": "core.findings",
    "Severity": "core.findings",
    "Verdict": "core.findings",
    "Manifest": "core.manifest",
    "ModelReport": "core.readers",
    "read_model": "core.readers",
    "Signature": "core.signature",
    "Project": "project.config",
    "RunConfig": "project.config",
    "load_project": "project.config",
    "diff_paths": "sync.inspect",
    "show_path": "sync.inspect",
    "VerifyReport": "sync.verify",
    "verify_path": "sync.verify",
    "TrainingSession": "training",
}

__all__ = [  # noqa: RUF022  # by layer, as above
    "__version__",
    "CkptsyncError",
    "ExitCode",
    "Finding",
    "Severity",
    "Verdict",
    "Manifest",
    "ModelReport",
    "read_model",
    "Signature",
    "Project",
    "RunConfig",
    "load_project",
    "diff_paths",
    "show_path",
    "VerifyReport",
    "verify_path",
    "TrainingSession",
]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_PLACES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
