"""Downloading many files at once: each streamed into its partial file, taken up where it was cut, recorded in batches.

Threads write, the caller's thread makes durable and records: one sync of a folder for many files, and a record only
of what is durable. They are daemons, so a stalled connection holds nobody up who wants to leave.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from typing import Protocol

from ..core import fsio, names
from ..core.errors import CkptsyncError, CorruptError, NothingFoundError, ServiceError, UnsafePathError
from ..core.patience import Failures
from ..runners.base import OutputFile, SessionHandle
from .downloads import Downloads, Written
from .listing import MAX_FILE_BYTES
from .reporting import Meter

_AGAIN = "run 'ckptsync fetch' again"
# A file that gets nothing in so many attempts is left, while others still come; an outage is borne by patience alone
_MOST_ATTEMPTS = 10
_OTHERS_SECONDS = 60.0
# A source that ends at the same place again and again has no more
_MOST_SHORT_ANSWERS = 4
_RECORD_SECONDS = 5.0
_LEAVE_SECONDS = 1.0
_SHOWN_ERRORS = 3


class _Stopped(Exception):
    """The download is being given up; what came stays."""


class Source(Protocol):
    """Where the files of a session are read; a runner is one."""

    def read_output(self, handle: SessionHandle, file: OutputFile, offset: int = 0) -> Iterator[bytes]:
        """Stream one file from a byte offset on; see `Runner`."""
        ...


@dataclass
class Received:
    """What came.

    Args:
        size_bytes: bytes of all files that came now, with those of earlier attempts.
        digests: path -> digest of each.
        gone: files of a running session that were no longer there.
    """

    size_bytes: int = 0
    digests: dict[str, str] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)


class Receiver:
    """Downloads files of one session.

    Args:
        source: where they are; asked by several threads at once.
        handle: the session.
        folder: where they go.
        downloads: the record of what is here.
        ended: whether the session has ended. Else its files may change at any moment, so nothing that was cut short
            is taken up, and a file that is gone is no fault.
        at_once: how many at the same time.
        failures: of the runner, whatever it is asked for.
        meter: is told of every byte.
        pause: waits after a failure; receives seconds.
    """

    def __init__(
        self,
        source: Source,
        handle: SessionHandle,
        folder: Path,
        downloads: Downloads,
        *,
        ended: bool,
        at_once: int,
        failures: Failures,
        meter: Meter,
        pause: Callable[[float], object] | None = None,
    ) -> None:
        self._source = source
        self._handle = handle
        self._folder = folder
        self._downloads = downloads
        self._ended = ended
        self._at_once = at_once
        self._failures = failures
        self._meter = meter
        self._stop = threading.Event()
        self._pause = pause or self._stop.wait
        self._counting = threading.Lock()
        self._waiting: deque[OutputFile] = deque()
        self._done: SimpleQueue[tuple[OutputFile, Written | BaseException]] = SimpleQueue()
        self._fresh: list[tuple[OutputFile, Written]] = []
        self._recorded_at = time.monotonic()

    def receive(self, files: Sequence[OutputFile]) -> Received:
        """Download files; what came is recorded, also when the rest does not come.

        Raises:
            CkptsyncError: some did not come; the others did.
        """
        for folder in {fsio.safe_join(self._folder, file.path).parent for file in files}:
            fsio.make_folder(folder)
        # The largest first: then no thread is alone with one at the end
        self._waiting.extend(sorted(files, key=lambda file: -(file.size_bytes or 0)))
        threads = [threading.Thread(target=self._work, daemon=True) for _ in range(min(self._at_once, len(files)))]
        received, errors = Received(), list[tuple[OutputFile, CkptsyncError]]()
        try:
            for thread in threads:
                thread.start()
            for _ in files:
                file, outcome = self._done.get()
                if isinstance(outcome, Written):
                    self._record_sometimes()
                    received.size_bytes += outcome.size_bytes
                    received.digests[file.path] = outcome.digest
                elif not isinstance(outcome, CkptsyncError) or not _concerns_one_file(outcome):
                    raise outcome
                elif isinstance(outcome, NothingFoundError) and not self._ended:
                    received.gone.add(file.path)  # it removes old sets, and files that it has only begun
                else:
                    errors.append((file, outcome))
        finally:
            self._stop.set()
            self._record()
            leave_at = time.monotonic() + _LEAVE_SECONDS
            for thread in threads:
                if thread.ident is not None:
                    thread.join(max(leave_at - time.monotonic(), 0.0))
        if errors:
            raise _together(errors, len(files))
        return received

    def _work(self) -> None:
        while not self._stop.is_set():
            try:
                file = self._waiting.popleft()
            except IndexError:
                return
            try:
                outcome: Written | BaseException = self._receive_one(file)
            except _Stopped:
                return
            except BaseException as error:  # noqa: BLE001  # it is raised again where somebody waits for it
                outcome = error
            if isinstance(outcome, Written):  # here, for an interrupt may take away what was just got from the queue
                self._fresh.append((file, outcome))
            self._done.put((file, outcome))
            if not isinstance(outcome, Written) and not _concerns_one_file(outcome):
                self._stop.set()

    def _receive_one(self, file: OutputFile) -> Written:
        target = fsio.safe_join(self._folder, file.path)
        if target.is_dir():
            raise UnsafePathError(f"{target} is a folder where an output belongs")
        limit = file.size_bytes if file.size_bytes is not None and self._ended else MAX_FILE_BYTES
        digest = fsio.receive_file(
            target, lambda offset: self._read(file, offset), limit=limit, resume=self._ended, settle=False
        )
        return Written.at(target, digest)

    def _read(self, file: OutputFile, offset: int) -> Iterator[bytes]:
        """Stream a file's bytes from an offset on, going on behind every failure that may pass."""
        size = file.size_bytes if self._ended else None
        failures, short = self._failures.beside(), 0
        self._count(offset)
        while not (offset and offset == size):
            try:
                for chunk in self._source.read_output(self._handle, file, offset):
                    if self._stop.is_set():
                        raise _Stopped
                    short = 0
                    failures.heard()
                    offset += len(chunk)
                    self._count(len(chunk))
                    yield chunk
                if size is None or offset >= size:
                    return
                short += 1
                self._failures.heard()  # it answers; this file's row goes on
                raise ServiceError(f"{names.printable(file.path)} came with {offset} of {size} bytes")
            except NothingFoundError as error:
                raise CorruptError(error.message, hint=_AGAIN) if self._ended else error from None
            except ServiceError as error:
                if short >= _MOST_SHORT_ANSWERS:
                    raise CorruptError(error.message, hint=_AGAIN) from None
                others_come = failures.silent_seconds < _OTHERS_SECONDS
                if not self._ended or (failures.count + 1 >= _MOST_ATTEMPTS and others_come):
                    raise ServiceError(error.message, hint=error.hint or _AGAIN, transient=False) from error
                self._pause(failures.pause_after(error))
                if self._stop.is_set():
                    raise _Stopped from None

    def _count(self, amount: int) -> None:
        with self._counting:
            self._meter.advance(amount)

    def _record_sometimes(self) -> None:
        if time.monotonic() - self._recorded_at >= _RECORD_SECONDS:
            self._record()

    def _record(self) -> None:
        fresh = self._fresh[:]  # more may come meanwhile
        if fresh:
            fsio.sync_files(self._folder / file.path for file, _written in fresh)
            for file, written in fresh:
                self._downloads.add(file.path, written, final=self._ended)
            self._downloads.save()
            del self._fresh[: len(fresh)]
        self._recorded_at = time.monotonic()


def _concerns_one_file(error: BaseException) -> bool:
    if isinstance(error, UnsafePathError):
        return False
    return isinstance(error, CorruptError | NothingFoundError) or (
        isinstance(error, ServiceError) and not error.transient
    )


def _together(errors: Sequence[tuple[OutputFile, CkptsyncError]], total: int) -> CkptsyncError:
    first = errors[0][1]
    if len(errors) == 1:
        return first
    shown = "; ".join(error.message for _file, error in errors[:_SHOWN_ERRORS])
    more = f"; and {len(errors) - _SHOWN_ERRORS} more" if len(errors) > _SHOWN_ERRORS else ""
    return type(first)(f"{len(errors)} of {total} files did not come: {shown}{more}", hint=first.hint or _AGAIN)
