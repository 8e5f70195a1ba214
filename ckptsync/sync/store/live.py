"""How a session's checkpoints get to the store while it trains: whether they do, who sends them, and what lets them.

A store that can let somebody write below one prefix and do nothing else gives the session a grant, and the session
sends its sets itself. To any other store a process beside the session sends them, see `relay`. Both ways each seal
bears the mark of a key that belongs to this session. The key stays on the machine that started it; where nobody else
can write into the store, it lies there too, so that an empty clone takes in what a vanished session sent.
"""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from ...core import fsio, names
from ...core.errors import CkptsyncError, ConfigError, NothingFoundError
from ...core.grants import GRANT_NAME, MAX_GRANT_BYTES, Target, UploadGrant
from ...project.config import Project
from ...project.lineage import SessionRecord
from ...store import Store, open_store
from ...store.base import GrantingStore
from ..reporting import Reporter
from .stores import store_url

INBOX, KEYS = "inbox/", "inbox-keys/"
# The most that S3 takes in one request
_OBJECT_BYTES = 5 << 30
# A session may wait for its machine; and one without a limit has to end some day
_WAITING_SECONDS, _LONGEST_SECONDS = 24 * 3600.0, 7 * 24 * 3600.0
_GRANTING = ("file", "s3")
_NOT_SENT = "no checkpoint is sent to the store while a session trains"


def why_not_live(project: Project, run: str, runner: str) -> str | None:
    """Say why the checkpoints of a run do not go to the store while its sessions train; None: they do."""
    if project.stores is None:
        return "there is no store"
    if project.stores.live is False:
        return "it is switched off"
    scheme = _scheme(project.stores.near.url)
    if scheme == "memory":
        return f"{_NOT_SENT}: memory:// is another place in every process"
    if runner == "local":
        return None
    if scheme not in _GRANTING:
        return f"{_NOT_SENT}: {scheme}:// has no grants for that, and nothing of {runner} is reached before its end"
    if scheme == "file":
        return f"{_NOT_SENT}: {runner} does not reach a folder here"
    if not project.runner_settings(runner, run).get("internet", False):
        return f"{_NOT_SENT}: sessions on {runner} have no internet"
    return None


def is_relayed(project: Project) -> bool:
    """Whether what goes to the store while a session trains is sent by a process beside it, for want of grants."""
    return project.stores is not None and _scheme(project.stores.near.url) not in _GRANTING


def _scheme(url: str) -> str:
    return urlsplit(url).scheme if "://" in url else "file"


def grant_for(project: Project, record: SessionRecord, reporter: Reporter) -> dict[str, Path]:
    """Return the input that lets a session send its checkpoints, by name; none when it shall not, or cannot.

    The same submission gets the same grant again. A store that cannot be reached holds no session up. For a session
    whose checkpoints are relayed a grant is kept, too, with a key and no target, and is no input.
    """
    if not record.spec.live or project.stores is None:
        return {}
    path = _grant_path(project, record)
    kept = kept_grant(project, record)
    if kept is None or kept.expires_at <= time.time():
        seconds = min((record.spec.budget_seconds or _LONGEST_SECONDS) + _WAITING_SECONDS, _LONGEST_SECONDS)
        grant = UploadGrant(
            record.session, record.spec.generation, Target(""), time.time() + seconds, max_bytes=_OBJECT_BYTES
        )
        if not record.spec.relayed:
            try:
                with closing(opened(project)) as store:
                    if not isinstance(store, GrantingStore):
                        return {}
                    target = store.grant(prefix(record), seconds=seconds, max_bytes=_OBJECT_BYTES)
                    grant = replace(grant, target=target)
                    put_key(project, record, grant, store)
            except CkptsyncError as error:
                reporter.warn(f"{record.session} sends nothing to the store while it trains: {error.message}")
                return {}
        fsio.make_folder(path.parent)
        fsio.write_bytes(path, grant.to_bytes(), private=True)
    return {} if record.spec.relayed else {GRANT_NAME: path}


def put_key(project: Project, record: SessionRecord, grant: UploadGrant, store: Store) -> None:
    """Put the key of a session's marks beside the inbox, where nobody else can write into the store."""
    if project.stores is not None and project.stores.mine:
        # The key alone: who reads it there can write there anyway
        store.put(_key_name(record), replace(grant, target=Target("")).to_bytes())


def grant_of(project: Project, record: SessionRecord, store: Store) -> UploadGrant | None:
    """Return the grant that a session was given: as it was kept here, else its key as it lies in the store."""
    kept = kept_grant(project, record)
    if kept is not None or project.stores is None or not project.stores.mine:
        return kept
    try:
        return _parsed(store.read(_key_name(record), limit=MAX_GRANT_BYTES).data, record)
    except NothingFoundError:
        return None


def kept_grant(project: Project, record: SessionRecord) -> UploadGrant | None:
    """Return the grant of a session as it was kept on this machine; None where it was not."""
    try:
        return _parsed(fsio.read_bytes(_grant_path(project, record), limit=MAX_GRANT_BYTES), record)
    except CkptsyncError:
        return None


def opened(project: Project) -> Store:
    """Open the store that the checkpoints go to; the caller closes it."""
    return open_store(store_url(project, None), base=project.root)


def prefix(record: SessionRecord) -> str:
    """Return what the keys of all objects begin with that come from a session."""
    return INBOX + _place(record)


def _place(record: SessionRecord) -> str:
    run, number = names.parse_session_id(record.session)
    return f"{run}/s{number:04d}/{record.spec.generation}/"


def _key_name(record: SessionRecord) -> str:
    return f"{KEYS}{_place(record)[:-1]}.json"


def _grant_path(project: Project, record: SessionRecord) -> Path:
    return project.layout.session(record.session) / GRANT_NAME


def _parsed(data: bytes, record: SessionRecord) -> UploadGrant | None:
    """Return a grant if it is this session's, else None."""
    try:
        grant = UploadGrant.parse(data)
    except ConfigError:
        return None
    return grant if (grant.session, grant.generation) == (record.session, record.spec.generation) else None
