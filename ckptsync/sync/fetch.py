"""fetch: download what a session left, as it came; import its events into the ledger.

A file has its name only when it is whole. What is there already and unchanged is skipped, what was cut
short goes on where it stopped. Names from outside never lead out of the session's results folder. A service's
list of files is not believed alone: what the session's own seals and heads name has to come too.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..core import fsio, names
from ..core.errors import NothingFoundError, StorageError
from ..core.layout import EVENTS_NAME, SESSION_INFO_NAME, TrainingTree
from ..core.patience import Failures
from ..core.units import size_text
from ..project.config import Project
from ..project.lineage import SessionRecord
from ..runners.base import OutputFile, RemoteRunner, Runner, SessionHandle, SessionState
from .contact import Contact, contact_of
from .downloads import Downloads
from .events import import_events
from .ledgers import find_record, known_records
from .listing import checked_outputs
from .promised import Lack, lacking
from .receiving import Receiver
from .reporting import Reporter, shown_path
from .runners import runner_for
from .selecting import Selection
from .store.inbox import Inbox
from .wait import handle_of, note_end

FETCH_SCHEMA = "ckptsync.fetch/1"
_SPARE_BYTES = 64 << 20
# A service may list what a session left some time after it has ended
_LIST_AGAIN_SECONDS = (1.0, 2.0, 4.0)
_MOST_COMINGS = 3


@dataclass(frozen=True)
class OutputSet:
    """What a session left and where it lies now.

    Args:
        session: the session's id.
        folder: its results folder.
        files: every file, relative to the folder, with `/`.
        skipped: those of them that were there already.
        received_bytes: what was downloaded now.
    """

    session: str
    folder: Path
    files: tuple[str, ...]
    skipped: tuple[str, ...] = ()
    received_bytes: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object of the command."""
        return {
            "schema": FETCH_SCHEMA,
            "exit_code": 0,
            "session": self.session,
            "folder": str(self.folder),
            "files": list(self.files),
            "skipped": list(self.skipped),
            "received_bytes": self.received_bytes,
        }


def fetch(
    project: Project,
    session: str,
    reporter: Reporter,
    *,
    only: Iterable[str] = (),
    dry_run: bool = False,
    sleep: Callable[[float], object] = time.sleep,
) -> OutputSet:
    """Download the outputs of a session, also of one that failed or was killed.

    Args:
        project: the project.
        session: the session's id.
        reporter: receives progress.
        only: what to choose, see `Selection`; a choice is not noted as the session's being fetched.
        dry_run: only say what would be downloaded.
        sleep: waits before another look or attempt.

    Raises:
        NothingFoundError: the session left no file, or none that was chosen.
        UnsafePathError: a file's name would leave the folder, or two names differ in case only.
        StorageError: there is not enough room.
        LockedError: another process fetches it.
        ServiceError: the runner could not be reached for too long; what came stays, and is not fetched again.
    """
    record = find_record(project, session)
    runner, handle = runner_for(project, record.runner, record.run), handle_of(record)
    contact = contact_of(project, record.runner, record.run)
    failures = contact.bearing(contact.fetch_patience, sleep=sleep)
    if record.state is None and not dry_run:  # the state first: what comes after the end is whole
        status = failures.call(lambda: runner.status(handle))
        if status.state.finished:
            note_end(project, record, status)
            record = find_record(project, session)
    selection = Selection(only, record.spec.tree)
    trip = _Fetch(project, record, runner, handle, contact, failures, selection, reporter, sleep)
    if dry_run:
        return trip.foresee()
    with fsio.locked(trip.place / "fetch.lock", what=f"the download of {session}"):
        return trip.run()


@dataclass
class _Fetch:
    """One download of a session's outputs."""

    project: Project
    record: SessionRecord
    runner: Runner
    handle: SessionHandle
    contact: Contact
    failures: Failures
    selection: Selection
    reporter: Reporter
    sleep: Callable[[float], object]
    received_bytes: int = 0
    came: dict[str, list[str]] = field(default_factory=dict)  # path -> digests, once for each time that it came

    def __post_init__(self) -> None:
        session = self.record.session
        self.folder = self.project.layout.results(session)
        self.place = self.project.layout.session(session)
        self.downloads = Downloads(self.place / "downloads.json", self.folder)
        self.ended = self.record.state is not None
        self.remote = isinstance(self.runner, RemoteRunner)
        self.inbox = Inbox(self.project, self.record, self.runner, self.reporter)

    def foresee(self) -> OutputSet:
        """Say what would be downloaded."""
        files = self._list()
        if not files:
            self._refuse_nothing()
        chosen, held = self.selection.of({file.path for file in files}), self._held(files, self._lack())
        return OutputSet(self.record.session, self.folder, tuple(sorted(chosen)), tuple(sorted(held & chosen)))

    def run(self) -> OutputSet:
        """Download until everything is here that was chosen, listed and promised."""
        if self.ended:
            self.downloads.begin_final()
        files, lack = self._list(), self._lack()
        there = self._held(files, lack)
        pauses = iter(_LIST_AGAIN_SECONDS if self.remote and self.ended else ())
        while True:
            while wanted := self._wanted(files, lack):
                self._receive(wanted)
                lack = self._lack()
            absent = self._absent(files, lack)
            pause = next(pauses, None) if absent or not files else None
            if pause is None:
                break
            self.sleep(pause)
            files = self._list()
        chosen = self._here(files)
        if absent and lack.missing:
            self.reporter.warn(
                f"{len(lack.missing)} file(s) that the session's own seals name did not come, "
                f"such as {names.printable(min(lack.missing))}; "
                f"'ckptsync verify {self.record.session}' says which checkpoints are whole"
            )
        whole = self.selection.everything
        if self.ended and whole and self.downloads.drop_stale({file.path for file in files}):
            self.downloads.save()
        if whole or EVENTS_NAME in chosen:
            import_events(self.project, self.record, self.folder, self.reporter, whole=whole)
        if self.ended and whole:  # behind the line that says so: who still sends looks for it, and clears up after that
            self.inbox.clear(ended_by_itself=SESSION_INFO_NAME in chosen)
        skipped = tuple(sorted((there & chosen) - self.came.keys()))
        total = sum(file.size_bytes or 0 for file in files if file.path in chosen)
        self.reporter.line(
            f"fetched {len(chosen)} file(s), {size_text(total)}, into {shown_path(self.folder)}; "
            f"{len(skipped)} were there already"
        )
        return OutputSet(self.record.session, self.folder, tuple(sorted(chosen)), skipped, self.received_bytes)

    def _list(self) -> list[OutputFile]:
        files = checked_outputs(self.failures.call(lambda: self.runner.outputs(self.handle)))
        if self.ended and all(file.path != SESSION_INFO_NAME for file in files):
            files = checked_outputs([*files, *self.inbox.beside(files)])
        if not files and not (self.remote and self.ended):
            self._refuse_nothing()
        return files

    def _refuse_nothing(self) -> None:
        session = self.record.session
        left = "left no file" if self.ended else "still runs, and there is no file of it yet"
        raise NothingFoundError(f"{session} {left}", hint=f"'ckptsync logs {session}' shows what it printed")

    def _lack(self) -> Lack:
        spec = self.record.spec
        scenarios = [scenario.name for scenario in spec.scenarios] if self.ended else []
        return lacking(self.folder, spec.tree, self.downloads.digest, scenarios=scenarios)

    def _held(self, files: Collection[OutputFile], lack: Lack) -> set[str]:
        held = {file.path for file in files if self.downloads.holds(file.path, file.size_bytes)}
        return held - lack.damaged

    def _wanted(self, files: Collection[OutputFile], lack: Lack) -> list[OutputFile]:
        """Return what is chosen and not here, and what came with other bytes than its seal names."""
        paths = {file.path for file in files}
        chosen = self.selection.of(paths) | (lack.missing & paths)
        first = chosen - self._held(files, lack) - self.came.keys()
        again = {path for path in lack.damaged & self.came.keys() if self._may_come_better(path)}
        return [file for file in files if file.path in first | again]

    def _may_come_better(self, path: str) -> bool:
        digests = self.came[path]
        return self.remote and self.ended and len(digests) < _MOST_COMINGS and len(digests) == len(set(digests))

    def _absent(self, files: Collection[OutputFile], lack: Lack) -> set[str]:
        """Return what is promised and not listed."""
        if not self.selection.everything or not self.ended:
            return set()
        paths = {file.path for file in files}
        marker = {SESSION_INFO_NAME} if self.record.state == SessionState.COMPLETE else set()
        return {*lack.missing, *marker} - paths if self.remote else set()

    def _receive(self, wanted: list[OutputFile]) -> None:
        _require_room(self.folder, wanted)
        fsio.make_folder(self.folder)
        total = sum(file.size_bytes or 0 for file in wanted)
        with self.reporter.progress(f"fetch {self.record.session}", total) as meter:
            receiver = Receiver(
                self.inbox,
                self.handle,
                self.folder,
                self.downloads,
                ended=self.ended,
                at_once=self.contact.fetch_at_once,
                failures=self.failures,
                meter=meter,
            )
            received = receiver.receive(wanted)
        self.received_bytes += received.size_bytes
        for file in wanted:
            digest = received.digests.get(file.path)
            self.came.setdefault(file.path, []).extend([digest] if digest is not None else [])

    def _here(self, files: Collection[OutputFile]) -> set[str]:
        """Return what was listed and chosen and is here now."""
        if not files:
            self._refuse_nothing()
        here = {path for path, digests in self.came.items() if digests}
        chosen = self.selection.of({file.path for file in files})
        return {file.path for file in files if file.path in here or self._is_held(file, chosen)}

    def _is_held(self, file: OutputFile, chosen: set[str]) -> bool:
        return file.path in chosen and self.downloads.holds(file.path, file.size_bytes)


def _require_room(folder: Path, wanted: list[OutputFile]) -> None:
    needed = sum(file.size_bytes or 0 for file in wanted)
    free = fsio.free_bytes(folder)
    if wanted and needed + _SPARE_BYTES > free:
        raise StorageError(
            f"{folder} needs {size_text(needed)} and {size_text(_SPARE_BYTES)} to spare; free are {size_text(free)}",
            hint="'ckptsync clean --dry-run' shows what can go",
        )


def fetched_sessions(project: Project, run: str) -> list[SessionRecord]:
    """Return the sessions of a run whose outputs are here, oldest first; a choice without checkpoints does not count."""
    return [record for record in known_records(project, run) if _is_fetched(project, record)]


def _is_fetched(project: Project, record: SessionRecord) -> bool:
    folder = project.layout.results(record.session)
    chosen_only = record.stage in ("planned", "started", "finished")
    return TrainingTree(folder / record.spec.tree).checkpoints.is_dir() if chosen_only else folder.is_dir()
