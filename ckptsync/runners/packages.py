"""Pure-Python packages that travel in a kernel script: taken from what is installed, or from cached wheels."""

from __future__ import annotations

import importlib.metadata
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..core import fsio, names
from ..core.errors import ConfigError, NothingFoundError

WHEELS_FOLDER = "wheels"
_BINARY = (".so", ".pyd", ".dylib", ".dll")
# Of the metadata folder only what people and licences ask for; records of the installation would not hold true there
_METADATA_KEPT = re.compile(r"[^/]+\.dist-info/(METADATA|(licenses/)?[^/]*(LICEN[CS]E|NOTICE|COPYING|LICENCE)[^/]*)")


@dataclass(frozen=True)
class PurePackage:
    """The files of one package.

    Args:
        name: its normalised name, `stable_baselines3`.
        version: its version.
        files: path below site-packages -> bytes.
    """

    name: str
    version: str
    files: dict[str, bytes]


def load_package(name: str, cache: Path) -> PurePackage:
    """Read a package that is installed here, else one from the wheels in `<cache>/wheels`. No network.

    Raises:
        NothingFoundError: it is neither installed nor cached.
        ConfigError: it holds compiled code, or only a link to its sources is installed.
    """
    normalised = _normalised(name)
    try:
        distribution = importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return _from_wheel(normalised, cache / WHEELS_FOLDER)
    return PurePackage(normalised, distribution.version, _checked(normalised, _installed(distribution)))


def _installed(distribution: importlib.metadata.Distribution) -> Iterator[tuple[str, Path]]:
    for path in distribution.files or ():
        yield path.as_posix(), Path(str(path.locate()))


def _checked(name: str, listed: Iterator[tuple[str, Path]]) -> dict[str, bytes]:
    files = {path: location.read_bytes() for path, location in sorted(listed) if _wanted(name, path)}
    _check_complete(name, files)
    return files


def _from_wheel(name: str, folder: Path) -> PurePackage:
    wheels = [f for f in fsio.list_names(folder) if f.endswith(".whl") and _normalised(f.split("-")[0]) == name]
    if not wheels:
        raise NothingFoundError(
            f"package {name} is neither installed here nor cached in {folder}",
            hint=f"python -m pip download --no-deps --dest {folder} {name}",
        )
    if len(wheels) > 1:
        raise ConfigError(f"{folder} holds several wheels of {name}: {', '.join(wheels)}", hint="keep one of them")
    with zipfile.ZipFile(folder / wheels[0]) as wheel:
        files = {path: wheel.read(path) for path in sorted(wheel.namelist()) if _wanted(name, path)}
    _check_complete(name, files)
    return PurePackage(name, wheels[0].split("-")[1], files)


def _wanted(name: str, path: str) -> bool:
    if path.endswith(_BINARY):
        raise ConfigError(
            f"package {name} holds compiled code ({path}) and cannot travel in a kernel script",
            hint="take it out of the run's packages; it must be installed where the session runs",
        )
    if path.startswith("../") or path.endswith("/") or "__pycache__" in path:
        return False  # commands in bin/ and what the installer made
    names.check_relative(path, what=f"path in package {name}")
    return ".dist-info/" not in path or _METADATA_KEPT.fullmatch(path) is not None


def _check_complete(name: str, files: dict[str, bytes]) -> None:
    if not any(path.endswith(".py") and not path.startswith("__editable__") for path in files):
        raise ConfigError(
            f"package {name} is installed as a link to its sources, which cannot travel in a kernel script",
            hint=f"install it properly, or cache a wheel of it: python -m pip wheel --no-deps {name}",
        )


def _normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "_", name).lower()
