"""A proxy that breaks what passes through it, for tests of whoever talks HTTP to a service.

    with FaultyProxy("127.0.0.1", 8333) as proxy:
        proxy.next(Fault("cut", after=1000), None, Fault("status", status=503))
        ...  # the first request's answer is cut, the second passes, the third is answered by the proxy itself

One request a connection: both are closed after the answer.
"""

from __future__ import annotations

import asyncio
import re
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Self

Kind = Literal["cut", "reset", "status", "slow", "stall", "length", "flip", "lose", "half", "lie", "silent"]

_CHUNK = 64 << 10
_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)", re.IGNORECASE)
_UNWANTED = re.compile(rb"\r\n(?:expect|connection):[^\r]*", re.IGNORECASE)


@dataclass(frozen=True)
class Fault:
    """What happens to one request.

    Args:
        kind: `cut` the answer ends early · `reset` the connection is reset in mid-answer · `status` the proxy answers
            itself · `slow` the answer comes piece by piece · `stall` it stops coming, and nothing is closed ·
            `length` the answer promises more than comes · `flip` a bit of the request's body changes · `lose` the
            request arrives, its answer does not · `half` the request arrives in half · `lie` the proxy says that a
            write is done, and passes nothing on · `silent` nothing is passed on, nothing answered, nothing closed.
        after: bytes of the answer (or of the request's body) that pass before it happens.
        status: for `status`.
        code: for `status`: what S3 calls the error, said in an answer as S3 gives it.
        retry_after: for `status`: seconds, as a header.
        pause_seconds: for `slow`: between two pieces.
    """

    kind: Kind
    after: int = 0
    status: int = 503
    code: str = ""
    retry_after: int | None = None
    pause_seconds: float = 0.001


class FaultyProxy:
    """Listens on a free port of loopback and passes each request on, with a fault or without.

    Args:
        host: the service.
        port: its port.
        choose: (method, path) -> fault, asked where no fault is queued; None: none.
        latency_seconds: how much later than without the proxy an answer comes.
    """

    def __init__(
        self,
        host: str,
        port: int,
        choose: Callable[[str, str], Fault | None] | None = None,
        *,
        latency_seconds: float = 0.0,
    ) -> None:
        self._target = (host, port)
        self._latency_seconds = latency_seconds
        self._choose = choose or (lambda method, path: None)
        self._queue: deque[Fault | None] = deque()
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.requests: list[str] = []
        self.port = 0

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, *error: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    def next(self, *faults: Fault | None) -> None:
        """Let the next requests suffer these, one each; None lets one pass."""
        self._queue.extend(faults)

    @property
    def waiting(self) -> int:
        """How many of the queued faults have not happened yet."""
        return len(self._queue)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        self._loop.run_forever()
        server.close()
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            method, path = head.split(b" ", 2)[:2]
            self.requests.append(f"{method.decode()} {path.decode()}")
            fault = self._queue.popleft() if self._queue else self._choose(method.decode(), path.decode())
            if b"100-continue" in head.lower():
                writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            length = _LENGTH.search(head)
            body = await reader.readexactly(int(length[1]) if length else 0)
            if self._latency_seconds:
                await asyncio.sleep(self._latency_seconds)
            await self._answer(head, body, fault, writer)
        except (OSError, asyncio.IncompleteReadError):
            return  # the client has gone
        finally:
            writer.close()

    async def _answer(self, head: bytes, body: bytes, fault: Fault | None, writer: asyncio.StreamWriter) -> None:
        kind = fault.kind if fault is not None else ""
        if fault is not None and kind == "status":
            asked = "" if fault.retry_after is None else f"Retry-After: {fault.retry_after}\r\n"
            said = f"<?xml version='1.0'?><Error><Code>{fault.code}</Code></Error>" if fault.code else ""
            said = "" if head.startswith(b"HEAD ") else said
            first = f"HTTP/1.1 {fault.status} Fault\r\n{asked}Content-Length: {len(said)}\r\nConnection: close\r\n\r\n"
            writer.write((first + said).encode())
            await writer.drain()
            return
        if kind == "lie":
            writer.write(b'HTTP/1.1 200 OK\r\nETag: "lie"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n')
            await writer.drain()
            return
        if kind == "silent":
            await asyncio.Event().wait()  # until the proxy ends
        if kind == "half":
            await self._exchange(head, body[: len(body) // 2], whole=False)
            return
        if fault is not None and kind == "flip" and body:
            at = min(fault.after, len(body) - 1)
            body = body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]
        answer = await self._exchange(head, body, whole=True)
        if fault is not None and kind in ("cut", "reset", "slow", "stall", "length", "lose"):
            await _break(answer, fault, writer)
        else:
            writer.write(answer)
            await writer.drain()

    async def _exchange(self, head: bytes, body: bytes, *, whole: bool) -> bytes:
        """Send a request on and return the answer; where it is not whole, hang up behind it."""
        reader, writer = await asyncio.open_connection(*self._target)
        try:
            first, rest = head.split(b"\r\n", 1)
            kept = _UNWANTED.sub(b"", b"\r\n" + rest)
            writer.write(first + b"\r\nConnection: close" + kept + body)
            await writer.drain()
            return await reader.read() if whole else b""
        finally:
            writer.close()


async def _break(answer: bytes, fault: Fault, writer: asyncio.StreamWriter) -> None:
    start = answer.index(b"\r\n\r\n") + 4
    passing = b"" if fault.kind == "lose" else answer[: start + fault.after]
    if fault.kind == "length":
        longer = _LENGTH.sub(lambda found: b"\r\nContent-Length: %d" % (int(found[1]) + 100), answer[:start])
        writer.write(longer + answer[start:])
    elif fault.kind == "slow":
        for at in range(0, len(answer), _CHUNK):
            writer.write(answer[at : at + _CHUNK])
            await writer.drain()
            await asyncio.sleep(fault.pause_seconds)
    else:
        writer.write(passing)
        await writer.drain()
        if fault.kind == "stall":
            await asyncio.Event().wait()  # until the proxy ends
        if fault.kind == "reset":
            linger = struct.pack("ii", 1, 0)  # closing without a word: the client sees a reset
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            writer.transport.abort()
            return
    await writer.drain()
