"""The head of a scenario: which set the next session starts from. Written last, read first."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import fields, fsio, jsonio, names
from .errors import CkptsyncError, NothingFoundError, UsageError
from .findings import Finding, warning
from .layout import TrainingTree
from .manifest import Manifest
from .policy import SCORE, is_best
from .sets import SetState, StoredSet, newest, set_aside

SCHEMA = "ckptsync.head/1"
MAX_HEAD_BYTES = 1 << 16


@dataclass(frozen=True)
class Best:
    """The best set so far.

    Args:
        stem: its stem.
        digest: its manifest's digest.
        score: what it is best by: the mean reward of the last episodes.
    """

    stem: str
    digest: str
    score: float


def better_of(best: Best | None, manifest: Manifest) -> Best | None:
    """Return the best set so far, now that another one is sealed."""
    score = manifest.metrics.get(SCORE)
    if score is not None and is_best(score, best.score if best is not None else None):
        return Best(manifest.stem, manifest.digest, score)
    return best


@dataclass(frozen=True)
class Head:
    """What a head file says.

    Args:
        scenario: whose head it is.
        stem: the set's stem.
        digest: its manifest's digest.
        lineage: its lineage.
        generation: its generation.
        num_timesteps: its N.
        best: the best set so far, never removed by retention.
    """

    scenario: str
    stem: str
    digest: str
    lineage: str
    generation: int
    num_timesteps: int
    best: Best | None = None

    @classmethod
    def of(cls, manifest: Manifest, best: Best | None = None) -> Head:
        """Make the head that names a set."""
        return cls(
            manifest.scenario,
            manifest.stem,
            manifest.digest,
            manifest.lineage,
            manifest.generation,
            manifest.num_timesteps,
            best,
        )

    def to_json(self) -> dict[str, Any]:
        """Return the head as it stands in its file."""
        best = self.best
        return {
            "schema": SCHEMA,
            "scenario": self.scenario,
            "set": self.stem,
            "digest": self.digest,
            "lineage": self.lineage,
            "generation": self.generation,
            "num_timesteps": self.num_timesteps,
            "best": {"set": best.stem, "digest": best.digest, "score": best.score} if best else None,
        }

    @classmethod
    def from_json(cls, value: Any) -> Head:
        """Parse what `to_json` gave. Raises ValueError when it is anything else."""
        if not isinstance(value, dict):
            raise ValueError("it is no object")
        fields.one_of(value, "schema", (SCHEMA,))
        scenario, num_timesteps = fields.text(value, "scenario"), fields.count(value, "num_timesteps")
        try:
            stem = names.checkpoint_stem(scenario, num_timesteps)
        except UsageError as error:
            raise ValueError(error.message) from None
        fields.one_of(value, "set", (stem,))
        return cls(
            scenario=scenario,
            stem=stem,
            digest=fields.digest(value, "digest"),
            lineage=fields.text(value, "lineage"),
            generation=fields.count(value, "generation"),
            num_timesteps=num_timesteps,
            best=_best(fields.mapping(value, "best")) if value.get("best") is not None else None,
        )


def _best(value: dict[str, Any]) -> Best:
    stem = fields.text(value, "set")
    if names.parse_stem(stem) is None:
        raise ValueError(f"{names.printable(stem)} is no set")
    return Best(stem, fields.digest(value, "digest"), fields.number(value, "score"))


def read_head(tree: TrainingTree, scenario: str) -> Head | None:
    """Read a scenario's head; None when there is none.

    Raises:
        ValueError: the file is damaged.
    """
    try:
        path = tree.head(scenario)
    except UsageError:  # plain files may be called anything; where no head file can have the name, there is none
        return None
    try:
        head = Head.from_json(jsonio.parse(fsio.read_bytes(path, limit=MAX_HEAD_BYTES)))
    except NothingFoundError:
        return None
    except CkptsyncError as error:
        raise ValueError(error.message) from None
    if head.scenario != scenario:
        raise ValueError(f"it is the head of {head.scenario!r}")
    return head


def write_head(tree: TrainingTree, head: Head) -> None:
    """Move a scenario's head in one step."""
    fsio.write_bytes(tree.head(head.scenario), jsonio.pretty(head.to_json()))


def remove_head(tree: TrainingTree, scenario: str) -> None:
    """Take a scenario's head away, so that the next session begins from zero."""
    fsio.remove_file(tree.head(scenario))
    if tree.checkpoints.is_dir():
        fsio.sync_folder(tree.checkpoints)


@dataclass(frozen=True)
class Standing:
    """Where a scenario stands in a tree.

    Args:
        head: the head, when its file is sound and its set is there.
        candidates: sets to start from, best first: the head's, then the others, newest first. Each is
            to be checked before use; the first sound one counts.
        findings: a damaged head, a head whose set is gone, torn and damaged sets.
    """

    head: Head | None
    candidates: tuple[StoredSet, ...]
    findings: tuple[Finding, ...]


def standing(tree: TrainingTree, stored: list[StoredSet], scenario: str) -> Standing:
    """Say where a scenario stands: its head and, in order, the sets that a session may start from.

    Sets newer than a sound head are no candidates: moving the head forward is what `restore` does.

    Args:
        tree: the tree.
        stored: what `scan` found in its `checkpoints`.
        scenario: whose standing.
    """
    findings: list[Finding] = []
    head: Head | None = None
    try:
        head = read_head(tree, scenario)
    except ValueError as error:
        findings.append(warning("head.damaged", names.head_name(scenario), actual=str(error)))
    findings += [s.finding for s in stored if s.scenario == scenario and s.finding is not None]
    candidates = newest(stored, scenario)
    if head is not None:
        at_head = [s for s in candidates if s.manifest is not None and s.manifest.digest == head.digest]
        if not at_head:
            findings.append(warning("head.damaged", names.head_name(scenario), head.stem, "no such sound set"))
        known = head
        older = [
            s
            for s in candidates
            if s not in at_head
            and (s.state is SetState.UNSEALED or s.order <= (known.lineage, known.generation, known.num_timesteps))
        ]
        candidates = at_head + older
        head = head if at_head else None
    return Standing(head, tuple(candidates), tuple(findings))


def set_other_lineages_aside(
    tree: TrainingTree, stored: list[StoredSet], scenario: str, lineage: str
) -> list[StoredSet]:
    """Begin a scenario anew: remove its head, then move its sets to the attic, as far as they are of other lineages.

    Args:
        tree: the tree; the caller holds its lock.
        stored: what it holds.
        scenario: whose sets.
        lineage: what is of this one stays.

    Returns:
        What was moved.
    """
    head = standing(tree, stored, scenario).head
    if head is None or head.lineage != lineage:
        remove_head(tree, scenario)
    others = [
        s
        for s in stored
        if s.scenario == scenario
        and s.state is not SetState.TORN
        and (s.manifest is None or s.manifest.lineage != lineage)
    ]
    for other in others:
        set_aside(other, tree.attic)
    return others


def tree_scenarios(stored: list[StoredSet], folder: Path) -> list[str]:
    """Return every scenario that a folder has sets or a head of, in order."""
    found = {s.scenario for s in stored}
    found |= {n[: -len(names.HEAD_SUFFIX)] for n in fsio.list_names(folder) if n.endswith(names.HEAD_SUFFIX)}
    return sorted(found)
