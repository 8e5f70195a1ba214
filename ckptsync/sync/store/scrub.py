"""scrub: look for damage in a store, in its structure or in every byte."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...core import fsio
from ...core.errors import ExitCode, NothingFoundError
from ...project.config import Project
from ...store.repository import Damage
from ...store.repository import scrub as look
from ..reporting import Reporter
from .stores import opened

SCRUB_SCHEMA = "ckptsync.scrub/1"
# So many objects, of up to 8 MB each, are read again at most after a kill
_OBJECTS_BETWEEN_MARKS = 16
_MAX_MARK_BYTES = 1 << 10


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


def scrub(
    project: Project,
    reporter: Reporter,
    *,
    url: str | None = None,
    structure: bool = False,
    part: tuple[int, int] = (1, 1),
) -> ScrubReport:
    """Look for damage in a project's store. What was cut short goes on where it was, or at the first damage before that.

    Args:
        project: the project.
        reporter: receives progress.
        url: another store than the project's.
        structure: only whether everything is there and named as it should be, without reading objects.
        part: of so many parts of the objects read this one; (2, 7) is the second of seven.

    Raises:
        ConfigError: no store is known.
        NothingFoundError: the store holds no repository.
        CorruptError: what says that it is a repository is itself damaged.
    """
    with opened(project, url, reporter=reporter) as repository, reporter.progress("scrubbing", None) as meter:
        mark = project.layout.state / "scrub" / f"{repository.id}-{part[0]}-{part[1]}"
        after = "" if structure else _read_mark(mark)
        if after:
            reporter.line(f"going on behind {after}")
        read: list[str] = []
        damage: list[Damage] = []

        def progress(key: str, size: int) -> None:
            read.append(key)
            meter.advance(size)
            if not damage and len(read) % _OBJECTS_BETWEEN_MARKS == 0:
                fsio.make_folder(mark.parent)
                fsio.write_bytes(mark, key.encode())

        # One by one: what is found stops the mark
        found = look(
            repository, read_bytes=not structure, after=after, part=part, begin=meter.expect, progress=progress
        )
        for item in found:
            damage.append(item)
        if not structure:
            fsio.remove_file(mark)
        return ScrubReport(repository.store.url, tuple(damage), len(read))


def _read_mark(mark: Path) -> str:
    """Return the key behind which a scrub was cut short; nothing where none was."""
    try:
        return fsio.read_bytes(mark, limit=_MAX_MARK_BYTES).decode(errors="replace")
    except NothingFoundError:
        return ""
