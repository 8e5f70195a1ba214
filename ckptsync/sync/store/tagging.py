"""tag: give a version in a store a name, under which it is kept, or take one away."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ...core import names
from ...core.errors import CorruptError, NothingFoundError, UsageError
from ...project.config import Project, RunConfig
from ...store.repository import Repository, VersionKey, has_tag, read_tag, remove_tag, set_tag
from ..reporting import NULL_REPORTER, Reporter
from .stores import opened
from .version_names import check_tag, find_version, tag_named

TAG_SCHEMA = "ckptsync.tag/1"


@dataclass(frozen=True)
class TagReport:
    """What became of a tag.

    Args:
        store: the store's URL.
        run: the run.
        tag: the name.
        version: what it names now, or named before it was removed; None where it was damaged, so that nobody knows.
        scenario: whose tag it is.
        before: what it named before, where that was another version.
        removed: it names nothing any more.
        dry_run: nothing was changed.
    """

    store: str
    run: str
    tag: str
    version: VersionKey | None
    scenario: str
    before: VersionKey | None = None
    removed: bool = False
    dry_run: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object of the command."""
        return {
            "schema": TAG_SCHEMA,
            "store": self.store,
            "run": self.run,
            "scenario": self.scenario,
            "tag": self.tag,
            "set": self.version.stem if self.version is not None else None,
            "digest": self.version.digest if self.version is not None else None,
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
    reporter: Reporter = NULL_REPORTER,
    move: bool = False,
    dry_run: bool = False,
) -> TagReport:
    """Give a version a name; nothing happens when it has it already. With `move` a damaged tag is made anew.

    Args:
        project: the project.
        run: the run.
        name: the name.
        word: names the version; see `find_version`.
        scenario: only of this one.
        url: another store than the project's.
        reporter: is told when a server goes on failing.
        move: take the name away from another version.
        dry_run: only say what would be done.

    Raises:
        NothingFoundError: there is no such version.
        UsageError: the name is taken or means something else, or the word means several versions.
        ConfigError: no store is known.
    """
    check_tag(name)
    with opened(project, url, reporter=reporter) as repository:
        version = find_version(repository, run, word, scenario)
        before, move = _before(repository, version, name, move)
        if before is not None and before != version and not move:
            raise UsageError(
                f"the tag {names.printable(name)} is that of {before.stem} already",
                hint="choose another name, or --move",
            )
        if not dry_run and before != version:
            set_tag(repository, version, name, move=move)
        other = before if before != version else None
        return TagReport(repository.store.url, run.name, name, version, version.scenario, other, dry_run=dry_run)


def _before(repository: Repository, version: VersionKey, name: str, move: bool) -> tuple[VersionKey | None, bool]:
    """Return what a tag names and whether it may be taken from there; a damaged one names nothing."""
    try:
        tagged = tag_named(repository, version.run, version.scenario, name)
    except CorruptError:
        if not move:
            raise
        return None, True
    return (tagged.version if tagged is not None else None), move


def untag(
    project: Project,
    run: RunConfig,
    name: str,
    *,
    scenario: str | None = None,
    url: str | None = None,
    reporter: Reporter = NULL_REPORTER,
    dry_run: bool = False,
) -> TagReport:
    """Take a name away; the version stays until `prune` lets it go.

    Raises:
        NothingFoundError: there is no such tag.
        UsageError: several scenarios have one.
        ConfigError: no store is known.
    """
    check_tag(name)
    with opened(project, url, reporter=reporter) as repository:
        lines = run.scenario_names if scenario is None else (scenario,)
        found = [line for line in lines if has_tag(repository, run.name, line, name)]
        if not found:
            raise NothingFoundError(
                f"{run.name} has no tag {names.printable(name)} in {repository.store.url}",
                hint=f"ckptsync ls {run.name} --store",
            )
        if len(found) > 1:
            raise UsageError(f"{names.printable(name)} is a tag of {', '.join(found)}", hint="--scenario NAME")
        try:
            version = read_tag(repository, run.name, found[0], name).version
        except CorruptError:
            version = None  # it can be taken away all the same
        if not dry_run:
            remove_tag(repository, run.name, found[0], name)
        return TagReport(repository.store.url, run.name, name, version, found[0], removed=True, dry_run=dry_run)
