"""Who can have made what lies among a session's outputs: the session itself, or one that it went on from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..core.findings import Finding, blocker
from ..core.manifest import Manifest
from ..core.sets import SetState, StoredSet
from ..project.config import Project
from ..project.lineage import SessionRecord
from .ledgers import known_records


@dataclass(frozen=True)
class Makers:
    """Who can have made what lies among a session's outputs.

    What was given to a session of another machine is in no ledger here. So in its outputs a set of an earlier
    session of the run counts as well: in a new clone it may be the only copy. It must be what that session can
    have made, or the very set that its own specification names.

    Args:
        record: the session.
        sessions: the run's sessions by id.
    """

    record: SessionRecord
    sessions: Mapping[str, SessionRecord]

    @classmethod
    def of(cls, project: Project, record: SessionRecord) -> Makers:
        """Collect what the ledger knows."""
        return cls(record, {known.session: known for known in known_records(project, record.run)})

    def given(self, manifest: Manifest | None) -> bool:
        """Whether the session was given the set, and nothing is to be done with it."""
        if manifest is None:
            return False
        if not self.record.discovered:
            return manifest.digest in {item["digest"] for item in self.record.inputs}
        known = manifest.session is None or manifest.session in self.sessions
        return manifest.digest not in self._named and not known

    def foreign(self, stored: StoredSet) -> Finding | None:
        """Refuse a set that no session of ours can have made: it would be the head of a chain that it is no part of."""
        manifest = stored.manifest
        if manifest is None or (self.record.discovered and manifest.digest in self._named):
            return None
        maker = self.sessions.get(manifest.session or "") if self.record.discovered else None
        return _foreign(maker or self.record, stored, manifest)

    def findings(self, folder: Path, manifest: Manifest | None) -> tuple[Finding, ...]:
        """Say of a set among the outputs what `restore` says.

        Args:
            folder: where the set lies.
            manifest: its seal; one that the session was given is no output.
        """
        if manifest is None or self.given(manifest):
            return ()
        stored = StoredSet(folder, manifest.stem, manifest.scenario, manifest.num_timesteps, SetState.SEALED, manifest)
        found = self.foreign(stored)
        return (found,) if found is not None else ()

    @property
    def _named(self) -> set[str]:
        return {origin.digest for origin in self.record.spec.heads.values()}


def _foreign(record: SessionRecord, stored: StoredSet, manifest: Manifest) -> Finding | None:
    spec = record.spec
    hint = "the ledger launched the session with other words; the set was made elsewhere"
    if stored.scenario not in {scenario.name for scenario in spec.scenarios}:
        names = [scenario.name for scenario in spec.scenarios]
        return blocker("lineage.foreign", stored.stem, names, stored.scenario, hint)
    expected = {"session": spec.session, "lineage": spec.lineage, "generation": spec.generation}
    actual = {"session": manifest.session, "lineage": manifest.lineage, "generation": manifest.generation}
    if actual != expected:
        return blocker("lineage.foreign", stored.stem, expected, actual, hint)
    origin, told = manifest.resumed_from, spec.heads.get(stored.scenario)
    if origin is not None and origin.session == spec.session:
        return None  # the script began the scenario twice, the second time from the session's own set
    begun = origin.digest if origin is not None else None
    if begun != (told.digest if told is not None else None):
        return blocker("lineage.foreign", stored.stem, told.digest if told is not None else None, begun, hint)
    return None
