"""Memory does not grow with what is pushed and pulled."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from support.largesets import safetensors, write_large_set

from ckptsync.store.folder import FolderStore
from ckptsync.store.repository import create_repository

_TRIP = """
import re, sys
from pathlib import Path
from ckptsync.store import open_store
from ckptsync.store.repository import open_repository, pull_set, push_set
root, stem = Path(sys.argv[1]), sys.argv[2]
repository = open_repository(open_store(str(root / "store")))
pushed = push_set(repository, "run", root / "tree", stem)
pull_set(repository, pushed.version, root / "pulled")
print(re.search("VmHWM:\\\\s+(\\\\d+) kB", open("/proc/self/status").read())[1])
"""
LARGE = 300_000_000


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the highest use of memory is read as Linux tells it")
def test_a_file_larger_than_the_memory_that_is_used(fast_folder: Path) -> None:
    create_repository(FolderStore(fast_folder / "store"))
    manifest = write_large_set(fast_folder / "tree", 100, {"model": safetensors({"a": bytes(LARGE)})})
    command = [sys.executable, "-c", _TRIP, str(fast_folder), manifest.stem]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(done.stdout) * 1024 < 200_000_000
