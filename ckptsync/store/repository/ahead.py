"""Reading ahead of a claim: what a push is compared with comes while the claim is written and looked for.

What is read without a claim may be removed before it is held. A version that a head names is never removed, so what
the head named is there as long as the head has not moved since: that is looked at again under the claim, beside the
sending, and before anything refers to what was read.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

from ...core.errors import CorruptError, NothingFoundError
from .refs import StoreHead, read_head
from .repository import Repository
from .versions import Version


class Line(NamedTuple):
    """Whose versions follow each other.

    Args:
        run: the run.
        scenario: the scenario.
    """

    run: str
    scenario: str


class Ahead:
    """Reads the head of a line and the version that it names, in the background.

    Args:
        repository: where.
        line: whose head.
    """

    def __init__(self, repository: Repository, line: Line) -> None:
        self._repository = repository
        self._line = line
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="ckptsync-ahead")
        self._found = self._pool.submit(self._read)
        self._again: Future[StoreHead | None] | None = None

    def confirm(self) -> None:
        """Look at the head again; to be called when the claim is held."""
        self._again = self._pool.submit(read_head, self._repository, *self._line)

    def found(self) -> tuple[StoreHead | None, Version | None]:
        """Return the head and its version, which is None where it cannot be read.

        Raises:
            CorruptError: the head is damaged.
        """
        return self._found.result()

    def holds(self) -> bool:
        """Whether the head is still what it was when it was read first. Raises as `found` does."""
        return self._again is not None and self._again.result() == self.found()[0]

    def close(self) -> None:
        """Wait for nothing that is not needed any more."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _read(self) -> tuple[StoreHead | None, Version | None]:
        head = read_head(self._repository, *self._line)
        return head, version_of(self._repository, head)


def version_of(repository: Repository, head: StoreHead | None) -> Version | None:
    """Read the version that a head names; None where there is none, or nobody can read it."""
    try:
        return repository.read(head.version) if head is not None else None
    except (NothingFoundError, CorruptError):
        return None
