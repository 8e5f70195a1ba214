"""What a word on the command line means: a path, a run, a session."""

from __future__ import annotations

import os
from argparse import Namespace
from pathlib import Path

from ..core import names
from ..core.errors import NothingFoundError, UsageError
from ..project.config import Project, RunConfig, find_root, load_project
from ..project.ledger import Ledger
from ..project.lineage import SessionRecord, records
from .parser import nearest


def project_of(arguments: Namespace) -> Project:
    """Return the project that the command works on.

    Raises:
        NothingFoundError: there is none, or the folder of `--project` is not there.
        ConfigError: its configuration is wrong.
    """
    if arguments.project is None:
        return load_project()
    folder = Path(arguments.project)
    if not folder.is_dir():
        raise NothingFoundError(f"--project: there is no folder {names.printable(arguments.project)}")
    return load_project(folder)


def project_or_none(arguments: Namespace) -> Project | None:
    """Return the project, or None outside any; for commands that work there too."""
    if arguments.project is None and find_root(Path.cwd()) is None:
        return None
    return project_of(arguments)


def sessions_of(project: Project, run: RunConfig | None) -> list[SessionRecord]:
    """Return the sessions of a run, or of all, in the order of planning."""
    entries = Ledger(project.layout.ledger, project.layout.lock).entries()
    return records(entries, run.name if run else None)


def session_of(project: Project, word: str | None) -> SessionRecord:
    """Return the session that is named, or the newest one of the run that is named.

    Raises:
        UsageError: there is no such run.
        NothingFoundError: there is no such session, or none yet.
    """
    if word is not None and word not in project.runs and _is_session(word):
        found = {record.session: record for record in sessions_of(project, None)}
        if word in found:
            return found[word]
        raise NothingFoundError(f"there is no session {word}", hint="'ckptsync status' lists the sessions")
    run = project.run(word)
    newest = next(reversed(sessions_of(project, run)), None)
    if newest is None:
        raise NothingFoundError(f"run {run.name} has no session yet", hint=f"ckptsync launch {run.name} --quick")
    return newest


def resolve(word: str | None, project: Project | None) -> Path | RunConfig | SessionRecord:
    """Return what is meant by PATH|RUN|SESSION; a path that exists counts first, nothing means the only run.

    Raises:
        NothingFoundError: it is none of them.
    """
    if word is not None and os.path.lexists(word):
        return Path(word)
    if project is None:
        if word is None:
            raise NothingFoundError(
                "there is no project here", hint="name a file or folder, or make one: ckptsync init"
            )
        raise NothingFoundError(f"there is no file or folder {names.printable(word)}")
    if word is None or word in project.runs:
        return project.run(word)
    if _is_session(word):
        return session_of(project, word)
    meant = nearest(word, project.runs)
    raise NothingFoundError(
        f"there is no file, folder or run {names.printable(word)}",
        hint=f"did you mean the run {meant}?" if meant else "the runs are: " + ", ".join(project.runs),
    )


def _is_session(word: str) -> bool:
    try:
        names.parse_session_id(word)
    except UsageError:
        return False
    return True
