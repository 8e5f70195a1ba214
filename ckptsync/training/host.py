"""What a session runs on, as far as it bears on speed and last bits; nothing that tells whose machine it is.

No host name, no user, no address, no path: session_info.json is fetched, shown and attached to questions.
"""

from __future__ import annotations

import os
import platform
import sys
from functools import cache
from pathlib import Path
from typing import Any


def current_host() -> dict[str, Any]:
    """Return system, processor, cores and, where torch is loaded, its threads and the GPUs that it uses."""
    host: dict[str, Any] = {
        "system": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "cpu": processor(),
        "cores": os.cpu_count(),
        "usable_cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "torch_threads": None,
        "gpus": [],
    }
    torch = sys.modules.get("torch")
    if torch is not None:
        host["torch_threads"] = torch.get_num_threads()
        if torch.cuda.is_initialized():  # asking first would take memory on a GPU that nobody uses
            host["gpus"] = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return host


@cache
def processor() -> str:
    """Return the processor's model; its vector units decide how last bits are rounded."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:  # not Linux
        pass
    return platform.processor()
