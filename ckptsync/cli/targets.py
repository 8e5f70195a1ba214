"""What a word on the command line means: a path, a run, a session."""

from __future__ import annotations

import os
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..core import names
from ..core.errors import NothingFoundError, UsageError
from ..core.layout import find_root
from ..core.nearest import nearest

# Judging a file outside any project needs no configuration and no ledger, so they are imported where they are used
if TYPE_CHECKING:
    from ..project.config import Project, RunConfig
    from ..project.lineage import SessionRecord


@dataclass(frozen=True)
class RunTarget:
    """A run was meant."""

    project: Project
    run: RunConfig


@dataclass(frozen=True)
class SessionTarget:
    """A session was meant."""

    project: Project
    record: SessionRecord


def project_of(arguments: Namespace) -> Project:
    """Return the project that the command works on.

    Raises:
        NothingFoundError: there is none, or the folder of `--project` is not there.
        ConfigError: its configuration is wrong.
    """
    from ..project.config import load_project

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


def session_of(project: Project, word: str | None) -> SessionRecord:
    """Return the session that is named, or the newest one of the run that is named.

    Raises:
        UsageError: there is no such run.
        NothingFoundError: there is no such session, or none yet.
    """
    from ..sync.ledgers import find_record, newest_record

    if word is not None and word not in project.runs and _is_session(word):
        return find_record(project, word)
    return newest_record(project, project.run(word).name)


def resolve(word: str | None, project: Project | None) -> Path | RunTarget | SessionTarget:
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
        return RunTarget(project, project.run(word))
    if _is_session(word):
        from ..sync.ledgers import find_record

        return SessionTarget(project, find_record(project, word))
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
