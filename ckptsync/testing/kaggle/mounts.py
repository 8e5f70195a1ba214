"""The inputs of a run, as they lie under /kaggle/input."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .downloads import StoredFile, write_zip
from .settings import Settings

# What Kaggle itself puts beside a kernel's outputs
_OWN_FILES = ("__script__.ipynb", "__results__.html", "__output__.json", "custom.css")


@dataclass(frozen=True)
class Source:
    """One thing to mount.

    Args:
        kind: its folder in the new layout.
        owner: whose it is; empty for competitions.
        slug: its name.
        files: what it holds.
        script: a kernel's source, which lies beside its outputs.
    """

    kind: Literal["datasets", "notebooks", "competitions"]
    owner: str
    slug: str
    files: tuple[StoredFile, ...] = ()
    script: str | None = None


def lay_inputs(inputs: Path, sources: list[Source], settings: Settings) -> None:
    """Lay all sources into the folder of a run's inputs."""
    for source in sources:
        old = settings.mount_layout == "old"
        folder = inputs / source.slug if old else inputs / source.kind / source.owner / source.slug
        folder.mkdir(parents=True, exist_ok=True)
        if source.script is None:
            _link(folder, source.files)
        else:
            _lay_kernel(folder, source.files, source.script, settings)


def _lay_kernel(folder: Path, files: tuple[StoredFile, ...], script: str, settings: Settings) -> None:
    (folder / "__script__.py").write_text(script, encoding="utf-8")
    if settings.kernel_mount == "code":
        return
    for name in _OWN_FILES:
        (folder / name).write_text("", encoding="utf-8")
    if settings.kernel_mount == "zip":
        write_zip(folder / "_output_.zip", files)
    else:
        _link(folder, files)


def _link(folder: Path, files: tuple[StoredFile, ...]) -> None:
    for file in files:
        if file.path is None:  # made up, and its name may lead anywhere
            continue
        target = folder / file.name
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(file.path, target)
        except OSError:  # another file system
            shutil.copyfile(file.path, target)
