"""The project's ledger as the verbs read it."""

from __future__ import annotations

from ..core import sets
from ..core.errors import NothingFoundError, UsageError
from ..project.config import Project
from ..project.ledger import Ledger
from ..project.lineage import SessionRecord, records
from ..project.values import did_you_mean


def open_ledger(project: Project) -> Ledger:
    """Return the ledger of a project; it is made by the first append."""
    return Ledger(project.layout.ledger, project.layout.lock)


def known_records(project: Project, run: str | None = None) -> list[SessionRecord]:
    """Return the sessions of a run, or of all runs."""
    return records(open_ledger(project).entries(), run)


def find_record(project: Project, session: str) -> SessionRecord:
    """Return one session.

    Raises:
        NothingFoundError: the ledger does not know it.
    """
    found = {record.session: record for record in known_records(project)}
    if session not in found:
        raise NothingFoundError(f"no session {session} in {project.layout.ledger}", hint=did_you_mean(session, found))
    return found[session]


def newest_record(project: Project, run: str) -> SessionRecord:
    """Return the newest session of a run.

    Raises:
        NothingFoundError: it never had one.
    """
    found = known_records(project, run)
    if not found:
        raise NothingFoundError(f"run {run} has no session yet", hint=f"ckptsync launch {run}")
    return found[-1]


def pulled_generations(project: Project) -> list[tuple[str, int]]:
    """Return lineage and generation of what came from a store, or was left there by a rollback before that."""
    entries = open_ledger(project).entries()
    return [(entry.fields["lineage"], entry.fields["generation"]) for entry in entries if entry.event == "pulled"]


def known_lineages(project: Project) -> frozenset[str]:
    """Return every lineage that is this project's own: planned by its ledger, adopted, or made in its trees.

    A set in a tree counts as made there when it names no session: sessions are planned by the ledger.
    """
    entries = open_ledger(project).entries()
    planned = {record.spec.lineage for record in records(entries)}
    adopted = {entry.fields["lineage"] for entry in entries if entry.event == "adopted"}
    trees = {run.tree for run in project.runs.values()}
    local = {
        stored.manifest.lineage
        for tree in trees
        for stored in sets.scan(project.layout.tree(tree).checkpoints)
        if stored.manifest is not None and stored.manifest.session is None
    }
    return frozenset(planned | adopted | local)


def check_session_of(run: str, session: str) -> None:
    """Refuse a session of another run.

    Raises:
        UsageError: it belongs to another run.
    """
    if not session.startswith(f"{run}/"):
        raise UsageError(f"{session} is no session of run {run}", hint=f"ckptsync status {run}")
