"""copy: bring the versions of a run from one store into another, with its heads and tags."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ...core.errors import NothingFoundError, UsageError
from ...core.units import size_text
from ...project.config import Project, RunConfig
from ...store.repository import Repository, VersionKey, copying, leads, list_tags, move_head, read_head, set_tag
from ..reporting import Reporter
from .stores import opened, stored_versions

COPY_SCHEMA = "ckptsync.copy/1"


@dataclass(frozen=True)
class CopyReport:
    """What a copy did.

    Args:
        source: the URL of the store that was copied from.
        target: the URL of the store that was copied to.
        run: the run.
        copied: versions that were not there, in order.
        skipped: how many were there already.
        sent_bytes: what was sent; None in a dry run.
        heads: scenarios whose head in the target moved.
        tags: names that the target has now and had not.
        dry_run: nothing was sent.
    """

    source: str
    target: str
    run: str
    copied: tuple[VersionKey, ...]
    skipped: int
    sent_bytes: int | None
    heads: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    dry_run: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object of the command."""
        return {
            "schema": COPY_SCHEMA,
            "source": self.source,
            "target": self.target,
            "run": self.run,
            "copied": [{"scenario": key.scenario, "set": key.stem, "digest": key.digest} for key in self.copied],
            "skipped": self.skipped,
            "sent_bytes": self.sent_bytes,
            "heads": list(self.heads),
            "tags": list(self.tags),
            "dry_run": self.dry_run,
        }


def copy(
    project: Project,
    run: RunConfig,
    target_url: str,
    reporter: Reporter,
    *,
    url: str | None = None,
    dry_run: bool = False,
) -> CopyReport:
    """Copy every version of a run that the other store lacks, the oldest first, then heads and tags.

    A run of the same command again completes what was cut short. A head moves as in a push: forward, or back where the
    source was rolled back. A tag that the other store has on another version stays there.

    Args:
        project: the project.
        run: the run.
        target_url: the store to copy to.
        reporter: receives progress.
        url: another store to copy from than the project's.
        dry_run: only say what would be copied.

    Raises:
        NothingFoundError: one of them holds no repository, or the source nothing of this run.
        UsageError: both are the same repository.
        CorruptError: something is damaged in the source; what was copied before is there.
        LockedError: somebody removes things from the other store.
        ConfigError: no store is known.
    """
    with opened(project, url, reporter=reporter) as source, opened(project, target_url, reporter=reporter) as target:
        if source.id == target.id:
            raise UsageError(f"{target.store.url} is the store itself", hint="name another one")
        if not (versions := stored_versions(source, run)):
            raise NothingFoundError(
                f"{source.store.url} has no checkpoint of {run.name}", hint=f"'ckptsync push {run.name}' sends them"
            )
        return copy_between(source, target, run, [item.key for item in versions], reporter, dry_run=dry_run)


def copy_between(
    source: Repository,
    target: Repository,
    run: RunConfig,
    versions: Sequence[VersionKey],
    reporter: Reporter,
    *,
    dry_run: bool = False,
) -> CopyReport:
    """Copy these versions of a run where they are missing, in their order, then heads and tags; see `copy`.

    A head names the newest copy that is no newer than what the source's head names.
    """
    there = {key.key for key in target.versions(run.name)}
    wanted = tuple(key for key in versions if key.key not in there)
    report = CopyReport(
        source.store.url, target.store.url, run.name, wanted, len(versions) - len(wanted), None, dry_run=dry_run
    )
    if dry_run:
        return report
    sent = _send(source, target, wanted, reporter)
    heads = tuple(name for name in run.scenario_names if _follow_head(source, target, run.name, name))
    tags = tuple(tag for name in run.scenario_names for tag in _copy_tags(source, target, run.name, name))
    return CopyReport(report.source, report.target, run.name, wanted, report.skipped, sent, heads, tags)


def _send(source: Repository, target: Repository, wanted: tuple[VersionKey, ...], reporter: Reporter) -> int:
    if not wanted:
        return 0
    sent = 0
    with copying(source, target) as copier, reporter.progress("copying", copier.size_of(wanted)) as meter:
        for key in wanted:
            done = copier.copy(key, progress=meter.advance)
            sent += done.sent_bytes
            reporter.line(f"copied {key.stem}: {size_text(done.sent_bytes)} sent")
    return sent


def _follow_head(source: Repository, target: Repository, run: str, scenario: str) -> bool:
    head, there = read_head(source, run, scenario), read_head(target, run, scenario)
    if head is None or (there is not None and leads(head, there.version.order)):
        return False
    reached = [key for key in target.versions(run, scenario) if key.order <= head.version.order]
    newest = max(reached, key=lambda key: key.order, default=None)
    if newest is None or (there is not None and there.version == newest):
        return False
    move_head(target, there, newest, reason=head.reason)
    return True


def _copy_tags(source: Repository, target: Repository, run: str, scenario: str) -> list[str]:
    there = {tag.name for tag in list_tags(target, run, scenario)}
    copied = {key.key for key in target.versions(run, scenario)}
    found = list_tags(source, run, scenario)
    new = [tag for tag in found if tag.name not in there and tag.version.key in copied]
    for tag in new:
        set_tag(target, tag.version, tag.name)
    return [tag.name for tag in new]
