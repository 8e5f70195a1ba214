"""Archives in datasets, unpacked as Kaggle does it: by suffix or content, nested ones, single ones at the root."""

from __future__ import annotations

import gzip
import shutil
import tarfile
import zipfile
from pathlib import Path, PurePosixPath

from .settings import Settings

_TORCH = (".pt", ".pth")
_SUFFIXES = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar", ".zip", ".gz")
# Zip files by content that were seen to arrive as they were sent
_LEFT_ALONE = (".npz",)


def unpack_version(folder: Path, settings: Settings) -> None:
    """Replace the archives in the folder of a dataset version by what they hold, as the settings say."""
    if settings.unpack == "none":
        return
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    at_root = settings.single_archive_at_root and len(files) == 1
    for path in files:
        _unpack(path, settings, folder if at_root else None)


def _unpack(path: Path, settings: Settings, root: Path | None = None) -> None:
    kind = _kind(path, settings)
    if kind is None:
        return
    archive = path.with_name(f"{path.name}.unpacking")
    path.rename(archive)
    stem = _stem(path.name)
    if kind == "gz":
        made = [path.with_name(stem)]
        with gzip.open(archive) as source, made[0].open("wb") as target:
            shutil.copyfileobj(source, target)
    else:
        target_folder = root or path.with_name(stem)
        target_folder.mkdir(exist_ok=True)
        made = _extract(archive, kind, target_folder)
    archive.unlink()
    if settings.unpack_nested:
        for each in made:
            _unpack(each, settings)


def _kind(path: Path, settings: Settings) -> str | None:
    """Return `zip`, `tar` or `gz` for what is to be unpacked."""
    name = path.name.lower()
    if name.endswith(_LEFT_ALONE) or (name.endswith(_TORCH) and not settings.unpack_torch):
        return None
    if settings.unpack == "suffix" and not name.endswith((*_SUFFIXES, *_TORCH)):
        return None
    return _content(path)


def _content(path: Path) -> str | None:
    if zipfile.is_zipfile(path):
        return "zip"
    if tarfile.is_tarfile(path):
        return "tar"
    with path.open("rb") as file:
        return "gz" if file.read(3) == b"\x1f\x8b\x08" else None


def _stem(name: str) -> str:
    """Return an archive's name without the suffix that says so; without one, the name itself."""
    for suffix in (*_SUFFIXES, *_TORCH):
        if name.lower().endswith(suffix) and len(name) > len(suffix):
            return name[: -len(suffix)]
    return name


def _extract(archive: Path, kind: str, folder: Path) -> list[Path]:
    made = []
    if kind == "zip":
        with zipfile.ZipFile(archive) as source:
            for member in source.infolist():
                if not member.is_dir() and (target := _inside(folder, member.filename)):
                    with source.open(member) as content, target.open("wb") as file:
                        shutil.copyfileobj(content, file)
                    made.append(target)
    else:
        with tarfile.open(archive) as tar:
            for entry in tar:
                if entry.isfile() and (target := _inside(folder, entry.name)) and (data := tar.extractfile(entry)):
                    with data, target.open("wb") as file:
                        shutil.copyfileobj(data, file)
                    made.append(target)
    return made


def _inside(folder: Path, name: str) -> Path | None:
    """Return where a member goes, with its folders made; None for one that would leave the folder."""
    relative = PurePosixPath(name)
    if relative.is_absolute() or ".." in relative.parts or not relative.parts:
        return None
    target = folder.joinpath(*relative.parts)
    target.parent.mkdir(parents=True, exist_ok=True)
    return target
