"""What a run prints, as Kaggle keeps it: a JSON array with one record a line, or a stream of events while it runs."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator

# The end of a live stream
END_OF_LOG = "END_OF_LOG"
_MADE_UP = json.dumps({"stream_name": "stdout", "time": 1.0, "data": "x" * 65_000 + "\n"}, separators=(",", ":"))


class Log:
    """The log of one run, written by the thread that runs it and read by any number of others.

    Bytes that are no UTF-8 are kept as surrogates, so that an answer can show or pass them on.
    """

    def __init__(self) -> None:
        self._records: list[str] = []
        self._rest: dict[str, bytes] = {}
        self._changed = threading.Condition()
        self._closed = False

    def add(self, stream: str, seconds: float, data: bytes) -> None:
        """Take what a run has printed: a record for every line, also for one that is not complete yet."""
        with self._changed:
            lines = (self._rest.pop(stream, b"") + data).split(b"\n")
            self._rest[stream] = lines.pop()
            self._records.extend(_record(stream, seconds, line + b"\n") for line in lines)
            self._changed.notify_all()

    def flush(self, seconds: float) -> None:
        """Let incomplete lines be records of their own: a progress bar never ends its line."""
        with self._changed:
            self._records.extend(_record(name, seconds, rest) for name, rest in self._rest.items() if rest)
            self._rest.clear()
            self._changed.notify_all()

    def close(self) -> None:
        """Say that nothing more will come."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def text(self) -> str:
        """Return all of it as it is stored."""
        with self._changed:
            return stored(self._records)

    def follow(self, closing: threading.Event) -> Iterator[bytes]:
        """Yield it from its beginning as server-sent events, and its end once the run is over."""
        position = 0
        while not closing.is_set():
            with self._changed:
                if len(self._records) == position and not self._closed:
                    self._changed.wait(timeout=0.5)
                fresh, closed = self._records[position:], self._closed
            position += len(fresh)
            for record in fresh:
                yield f"data: {record}\n\n".encode("utf-8", "replace")
            if closed:
                yield f"data: {END_OF_LOG}\n\n".encode()
                return


def stored(records: list[str]) -> str:
    """Return records as Kaggle stores them: an array whose lines begin with commas."""
    return "[" + "\n,".join(records) + "\n]" if records else ""


def made_up(size: int) -> Iterator[str]:
    """Yield the text of a log of about this many bytes, without ever holding it."""
    yield "["
    yield _MADE_UP
    following = f"\n,{_MADE_UP}"
    for _ in range(size // len(_MADE_UP) - 1):
        yield following
    yield "\n]"


def _record(stream: str, seconds: float, data: bytes) -> str:
    record = {"stream_name": stream, "time": round(seconds, 6), "data": data.decode("utf-8", "surrogateescape")}
    return json.dumps(record, ensure_ascii=False, separators=(",", ":"))
