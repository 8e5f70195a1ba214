"""fetch: download what a session left, as it came; import its events into the ledger.

A file has its name only when it is whole. What is there already and unchanged is skipped, what was cut
short goes on where it stopped. Names from outside never lead out of the session's results folder.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core import fsio, names, sets
from ..core.errors import CkptsyncError, CorruptError, LimitError, NothingFoundError, StorageError, UnsafePathError
from ..core.layout import EVENTS_NAME, SESSION_INFO_NAME
from ..core.session import read_events, read_session_info
from ..core.units import size_text
from ..project.config import Project
from ..project.lineage import SessionRecord
from ..runners.base import OutputFile, Runner, SessionHandle
from .downloads import Downloads
from .events import sound_event
from .ledgers import find_record, known_records, open_ledger
from .reporting import Meter, Reporter, shown_path
from .runners import runner_for
from .wait import handle_of, note_end

FETCH_SCHEMA = "ckptsync.fetch/1"
MAX_FILES = 100_000
MAX_FILE_BYTES = 1 << 40
_SPARE_BYTES = 64 << 20
_LARGE_BYTES = 16 << 20


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


def fetch(project: Project, session: str, reporter: Reporter, *, dry_run: bool = False) -> OutputSet:
    """Download the outputs of a session, also of one that failed or was killed.

    Args:
        project: the project.
        session: the session's id.
        reporter: receives progress.
        dry_run: only say what would be downloaded.

    Raises:
        NothingFoundError: the session left no file.
        UnsafePathError: a file's name would leave the folder, or two names differ in case only.
        StorageError: there is not enough room.
        LockedError: another process fetches it.
    """
    record = find_record(project, session)
    runner, handle = runner_for(project, record.runner, record.run), handle_of(record)
    if record.state is None and not dry_run:  # the state first: what comes after the end is whole
        status = runner.status(handle)
        if status.state.finished:
            note_end(project, record, status)
            record = find_record(project, session)
    files = checked_outputs(runner.outputs(handle))
    folder = project.layout.results(session)
    place = project.layout.session(session)
    if not files:
        raise NothingFoundError(f"{session} left no file", hint=f"'ckptsync logs {session}' shows what it printed")
    downloads = Downloads(place / "downloads.json", folder)
    known = {file.path for file in files if downloads.holds(file.path, file.size_bytes)} - _damaged(folder)
    wanted = [file for file in files if file.path not in known]
    if dry_run:
        return OutputSet(session, folder, tuple(f.path for f in files), tuple(sorted(known)))
    with fsio.locked(place / "fetch.lock", what=f"the download of {session}"):
        _require_room(folder, wanted)
        received, gone = _receive(runner, handle, record, wanted, folder, downloads, reporter)
        files = [file for file in files if file.path not in gone]
        _import_events(project, record, folder, reporter)
    total = sum(file.size_bytes or 0 for file in files)
    reporter.line(
        f"fetched {len(files)} file(s), {size_text(total)}, into {shown_path(folder)}; {len(known)} were there already"
    )
    return OutputSet(session, folder, tuple(file.path for file in files), tuple(sorted(known)), received)


def checked_outputs(files: list[OutputFile]) -> list[OutputFile]:
    """Return outputs in order, after a look at every name before any of them touches a path.

    Raises:
        UnsafePathError: a name leads out of the folder, two are one where case does not count, or a file
            stands where another needs a folder.
        LimitError: there are too many, or one is too large.
    """
    if len(files) > MAX_FILES:
        raise LimitError(f"the session left {len(files)} files; at most {MAX_FILES} are fetched")
    folded: dict[str, str] = {}
    for file in files:
        names.check_relative(file.path, what="name of an output")
        if file.path.endswith(names.PARTIAL_SUFFIX):
            raise UnsafePathError(f"an output is called {names.printable(file.path)}; such names are for downloads")
        if file.size_bytes is not None and file.size_bytes > MAX_FILE_BYTES:
            raise LimitError(f"{names.printable(file.path)} has {file.size_bytes} bytes; that is too much")
        if (other := folded.setdefault(file.path.casefold(), file.path)) != file.path:
            raise UnsafePathError(
                f"two outputs differ in case only: {names.printable(other)} and {names.printable(file.path)}"
            )
    for path in folded:
        parts = path.split("/")
        if any("/".join(parts[:depth]) in folded for depth in range(1, len(parts))):
            raise UnsafePathError(f"an output is a file and a folder at once: {names.printable(path)}")
    return sorted(files, key=lambda file: file.path)


def _damaged(folder: Path) -> set[str]:
    """Return files of earlier downloads that their own seals disagree with; they are fetched again."""
    again: set[str] = set()
    for checkpoints in sorted(folder.glob("**/checkpoints")) if folder.is_dir() else []:
        hashed: sets.Hashed = {}
        for stored in sets.scan(checkpoints):
            base = checkpoints.relative_to(folder).as_posix()
            if stored.manifest is not None:
                found = sets.check_files(checkpoints, stored.manifest, hashed)
                again |= {f"{base}/{finding.subject}" for finding in found}
            if stored.manifest is None and stored.state is sets.SetState.CORRUPT:
                again.add(f"{base}/{stored.stem}{names.MANIFEST_SUFFIX}")
    return again


def _require_room(folder: Path, wanted: list[OutputFile]) -> None:
    needed = sum(file.size_bytes or 0 for file in wanted)
    free = fsio.free_bytes(folder)
    if wanted and needed + _SPARE_BYTES > free:
        raise StorageError(
            f"{folder} needs {size_text(needed)} and {size_text(_SPARE_BYTES)} to spare; free are {size_text(free)}",
            hint="'ckptsync clean --dry-run' shows what can go",
        )


def _receive(
    runner: Runner,
    handle: SessionHandle,
    record: SessionRecord,
    wanted: list[OutputFile],
    folder: Path,
    downloads: Downloads,
    reporter: Reporter,
) -> tuple[int, set[str]]:
    fsio.make_folder(folder)
    total, gone = 0, set()
    with reporter.progress(f"fetch {record.session}", sum(file.size_bytes or 0 for file in wanted)) as meter:
        try:
            for file in wanted:
                size = _receive_one(runner, handle, file, folder, downloads, meter, ended=record.state is not None)
                if size is None:
                    gone.add(file.path)
                    continue
                total += size
                if size >= _LARGE_BYTES:  # a large file is worth the time of keeping the record at once
                    downloads.save()
        finally:
            downloads.save()
    return total, gone


def _receive_one(
    runner: Runner,
    handle: SessionHandle,
    file: OutputFile,
    folder: Path,
    downloads: Downloads,
    meter: Meter,
    *,
    ended: bool,
) -> int | None:
    target = fsio.safe_join(folder, file.path)
    if target.is_dir():
        raise UnsafePathError(f"{target} is a folder where an output belongs")
    fsio.make_folder(target.parent)

    def read(offset: int) -> Iterator[bytes]:
        meter.advance(offset)
        for chunk in runner.read_output(handle, file, offset):
            meter.advance(len(chunk))
            yield chunk

    limit = file.size_bytes if file.size_bytes is not None and ended else MAX_FILE_BYTES
    # What a session still writes may have changed before the place where the download stopped
    try:
        digest = fsio.receive_file(target, read, limit=limit, resume=ended)
    except NothingFoundError as error:
        if ended:
            raise CorruptError(error.message, hint="run 'ckptsync fetch' again") from None
        return None  # a session that still runs removes old sets, and files that it has only begun
    size = target.stat().st_size
    if ended and file.size_bytes is not None and size != file.size_bytes:
        hint = "run 'ckptsync fetch' again"
        raise CorruptError(f"{target} came with {size} of {file.size_bytes} bytes", hint=hint)
    downloads.add(file.path, digest, final=ended)
    return size


def _import_events(project: Project, record: SessionRecord, folder: Path, reporter: Reporter) -> None:
    """Take the session's own events and its end marker into the ledger, each once."""
    ledger = open_ledger(project)
    with ledger.transaction():
        entries = ledger.entries()
        before = sum(1 for e in entries if e.event == "session" and e.session == record.session)
        try:
            events = [sound_event(event) for event in read_events(folder / EVENTS_NAME)]
        except CorruptError as error:  # its sets carry their own seals; without the events only the table is poorer
            reporter.warn(f"the session's events cannot be read: {error.message}")
            events = []
        new: list[tuple[str, Mapping[str, Any]]] = [("session", {"data": event}) for event in events[before:]]
        info = _session_info(folder)
        fetched = {
            "seconds": info.get("seconds"),
            "cause": info.get("cause"),
            "files": len(fsio.list_names(folder)),
            "exit_code": info.get("exit_code"),
            "error": info.get("error"),
        }
        ledger.append_all([*new, ("fetched", fetched)], run=record.run, session=record.session)


def _session_info(folder: Path) -> Mapping[str, Any]:
    # A session that was killed has no end marker, and a damaged one says no more; what it sealed counts all the same
    try:
        info = read_session_info(folder / SESSION_INFO_NAME)
    except CkptsyncError:
        return {}
    kinds: Mapping[str, type | tuple[type, ...]] = {
        "seconds": (int, float),
        "cause": str,
        "exit_code": int,
        "error": str,
    }
    return {key: info[key] for key, kind in kinds.items() if isinstance(info.get(key), kind)}


def fetched_sessions(project: Project, run: str) -> list[SessionRecord]:
    """Return the sessions of a run whose outputs are here, oldest first."""
    return [r for r in known_records(project, run) if project.layout.results(r.session).is_dir()]
