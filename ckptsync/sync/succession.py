"""Which set goes on from which, by the sets at hand and the ledger."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ..core.fsio import list_names
from ..core.manifest import Manifest
from ..core.session import SessionSpec
from ..core.sets import StoredSet, scan
from ..project.config import Project, RunConfig
from ..project.lineage import descends
from .ledgers import known_records


@dataclass(frozen=True)
class Succession:
    """Answers whether a set was reached from another one.

    Args:
        known: digest -> manifest of every set at hand, those in the attic included.
        sessions: session -> what it was told.
    """

    known: Mapping[str, Manifest]
    sessions: Mapping[str, SessionSpec]

    @classmethod
    def of(cls, project: Project, run: RunConfig, stored: Iterable[StoredSet]) -> Succession:
        """Collect what is needed for a run; `stored` are the sets at hand outside the attic."""
        attic = project.tree(run).attic
        resting = [s for name in list_names(attic) if (attic / name).is_dir() for s in scan(attic / name)]
        manifests = [s.manifest for s in [*stored, *resting] if s.manifest is not None]
        return cls({m.digest: m for m in manifests}, {r.session: r.spec for r in known_records(project, run.name)})

    def descends(self, newer: Manifest, older: Manifest) -> bool:
        """Whether `newer` is `older` or was reached from it."""
        return descends(newer, older, known=self.known, sessions=self.sessions)
