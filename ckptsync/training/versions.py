"""Which Python, libraries and machine a checkpoint was made with."""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping

from .._version import __version__
from .host import processor

_LIBRARIES = ("stable_baselines3", "sb3_contrib", "torch", "numpy", "gymnasium")


def current_versions() -> dict[str, str]:
    """Return the versions of Python and of those libraries that are loaded, and the machine's kind."""
    versions = {"ckptsync": __version__, "python": platform.python_version(), "machine": f"{platform.machine()} {processor()}".strip()}
    for name in _LIBRARIES:
        module = sys.modules.get(name)
        if module is not None:
            versions[name] = str(getattr(module, "__version__", "unknown"))
    torch = sys.modules.get("torch")
    if torch is not None:
        versions["torch_threads"] = str(torch.get_num_threads())
    return versions


def differences(stored: Mapping[str, str], current: Mapping[str, str]) -> list[str]:
    """Return in words what may make the same arithmetic give other last bits."""
    return [
        f"{name} was {stored[name]}, is {current[name]}"
        for name in sorted(stored.keys() & current.keys())
        if name != "ckptsync" and stored[name] != current[name]
    ]
