"""What lies in the inbox of a store: who may put it there, and what is believed of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from support.projects import WITH_STORE, Told, make_project, seal_set

from ckptsync.core.grants import GRANT_NAME, SEALED_SUFFIX, UploadGrant
from ckptsync.core.manifest import Manifest
from ckptsync.core.session import SessionSpec
from ckptsync.core.uploading import upload
from ckptsync.project.config import Project
from ckptsync.project.lineage import SessionRecord
from ckptsync.project.tiers import StoreConfig, Tier
from ckptsync.runners.base import OutputFile, SessionHandle
from ckptsync.sync.store.inbox import Inbox
from ckptsync.sync.store.live import grant_for, is_relayed, why_not_live

HANDLE = SessionHandle("a/s0002", "local")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return make_project(tmp_path / "project", WITH_STORE)


@pytest.fixture
def record(project: Project) -> SessionRecord:
    spec = SessionSpec("a", "a/s0002", "l1", 2, project.run("a").scenarios, live=True)
    return SessionRecord("a/s0002", "a", spec, "local", "started")


def granted(project: Project, record: SessionRecord) -> UploadGrant:
    return UploadGrant.parse(grant_for(project, record, Told())[GRANT_NAME].read_bytes())


def send(
    grant: UploadGrant, folder: Path, manifest: Manifest, *, seal: bytes | None = None, files: bool = True
) -> None:
    """Send a set as a session does."""

    def put(name: str, source: Path | bytes) -> None:
        upload(grant, name, source, deadline=lambda: 1e12)

    for entry in manifest.files if files else ():
        put(entry.path, folder / entry.path)
    own = grant.seal((folder / f"{manifest.stem}.manifest.json").read_bytes())
    put(manifest.stem + SEALED_SUFFIX, own if seal is None else seal)


def beside(project: Project, record: SessionRecord, told: Told | None = None, *here: str) -> dict[str, bytes]:
    """Return what the inbox adds to the outputs that are here, with its bytes."""
    inbox = Inbox(project, record, None, told or Told())  # type: ignore[arg-type]  # none of it is the runner's
    files = inbox.beside([OutputFile(path, 1) for path in here])
    return {file.path: b"".join(inbox.read_output(HANDLE, file)) for file in files}


def test_a_whole_set_lies_where_the_session_had_it(project: Project, record: SessionRecord, tmp_path: Path) -> None:
    grant = granted(project, record)
    whole, part = (seal_set(tmp_path / "tree", steps) for steps in (100, 200))
    send(grant, tmp_path / "tree", whole)
    send(grant, tmp_path / "tree", part, files=False)
    found = beside(project, record)
    folder = f"{record.spec.tree}/checkpoints"
    assert found == {
        f"{folder}/{name}": (tmp_path / "tree" / name).read_bytes()
        for name in (f"{whole.stem}.manifest.json", *(entry.path for entry in whole.files))
    }
    model = f"{folder}/{whole.model.path}"
    assert beside(project, record, None, model).keys() == found.keys() - {model}
    assert granted(project, record) == grant  # the same submission gets the same again


@pytest.mark.parametrize("forged", ["no mark", "another key", "another set", "no manifest"])
def test_what_bears_no_mark_of_the_session_is_left_there(
    project: Project, record: SessionRecord, tmp_path: Path, forged: str
) -> None:
    grant = granted(project, record)
    one, other = (seal_set(tmp_path / "tree", steps) for steps in (100, 200))
    seals = {
        manifest.stem: (tmp_path / "tree" / f"{manifest.stem}.manifest.json").read_bytes() for manifest in (one, other)
    }
    seal = {
        "no mark": seals[one.stem],
        "another key": replace(grant, key="00" * 32).seal(seals[one.stem]),
        "another set": grant.seal(seals[other.stem]),
        "no manifest": grant.seal(b"{}"),
    }[forged]
    send(grant, tmp_path / "tree", one, seal=seal)
    told = Told()
    assert beside(project, record, told) == {}
    assert any("not the session's own" in line for line in told.warnings)


def test_an_empty_clone_has_the_key_where_the_store_is_the_users_own(
    project: Project, record: SessionRecord, tmp_path: Path
) -> None:
    mine = make_project(tmp_path / "mine", WITH_STORE + "mine = true\n")
    made = seal_set(tmp_path / "tree", 100)
    send(granted(mine, record), tmp_path / "tree", made)
    (mine.layout.session("a/s0002") / GRANT_NAME).unlink()
    assert any(path.endswith(".manifest.json") for path in beside(mine, record))
    assert beside(project, record) == {}  # whose configuration does not say so believes no key that lies there
    Inbox(mine, record, None, Told()).clear(ended_by_itself=True)  # type: ignore[arg-type]
    assert [path for path in (tmp_path / "store").rglob("*") if path.is_file()] == []


def test_a_machine_without_the_key_leaves_all_of_it(project: Project, record: SessionRecord, tmp_path: Path) -> None:
    grant = granted(project, record)
    send(grant, tmp_path / "tree", seal_set(tmp_path / "tree", 100))
    (project.layout.session("a/s0002") / GRANT_NAME).unlink()
    told = Told()
    assert beside(project, record, told) == {}
    assert any("only the machine that started it" in line for line in told.warnings)


@pytest.mark.parametrize("ended_by_itself", [True, False])
def test_what_is_of_no_more_use_is_removed(
    project: Project, record: SessionRecord, tmp_path: Path, ended_by_itself: bool
) -> None:
    made = seal_set(tmp_path / "tree", 100)
    for number in (1, 2, 3):
        session = f"a/s000{number}"
        other = replace(record, session=session, spec=replace(record.spec, session=session))
        send(granted(project, other), tmp_path / "tree", made)
    Inbox(project, record, None, Told()).clear(ended_by_itself=ended_by_itself)  # type: ignore[arg-type]
    left = {path.parts[-3] for path in (tmp_path / "store/inbox").rglob("*.sealed")}
    assert left == ({"s0003"} if ended_by_itself else {"s0002", "s0003"})


def test_why_sessions_send_nothing(project: Project) -> None:
    def of(url: str | None) -> Project:
        return replace(project, stores=StoreConfig(Tier("near", url)) if url is not None else None)

    def why(runner: str, url: str | None, **settings: object) -> str | None:
        return why_not_live(replace(of(url), runners={"kaggle": settings}), "a", runner)

    assert why("local", "../store") is None
    assert why("local", "s3://bucket/x") is None
    assert why("kaggle", "s3://bucket/x", internet=True) is None
    assert "no internet" in (why("kaggle", "s3://bucket/x") or "")
    assert "folder" in (why("kaggle", "../store", internet=True) or "")
    assert why("local", "sftp://host/x") is None
    assert "no grants" in (why("kaggle", "sftp://host/x", internet=True) or "")
    assert "another place in every process" in (why("local", "memory://x") or "")
    assert "no store" in (why("local", None) or "")
    relayed = {url for url in ("../store", "s3://b/x", "sftp://host/x", "gs://b/x") if is_relayed(of(url))}
    assert relayed == {"sftp://host/x", "gs://b/x"}
    off = replace(project, stores=StoreConfig(Tier("near", "../store"), live=False))
    assert "switched off" in (why_not_live(off, "a", "local") or "")
