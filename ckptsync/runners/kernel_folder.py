"""The files of a kernel folder that travel in a bundle; what must not travel is refused by name and by content."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..core import fsio, names
from ..core.errors import ConfigError, LimitError, NothingFoundError

MAX_KERNEL_BYTES = 64 << 20

# Folders that do not travel
SKIPPED_FOLDERS = ("__pycache__", ".git", ".ipynb_checkpoints", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".venv")
# Names of files and folders that must never leave the machine by accident; compared in lower case
_SECRET_NAMES = (
    "kaggle.json",
    ".kaggle",
    ".aws",
    ".ssh",
    "*.pem",
    "*.key",
    "*.p12",
    "*.pfx",
    "*.ppk",
    "*.keystore",
    "id_rsa*",
    "id_dsa*",
    "id_ecdsa*",
    "id_ed25519*",
    ".env",
    ".env.*",
    ".netrc",
    "_netrc",
    ".pypirc",
    ".npmrc",
    ".htpasswd",
    ".git-credentials",
    "credentials",
    "credentials.json",
    "client_secret*.json",
    "access_token",
    "access_token.txt",
)
# What only a secret looks like -> what it is called; values of a length that no placeholder in an example has
_SECRET_TEXTS = {
    "a private key": rb"-----BEGIN [A-Z ]{0,20}PRIVATE KEY-----\s",
    "the key of a service account": rb'"private_key"\s*:\s*"[^"]{20}',
    "a Kaggle token": rb"KGAT_[0-9A-Za-z]{16}",
    "a Kaggle key": rb'"username"\s*:\s*"[^"]{1,100}"\s*,\s*"key"\s*:\s*"[0-9a-f]{32}"',
    "a secret key of AWS": rb"(?i:aws_secret_access_key)[\"']?\s*[=:]\s*[\"']?[A-Za-z0-9/+]{40}(?![A-Za-z0-9/+])",
    "a token of GitHub": rb"\b(?:gh[pousr]_[0-9A-Za-z]{36}|github_pat_[0-9A-Za-z_]{40})",
    "a token of Hugging Face": rb"\bhf_[0-9A-Za-z]{34}\b",
}
_SECRET_TEXT = re.compile(b"|".join(b"(%b)" % pattern for pattern in _SECRET_TEXTS.values()))
# As far as a file is searched for them
_SEARCHED_BYTES = 1 << 20
# A file of the user's that would be imported in the place of ours
_OWN_NAMES = ("ckptsync", "ckptsync.py")


def read_kernel(kernel: Path) -> dict[str, bytes]:
    """Read the files that travel: path below the folder -> bytes.

    Raises:
        NothingFoundError: the folder does not exist.
        ConfigError: a secret, a link or a misleading name lies in it.
        LimitError: it is far too large.
    """
    if not kernel.is_dir():
        raise NothingFoundError(f"the kernel folder {kernel} does not exist", hint="ckptsync init")
    listed = dict(_walk(kernel, ""))
    sizes = {name: path.stat().st_size for name, path in listed.items()}
    if sum(sizes.values()) > MAX_KERNEL_BYTES:
        raise LimitError(
            f"the files in {kernel} have {sum(sizes.values()):,} bytes, and at most {MAX_KERNEL_BYTES:,} may travel "
            f"with a session; the largest: {_largest(sizes)}",
            hint="move large files out of the kernel folder, into a dataset",
        )
    files = {name: fsio.read_bytes(path, limit=MAX_KERNEL_BYTES) for name, path in listed.items()}
    for name, data in files.items():
        if found := _secret_in(data):
            raise ConfigError(
                f"{kernel / name} holds what looks like {found} and must not travel with a session",
                hint="take it out of the file, or move the file out of the kernel folder",
            )
    return files


def refuse_secrets(params: Mapping[str, Any]) -> None:
    """Refuse a secret among the parameters of a session, for they stand in the kernel script for everybody to read.

    Raises:
        ConfigError: a text is called one, or looks like one.
    """
    for name, value in params.items():
        if isinstance(value, Mapping):
            refuse_secrets(value)
        elif isinstance(value, str) and value and names.names_secret(name):
            raise ConfigError(
                f"parameter {names.printable(name)} is called a secret, and parameters stand in the kernel script",
                hint="leave it out of --set and [runs.<name>.params]; give it another name if it is no secret",
            )
        elif found := _secret_in(str(value).encode("utf-8", "replace")):
            raise ConfigError(
                f"parameter {names.printable(name)} looks like {found}, and parameters stand in the kernel script",
                hint="leave it out of --set and [runs.<name>.params]",
            )


def _secret_in(data: bytes) -> str | None:
    match = _SECRET_TEXT.search(data, 0, _SEARCHED_BYTES)
    return list(_SECRET_TEXTS)[match.lastindex - 1] if match and match.lastindex else None


def _walk(folder: Path, prefix: str) -> Iterator[tuple[str, Path]]:
    for name in fsio.list_names(folder):
        path = folder / name
        names.check_component(name)
        if path.is_symlink():
            raise ConfigError(f"{path} is a link, and links do not travel", hint="put the file itself there")
        if any(fnmatch.fnmatchcase(name.lower(), pattern) for pattern in _SECRET_NAMES):
            raise ConfigError(
                f"{path} looks like a secret and must not travel in a kernel script",
                hint="move it out of the kernel folder; give it another name if it is no secret",
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


def _largest(sizes: Mapping[str, int]) -> str:
    ordered = sorted(sizes.items(), key=lambda item: item[1], reverse=True)
    return ", ".join(f"{name} ({size:,} bytes)" for name, size in ordered[:5])
