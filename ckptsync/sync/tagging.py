"""tag: give a version in a store a name, under which it is kept, or take one away."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..core import names
from ..core.errors import NothingFoundError, UsageError
from ..project.config import Project, RunConfig
from ..store.repository import Repository, Tag, VersionKey, list_tags, remove_tag, set_tag
from .stores import opened
from .version_names import check_tag, find_version

TAG_SCHEMA = "ckptsync.tag/1"


@dataclass(frozen=True)
class TagReport:
    """What became of a tag.

    Args:
        store: the store's URL.
        run: the run.
        tag: the name.
        version: what it names now, or named before it was removed.
        before: what it named before, where that was another version.
        removed: it names nothing any more.
        dry_run: nothing was changed.
    """

    store: str
    run: str
    tag: str
    version: VersionKey
    before: VersionKey | None = None
    removed: bool = False
    dry_run: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object of the command."""
        return {
            "schema": TAG_SCHEMA,
            "store": self.store,
            "run": self.run,
            "scenario": self.version.scenario,
            "tag": self.tag,
            "set": self.version.stem,
            "digest": self.version.digest,
            "before": self.before.digest if self.before is not None else None,
            "removed": self.removed,
            "dry_run": self.dry_run,
        }


def tag(
    project: Project,
    run: RunConfig,
    name: str,
    word: str,
    *,
    scenario: str | None = None,
    url: str | None = None,
    move: bool = False,
    dry_run: bool = False,
) -> TagReport:
    """Give a version a name; nothing happens when it has it already.

    Args:
        project: the project.
        run: the run.
        name: the name.
        word: names the version; see `find_version`.
        scenario: only of this one.
        url: another store than the project's.
        move: take the name away from another version.
        dry_run: only say what would be done.

    Raises:
        NothingFoundError: there is no such version.
        UsageError: the name is taken or means something else, or the word means several versions.
        ConfigError: no store is known.
    """
    check_tag(name)
    with opened(project, url) as repository:
        version = find_version(repository, run, word, scenario)
        before = next((t.version for t in _tags(repository, run, name, version.scenario)), None)
        if before is not None and before != version and not move:
            raise UsageError(
                f"the tag {names.printable(name)} is that of {before.stem} already",
                hint="choose another name, or --move",
            )
        if not dry_run and before != version:
            set_tag(repository, version, name, move=move)
        return TagReport(
            repository.store.url, run.name, name, version, before if before != version else None, dry_run=dry_run
        )


def untag(
    project: Project,
    run: RunConfig,
    name: str,
    *,
    scenario: str | None = None,
    url: str | None = None,
    dry_run: bool = False,
) -> TagReport:
    """Take a name away; the version stays until `prune` lets it go.

    Raises:
        NothingFoundError: there is no such tag.
        UsageError: several scenarios have one.
        ConfigError: no store is known.
    """
    with opened(project, url) as repository:
        found = _tags(repository, run, name, scenario)
        if not found:
            raise NothingFoundError(
                f"{run.name} has no tag {names.printable(name)} in {repository.store.url}",
                hint=f"ckptsync ls {run.name} --store",
            )
        if len(found) > 1:
            several = ", ".join(t.version.scenario for t in found)
            raise UsageError(f"{names.printable(name)} is a tag of {several}", hint="--scenario NAME")
        version = found[0].version
        if not dry_run:
            remove_tag(repository, run.name, version.scenario, name)
        return TagReport(repository.store.url, run.name, name, version, removed=True, dry_run=dry_run)


def _tags(repository: Repository, run: RunConfig, name: str, scenario: str | None) -> list[Tag]:
    scenarios = run.scenario_names if scenario is None else (scenario,)
    return [t for line in scenarios for t in list_tags(repository, run.name, line) if t.name == name]
