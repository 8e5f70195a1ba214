"""The receipt of a restore: what was done, and all that an undo needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..core.heads import Head

RECEIPT_SCHEMA = "ckptsync.restore/1"


@dataclass(frozen=True)
class Moved:
    """What was done for one scenario.

    Args:
        head_from: the head before.
        head_to: the head afterwards.
        added: (stem, digest) of sets that came into the tree.
        attic: (stem, digest) of sets that gave way.
        refused: (stem, reason) of sets that were not used.
        fallback: an older set than the newest is used.
        healed: (stem, digest) of damaged sets of the tree that a sound copy replaced; no undo takes that back.
    """

    head_from: Head | None
    head_to: Head | None
    added: tuple[tuple[str, str], ...] = ()
    attic: tuple[tuple[str, str], ...] = ()
    refused: tuple[tuple[str, str], ...] = ()
    fallback: bool = False
    healed: tuple[tuple[str, str], ...] = ()

    @property
    def changed(self) -> bool:
        """Whether the tree stands for another state afterwards."""
        before = self.head_from.digest if self.head_from is not None else None
        after = self.head_to.digest if self.head_to is not None else None
        return bool(self.added or self.attic) or (after is not None and before != after)

    def to_json(self) -> dict[str, Any]:
        """Return the scenario as it stands in the ledger and the JSON outputs."""
        return {
            "head_from": self.head_from.to_json() if self.head_from else None,
            "head_to": self.head_to.to_json() if self.head_to else None,
            "added": [{"set": stem, "digest": digest} for stem, digest in self.added],
            "attic": [{"set": stem, "digest": digest} for stem, digest in self.attic],
            "healed": [{"set": stem, "digest": digest} for stem, digest in self.healed],
            "refused": [{"set": stem, "reason": reason} for stem, reason in self.refused],
            "fallback": self.fallback,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Moved:
        """Parse what `to_json` gave."""
        return cls(
            head_from=Head.from_json(value["head_from"]) if value["head_from"] else None,
            head_to=Head.from_json(value["head_to"]) if value["head_to"] else None,
            added=tuple((item["set"], item["digest"]) for item in value["added"]),
            attic=tuple((item["set"], item["digest"]) for item in value["attic"]),
            healed=tuple((item["set"], item["digest"]) for item in value.get("healed", ())),
            refused=tuple((item["set"], item["reason"]) for item in value["refused"]),
            fallback=value["fallback"],
        )


@dataclass(frozen=True)
class RestoreReceipt:
    """What a restore did.

    Args:
        run: the run.
        session: whose outputs.
        scenarios: scenario -> what was done.
        exit_code: of the command.
        undone: this is the receipt of an undo.
    """

    run: str
    session: str
    scenarios: Mapping[str, Moved]
    exit_code: int = 0
    undone: bool = False

    @property
    def progress(self) -> bool:
        """Whether any head is another one now."""
        return any(
            moved.head_to is not None and (moved.head_from is None or moved.head_from.digest != moved.head_to.digest)
            for moved in self.scenarios.values()
        )

    @property
    def fallback(self) -> bool:
        """Whether an older set than the newest is used anywhere."""
        return any(moved.fallback for moved in self.scenarios.values())

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object of the command; the ledger keeps the same."""
        return {
            "schema": RECEIPT_SCHEMA,
            "exit_code": self.exit_code,
            "run": self.run,
            "session": self.session,
            "undone": self.undone,
            "scenarios": {name: moved.to_json() for name, moved in self.scenarios.items()},
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> RestoreReceipt:
        """Parse what `to_json` gave."""
        scenarios = {name: Moved.from_json(moved) for name, moved in value["scenarios"].items()}
        return cls(value["run"], value["session"], scenarios, value["exit_code"], value["undone"])
