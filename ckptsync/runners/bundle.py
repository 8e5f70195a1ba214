"""The bundle: one Python script that carries all that a session needs.

    # ckptsync-session: {"generation":3, ... "session":"cartpole_ppo/s0003"}
    training/stub.py as it is
    run(\"\"\"base64 of xz streams\"\"\", "sha256 of that text")

Unpacked it is a folder:

    spec.json              what the session is told
    kernel/                the user's files
    lib/ckptsync/          core and training; always imported from here
    fallback/<package>/    pure-Python packages, imported from here only where they are not installed

Equal input gives equal bytes. Services take one script below one megabyte and nothing else, so this is the only
way in for code; checkpoints go in as packs.
"""

from __future__ import annotations

import base64
import fnmatch
import hashlib
import json
import lzma
from collections.abc import Iterator, Sequence
from pathlib import Path

from .. import __version__
from ..core import fsio, jsonio, names
from ..core.errors import ConfigError, LimitError, NothingFoundError
from ..core.session import SessionSpec
from .packages import PurePackage, load_package

MAX_SCRIPT_BYTES = 1_000_000
_MAX_KERNEL_BYTES = 16 << 20
_HEADER = b"# ckptsync-session: "
_LINE = 120
_XZ_PRESET = 6 | lzma.PRESET_EXTREME

# Folders in a kernel folder that do not travel
SKIPPED_FOLDERS = ("__pycache__", ".git", ".ipynb_checkpoints", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".venv")
# What must never leave the machine by accident; compared in lower case
_SECRETS = (
    "kaggle.json",
    "*.pem",
    "*.key",
    "id_rsa*",
    "id_dsa*",
    "id_ecdsa*",
    "id_ed25519*",
    ".env",
    ".env.*",
    ".netrc",
    "_netrc",
    ".pypirc",
    "credentials",
    "credentials.json",
    "access_token",
    "access_token.txt",
)
# A file of the user's that would be imported in the place of ours
_OWN_NAMES = ("ckptsync", "ckptsync.py")


def build_bundle(kernel: Path, spec: SessionSpec, *, wheels: Sequence[str] = (), cache: Path) -> bytes:
    """Build the kernel script of a session.

    Args:
        kernel: the folder with the training script.
        spec: what the session is told.
        wheels: names of pure-Python packages that may be missing where the session runs.
        cache: a folder for compressed packages (made again when it is gone) and for wheels of packages that
            are not installed here.

    Returns:
        The script's bytes.

    Raises:
        NothingFoundError: the kernel's script or a package is not there.
        ConfigError: a secret, a link or a misleading name lies in the kernel folder, or a package is not pure Python.
        LimitError: the script would be too large; the largest parts are named.
    """
    files = _kernel_files(kernel)
    if spec.script not in files:
        raise NothingFoundError(f"{kernel / spec.script} does not exist; it is the script of run {spec.run}")
    own = _own_files()
    packages = [load_package(name, cache) for name in sorted(set(wheels))]
    fresh = {f"kernel/{path}": data for path, data in files.items()}
    fresh["spec.json"] = jsonio.pretty(spec.to_json())
    streams = {
        "the kernel folder": lzma.compress(_archive(fresh), preset=_XZ_PRESET),
        "ckptsync": _compressed(f"ckptsync-{__version__}", {f"lib/{path}": own[path] for path in own}, cache),
        **{f"package {package.name}": _compressed_package(package, cache) for package in packages},
    }
    script = _script(spec, own["ckptsync/training/stub.py"], b"".join(streams.values()))
    if len(script) > MAX_SCRIPT_BYTES:
        raise LimitError(
            f"the kernel script would have {len(script):,} bytes, and at most {MAX_SCRIPT_BYTES:,} are allowed; "
            f"compressed: {_largest({part: len(stream) for part, stream in streams.items()})}; "
            f"files in {kernel}: {_largest({path: len(data) for path, data in files.items()})}",
            hint="move large files out of the kernel folder, into a dataset",
        )
    return script


def read_spec(script: bytes) -> SessionSpec | None:
    """Return what a kernel script tells its session, or None when it is no bundle; nothing of it is executed.

    This is how a session that a service keeps is known again on a machine without a ledger.
    """
    line = script.split(b"\n", 1)[0].rstrip(b"\r")
    if not line.startswith(_HEADER):
        return None
    try:
        return SessionSpec.from_json(jsonio.parse(line.removeprefix(_HEADER)))
    except (ValueError, ConfigError):
        return None


def _script(spec: SessionSpec, stub: bytes, payload: bytes) -> bytes:
    text = base64.b64encode(payload)  # base85 is a twelfth shorter and takes a hundred times as long
    lines = b"\n".join(text[start : start + _LINE] for start in range(0, len(text), _LINE))
    return b"".join(
        (
            _HEADER + jsonio.canonical(spec.to_json()) + b"\n",
            b"# Made by ckptsync "
            + __version__.encode()
            + b" from a kernel folder; a change here is refused at its start.\n",
            stub,
            b'\nrun(\n    """\n' + lines + b'\n""",\n    "' + hashlib.sha256(text).hexdigest().encode() + b'",\n)\n',
        )
    )


def _archive(files: dict[str, bytes]) -> bytes:
    # Archives of this kind can be put one behind the other, as xz streams can, so each part is cached by itself
    return b"".join(json.dumps([path, len(data)]).encode() + b"\n" + data for path, data in sorted(files.items()))


def _compressed_package(package: PurePackage, cache: Path) -> bytes:
    files = {f"fallback/{package.name}/{path}": data for path, data in package.files.items()}
    return _compressed(f"{package.name}-{package.version}", files, cache)


def _compressed(key: str, files: dict[str, bytes], cache: Path) -> bytes:
    archive = _archive(files)
    path = cache / "bundle" / f"{names.check_component(key)}.xz"
    try:
        stored = fsio.read_bytes(path, limit=MAX_SCRIPT_BYTES * 4)
        if lzma.decompress(stored) == archive:  # also finds sources that changed under one version
            return stored
    except (NothingFoundError, lzma.LZMAError):
        pass
    packed = lzma.compress(archive, preset=_XZ_PRESET)
    fsio.make_folder(path.parent)
    fsio.write_bytes(path, packed)
    return packed


def _own_files() -> dict[str, bytes]:
    package = Path(__file__).parents[1]
    files = {f"ckptsync/{name}": (package / name).read_bytes() for name in ("__init__.py", "_version.py")}
    for layer in ("core", "training"):
        for path in sorted((package / layer).rglob("*.py")):
            files[f"ckptsync/{path.relative_to(package).as_posix()}"] = path.read_bytes()
    return files


def _kernel_files(kernel: Path) -> dict[str, bytes]:
    if not kernel.is_dir():
        raise NothingFoundError(f"the kernel folder {kernel} does not exist", hint="ckptsync init")
    listed = dict(_walk(kernel, ""))
    total = sum(path.stat().st_size for path in listed.values())
    if total > _MAX_KERNEL_BYTES:
        sizes = {name: path.stat().st_size for name, path in listed.items()}
        raise LimitError(
            f"the files in {kernel} have {total:,} bytes, far too many for one script; the largest: {_largest(sizes)}",
            hint="move large files out of the kernel folder, into a dataset",
        )
    return {name: fsio.read_bytes(path, limit=_MAX_KERNEL_BYTES) for name, path in listed.items()}


def _walk(folder: Path, prefix: str) -> Iterator[tuple[str, Path]]:
    for name in fsio.list_names(folder):
        path = folder / name
        names.check_component(name)
        if path.is_symlink():
            raise ConfigError(f"{path} is a link, and links do not travel", hint="put the file itself there")
        if any(fnmatch.fnmatchcase(name.lower(), pattern) for pattern in _SECRETS):
            raise ConfigError(
                f"{path} looks like a secret and must not travel in a kernel script",
                hint="move it out of the kernel folder",
            )
        if not prefix and name in _OWN_NAMES:
            raise ConfigError(f"{path} would hide ckptsync from the session", hint="give it another name")
        if path.is_dir():
            if name not in SKIPPED_FOLDERS:
                yield from _walk(path, f"{prefix}{name}/")
        elif path.is_file():
            yield prefix + name, path
        else:
            raise ConfigError(f"{path} is no regular file", hint="move it out of the kernel folder")


def _largest(sizes: dict[str, int]) -> str:
    ordered = sorted(sizes.items(), key=lambda item: item[1], reverse=True)
    return ", ".join(f"{name} ({size:,} bytes)" for name, size in ordered[:5])
