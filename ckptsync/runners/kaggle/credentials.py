"""Credentials, found where the official client finds them and in its order. Nothing here ever shows one."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...core import fsread
from ...core.errors import CkptsyncError, CredentialsError

_MAX_BYTES = 64 << 10
_HIDDEN = "***"
NO_CREDENTIALS_HINT = (
    "create a token at kaggle.com/settings, put it into ~/.kaggle/access_token (or the variable KAGGLE_API_TOKEN), "
    "then run 'ckptsync doctor'"
)


@dataclass(frozen=True)
class Credentials:
    """What proves to the service who we are.

    Args:
        source: where it was found, for people.
        username: whose it is, where that is known; a bare token has to be asked for it.
        path: the file that it was found in; None: a variable.
        token: sent as a bearer token.
        key: the older kind, sent with the user name.
        refresh_token: gives new tokens when `token` has expired.
    """

    source: str
    username: str | None = None
    path: Path | None = None
    token: str | None = field(default=None, repr=False)
    key: str | None = field(default=None, repr=False)
    refresh_token: str | None = field(default=None, repr=False)

    @property
    def authorization(self) -> str | None:
        """The value of the header of this name; None: a token has to be got first."""
        if self.key is not None:
            return "Basic " + base64.b64encode(f"{self.username}:{self.key}".encode()).decode()
        return f"Bearer {self.token}" if self.token else None

    def redact(self, text: str) -> str:
        """Return foreign text without any secret that it may repeat."""
        for secret in (self.token, self.key, self.refresh_token):
            if secret:
                text = text.replace(secret, _HIDDEN)
        return text

    @property
    def readable_by_others(self) -> bool:
        """Whether other users of this machine can read the file."""
        try:
            return self.path is not None and bool(self.path.stat().st_mode & 0o077)
        except OSError:
            return False


def find_all(environ: Mapping[str, str], home: Path) -> Iterator[Credentials]:
    """Yield everything that may be our credentials, what counts first coming first.

    Raises:
        CredentialsError: a file that holds them cannot be read or is damaged.
    """
    yield from _tokens(environ, home)
    yield from _keys(environ, home)
    yield from _logins(home)


def find(environ: Mapping[str, str], home: Path) -> Credentials:
    """Return the first credentials.

    Raises:
        CredentialsError: there are none.
    """
    for found in find_all(environ, home):
        return found
    raise no_credentials()


def no_credentials() -> CredentialsError:
    """Return the error of a machine without credentials."""
    return CredentialsError("there are no credentials for Kaggle on this machine", hint=NO_CREDENTIALS_HINT)


def _tokens(environ: Mapping[str, str], home: Path) -> Iterator[Credentials]:
    # Inside a Kaggle notebook
    if inside := environ.get("KAGGLE_API_V1_TOKEN"):
        yield from _token_file(Path(inside), "the file that KAGGLE_API_V1_TOKEN names")
    if given := environ.get("KAGGLE_API_TOKEN"):
        if _exists(Path(given)):
            yield from _token_file(Path(given), "the file that KAGGLE_API_TOKEN names")
        else:
            yield Credentials("KAGGLE_API_TOKEN", token=given.strip())
    for name in ("access_token", "access_token.txt"):
        yield from _token_file(home / ".kaggle" / name, f"~/.kaggle/{name}")


def _token_file(path: Path, source: str) -> Iterator[Credentials]:
    if text := _read(path, source).strip():
        yield Credentials(source, path=path, token=text)


def _keys(environ: Mapping[str, str], home: Path) -> Iterator[Credentials]:
    path = config_folder(environ, home) / "kaggle.json"
    stored = _object(path, str(path))
    username, key = environ.get("KAGGLE_USERNAME"), environ.get("KAGGLE_KEY")
    if username and key:
        yield Credentials("KAGGLE_USERNAME and KAGGLE_KEY", username, key=key)
    elif stored and isinstance(stored.get("username"), str) and isinstance(stored.get("key"), str):
        # As the official client: a variable counts before the same thing in the file
        yield Credentials(str(path), username or stored["username"], path, key=key or stored["key"])
    elif stored:
        raise CredentialsError(f"{path} holds no username and key", hint=NO_CREDENTIALS_HINT)


def config_folder(environ: Mapping[str, str], home: Path) -> Path:
    """Return the folder that the official client keeps kaggle.json in."""
    if given := environ.get("KAGGLE_CONFIG_DIR"):
        return Path(given)
    classic = home / ".kaggle"
    return classic if _exists(classic) else Path(environ.get("XDG_CONFIG_HOME") or home / ".config") / "kaggle"


def _logins(home: Path) -> Iterator[Credentials]:
    path = home / ".kaggle" / "credentials.json"
    stored = _object(path, "~/.kaggle/credentials.json")
    if stored.get("refresh_token"):
        yield Credentials(
            "~/.kaggle/credentials.json (kaggle auth login)",
            stored.get("username") or None,
            path,
            # The stored expiry is not looked at: this machine's clock may be wrong, and a refusal says it as well
            token=stored.get("access_token") or None,
            refresh_token=stored["refresh_token"],
        )


def _object(path: Path, source: str) -> dict[str, Any]:
    text = _read(path, source)
    if not text.strip():
        return {}
    try:
        found = json.loads(text)
    except ValueError:
        raise CredentialsError(f"{path} is no JSON", hint=NO_CREDENTIALS_HINT) from None  # its text may be a secret
    if not isinstance(found, dict):
        raise CredentialsError(f"{path} holds no JSON object", hint=NO_CREDENTIALS_HINT)
    return found


def _read(path: Path, source: str) -> str:
    if not _exists(path):
        return ""
    try:
        with fsread.open_regular(path, follow=True) as file:
            return file.read(_MAX_BYTES).decode("utf-8-sig")
    except (CkptsyncError, UnicodeDecodeError):
        raise CredentialsError(f"{source} cannot be read", hint=f"check the file {path}") from None


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a token is too long for a name, or holds what no name may
        return False
