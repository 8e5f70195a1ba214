"""Removing versions, and then the objects that no version needs any more; never while somebody pushes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

from ...core.errors import CorruptError, UsageError
from . import claims, keys
from .claims import PUSH, REMOVE, Claim
from .keys import VersionKey
from .refs import list_heads, list_tags, read_head
from .repository import Repository

Progress = Callable[[int], None]


@dataclass(frozen=True)
class Swept:
    """The objects that a sweep removed, or would remove.

    Args:
        objects: how many objects.
        size_bytes: their bytes.
    """

    objects: int
    size_bytes: int


@contextmanager
def removing(
    repository: Repository, *, wait_seconds: float = 0.0, lease_seconds: float = claims.LEASE_SECONDS
) -> Iterator[Remover]:
    """Remove things, under a claim that excludes pushes. Claims of the dead are swept on the way.

    Raises:
        LockedError: somebody pushes or removes, and is still at it after `wait_seconds`.
    """
    with claims.held(
        repository.store,
        REMOVE,
        (REMOVE, PUSH),
        what="removing",
        wait_seconds=wait_seconds,
        lease_seconds=lease_seconds,
    ) as claim:
        yield Remover(repository, claim)


class Remover:
    """Removes versions and objects; see `removing`.

    Args:
        repository: the repository.
        claim: the claim that is held.
    """

    def __init__(self, repository: Repository, claim: Claim) -> None:
        self._repository = repository
        self._claim = claim

    def kept(self) -> dict[VersionKey, list[str]]:
        """Return the versions that heads and tags name, each with the names: `head`, or those of its tags."""
        named: dict[VersionKey, list[str]] = {}
        for run, scenario in list_heads(self._repository):
            if (head := read_head(self._repository, run, scenario)) is not None:
                named.setdefault(head.version, []).append("head")
        lines = {(key.run, key.scenario) for key in self._repository.versions()}
        for run, scenario in sorted(lines):
            for tag in list_tags(self._repository, run, scenario):
                named.setdefault(tag.version, []).append(tag.name)
        return named

    def remove(self, versions: Sequence[VersionKey]) -> None:
        """Remove versions; their objects stay until `sweep`.

        Raises:
            UsageError: a head or tag names one of them; nothing is removed then.
            CorruptError: a head or tag is damaged, so that nobody knows what it names.
        """
        kept = self.kept()
        for version in versions:
            if version in kept:
                raise UsageError(
                    f"{version.key} is named by {', '.join(kept[version])}", hint="take the name away first"
                )
        for version in versions:
            self._claim.confirm()
            self._repository.store.delete(version.key)

    def sweep(
        self,
        *,
        dry_run: bool = False,
        read: Progress = lambda count: None,
        begin: Progress = lambda size: None,
        removed: Progress = lambda size: None,
    ) -> Swept:
        """Remove the objects that no version needs.

        Args:
            dry_run: only count them.
            read: told how many versions more have been read.
            begin: told once how many bytes will be removed.
            removed: told how many bytes more have been removed.

        Raises:
            CorruptError: a version is damaged, so that nobody knows what it needs; nothing is removed then.
        """
        needed = self._needed(read)
        found = ((info, keys.parse_object(info.key)) for info in self._repository.store.list(keys.OBJECTS))
        # What has no name of ours is somebody else's
        unneeded = [info for info, digest in found if digest is not None and digest not in needed]
        size = sum(info.size_bytes for info in unneeded)
        begin(size)
        for info in () if dry_run else unneeded:
            self._claim.confirm()
            self._repository.store.delete(info.key)
            removed(info.size_bytes)
        return Swept(len(unneeded), size)

    def _needed(self, progress: Progress) -> set[str]:
        needed: set[str] = set()
        repository = self._repository
        with ThreadPoolExecutor(repository.workers) as pool:
            for batch in _batches(repository.versions(), 16 * repository.workers):
                try:
                    for version in pool.map(repository.read, batch):
                        needed.update(version.objects())
                except CorruptError as error:
                    raise CorruptError(
                        f"nothing is removed, for nobody knows what a damaged version needs: {error.message}",
                        hint="'ckptsync scrub' looks for all that is damaged",
                    ) from None
                progress(len(batch))
        return needed


def _batches(found: Iterator[VersionKey], size: int) -> Iterator[list[VersionKey]]:
    batch: list[VersionKey] = []
    for key in found:
        batch.append(key)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
