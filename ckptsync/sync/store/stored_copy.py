"""A copy of a version in staging, to look at it or to take its files out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ...core import fsio
from ...project.config import Project, RunConfig
from ...store.repository import Repository, VersionKey, pull_set
from ..reporting import Reporter
from .stores import opened
from .version_names import find_version


@contextmanager
def stored_copies(
    project: Project,
    run: RunConfig,
    words: Sequence[str],
    reporter: Reporter,
    *,
    scenario: str | None = None,
) -> Iterator[list[Path]]:
    """Yield the model files of copies of versions, as sealed sets, until the end of the block.

    Nothing in them is trusted or executed. What was cut short stays in staging, and goes on there.

    Args:
        project: the project.
        run: the run.
        words: each names a version; see `find_version`.
        reporter: receives progress.
        scenario: only of this one.

    Raises:
        NothingFoundError: there is no such version.
        UsageError: several versions are meant.
        CorruptError: a version is damaged.
        LockedError: another command looks at versions.
        ConfigError: no store is known.
    """
    place = project.layout.staging / "versions"
    with fsio.locked(project.layout.staging / "versions.lock", what="looking at versions of the store"):
        with opened(project, reporter=reporter) as repository:
            versions = [find_version(repository, run, word, scenario) for word in words]
            copies = {version: _copy(repository, version, place, reporter) for version in dict.fromkeys(versions)}
        yield [copies[version] for version in versions]
        fsio.remove_folder(place)


def _copy(repository: Repository, version: VersionKey, place: Path, reporter: Reporter) -> Path:
    folder = place / version.digest.removeprefix("sha256:")[:12]
    size = repository.read(version).manifest.size_bytes
    with reporter.progress(f"reading {version.stem}", size) as meter:
        pulled = pull_set(repository, version, folder, progress=meter.advance)
    return folder / pulled.manifest.model.path
