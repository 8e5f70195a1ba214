"""Which Python, libraries, processor and settings of arithmetic a checkpoint was made with."""

from __future__ import annotations

import hashlib
import platform
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from .._version import __version__
from .host import processor

_LIBRARIES = ("stable_baselines3", "sb3_contrib", "torch", "numpy", "gymnasium")
# Entry -> what people call it. All of them can change the last bits of a sum, or the random numbers
_WORDS = {
    "python": "Python",
    "machine": "the processor",
    "cpu_flags": "the set of the processor's instructions",
    "torch_cpu": "the kind of vector instructions that torch uses",
    "torch_threads": "the number of torch's threads",
    "blas": "numpy's library for linear algebra",
    "torch_blas": "torch's library for linear algebra",
    "gpu": "the GPU",
    "cuda": "CUDA",
}


def current_versions() -> dict[str, str]:
    """Return the versions of Python and of those libraries that are loaded, and what decides about last bits."""
    versions = {
        "ckptsync": __version__,
        "python": platform.python_version(),
        "machine": f"{platform.machine()} {processor()}".strip(),
        "cpu_flags": _processor_flags(),
    }
    for name in _LIBRARIES:
        module = sys.modules.get(name)
        if module is not None:
            versions[name] = str(getattr(module, "__version__", "unknown"))
    if "numpy" in sys.modules:
        versions["blas"] = _numpy_blas()
    torch = sys.modules.get("torch")
    if torch is not None:
        versions.update(_of_torch(torch))
    return versions


def differences(stored: Mapping[str, str], current: Mapping[str, str]) -> list[str]:
    """Return in words what may make the same arithmetic give other last bits."""
    return [
        f"{_WORDS.get(name, name)} was {stored[name]}, is {current[name]}"
        for name in sorted(stored.keys() & current.keys())
        if name != "ckptsync" and stored[name] != current[name]
    ]


def _of_torch(torch: Any) -> dict[str, str]:
    found = {
        "torch_threads": str(torch.get_num_threads()),
        "torch_cpu": str(torch.backends.cpu.get_cpu_capability()),
        "torch_blas": "mkl" if torch.backends.mkl.is_available() else "another",
    }
    if torch.cuda.is_initialized():  # asking first would take memory on a GPU that nobody uses
        found["gpu"] = str(torch.cuda.get_device_name())
        found["cuda"] = f"{torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}"
    return found


@cache
def _numpy_blas() -> str:
    import numpy

    try:
        built = numpy.show_config(mode="dicts")["Build Dependencies"]["blas"]
        return f"{built['name']} {built['version']}"
    except (KeyError, TypeError, AttributeError):  # a numpy that was built in another way
        return "unknown"


@cache
def _processor_flags() -> str:
    """A short name for the set of instructions that the processor has; `unknown` outside Linux."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "unknown"
    for line in text.splitlines():
        if line.startswith(("flags", "Features")):
            flags = sorted(line.partition(":")[2].split())
            return f"{len(flags)}/{hashlib.sha256(' '.join(flags).encode()).hexdigest()[:8]}"
    return "unknown"
