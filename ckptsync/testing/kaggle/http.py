"""Connections: how requests come in, answers go out, and what a fault does to both."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from email.utils import format_datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BufferedIOBase
from urllib.parse import parse_qsl, unquote, urlsplit

from .faults import Fault, Faults
from .messages import CHUNK, Call, Request, Response
from .world import World

_PAGE = b"<!DOCTYPE html><html><head><title>Kaggle</title></head><body><h1>We'll be right back.</h1></body></html>"


class Server(ThreadingHTTPServer):
    """Listens on loopback, a thread for each connection, and ends all of them when it is closed."""

    daemon_threads = False
    block_on_close = True
    request_queue_size = 128

    def __init__(
        self,
        port: int,
        world: World,
        faults: Faults,
        name_of: Callable[[Request], str],
        answer: Callable[[Request, Call], Response],
    ) -> None:
        self.world = world
        self.faults = faults
        self.name_of = name_of
        self.answer = answer
        self.calls: list[Call] = []
        self._open: set[socket.socket] = set()
        self._broken: set[socket.socket] = set()
        self._open_lock = threading.Lock()
        super().__init__(("127.0.0.1", port), _Handler)

    def get_request(self) -> tuple[socket.socket, tuple[str, int]]:
        """Accept a connection and remember it."""
        connection, address = super().get_request()
        with self._open_lock:
            self._open.add(connection)
        return connection, address

    def shutdown_request(self, request: socket.socket | tuple[bytes, socket.socket]) -> None:
        """Close a connection and forget it."""
        broken = False
        if isinstance(request, socket.socket):
            with self._open_lock:
                self._open.discard(request)
                broken = request in self._broken
                self._broken.discard(request)
        if broken:
            self.close_request(request)  # without a shutdown, which would end it in order
        else:
            super().shutdown_request(request)

    def reset(self, connection: socket.socket) -> None:
        """Let a connection end so that the client sees a reset, not a quiet end."""
        with self._open_lock:
            self._broken.add(connection)
        try:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        except OSError:
            pass  # it is closed already

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of clients that went away; what fails in a handler is answered with 500 there."""

    def close(self) -> None:
        """Stop listening, end every connection, and wait for their threads."""
        self.shutdown()
        with self._open_lock:
            for connection in self._open:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:  # it has ended by itself
                    pass
        self.server_close()


class _Cut(Exception):
    """The connection ends here, on purpose."""


class _Handler(BaseHTTPRequestHandler):
    """Answers the requests of one connection."""

    server: Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 64 * 1024
    server_version = "ckptsync-kaggle"
    sys_version = ""

    def do_GET(self) -> None:
        """Answer a GET."""
        self._serve()

    def do_POST(self) -> None:
        """Answer a POST."""
        self._serve()

    def do_PUT(self) -> None:
        """Answer a PUT."""
        self._serve()

    def log_message(self, format: str, *args: object) -> None:
        """Keep quiet: `calls` is the log."""

    def date_time_string(self, timestamp: float | None = None) -> str:
        """Return the service's time of day, which need not be ours."""
        return format_datetime(self.server.world.now(), usegmt=True)

    def _serve(self) -> None:
        body = _Body(self.rfile, self.headers.get("Content-Length"), self.headers.get("Transfer-Encoding"))
        parts = urlsplit(self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(
            method=self.command,
            path=unquote(parts.path),
            query=dict(parse_qsl(parts.query)),
            headers=headers,
            base=f"http://{headers.get('host') or f'127.0.0.1:{self.server.server_port}'}",
            read=body.read,
        )
        call = Call(self.server.name_of(request), request.path, authorized="authorization" in headers)
        call.fault = request.fault = self.server.faults.draw(call.name)
        self.server.calls.append(call)
        try:
            self._pause(self.server.world.settings.latency_seconds)
            response = self._fail_before(request.fault) or self.server.answer(request, call)
            try:
                self._finish(response, request.fault, call)
            finally:
                response.close()
            body.drain()
        except (_Cut, ConnectionError):
            self.close_connection = True
            self.server.reset(self.connection)
        finally:
            call.finished = time.monotonic()

    def _fail_before(self, fault: Fault | None) -> Response | None:
        settings = self.server.world.settings
        if fault in (Fault.TOO_MANY, Fault.TOO_MANY_DATE, Fault.TOO_MANY_BARE):
            response = Response.error(429, "Too many requests")
            if fault is Fault.TOO_MANY:
                response.headers["Retry-After"] = str(settings.retry_after_seconds)
            elif fault is Fault.TOO_MANY_DATE:
                until = self.server.world.now() + timedelta(seconds=settings.retry_after_seconds)
                response.headers["Retry-After"] = format_datetime(until, usegmt=True)
            return self._happened(fault, response)
        if fault in (Fault.BROKEN, Fault.BAD_GATEWAY, Fault.UNAVAILABLE):
            return self._happened(fault, Response.error(int(fault), HTTPStatus(int(fault)).phrase))
        if fault is Fault.HTML:
            return self._happened(fault, Response(200, _PAGE, {"Content-Type": "text/html; charset=utf-8"}))
        if fault in (Fault.DROP_BEFORE, Fault.STALL):
            self.server.faults.happened(fault)
            if fault is Fault.STALL:
                self._pause(settings.stall_seconds)
            raise _Cut
        return None

    def _happened(self, fault: Fault, response: Response) -> Response:
        self.server.faults.happened(fault)
        return response

    def _finish(self, response: Response, fault: Fault | None, call: Call) -> None:
        if fault in (Fault.DROP_AFTER, Fault.DROP_IN, Fault.TRUNCATED, Fault.TRUNCATED_BARE, Fault.SLOW):
            self.server.faults.happened(fault)
        if fault is Fault.DROP_AFTER:
            raise _Cut
        if fault is Fault.SLOW:
            self._pause(self.server.world.settings.slow_seconds)
        size = response.size()
        bare = size is None or fault is Fault.TRUNCATED_BARE
        cut = fault in (Fault.DROP_IN, Fault.TRUNCATED, Fault.TRUNCATED_BARE)
        # Of an answer without a length a cut leaves the first piece, which may be the first of many lines
        limit = size // 2 if cut and size is not None else None
        self.send_response(response.status)
        for name, value in response.headers.items():
            self.send_header(name, value)
        if bare or cut:
            self.send_header("Connection", "close")
            self.close_connection = True
        if not bare:
            self.send_header("Content-Length", str(size))
        self.end_headers()
        call.status = response.status
        self._send(response, limit, call, first_only=cut and size is None)
        if fault is Fault.DROP_IN:
            self.wfile.flush()
            raise _Cut

    def _send(self, response: Response, limit: int | None, call: Call, *, first_only: bool) -> None:
        rate = self.server.world.settings.bytes_per_second
        for piece in response.pieces(CHUNK if not rate else max(min(int(rate / 20), CHUNK), 1)):
            part = piece if limit is None else piece[: limit - call.sent]
            self.wfile.write(part)
            call.sent += len(part)
            if rate or response.live:
                self.wfile.flush()
            if rate:
                self._pause(len(part) / rate)
            if first_only or len(part) < len(piece):
                return

    def _pause(self, seconds: float) -> None:
        if seconds > 0 and self.server.world.closing.wait(seconds):
            raise _Cut


class _Body:
    """The body of a request, of told length or in chunks."""

    def __init__(self, stream: BufferedIOBase, length: str | None, encoding: str | None) -> None:
        self._stream = stream
        self._chunked = (encoding or "").lower() == "chunked"
        self._left = int(length or 0)
        self._ended = False

    def read(self, size: int) -> bytes:
        """Return the next bytes, none at the end.

        Raises:
            ConnectionError: the client has gone in its middle.
        """
        if self._chunked and not self._left and not self._ended:
            self._left = int(self._line() or b"0", 16)
            if not self._left:
                self._line()
                self._ended = True
        piece: bytes = self._stream.read1(min(size, self._left)) if self._left else b""
        if self._left and not piece:
            raise ConnectionError("the request has ended in its middle")
        self._left -= len(piece)
        if self._chunked and piece and not self._left:
            self._line()
        return piece

    def drain(self) -> None:
        """Read what nobody has asked for, so that the next request starts where it should."""
        while self.read(CHUNK):
            pass

    def _line(self) -> bytes:
        return bytes(self._stream.readline(1024)).strip()
