"""The file systems of fsspec behind one store: made on use, made anew when they fail, one for each thread where need be."""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ..core import names
from ..core.errors import ConfigError, CredentialsError

# Of these a file system is one connection, which answers one thread at a time: asked by several it waits for ever
_ONE_AT_A_TIME = frozenset({"sftp", "ssh", "ftp", "smb"})
# A server lets one client in so often without asking what for
_MOST = 4
_SSH = frozenset({"sftp", "ssh"})
_SILENT_SECONDS = 60.0
# What every server gives in one answer, and how many are asked for at once
_PART, _AHEAD = 32 << 10, 128


class Connections:
    """Lends file systems; nothing is connected before the first is asked for.

    Args:
        url: as fsspec takes it, without secrets.
        options: for the file system.

    Raises:
        ConfigError: fsspec or the package for this protocol is not installed, or nobody knows the protocol.

    Attributes:
        root: the path that the URL stands for.
    """

    def __init__(self, url: str, options: Mapping[str, str]) -> None:
        self._url = url
        protocol = url.partition(":")[0].casefold()
        kind = _kind(url, protocol)
        # What others write counts at once; ssh keeps no lists, and takes no such option
        own = _host_keys(url, kind) if protocol in _SSH else {"use_listings_cache": False}
        self._options = {**own, **options}
        self._given = options
        self.root = str(kind._strip_protocol(url)).rstrip("/")
        self._shared = protocol not in _ONE_AT_A_TIME
        self._free = threading.BoundedSemaphore(_MOST)
        self._lock = threading.Lock()
        self._idle: list[Any] = []
        self._failed = False

    @contextmanager
    def one(self) -> Iterator[Any]:
        """Lend a file system for a while; what fails meanwhile is not lent again.

        Raises:
            ConfigError: it does not take the options.
            Exception: what fsspec raises where it cannot connect.
        """
        if self._shared:
            with self._lock:
                system = self._idle[0] if self._idle else self._connect()
                self._idle = [system]
            with self._watching():
                yield system
            return
        with self._free:
            system = self._idle.pop() if self._idle else self._connect()
            with self._watching():
                yield system
            self._idle.append(system)

    def close(self) -> None:
        """Let go of those that are nobody else's."""
        if not self._shared:
            for system in self._idle:
                _close(system)
        self._idle = []

    @contextmanager
    def _watching(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise  # an answer
        except Exception:
            self._failed, self._idle = True, []  # it may be dead for good, and the others with it
            raise

    def _connect(self) -> Any:
        from fsspec.core import url_to_fs

        # fsspec keeps the ones that it has made, dead or not
        fresh = self._failed or not self._shared
        try:
            system = url_to_fs(self._url, skip_instance_cache=fresh, **self._options)[0]
        except TypeError:
            raise ConfigError(
                f"{self._url} cannot be opened with these options: {', '.join(self._given) or 'none'}",
                hint="what follows '?' in a store's URL goes to fsspec as it is; see its pages on this protocol",
            ) from None
        _set_up(system)
        return system


def write(system: Any, path: str, data: bytes | Iterable[bytes]) -> None:
    """Write a file, whole or from pieces. Raises what fsspec raises."""
    if not _is_ssh(system):
        if isinstance(data, bytes):
            system.pipe_file(path, data)  # one request where a file would be several
            return
        with system.open(path, "wb") as file:
            for chunk in data:
                file.write(chunk)
        return
    size, chunks = 0, (data,) if isinstance(data, bytes) else data
    with system.ftp.open(path, "wb") as file:
        file.set_pipelined(True)  # far away, waiting for each answer takes longer than sending
        for chunk in chunks:
            file.write(chunk)
            size += len(chunk)
    found = system.ftp.stat(path).st_size  # answers that nobody waited for tell nothing
    if found != size:
        raise ConnectionError(f"{found} of {size} bytes have arrived")


def read(system: Any, path: str, start: int, end: int) -> bytes:
    """Read a part of a file, or what there is of it. Raises what fsspec raises."""
    if not _is_ssh(system):
        return bytes(system.cat_file(path, start, end))
    with system.ftp.open(path, "rb") as file:
        size = min(end, file.stat().st_size)
        # Asked for at once: far away, one after another they take longer than their bytes
        parts = [(offset, min(_PART, size - offset)) for offset in range(start, size, _PART)]
        return b"".join(file.readv(parts, max_concurrent_prefetch_requests=_AHEAD))


def _is_ssh(system: Any) -> bool:
    return hasattr(system, "ftp") and hasattr(system, "client")


def _set_up(system: Any) -> None:
    """Have a connection over ssh notice a silent server, and send what it has at once: it waits for every answer."""
    if _is_ssh(system):
        system.client.get_transport().sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        system.ftp.get_channel().settimeout(_SILENT_SECONDS)


def _host_keys(url: str, kind: Any) -> dict[str, Any]:
    """Have a server be the one that ~/.ssh/known_hosts says; fsspec alone would take any."""
    import paramiko

    if not hasattr(sys.modules[kind.__module__], "HOST_KEY_POLICIES"):
        raise ConfigError(f"{url} needs a newer fsspec, which can check who a server is", hint="pip install -U fsspec")

    class Known(paramiko.MissingHostKeyPolicy):  # type: ignore[misc]  # paramiko's types are not known here
        def missing_host_key(self, client: Any, hostname: str, key: Any) -> None:
            known = paramiko.HostKeys()
            file = Path("~/.ssh/known_hosts").expanduser()
            if file.is_file():
                known.load(str(file))
            if not known.check(hostname, key):
                found = f"its key is {key.get_name()} {key.fingerprint}"
                raise CredentialsError(
                    f"{url}: {file} does not say that this server is {hostname}; {found}",
                    hint=f"'{_keyscan(hostname)} >> {file}' once you trust it, or ?host_key_policy=auto_add",
                )

    return {"host_key_policy": Known()}


def _keyscan(hostname: str) -> str:
    host, _, port = hostname.removeprefix("[").partition("]:")
    return f"ssh-keyscan -p {port} {host}" if port else f"ssh-keyscan {host}"


def _close(system: Any) -> None:
    """Close what fsspec itself closes at the end of the process only."""
    for name in ("client", "ftp"):
        close = getattr(getattr(system, name, None), "close", None)
        if close is not None:
            with suppress(Exception):  # it is not needed any more, whatever became of it
                close()


def _kind(url: str, protocol: str) -> Any:
    try:
        import fsspec
    except ImportError:
        raise ConfigError(f"{url} needs the package fsspec", hint="pip install 'ckptsync[fsspec]'") from None
    try:
        return fsspec.get_filesystem_class(protocol)
    except ImportError as error:  # fsspec says which package to install
        raise ConfigError(f"{url} needs a package that is not installed: {error}") from None
    except ValueError:
        known = ", ".join(sorted(fsspec.available_protocols()))
        raise ConfigError(f"nobody knows the protocol {names.printable(protocol)}", hint=f"known are {known}") from None
