"""The bytes that a session prints, each once and in order: from the runner's stream where it has one, else asked for."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from queue import Empty, Full, Queue

from ..core.errors import CkptsyncError
from ..runners.base import Runner, SessionHandle, StreamingRunner

_HELD_CHUNKS = 16
_LOOK_SECONDS = 0.2


class Follower:
    """Follows the log of one session.

    The stream is read by a thread, so that a stalled one holds nobody up. It may break at any moment, also without
    an error: `asked` then gives what it has not sent, and `begin` opens it anew behind what has come.

    Args:
        runner: where the session is.
        handle: the session.
        offset: how many bytes are known already.
    """

    def __init__(self, runner: Runner, handle: SessionHandle, offset: int = 0) -> None:
        self._runner = runner
        self._handle = handle
        self.offset = offset
        self._stream: _Stream | None = None

    @property
    def streaming(self) -> bool:
        """Whether a stream is open, as far as is known."""
        return self._stream is not None

    def begin(self) -> None:
        """Open the stream where the runner has one and none is open."""
        if self._stream is None and isinstance(self._runner, StreamingRunner):
            self._stream = _Stream(self._runner, self._handle, self.offset)

    def next(self, seconds: float) -> bytes | None:
        """Return what comes next in the stream; nothing when that takes longer, None when the stream has ended."""
        if self._stream is None:
            return None
        try:
            chunk = self._stream.chunks.get(timeout=seconds)
        except Empty:
            return b""
        if chunk is None:
            self._stream = None
            return None
        self.offset += len(chunk)
        return chunk

    def asked(self) -> Iterator[bytes]:
        """Ask for what is there and has not come.

        Raises:
            CkptsyncError: it cannot be read now; what came before stays counted.
        """
        while chunk := self._runner.log(self._handle, self.offset):
            self.offset += len(chunk)
            yield chunk

    def rest(self) -> Iterator[bytes]:
        """Give all that has not come of the log of a session that has ended, in pieces. Raises as `asked` does."""
        self.close()
        if isinstance(self._runner, StreamingRunner):
            try:
                for chunk in self._runner.follow(self._handle, self.offset):
                    self.offset += len(chunk)
                    yield chunk
            except CkptsyncError:
                pass  # asked for, below: the stream is never the only way
            else:
                return
        yield from self.asked()

    def close(self) -> None:
        """Leave the stream; what it sends from now on does not count."""
        if self._stream is not None:
            self._stream.left.set()
            self._stream = None


class _Stream:
    def __init__(self, runner: StreamingRunner, handle: SessionHandle, offset: int) -> None:
        self.chunks: Queue[bytes | None] = Queue(_HELD_CHUNKS)
        self.left = threading.Event()
        threading.Thread(target=self._read, args=(runner, handle, offset), daemon=True).start()

    def _read(self, runner: StreamingRunner, handle: SessionHandle, offset: int) -> None:
        try:
            for chunk in runner.follow(handle, offset):
                if chunk and not self._put(chunk):
                    return
        except CkptsyncError:
            pass  # why it broke is seen by whoever looks at the session next
        finally:
            self._put(None)

    def _put(self, chunk: bytes | None) -> bool:
        """Hand a chunk over; False when nobody wants it any more."""
        while not self.left.is_set():
            try:
                self.chunks.put(chunk, timeout=_LOOK_SECONDS)
            except Full:
                continue
            return True
        return False
