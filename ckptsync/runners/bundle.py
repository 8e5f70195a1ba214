"""The bundle: one Python script that carries all that a session needs.

    # ckptsync-session: {"generation":3, ... "session":"cartpole_ppo/s0003"}
    training/stub.py as it is
    run(\"\"\"base64 of xz streams\"\"\", "sha256 of that text")

Unpacked it is a folder:

    spec.json              what the session is told
    kernel/                the user's files
    lib/ckptsync/          core and training; always imported from here
    fallback/<package>/    pure-Python packages, imported from here only where they are not installed

Equal input gives equal bytes. Services take one script below one megabyte and nothing else. Code that is larger
travels as a pack among the session's inputs, and the script carries spec.json alone and says which pack it must be:

    run(\"\"\"...\"\"\", "sha256 of that text", "ckptsync-code-<12 hex>.ckpt", "sha256 of the pack")

The pack has nothing of the session in it, so it stays the same until the code changes.
"""

from __future__ import annotations

import base64
import hashlib
import json
import lzma
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .. import __version__
from ..core import fsio, jsonio, names
from ..core.errors import ConfigError, NothingFoundError
from ..core.pack import CODE_PREFIX, PACK_SUFFIX, write_pack
from ..core.session import SessionSpec
from .kernel_folder import MAX_KERNEL_BYTES, read_kernel, refuse_secrets
from .packages import PurePackage, load_package

MAX_SCRIPT_BYTES = 1_000_000
_HEADER = b"# ckptsync-session: "
_LINE = 120
# A cached stream stands behind the sha256 of what it was made from and its own
_CACHE_HEAD = 2 * hashlib.sha256().digest_size
_XZ_PRESET = 6 | lzma.PRESET_EXTREME
# What is larger is mostly data, which takes long and gains little
_XZ_PRESET_LARGE = 1
_LARGE_BYTES = 8 << 20


@dataclass(frozen=True)
class Bundle:
    """What carries a session's code.

    Args:
        script: the kernel script.
        inputs: file name -> file that must lie among the session's inputs; empty where the script carries all.
    """

    script: bytes
    inputs: Mapping[str, Path] = field(default_factory=dict)


def build_bundle(kernel: Path, spec: SessionSpec, *, wheels: Sequence[str] = (), cache: Path) -> Bundle:
    """Build the kernel script of a session, and the pack with its code where a script cannot hold it.

    Args:
        kernel: the folder with the training script; not read where the session takes its code from a commit.
        spec: what the session is told.
        wheels: names of pure-Python packages that may be missing where the session runs.
        cache: a folder for what can be made again (compressed packages, the pack) and for wheels of packages that
            are not installed here.

    Raises:
        NothingFoundError: the kernel's script or a package is not there.
        ConfigError: a secret, a link or a misleading name lies in the kernel folder, a parameter is a secret or no
            JSON, or a package is not pure Python.
        LimitError: the kernel folder is far too large; its largest files are named.
    """
    files = read_kernel(kernel) if spec.code is None else {}
    if spec.code is None and spec.script not in files:
        raise NothingFoundError(f"{kernel / spec.script} does not exist; it is the script of run {spec.run}")
    refuse_secrets(spec.params)
    try:
        told = lzma.compress(_archive({"spec.json": jsonio.pretty(spec.to_json())}), preset=_XZ_PRESET)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"a parameter of run {spec.run} cannot be written as JSON: {error}") from None
    own = _own_files()
    code = b"".join(
        (
            _compressed(f"kernel-{kernel.name}", {f"kernel/{path}": data for path, data in files.items()}, cache),
            _compressed(f"ckptsync-{__version__}", {f"lib/{path}": own[path] for path in own}, cache),
            *(_compressed_package(load_package(name, cache), cache) for name in sorted(set(wheels))),
        )
    )
    stub = own["ckptsync/training/stub.py"]
    script = _script(spec, stub, told + code)
    if len(script) <= MAX_SCRIPT_BYTES:
        return Bundle(script)
    pack = _code_pack(code, cache)
    return Bundle(_script(spec, stub, told, pack), {pack.name: pack})


def _code_pack(code: bytes, cache: Path) -> Path:
    digest = hashlib.sha256(code).hexdigest()
    pack = cache / "bundle" / f"{CODE_PREFIX}{digest[:12]}{PACK_SUFFIX}"
    payload = pack.with_suffix(".xz")
    fsio.write_bytes(payload, code)
    write_pack(pack, {"code.xz": payload})
    fsio.remove_file(payload)
    return pack


def read_spec(script: bytes) -> SessionSpec | None:
    """Return what a kernel script tells its session, or None when it is no bundle; nothing of it is executed.

    This is how a session that a service keeps is known again on a machine without a ledger.
    """
    line = script.split(b"\n", 1)[0].rstrip(b"\r")  # a service may keep a script with other line ends
    if not line.startswith(_HEADER):
        return None
    try:
        return SessionSpec.from_json(jsonio.parse(line.removeprefix(_HEADER)))
    except (ValueError, ConfigError):
        return None


def _script(spec: SessionSpec, stub: bytes, payload: bytes, pack: Path | None = None) -> bytes:
    text = base64.b64encode(payload)  # base85 is a twelfth shorter and takes a hundred times as long
    lines = b"\n".join(text[start : start + _LINE] for start in range(0, len(text), _LINE))
    named = [hashlib.sha256(text).hexdigest()]
    if pack is not None:
        named += [pack.name, fsio.sha256_file(pack).removeprefix("sha256:")]
    return b"".join(
        (
            header(spec),
            b"# Made by ckptsync "
            + __version__.encode()
            + b" from a kernel folder; a change here is refused at its start.\n",
            stub,
            b'\nrun(\n    """\n' + lines + b'\n""",\n',
            *(f'    "{argument}",\n'.encode() for argument in named),
            b")\n",
        )
    )


def header(spec: SessionSpec) -> bytes:
    """Return the first line of a kernel script, which `read_spec` reads: all that the session is told."""
    # In ASCII, whatever a parameter holds; and Python must not find the name of an encoding in its first line
    text = json.dumps(spec.to_json(), sort_keys=True, separators=(",", ":"), allow_nan=False)
    text = text.replace("coding:", r"coding\u003a").replace("coding=", r"coding\u003d")
    return _HEADER + text.encode("ascii") + b"\n"


def _archive(files: dict[str, bytes]) -> bytes:
    # Archives of this kind can be put one behind the other, as xz streams can, so each part is cached by itself
    return b"".join(json.dumps([path, len(data)]).encode() + b"\n" + data for path, data in sorted(files.items()))


def _compressed_package(package: PurePackage, cache: Path) -> bytes:
    files = {f"fallback/{package.name}/{path}": data for path, data in package.files.items()}
    return _compressed(f"{package.name}-{package.version}", files, cache)


def _compressed(key: str, files: dict[str, bytes], cache: Path) -> bytes:
    archive = _archive(files)
    path = cache / "bundle" / f"{names.check_component(key)}.xz"
    source = hashlib.sha256(archive).digest()  # also finds sources that changed under one version
    try:
        stored = fsio.read_bytes(path, limit=2 * MAX_KERNEL_BYTES)
    except NothingFoundError:
        stored = b""
    head, packed = stored[:_CACHE_HEAD], stored[_CACHE_HEAD:]
    if head == source + hashlib.sha256(packed).digest():
        return packed
    packed = lzma.compress(archive, preset=_XZ_PRESET if len(archive) < _LARGE_BYTES else _XZ_PRESET_LARGE)
    fsio.make_folder(path.parent)
    fsio.write_bytes(path, source + hashlib.sha256(packed).digest() + packed)
    return packed


def _own_files() -> dict[str, bytes]:
    package = Path(__file__).parents[1]
    files = {f"ckptsync/{name}": (package / name).read_bytes() for name in ("__init__.py", "_version.py")}
    for layer in ("core", "training"):
        for path in sorted((package / layer).rglob("*.py")):
            files[f"ckptsync/{path.relative_to(package).as_posix()}"] = path.read_bytes()
    return files
