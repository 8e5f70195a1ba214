"""What a path is: a file, a set, a folder of sets, a training tree, a session's outputs."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..core import fsio, names, sets
from ..core.errors import NothingFoundError, UnsafePathError
from ..core.layout import DEFAULT_TREE, TrainingTree
from ..core.sets import SetState, StoredSet

if TYPE_CHECKING:
    from ..core.heads import Standing

MODEL_SUFFIXES = (".zip", ".pth", ".pt", ".safetensors")
# How deep below a folder of downloaded outputs a tree is looked for: <results>/<run>/<session>/data/models
_DEPTH = 5


@dataclass(frozen=True)
class Target:
    """What a path was found to be.

    Args:
        path: as it was given.
        trees: training trees whose sets are meant.
        one: the one set or file that is meant, when the path is a file.
        loose: model files in a folder that is no tree.
    """

    path: Path
    trees: tuple[TrainingTree, ...] = ()
    one: StoredSet | Path | None = None
    loose: tuple[Path, ...] = ()


def find_target(path: Path) -> Target:
    """Say what a path is.

    Raises:
        NothingFoundError: it does not exist, or is a folder without checkpoints.
        UnsafePathError: it is a pipe or a device.
    """
    if not path.exists():
        raise NothingFoundError(f"{path} does not exist", hint="'ckptsync ls' lists the checkpoints of a run")
    if path.is_file():
        return Target(path, one=_set_or_file(path))
    if not path.is_dir():
        raise UnsafePathError(f"{path} is a pipe or a device, no file")
    trees = _trees(path)
    loose = _loose(path) if not trees or trees[0].checkpoints == path else ()
    if not trees and not loose:
        raise NothingFoundError(
            f"No checkpoints found in {path}",
            hint="This is normal for a first run, or when training did not reach its first save",
        )
    return Target(path, trees=tuple(trees), loose=loose)


def _set_or_file(path: Path) -> StoredSet | Path:
    for suffix in (names.MANIFEST_SUFFIX, names.MODEL_SUFFIX):
        stem = path.name.removesuffix(suffix)
        if stem != path.name and names.parse_stem(stem, classic=True):
            stored = sets.find(path.parent, stem)
            if stored is not None and stored.state is not SetState.UNSEALED:
                return stored
    return path


def _loose(path: Path) -> tuple[Path, ...]:
    return tuple(path / name for name in fsio.list_names(path) if name.endswith(MODEL_SUFFIXES) and not _of_set(name))


def _of_set(name: str) -> bool:
    suffixes = (names.MANIFEST_SUFFIX, names.MODEL_SUFFIX, names.PENDING_SUFFIX, names.DELETING_SUFFIX)
    return any(name.endswith(end) and names.parse_stem(name[: -len(end)], classic=True) is not None for end in suffixes)


def _trees(path: Path) -> list[TrainingTree]:
    if _holds_sets(path):
        return [_OfFolder(path.parent, checkpoints_folder=path)]
    for root in (path, path / DEFAULT_TREE):
        if _holds_sets(root / "checkpoints"):
            return [TrainingTree(root)]
    found = []
    base = len(path.parts)
    for folder, below, _ in os.walk(path):
        below.sort()
        here = Path(folder)
        if len(here.parts) - base >= _DEPTH:
            below.clear()
        below[:] = [name for name in below if not name.startswith(".")]
        if "checkpoints" in below and _holds_sets(here / "checkpoints"):
            found.append(TrainingTree(here))
            below.remove("checkpoints")
    return found


@dataclass(frozen=True)
class _OfFolder(TrainingTree):
    """A folder of sets that a person named, whatever it is called."""

    checkpoints_folder: Path = Path()

    @property
    def checkpoints(self) -> Path:
        """The folder itself."""
        return self.checkpoints_folder


def _holds_sets(folder: Path) -> bool:
    return any(map(_of_set, fsio.list_names(folder)))


def standings(tree: TrainingTree, stored: list[StoredSet]) -> dict[str, Standing]:
    """Return where every scenario of a tree stands."""
    from ..core.heads import standing, tree_scenarios

    return {scenario: standing(tree, stored, scenario) for scenario in tree_scenarios(stored, tree.checkpoints)}
