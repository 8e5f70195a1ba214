"""The store of a project: which one it is, making it ready, listing what it holds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ...core.errors import ConfigError, NothingFoundError
from ...core.layout import CONFIG_NAME
from ...project.config import Project, RunConfig
from ...project.tiers import FAR, NEAR
from ...store import open_store
from ...store.base import NoBucketError
from ...store.repository import (
    Repository,
    VersionKey,
    create_repository,
    list_tags,
    open_repository,
    read_head,
)
from ..reporting import NULL_REPORTER, Reporter

INIT_STORE_SCHEMA = "ckptsync.init-store/1"
LIST_SCHEMA = "ckptsync.store-list/1"


@dataclass(frozen=True)
class InitStoreReport:
    """What became of `init-store`.

    Args:
        url: where the repository is.
        id: the repository's id.
        made: it was made now; else it was there already.
        conditional: its heads move by conditional writes; else under leases.
        limits: in words, what the store cannot do.
        dry_run: nothing was written.
    """

    url: str
    id: str | None
    made: bool
    conditional: bool | None
    limits: tuple[str, ...]
    dry_run: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object of the command."""
        return {
            "schema": INIT_STORE_SCHEMA,
            "url": self.url,
            "id": self.id,
            "made": self.made,
            "conditional": self.conditional,
            "limits": list(self.limits),
            "dry_run": self.dry_run,
        }


@dataclass(frozen=True)
class StoredVersion:
    """One version in a list.

    Args:
        key: what is known of it without reading it.
        head: its scenario's head names it.
        tags: the names that it has.
    """

    key: VersionKey
    head: bool
    tags: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the version as it stands in the JSON object of a list."""
        key = self.key
        return {
            "run": key.run,
            "scenario": key.scenario,
            "set": key.stem,
            "num_timesteps": key.num_timesteps,
            "kind": key.kind,
            "lineage": key.lineage,
            "generation": key.generation,
            "score": key.score,
            "digest": key.digest,
            "head": self.head,
            "tags": list(self.tags),
        }


@dataclass(frozen=True)
class StoreList:
    """What a store holds of a run.

    Args:
        store: the store's URL.
        run: the run.
        versions: by scenario, in order.
    """

    store: str
    run: str
    versions: tuple[StoredVersion, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object of `ls --store`."""
        return {
            "schema": LIST_SCHEMA,
            "store": self.store,
            "run": self.run,
            "versions": [version.to_json() for version in self.versions],
        }


def store_url(project: Project | None, url: str | None) -> str:
    """Return the URL that was given, or the project's.

    Args:
        project: the project.
        url: a URL, or the name of a tier of the project, `near` or `far`; None: the near one.

    Raises:
        ConfigError: there is none.
    """
    tiers = project.stores.tiers if project is not None and project.stores is not None else ()
    named = {tier.name: tier.url for tier in tiers}
    found = named.get(url or NEAR, url)
    if found is None or (found == url and found in (NEAR, FAR)):
        word = "store" if url is None else f"{url} store"
        section = f"[store.{FAR}]" if url == FAR else "[store]"
        raise ConfigError(
            f"no {word} is known", hint=f'name one with --store, or in {CONFIG_NAME}: {section} url = "..."'
        )
    return found


@contextmanager
def opened(
    project: Project,
    url: str | None = None,
    *,
    reporter: Reporter = NULL_REPORTER,
    patience_seconds: float | None = None,
) -> Iterator[Repository]:
    """Open the repository of a project until the end of the block.

    Args:
        project: the project.
        url: another store than the near one; see `store_url`.
        reporter: is told when a server goes on failing.
        patience_seconds: how long a server that fails is tried again; None: the store's own time.

    Raises:
        ConfigError: there is none, or its URL makes no sense.
        NothingFoundError: the store holds no repository.
    """
    store = open_store(
        store_url(project, url), base=project.root, patience_seconds=patience_seconds, tell=reporter.warn
    )
    try:
        try:
            repository = open_repository(store)
        except NothingFoundError as error:
            if url not in (None, store_url(project, None)) and error.hint is not None:
                error.hint = error.hint.replace("init-store", f"init-store {url}")
            raise
        yield repository
    finally:
        store.close()


def init_store(
    project: Project | None, url: str | None = None, *, reporter: Reporter = NULL_REPORTER, dry_run: bool = False
) -> InitStoreReport:
    """Make a repository in a store; nothing happens when one is there.

    Raises:
        ConfigError: no store is known, or its URL makes no sense.
        NoBucketError: there is no such bucket.
    """
    base = project.root if project is not None else None
    store = open_store(store_url(project, url), base=base, tell=reporter.warn)
    limits = store.capabilities.limits()
    try:
        try:
            found: Repository | None = open_repository(store)
        except NoBucketError:
            raise
        except NothingFoundError:
            found = None
        if found is None and dry_run:
            return InitStoreReport(store.url, None, False, None, limits, dry_run)
        made = create_repository(store) if found is None else found
        return InitStoreReport(store.url, made.id, found is None, made.conditional, limits, dry_run)
    finally:
        store.close()


def list_store(
    project: Project, run: RunConfig, url: str | None = None, *, reporter: Reporter = NULL_REPORTER
) -> StoreList:
    """List the versions of a run, in order.

    Raises:
        ConfigError: no store is known.
        NothingFoundError: the store holds no repository.
    """
    with opened(project, url, reporter=reporter) as repository:
        return StoreList(repository.store.url, run.name, tuple(stored_versions(repository, run)))


def stored_versions(repository: Repository, run: RunConfig) -> list[StoredVersion]:
    """Return the versions of a run, by scenario, in order. Raises CorruptError when a head or tag is damaged."""
    found: list[StoredVersion] = []
    for scenario in run.scenario_names:
        head = read_head(repository, run.name, scenario)
        tags: dict[VersionKey, list[str]] = {}
        for tag in list_tags(repository, run.name, scenario):
            tags.setdefault(tag.version, []).append(tag.name)
        versions = sorted(repository.versions(run.name, scenario), key=lambda key: key.order)
        found += [
            StoredVersion(key, head is not None and head.version == key, tuple(tags.get(key, ()))) for key in versions
        ]
    return found
