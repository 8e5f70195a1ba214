"""scrub: look for damage in a store, in its structure or in every byte."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..core.errors import ExitCode
from ..project.config import Project
from ..store.repository import Damage
from ..store.repository import scrub as look
from .reporting import Reporter
from .stores import opened

SCRUB_SCHEMA = "ckptsync.scrub/1"


@dataclass(frozen=True)
class ScrubReport:
    """What a scrub found.

    Args:
        store: the store's URL.
        damage: everything that is not as it should be.
        objects: how many objects were read.
    """

    store: str
    damage: tuple[Damage, ...]
    objects: int

    @property
    def exit_code(self) -> ExitCode:
        """4 where anything is damaged."""
        return ExitCode.CORRUPT if self.damage else ExitCode.OK

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object of the command."""
        return {
            "schema": SCRUB_SCHEMA,
            "store": self.store,
            "damage": [
                {"key": item.key, "problem": item.problem, "versions": list(item.versions)} for item in self.damage
            ],
            "objects": self.objects,
        }


def scrub(project: Project, reporter: Reporter, *, url: str | None = None, structure: bool = False) -> ScrubReport:
    """Look for damage in a project's store. Reads only.

    Args:
        project: the project.
        reporter: receives progress.
        url: another store than the project's.
        structure: only whether everything is there and named as it should be, without reading objects.

    Raises:
        ConfigError: no store is known.
        NothingFoundError: the store holds no repository.
        CorruptError: what says that it is a repository is itself damaged.
    """
    read: list[str] = []
    with opened(project, url) as repository, reporter.progress("scrubbing", None, "objects") as meter:

        def progress(key: str) -> None:
            read.append(key)
            meter.advance(1)

        damage = tuple(look(repository, read_bytes=not structure, progress=progress))
        return ScrubReport(repository.store.url, damage, len(read))
