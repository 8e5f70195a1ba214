"""Taking in what a session sent to the store while it trained.

It lies in the store's inbox, apart from the repository, and counts only where the session itself did not bring its
outputs home. Whoever can write into the store could write there, so a set counts when its seal bears the mark of the
key that the session was given; see `live`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from typing import TypeVar

from ...core import names
from ...core.errors import CkptsyncError, NothingFoundError
from ...core.grants import SEALED_SUFFIX
from ...core.manifest import MAX_MANIFEST_BYTES, Manifest
from ...project.config import Project
from ...project.lineage import SessionRecord
from ...runners.base import OutputFile, Runner, SessionHandle
from ...store import Store
from ..reporting import Reporter
from . import live

T = TypeVar("T")


class Inbox:
    """What one session sent, as outputs beside those that its runner has.

    Args:
        project: the project.
        record: the session.
        runner: where its other outputs are read.
        reporter: receives what cannot be used.
    """

    def __init__(self, project: Project, record: SessionRecord, runner: Runner, reporter: Reporter) -> None:
        self._project = project
        self._record = record
        self._runner = runner
        self._reporter = reporter
        self._seals: dict[str, bytes] = {}
        self._keys: dict[str, str] = {}

    def beside(self, files: Iterable[OutputFile]) -> list[OutputFile]:
        """Return the files of every whole set that the session sent and that are not among its outputs."""
        here = {file.path for file in files}
        if not self._record.spec.live:
            return []
        found = self._with_store(self._list) or {}
        return [file for path, file in found.items() if path not in here]

    def read_output(self, handle: SessionHandle, file: OutputFile, offset: int = 0) -> Iterator[bytes]:
        """Stream one output from a byte offset on, from the store or the runner; see `Runner`."""
        if file.path in self._seals:
            return iter((self._seals[file.path][offset:],))
        if file.path in self._keys:
            return self._get(self._keys[file.path], offset)
        return self._runner.read_output(handle, file, offset)

    def clear(self, *, ended_by_itself: bool) -> None:
        """Remove what sessions of this run sent that is of no more use: all before this one, and what came home.

        Args:
            ended_by_itself: the session's own outputs are here, and complete.
        """
        if self._record.spec.live:
            self._with_store(lambda store: self._clear(store, ended_by_itself))

    def _clear(self, store: Store, ended_by_itself: bool) -> None:
        run, number = names.parse_session_id(self._record.session)
        for prefix in (live.INBOX, live.KEYS):
            for info in list(store.list(f"{prefix}{run}/")):
                sent_by = info.key.split("/")[2].removeprefix("s").removesuffix(".json")
                if sent_by.isdigit() and int(sent_by) < number + ended_by_itself:
                    store.delete(info.key)

    def _list(self, store: Store) -> dict[str, OutputFile]:
        prefix = live.prefix(self._record)
        there = {info.key[len(prefix) :]: info for info in store.list(prefix)}
        seals = [name for name in there if name.endswith(SEALED_SUFFIX)]
        grant = live.grant_of(self._project, self._record, store)
        if grant is None:
            if seals:
                self._reporter.warn(
                    f"{self._record.session} sent {len(seals)} checkpoint(s) to the store before it was lost; only the "
                    "machine that started it can tell that they are its own. Where nobody else can write into the "
                    "store, mine = true in [store] keeps the keys of later sessions there"
                )
            return {}
        found: dict[str, OutputFile] = {}
        folder = f"{self._record.spec.tree}/checkpoints/"
        for name in seals:
            seal = grant.opened(store.read(prefix + name, limit=MAX_MANIFEST_BYTES).data)
            manifest = _manifest(name, seal)
            if seal is None or manifest is None:
                self._reporter.warn(
                    f"{names.printable(name)} in the store's inbox is not the session's own: left there"
                )
                continue
            if any(entry.path not in there for entry in manifest.files):
                continue  # it was sent in part
            path = folder + manifest.stem + names.MANIFEST_SUFFIX
            self._seals[path] = seal
            found[path] = OutputFile(path, len(seal))
            for entry in manifest.files:
                self._keys[folder + entry.path] = prefix + entry.path
                found[folder + entry.path] = OutputFile(folder + entry.path, entry.size_bytes)
        if found:
            self._reporter.line(
                f"{self._record.session} left no end marker; the store has {len(self._seals)} checkpoint(s) that it sent"
            )
        return found

    def _get(self, key: str, offset: int) -> Iterator[bytes]:
        with closing(live.opened(self._project)) as store:
            yield from store.get(key, offset)

    def _with_store(self, function: Callable[[Store], T]) -> T | None:
        """Do something with the store; what it cannot do now keeps nothing else from being fetched."""
        if self._project.stores is None:
            return None
        try:
            with closing(live.opened(self._project)) as store:
                return function(store)
        except NothingFoundError:
            return None
        except CkptsyncError as error:
            self._reporter.warn(f"the inbox of the store: {error.message}")
            return None


def _manifest(name: str, seal: bytes | None) -> Manifest | None:
    try:
        manifest = Manifest.parse(seal) if seal is not None else None
    except CkptsyncError:
        return None
    return manifest if manifest is not None and manifest.stem + SEALED_SUFFIX == name else None
