"""A real SFTP server for tests: a process on loopback that lets in who has the one key, stopped by its process id."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncssh

USER = "tester"


@dataclass(frozen=True)
class Server:
    """A server that answers.

    Args:
        port: on 127.0.0.1.
        key: the file of the private key that lets its user in.
    """

    port: int
    key: Path

    def known(self) -> str:
        """The line of `known_hosts` that names it."""
        return f"[127.0.0.1]:{self.port} {self.key.with_name('host.pub').read_text()}"

    def url(self, folder: Path, *, port: int | None = None, checked: bool = False) -> str:
        """The URL of a store in a folder of this machine; `checked`: known_hosts has to name the server."""
        address = f"sftp://{USER}@127.0.0.1:{port or self.port}{folder}?key_filename={self.key}"
        return address + ("" if checked else "&host_key_policy=auto_add")


@contextmanager
def serving(folder: Path, port: int = 0) -> Iterator[Server]:
    """Run a server until the end of the block, with its keys in a folder; those that are there are used again."""
    for path in (folder / "host", folder / "key"):
        if not path.exists():
            key = asyncssh.generate_private_key("ssh-ed25519")
            key.write_private_key(str(path))
            key.write_public_key(f"{path}.pub")
    # It ends with this process, also with one that is killed
    dying = [setpriv, "--pdeathsig", "KILL"] if (setpriv := shutil.which("setpriv")) else []
    command = [*dying, sys.executable, __file__, str(folder), str(port)]
    with (
        open(folder / "server.log", "wb") as log,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True) as process,
    ):
        try:
            assert process.stdout is not None
            told = process.stdout.readline()
            if not told:
                raise RuntimeError(f"the SFTP server has not started: {(folder / 'server.log').read_text()}")
            yield Server(int(told), folder / "key")
        finally:
            process.kill()


async def _serve(folder: Path, port: int) -> None:
    listening = await asyncssh.listen(
        "127.0.0.1",
        port,
        server_host_keys=[str(folder / "host")],
        authorized_client_keys=str(folder / "key.pub"),
        sftp_factory=True,
    )
    sys.stdout.write(f"{listening.get_port()}\n")
    sys.stdout.flush()
    await listening.wait_closed()


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1]), int(sys.argv[2])))
