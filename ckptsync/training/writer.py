"""Pending set -> sealed set, head, retention, exported copies, metadata.

`write` gets values and functions that fill open files, and touches nothing of the training itself, so
that a thread of its own can call it later.

The order, and what is left when the process dies in between: members and seal (the old head counts),
head (the new one counts), then the removal of old sets, exported copies and metadata, which the next
save does again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Protocol

from ..core import fsio, metadata, names, sets
from ..core.clock import now
from ..core.errors import CorruptError, StorageError
from ..core.heads import Best, Head, better_of, read_head, tree_scenarios, write_head
from ..core.layout import TrainingTree
from ..core.manifest import FileEntry, Manifest, Origin
from ..core.policy import SCORE, is_best
from ..core.readers import ModelReport, read_model
from ..core.session import SavePolicy
from ..core.signature import Signature
from .disk import Room
from .resume import is_sound
from .retention import retain


@dataclass(frozen=True)
class Chain:
    """Where the sets of one scenario in one session belong.

    Args:
        lineage: the chain's id.
        generation: of this session in it.
        session: the session's id, or None outside any session.
        version: the user's word for the task.
        resumed_from: what the session started from; None: from zero.
    """

    lineage: str
    generation: int
    session: str | None = None
    version: str = "1"
    resumed_from: Origin | None = None


@dataclass(frozen=True)
class Member:
    """One file of a set that is about to be written.

    Args:
        role: one of the manifest's ROLES.
        extension: of its name; for the model it is always `zip`.
        write: fills an open binary file.
    """

    role: str
    extension: str
    write: Callable[[BinaryIO], None]

    def name(self, stem: str) -> str:
        """Return the file's name in a set."""
        return names.model_name(stem) if self.role == "model" else names.member_name(stem, self.role, self.extension)


class NewSegment(Protocol):
    """A file of rows that later sets may share."""

    @property
    def start(self) -> int:
        """The first row."""

    @property
    def end(self) -> int:
        """The row behind the last one."""

    def write(self, file: BinaryIO) -> None:
        """Fill an open file from front to back."""


def _nothing(files: Sequence[FileEntry]) -> None:
    """Take no notice."""


@dataclass(frozen=True)
class Draft:
    """A set that is about to be written.

    Args:
        num_timesteps: N.
        members: its files, the model first.
        signature: of the live model; None: what reading the written file says.
        captured: one of the manifest's FIDELITIES.
        reasons: why it is no more than that.
        versions: of Python and the libraries.
        metrics: numbers at this moment.
        segments: in the order of their rows; entries are there already.
        sealed: is told the files of the manifest, once the set is sealed.
    """

    num_timesteps: int
    members: Sequence[Member]
    signature: Signature | None = None
    captured: str = "weights"
    reasons: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    segments: Sequence[FileEntry | NewSegment] = ()
    sealed: Callable[[Sequence[FileEntry]], None] = _nothing


@dataclass(frozen=True)
class Saved:
    """What a save did.

    Args:
        manifest: the sealed set, new or the equal one that was there.
        seconds: how long it took.
        removed: stems that retention removed.
        problem: why the exported copies or the metadata could not be written; None: they are as they should be.
    """

    manifest: Manifest
    seconds: float
    removed: tuple[str, ...]
    problem: str | None = None


class SetKeeper:
    """Writes and keeps the sets of one scenario; the caller holds the tree's lock.

    Args:
        tree: the training tree.
        scenario: whose sets.
        chain: where they belong.
        policy: what to keep.
        parent: the set that the first one follows, or None.
        alone: whether the session has this one scenario only; then `best_model.zip` stands for it.
        room: looks after the disk before each save; None: nobody does.
    """

    def __init__(
        self,
        tree: TrainingTree,
        scenario: str,
        chain: Chain,
        policy: SavePolicy,
        parent: Manifest | None,
        *,
        alone: bool = True,
        room: Room | None = None,
    ) -> None:
        self._tree = tree
        self._folder = tree.checkpoints
        self._scenario = scenario
        self._chain = chain
        self._policy = policy
        self._alone = alone
        self._room = room
        self.latest = parent
        self.best = self._known_best()

    def write(self, draft: Draft, kind: str, *, last_chance: bool = False) -> Saved:
        """Seal a set, move the head to it, and remove what retention lets go.

        Args:
            draft: the set.
            kind: one of the manifest's KINDS.
            last_chance: training ends here, so on a tight disk older sets give way to this one.

        Raises:
            StorageError: it cannot be written, or would not fit; the sets before it are untouched, but for those
                that it would have pushed out.
            CorruptError: what the model wrote is not sound (NaN among the weights); nothing is sealed.
        """
        started = time.monotonic()
        fsio.make_folder(self._folder)
        if self._room is not None:
            beats_best = is_best(draft.metrics.get(SCORE), self.best.score if self.best else None)
            exports = self._exports(best=beats_best, final=kind == "final")
            self._room.make(
                draft.num_timesteps, latest=self.latest, best=self.best, exports=exports, last_chance=last_chance
            )
        manifest = self._standing_equal(draft) or self._seal(draft, kind)
        self.best = better_of(self.best, manifest)
        write_head(self._tree, Head.of(manifest, self.best))
        self.latest = manifest
        removed = retain(
            self._folder, self._scenario, self._chain.lineage, self._policy, latest=self.latest, best=self.best
        )
        is_the_best = self.best is not None and self.best.digest == manifest.digest
        problem = self._export(manifest, self._exports(best=is_the_best, final=kind == "final"))
        return Saved(manifest, time.monotonic() - started, removed, problem)

    def export_final(self) -> str | None:
        """Export the newest set as the final model, at the target; return why that could not be, or None."""
        return self._export(self.latest, [self._tree.final(self._scenario)]) if self.latest is not None else None

    def _known_best(self) -> Best | None:
        try:
            head = read_head(self._tree, self._scenario)
        except ValueError:
            return None  # a damaged head is reported by the choice of the set to start from
        return head.best if head is not None else None

    def _seal(self, draft: Draft, kind: str) -> Manifest:
        stem = names.checkpoint_stem(self._scenario, draft.num_timesteps)
        members = [(member.name(stem), member) for member in draft.members]
        writer = sets.SetWriter(self._folder, stem, [name for name, _ in members])
        try:
            entries = [writer.add(name, member.role, member.write) for name, member in members]
            report = _read_sound(self._folder / names.model_name(stem))
            model = entries[0]
            entries[0] = FileEntry(model.path, model.role, model.size_bytes, model.digest, report.content)
            for segment in draft.segments:
                entries.append(
                    writer.refer(segment)
                    if isinstance(segment, FileEntry)
                    else writer.share(segment.start, segment.end, segment.write)
                )
            manifest = writer.seal(self._manifest(draft, kind, entries, draft.signature or report.signature))
        except BaseException:
            writer.abandon()
            raise
        draft.sealed(manifest.files)
        return manifest

    def _manifest(self, draft: Draft, kind: str, entries: Sequence[FileEntry], signature: Signature) -> Manifest:
        return Manifest(
            scenario=self._scenario,
            num_timesteps=draft.num_timesteps,
            kind=kind,
            files=tuple(entries),
            signature=signature,
            lineage=self._chain.lineage,
            generation=self._chain.generation,
            session=self._chain.session,
            version=self._chain.version,
            parent=self.latest.digest if self.latest else None,
            resumed_from=self._chain.resumed_from,
            captured=draft.captured,
            captured_reasons=draft.reasons,
            versions=draft.versions,
            metrics=draft.metrics,
            created_at=now(),
        )

    def _standing_equal(self, draft: Draft) -> Manifest | None:
        """Return the set of the same N when it holds the same weights; any other makes room."""
        stem = names.checkpoint_stem(self._scenario, draft.num_timesteps)
        standing = next((s for s in sets.scan(self._folder) if s.stem == stem), None)
        if standing is None:
            return None
        manifest = standing.manifest
        sound = manifest is not None and not sets.check_files(self._folder, manifest)
        if sound and manifest is not None and manifest.model.content == self._content(draft):
            return manifest
        sets.set_aside(standing, self._tree.attic)
        return None

    def _content(self, draft: Draft) -> str:
        probe = self._folder / names.temporary_name("probe", str(draft.num_timesteps))
        fsio.write_file(probe, draft.members[0].write)
        try:
            return read_model(probe, own=True).content
        finally:
            fsio.remove_file(probe)

    def _exports(self, *, best: bool, final: bool) -> list[Path]:
        """Return where copies of a set's model are exported to."""
        exports = []
        if best:
            only = self._alone and tree_scenarios(sets.scan(self._folder), self._folder) in ([], [self._scenario])
            exports += self._tree.best_exports(self._scenario, only=only)
        return [*exports, self._tree.final(self._scenario)] if final else exports

    def _export(self, manifest: Manifest, targets: Sequence[Path]) -> str | None:
        try:
            for target in targets:
                fsio.make_folder(target.parent)
                fsio.copy_file(self._folder / manifest.model.path, target, digest=manifest.model.digest)
            self._write_metadata()
        except StorageError as error:
            return error.message  # no reason to call the save failed: the set is sealed, copies can be made again
        return None

    def _write_metadata(self) -> None:
        stored = sets.scan(self._folder)
        by_digest = {s.manifest.digest: s.manifest for s in stored if s.manifest is not None}
        heads: dict[str, Manifest] = {}
        for scenario in tree_scenarios(stored, self._folder):
            try:
                head = read_head(self._tree, scenario)
            except ValueError:
                continue  # another scenario's damaged head is that scenario's matter
            if head is not None and head.digest in by_digest:
                heads[scenario] = by_digest[head.digest]
        metadata.write_metadata(self._tree, heads)


def _read_sound(path: Path) -> ModelReport:
    report = read_model(path, own=True)
    if not is_sound(report):
        found = "; ".join(str(finding) for finding in report.findings)
        raise CorruptError(
            f"{path.name} was written and is not sound: {found}",
            hint="the training has diverged: lower the learning rate and start from an earlier checkpoint",
        )
    return report
