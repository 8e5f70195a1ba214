"""The relay: a process beside a session on this machine that sends its sealed sets to the store while it trains.

    python -m ckptsync.sync.store.relay PROJECT SESSION LOCK

It is there for stores that cannot grant the session a narrow right of its own: it has the credentials of whoever
started the session, which the session never sees. It looks at what the heads in the session's tree name, sends the
newest set, then the best; what it has not come to when a newer one is sealed is passed over. It lives as long as the
session, and after that until all is sent or what the session left has come home. What it says stands in the session's
log, as what a session says that sends its sets itself.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

from ...core import jsonio, names
from ...core.errors import CkptsyncError, CorruptError, NothingFoundError
from ...core.grants import SEALED_SUFFIX, UploadGrant
from ...core.heads import MAX_HEAD_BYTES, Head
from ...core.layout import SESSION_INFO_NAME
from ...core.manifest import MAX_MANIFEST_BYTES, FileEntry, Manifest
from ...core.patience import Failures, Patience
from ...project.config import Project, load_project
from ...project.lineage import SessionRecord
from ...runners.base import LiveRunner, OutputFile
from ...runners.detached import start_detached
from ...runners.local_folder import LocalFolder
from ...store.base import StreamingStore
from ..ledgers import find_record
from ..reporting import NullReporter, Reporter
from ..runners import runner_for
from ..wait import handle_of
from . import live
from .inbox import Inbox

_LOOK_SECONDS = 1.0
# How long what is not sent yet is tried after the session's end
_ENDING_SECONDS = 600.0
_FIRST_PAUSE, _LONGEST_PAUSE = 10.0, 300.0
# How far a session is whose outputs are not all here yet
_AWAY = ("started", "finished")


class _GoneError(NothingFoundError):
    """A file of the session is not there any more: a newer set has taken its place, or the session has vanished."""


def ensure(project: Project, record: SessionRecord, reporter: Reporter) -> None:
    """Have a relay beside a session that needs one; nothing happens where it runs already."""
    if not record.spec.relayed or live.kept_grant(project, record) is None:
        return
    folder = LocalFolder(project.layout.session(record.session))
    lock = folder.try_lock(folder.relay_lock)
    if lock is None:
        return
    try:
        start_detached(
            __name__,
            [str(project.root.absolute()), record.session],
            lock=lock,
            log=folder.log,
            environment=os.environ,  # the credentials for the store are there, or where it says
        )
    except OSError as error:
        reporter.warn(f"{record.session} sends nothing to the store while it trains: {error}")
    finally:
        os.close(lock)


def main(arguments: list[str]) -> int:
    """Relay the sets of one session; the lock, which says that somebody does, is an inherited descriptor."""
    root, session, lock = arguments
    os.set_inheritable(int(lock), False)
    project = load_project(Path(root))
    record = find_record(project, session)
    grant = live.kept_grant(project, record)
    if grant is None:
        return 1
    try:
        Relay(project, record, grant, say=_say).run()
    except CkptsyncError as error:
        _say(f"{error.message}; nothing more is sent in this session")
        return int(error.exit_code)
    return 0


def _say(text: str) -> None:
    sys.stdout.write(f"[STORE] {text}\n")
    sys.stdout.flush()


class _Warnings(NullReporter):
    """Passes warnings on."""

    def __init__(self, say: Callable[[str], object]) -> None:
        self._say = say

    def warn(self, text: str) -> None:
        """Say what people should look at."""
        self._say(text)


class Relay:
    """Sends the sets of one session until it has ended.

    Args:
        project: the project.
        record: the session, which was started.
        grant: has the key of its marks.
        say: receives a line of text at a time.
        pause: waits; receives seconds.
        clock: tells the time.
    """

    def __init__(
        self,
        project: Project,
        record: SessionRecord,
        grant: UploadGrant,
        *,
        say: Callable[[str], object],
        pause: Callable[[float], object] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._project = project
        self._record = record
        self._grant = grant
        self._say = say
        self._pause = pause
        self._clock = clock
        runner = runner_for(project, record.runner, record.run)
        if not isinstance(runner, LiveRunner):
            raise ValueError(f"{record.runner} does not show what a session has made before it ends")
        self._runner = runner
        self._handle = handle_of(record)
        self._folder = f"{record.spec.tree}/checkpoints/"
        self._arrived: set[FileEntry] = set()
        self._done: set[str] = set()  # digests of sets that were sent, or are another session's
        self._key_is_there = False

    def run(self) -> None:
        """Send what there is until the session has ended and all is sent, or has come home.

        Raises:
            CkptsyncError: the store takes nothing, and another attempt is of no use.
        """
        failures = Failures(Patience(float("inf"), _FIRST_PAUSE, _LONGEST_PAUSE, clock=self._clock))
        ended_at: float | None = None
        with closing(live.opened(self._project)) as store:
            if not isinstance(store, StreamingStore):
                raise ValueError(f"{store.url} takes no streams")
            while True:
                if ended_at is None and self._has_ended():  # before looking: what comes after it, is all there is
                    ended_at = self._clock()
                if ended_at is not None and self._is_home():
                    self._clear()
                    return
                try:
                    if self._send_next(store):
                        failures.heard()
                        continue
                except CkptsyncError as error:
                    if ended_at is not None and self._is_home():
                        continue
                    wait = failures.pause_after(error)
                    if failures.count == 1:
                        self._say(f"a checkpoint could not be sent to the store: {error.message}; it is tried again")
                    if ended_at is not None and self._clock() + wait > ended_at + _ENDING_SECONDS:
                        raise
                    self._wait(wait, ended=ended_at is not None)
                    continue
                if ended_at is not None:
                    return
                self._pause(_LOOK_SECONDS)

    def _has_ended(self) -> bool:
        return self._runner.status(self._handle).state.finished

    def _is_home(self) -> bool:
        return find_record(self._project, self._record.session).stage not in _AWAY

    def _clear(self) -> None:
        """Remove what was sent after what came home was cleared away."""
        marker = self._project.layout.results(self._record.session) / SESSION_INFO_NAME
        inbox = Inbox(self._project, self._record, self._runner, _Warnings(self._say))
        inbox.clear(ended_by_itself=marker.is_file())

    def _wait(self, seconds: float, *, ended: bool) -> None:
        """Wait before another attempt, but not past the session's end: what it left may come home then."""
        until = self._clock() + seconds
        while (left := until - self._clock()) > 0:
            self._pause(min(left, _LOOK_SECONDS))
            if self._is_home() if ended else self._has_ended():
                return

    def _send_next(self, store: StreamingStore) -> bool:
        """Send the newest set of a scenario, else the best of one; False when there is none to send."""
        found = [head for name in self._record.spec.scenarios if (head := self._head(name.name)) is not None]
        wanted = [(head.stem, head.digest) for head in found]
        wanted += [(head.best.stem, head.best.digest) for head in found if head.best is not None]
        for stem, digest in wanted:
            if digest not in self._done:
                try:
                    self._send(store, stem, digest)
                except (_GoneError, CorruptError):  # what is damaged is judged when it comes home
                    continue
                return True
        return False

    def _head(self, scenario: str) -> Head | None:
        try:
            return Head.from_json(jsonio.parse(self._read(names.head_name(scenario), MAX_HEAD_BYTES)))
        except (ValueError, CkptsyncError):
            return None  # none yet, or none that says anything: its session has to mend it

    def _send(self, store: StreamingStore, stem: str, digest: str) -> None:
        begun, size = self._clock(), 0
        seal = self._read(stem + names.MANIFEST_SUFFIX, MAX_MANIFEST_BYTES)
        manifest = Manifest.parse(seal)
        if manifest.digest != digest:
            raise _GoneError(f"{stem} is another set now")
        if manifest.session == self._record.session:
            if not self._key_is_there:
                live.put_key(self._project, self._record, self._grant, store)
                self._key_is_there = True
            prefix = live.prefix(self._record)
            for entry in manifest.files:
                if entry not in self._arrived:
                    store.put_stream(prefix + entry.path, partial(self._chunks, entry.path))
                    self._arrived.add(entry)
                    size += entry.size_bytes
            store.put(prefix + stem + SEALED_SUFFIX, self._grant.seal(seal))
            self._say(f"Sent {stem} ({size / 1e6:.2f} MB, {self._clock() - begun:.2f} s)")
        self._done.add(digest)

    def _chunks(self, path: str) -> Iterator[bytes]:
        try:
            yield from self._runner.read_output(self._handle, OutputFile(self._folder + path))
        except NothingFoundError as error:
            raise _GoneError(error.message) from None

    def _read(self, path: str, limit: int) -> bytes:
        data = b""
        for chunk in self._chunks(path):
            data += chunk
            if len(data) > limit:
                raise CorruptError(f"{path} of {self._record.session} is larger than {limit} bytes")
        return data


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
