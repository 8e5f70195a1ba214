"""Small disks in memory: full, or mounted read-only. Mounting needs root; tests that may not are skipped."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from ckptsync.core import fsio

SIZE = 96 << 10


@contextmanager
def small(folder: Path, size: int = SIZE) -> Iterator[Path]:
    """Mount a disk of some bytes on a new folder."""
    os.makedirs(folder)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if done.returncode != 0:
        pytest.skip("mounting is not permitted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@contextmanager
def full(disk: Path, *, leave: int) -> Iterator[None]:
    """Use a disk up but for some bytes, until the end of the block."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while fsio.free_bytes(disk) > leave:
            file.write(b"x" * 4096)
    yield
    filler.unlink()


@contextmanager
def read_only(disk: Path) -> Iterator[None]:
    """Mount a disk read-only until the end of the block."""
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    yield
    subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
