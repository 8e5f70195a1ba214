"""Code that a session takes from a git repository in place of what its script carries: one commit, named whole."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from . import names
from .errors import UnsafePathError

_COMMIT = re.compile(r"[0-9a-f]{40}", re.ASCII)
_PLAIN = re.compile(r"[!-~]+")  # printable ASCII without spaces
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_KEYS = ("git", "commit", "subfolder")


@dataclass(frozen=True)
class CodeSource:
    """A commit of a repository.

    Args:
        git: its URL: https, or file and http on this machine; never with a name or password in it.
        commit: the full hash of the commit.
        subfolder: the folder in it that stands for the kernel folder; the top when empty.
    """

    git: str
    commit: str
    subfolder: str = ""

    @classmethod
    def parse(cls, value: Any) -> CodeSource:
        """Parse a table of these keys.

        Raises:
            ValueError: a key is missing, unknown or wrong.
        """
        if not isinstance(value, Mapping) or not all(isinstance(item, str) for item in value.values()):
            raise ValueError('expected a table such as { git = "https://...", commit = "<40 hexadecimal digits>" }')
        unknown = sorted(set(value) - set(_KEYS))
        if unknown:
            raise ValueError(f"unknown key {unknown[0]!r}, known are {', '.join(_KEYS)}")
        source = cls(value.get("git", ""), value.get("commit", ""), value.get("subfolder", ""))
        if not _COMMIT.fullmatch(source.commit):
            raise ValueError("commit: expected the full hash of a commit, 40 hexadecimal digits")
        _check_url(source.git)
        if source.subfolder:
            try:
                names.check_relative(source.subfolder, what="subfolder")
            except UnsafePathError as error:
                raise ValueError(error.message) from None
        return source


def _check_url(url: str) -> None:
    # What is wrong is not quoted: a password may stand in it
    parts = urlsplit(url) if _PLAIN.fullmatch(url) else None
    if parts is None:
        raise ValueError("git: expected a URL, such as https://github.com/somebody/something")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ValueError("git: a URL with a name, password, query or fragment would stand in the kernel script")
    fits = {
        "https": bool(parts.hostname),
        "http": parts.hostname in _LOOPBACK,
        "file": not parts.netloc and parts.path.startswith("/"),
    }
    if not fits.get(parts.scheme, False):
        raise ValueError("git: expected an https URL, or a file or http URL of this machine")
