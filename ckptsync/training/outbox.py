"""Sends sealed sets out of the session while it trains, so that a machine that vanishes loses one interval at most.

A thread of its own sends one set at a time, the newest first; what it has not come to when a newer one is sealed is
passed over. Nothing that goes wrong here reaches the training: it is counted and told.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from ..core import fsio, names
from ..core.errors import CkptsyncError, NothingFoundError
from ..core.grants import GRANT_NAME, MAX_GRANT_BYTES, SEALED_SUFFIX, UploadGrant
from ..core.manifest import MAX_MANIFEST_BYTES, FileEntry, Manifest
from ..core.patience import growing
from ..core.session import DEFAULT_INPUT, INPUT_VARIABLE, EventLog, SessionSpec
from ..core.uploading import upload
from .log import log
from .stub import levels

# How long the end of a session may wait for what is not sent yet: at most, and after a signal
SENDING_SECONDS, SENDING_AFTER_SIGNAL = 60.0, 5.0
_FIRST_PAUSE, _LONGEST_PAUSE = 10.0, 300.0


def open_outbox(
    spec: SessionSpec | None, folder: Path, events: EventLog, seconds_left: Callable[[], float]
) -> Outbox | None:
    """Return the outbox of a session that sends its sets itself while it trains; None where it does not."""
    if spec is None or not spec.live or spec.relayed:
        return None
    grant = _find_grant(spec)
    if grant is None:
        log("[STORE] nothing came with this session that lets it send its checkpoints to the store while it trains")
        return None
    return Outbox(grant, folder, events, seconds_left=seconds_left)


def _find_grant(spec: SessionSpec) -> UploadGrant | None:
    for level in levels(os.environ.get(INPUT_VARIABLE) or DEFAULT_INPUT):
        for folder in (folder for folder, files in level if GRANT_NAME in files):
            try:
                grant = UploadGrant.parse(fsio.read_bytes(Path(folder, GRANT_NAME), limit=MAX_GRANT_BYTES))
            except CkptsyncError as error:
                log(f"[STORE] {error.message}")
                continue
            if (grant.session, grant.generation) == (spec.session, spec.generation):
                return grant
    return None


class Outbox:
    """Sends the sets that it is offered, in the background. A context manager: leaving it sends what time allows.

    Args:
        grant: lets them be sent.
        folder: of the sets.
        events: where failures are written down.
        seconds_left: how long the end may wait for what is not sent yet.
    """

    def __init__(
        self, grant: UploadGrant, folder: Path, events: EventLog, *, seconds_left: Callable[[], float]
    ) -> None:
        self._grant = grant
        self._folder = folder
        self._events = events
        self._seconds_left = seconds_left
        self._changed = threading.Condition()
        self._newest: dict[str, Manifest] = {}
        self._best: dict[str, Manifest] = {}
        self._sending: list[Manifest] = []  # the one that is under way
        self._arrived: set[FileEntry] = set()
        self._sealed: set[str] = set()
        self._until: float | None = None  # None: training goes on
        self._refused = False
        self._row = 0
        self.sent = 0
        self.failures = 0
        # A daemon: a server that does not answer keeps no process alive
        self._thread = threading.Thread(target=self._work, name="ckptsync-outbox", daemon=True)

    def __enter__(self) -> Outbox:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def offer(self, manifest: Manifest, *, best: bool) -> None:
        """Have a sealed set sent, in place of an older one that nobody has come to; returns at once."""
        with self._changed:
            self._newest.pop(manifest.scenario, None)  # so that it comes last in the order of the dictionary
            self._newest[manifest.scenario] = manifest
            if best:
                self._best[manifest.scenario] = manifest
            self._changed.notify_all()

    def close(self) -> None:
        """Send what is left as far as time allows, then stop. The second call does nothing."""
        with self._changed:
            if self._until is not None:
                return
            seconds = max(self._seconds_left(), 0.0)
            self._until = time.monotonic() + seconds
            self._changed.notify_all()
        self._thread.join(seconds)
        left = [*self._sending, *self._newest.values(), *self._best.values()]
        unsent = sorted({manifest.stem for manifest in left if manifest.digest not in self._sealed})
        if unsent or self.failures:
            what = f"; not sent: {', '.join(unsent)}" if unsent else ""
            log(f"[STORE] Sent {self.sent} checkpoint(s) while training, {self.failures} failure(s){what}")

    def _work(self) -> None:
        while (manifest := self._next()) is not None:
            self._sending = [manifest]
            try:
                self._send(manifest)
                self._row = 0
            except NothingFoundError:
                continue  # a newer one took its place on the disk; it has been offered too
            except Exception as error:  # noqa: BLE001  # whatever it is, training goes on
                self._note_failure(manifest, error)
            finally:
                self._sending = []

    def _next(self) -> Manifest | None:
        with self._changed:
            while not self._refused:
                waiting = self._newest if self._newest else self._best
                if waiting:
                    manifest = waiting.pop(next(reversed(waiting)))
                    if manifest.digest not in self._sealed:
                        return manifest
                elif self._until is not None:
                    return None
                else:
                    self._changed.wait()
        return None

    def _send(self, manifest: Manifest) -> None:
        begun, size = time.monotonic(), 0
        for entry in manifest.files:
            if entry not in self._arrived:
                size += self._upload(entry.path, self._folder / entry.path)
                self._arrived.add(entry)
        seal = fsio.read_bytes(self._folder / (manifest.stem + names.MANIFEST_SUFFIX), limit=MAX_MANIFEST_BYTES)
        size += self._upload(manifest.stem + SEALED_SUFFIX, self._grant.seal(seal))
        self._sealed.add(manifest.digest)
        self.sent += 1
        log(f"[STORE] Sent {manifest.stem} ({size / 1e6:.2f} MB, {time.monotonic() - begun:.2f} s)")

    def _upload(self, name: str, source: Path | bytes) -> int:
        return upload(self._grant, name, source, deadline=self._deadline)

    def _deadline(self) -> float:
        return float("inf") if self._until is None else self._until

    def _note_failure(self, manifest: Manifest, error: Exception) -> None:
        self.failures += 1
        self._row += 1
        self._refused = not getattr(error, "transient", True)
        told = error.message if isinstance(error, CkptsyncError) else f"{type(error).__name__}: {error}"
        if self._row == 1:
            ends = "nothing more is sent in this session" if self._refused else "it is tried again"
            message = f"{manifest.stem} could not be sent to the store: {told}; {ends}"
            log(f"[STORE] {message}")
            self._tell(message, manifest.scenario)
        with self._changed:
            self._newest.setdefault(manifest.scenario, manifest)
            if self._until is None and not self._refused:
                self._changed.wait(growing(self._row, _FIRST_PAUSE, _LONGEST_PAUSE))
            elif self._until is not None:
                self._refused = True  # there is no time for another attempt

    def _tell(self, message: str, scenario: str) -> None:
        try:
            self._events.write("warning", scenario=scenario, message=message, code="live.failed")
        except CkptsyncError as error:
            log(f"[STORE] {error.message}")
