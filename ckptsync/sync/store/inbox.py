"""What a session sends to the store while it trains: the grant that lets it, and taking in what came.

It lies in the store's inbox, apart from the repository, and counts only where the session itself did not bring its
outputs home. Whoever can write into the store could write there, so a set counts when its seal bears the mark of the
key that the session was given. The key stays on the machine that started it; where nobody else can write into the
store, it lies there too, so that an empty clone takes in what a vanished session sent.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from ...core import fsio, names
from ...core.errors import CkptsyncError, ConfigError, NothingFoundError
from ...core.manifest import MAX_MANIFEST_BYTES, Manifest
from ...core.uploading import GRANT_NAME, MAX_GRANT_BYTES, SEALED_SUFFIX, Target, UploadGrant
from ...project.config import Project
from ...project.lineage import SessionRecord
from ...runners.base import OutputFile, Runner, SessionHandle
from ...store import Store, open_store
from ...store.base import GrantingStore
from ..reporting import Reporter
from .stores import store_url

_INBOX, _KEYS = "inbox/", "inbox-keys/"
# The most that S3 takes in one request
_OBJECT_BYTES = 5 << 30
# A session may wait for its machine; and one without a limit has to end some day
_WAITING_SECONDS, _LONGEST_SECONDS = 24 * 3600.0, 7 * 24 * 3600.0

T = TypeVar("T")


def why_not_live(project: Project, run: str, runner: str) -> str | None:
    """Say why the sessions of a run do not send their checkpoints to the store while they train; None: they do."""
    if project.stores is None:
        return "there is no store"
    if project.stores.live is False:
        return "it is switched off"
    url = project.stores.near.url
    scheme = urlsplit(url).scheme if "://" in url else "file"
    if scheme not in ("file", "s3"):
        return f"no checkpoint is sent to the store while a session trains: {scheme}:// has no grants for that"
    if runner == "local":
        return None
    if scheme == "file":
        return f"no checkpoint is sent to the store while a session trains: {runner} does not reach a folder here"
    if not project.runner_settings(runner, run).get("internet", False):
        return f"no checkpoint is sent to the store while a session trains: sessions on {runner} have no internet"
    return None


def grant_for(project: Project, record: SessionRecord, reporter: Reporter) -> dict[str, Path]:
    """Return the input that lets a session send its checkpoints, by name; none when it shall not, or cannot.

    The same submission gets the same grant again. A store that cannot be reached holds no session up.
    """
    if not record.spec.live or project.stores is None:
        return {}
    path = _grant_path(project, record)
    kept = _kept(path, record)
    if kept is None or kept.expires_at <= time.time():
        seconds = min((record.spec.budget_seconds or _LONGEST_SECONDS) + _WAITING_SECONDS, _LONGEST_SECONDS)
        try:
            with closing(_open(project)) as store:
                if not isinstance(store, GrantingStore):
                    return {}
                target = store.grant(_INBOX + _place(record), seconds=seconds, max_bytes=_OBJECT_BYTES)
                expires_at = time.time() + seconds
                grant = UploadGrant(record.session, record.spec.generation, target, expires_at, _OBJECT_BYTES)
                if project.stores.mine:
                    # The key alone: who reads it there can write there anyway
                    store.put(_key_key(record), replace(grant, target=Target("")).to_bytes())
        except CkptsyncError as error:
            reporter.warn(f"{record.session} sends nothing to the store while it trains: {error.message}")
            return {}
        fsio.make_folder(path.parent)
        fsio.write_bytes(path, grant.to_bytes(), private=True)
    return {GRANT_NAME: path}


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
        for prefix in (_INBOX, _KEYS):
            for info in list(store.list(f"{prefix}{run}/")):
                sent_by = info.key.split("/")[2].removeprefix("s").removesuffix(".json")
                if sent_by.isdigit() and int(sent_by) < number + ended_by_itself:
                    store.delete(info.key)

    def _list(self, store: Store) -> dict[str, OutputFile]:
        prefix = _INBOX + _place(self._record)
        there = {info.key[len(prefix) :]: info for info in store.list(prefix)}
        seals = [name for name in there if name.endswith(SEALED_SUFFIX)]
        grant = self._grant(store)
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

    def _grant(self, store: Store) -> UploadGrant | None:
        """Return the grant that the session was given: as it was kept here, else its key as it lies in the store."""
        kept = _kept(_grant_path(self._project, self._record), self._record)
        if kept is not None or self._project.stores is None or not self._project.stores.mine:
            return kept
        try:
            return _parsed(store.read(_key_key(self._record), limit=MAX_GRANT_BYTES).data, self._record)
        except NothingFoundError:
            return None

    def _get(self, key: str, offset: int) -> Iterator[bytes]:
        with closing(_open(self._project)) as store:
            yield from store.get(key, offset)

    def _with_store(self, function: Callable[[Store], T]) -> T | None:
        """Do something with the store; what it cannot do now keeps nothing else from being fetched."""
        if self._project.stores is None:
            return None
        try:
            with closing(_open(self._project)) as store:
                return function(store)
        except NothingFoundError:
            return None
        except CkptsyncError as error:
            self._reporter.warn(f"the inbox of the store: {error.message}")
            return None


def _open(project: Project) -> Store:
    return open_store(store_url(project, None), base=project.root)


def _place(record: SessionRecord) -> str:
    run, number = names.parse_session_id(record.session)
    return f"{run}/s{number:04d}/{record.spec.generation}/"


def _key_key(record: SessionRecord) -> str:
    return f"{_KEYS}{_place(record)[:-1]}.json"


def _grant_path(project: Project, record: SessionRecord) -> Path:
    return project.layout.session(record.session) / GRANT_NAME


def _kept(path: Path, record: SessionRecord) -> UploadGrant | None:
    try:
        return _parsed(fsio.read_bytes(path, limit=MAX_GRANT_BYTES), record)
    except CkptsyncError:
        return None


def _parsed(data: bytes, record: SessionRecord) -> UploadGrant | None:
    """Return a grant if it is this session's, else None."""
    try:
        grant = UploadGrant.parse(data)
    except ConfigError:
        return None
    return grant if (grant.session, grant.generation) == (record.session, record.spec.generation) else None


def _manifest(name: str, seal: bytes | None) -> Manifest | None:
    try:
        manifest = Manifest.parse(seal) if seal is not None else None
    except CkptsyncError:
        return None
    return manifest if manifest is not None and manifest.stem + SEALED_SUFFIX == name else None
