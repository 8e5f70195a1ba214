"""Lay the training tree of a session from the packs that it was given.

A session that was promised a checkpoint gets exactly that one or does not begin: a start from zero when a
checkpoint was expected would throw away everything before, and nobody would notice for days.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ..core import fsio, heads, names, pack, sets
from ..core.errors import CorruptError, NothingFoundError
from ..core.layout import TrainingTree
from ..core.manifest import Manifest, ManifestError
from ..core.policy import SCORE
from ..core.session import SessionSpec

# Services mount inputs some folders deep, and a mount beside them may hold a hundred thousand files
_MAX_DEPTH = 5


@dataclass(frozen=True)
class Received:
    """A set that came in a pack.

    Args:
        pack: the pack.
        folder: where it was unpacked to.
        manifest: its manifest; the pack holds exactly the files that it names, but segments that another pack holds.
    """

    pack: Path
    folder: Path
    manifest: Manifest


def lay_tree(spec: SessionSpec, inputs: Path, tree: TrainingTree) -> list[Manifest]:
    """Lay the promised heads into the tree, and with each what else came for its scenario (the best set).

    Files appear in the order of N with rising times, so that a script finds the newest by either.

    Args:
        spec: what the session is told; without heads nothing is laid.
        inputs: the folder that is searched for packs.
        tree: the session's tree; the caller holds its lock.

    Returns:
        The manifests that were laid, in the order of N.

    Raises:
        NothingFoundError: a promised head is not among the inputs.
        CorruptError: a pack is damaged or holds anything else than one sealed set, or no pack holds a segment.
    """
    if not spec.heads:
        return []
    incoming = tree.root.parent / f".{tree.root.name}.incoming"
    fsio.remove_folder(incoming)
    try:
        paths = find_packs(inputs)
        received = [_receive(path, incoming / f"{number:04d}") for number, path in enumerate(paths)]
        chosen = _choose(spec, inputs, received)
        _complete(chosen, received)
        _lay(chosen, tree)
    finally:
        fsio.remove_folder(incoming)
    for scenario, origin in spec.heads.items():
        laid = [item.manifest for item in chosen if item.manifest.scenario == scenario]
        head = next(manifest for manifest in laid if manifest.digest == origin.digest)
        heads.write_head(tree, heads.Head.of(head, _best(laid)))
    return [item.manifest for item in chosen]


def find_packs(inputs: Path) -> list[Path]:
    """Return the packs below a folder: those of the highest level that holds any.

    All packs of a session lie together, so nothing deeper is searched once they are found. A file of the same
    suffix that is no pack belongs to somebody else.
    """
    level = [inputs]
    for _ in range(_MAX_DEPTH):
        found: list[Path] = []
        deeper: list[Path] = []
        for folder in level:
            if not folder.is_dir():
                continue
            with os.scandir(folder) as entries:  # knows what is a folder without asking a slow mount for each name
                for entry in entries:
                    if entry.is_dir():
                        deeper.append(Path(entry.path))
                    elif entry.name.endswith(pack.PACK_SUFFIX) and pack.is_pack(Path(entry.path)):
                        found.append(Path(entry.path))
        if found:
            return sorted(found)
        level = sorted(deeper)
    return []


def _receive(path: Path, folder: Path) -> Received:
    index = pack.read_index(path)
    seals = [member.name for member in index.members if member.name.endswith(names.MANIFEST_SUFFIX)]
    if len(seals) != 1:
        raise CorruptError(f"{path} must hold one manifest, found {len(seals)}")
    pack.unpack(path, folder)
    try:
        manifest = sets.read_manifest(folder / seals[0])
    except ManifestError as error:
        raise CorruptError(f"{path}: {error}", hint="launch the session again") from None
    promised = {(entry.path, entry.size_bytes, entry.digest) for entry in manifest.files}
    held = {(m.name, m.size_bytes, m.digest) for m in index.members if m.name != seals[0]}
    elsewhere = {(entry.path, entry.size_bytes, entry.digest) for entry in manifest.segments} - held
    if promised != held | elsewhere:
        differing = ", ".join(sorted({names.printable(name) for name, _, _ in promised ^ (held | elsewhere)}))
        raise CorruptError(f"{path} holds other files than its manifest names: {differing}")
    return Received(path, folder, manifest)


def _complete(chosen: list[Received], received: list[Received]) -> None:
    """Give each set the segments that only another set's pack holds."""
    held = {
        entry: item.folder
        for item in received
        for entry in item.manifest.segments
        if (item.folder / entry.path).exists()
    }
    for item in chosen:
        for entry in item.manifest.segments:
            if entry not in held:
                raise CorruptError(
                    f"{item.pack} lacks {entry.path}, and no other pack holds it", hint="launch the session again"
                )
            sets.give_second_name(held[entry], entry.path, item.folder)


def _choose(spec: SessionSpec, inputs: Path, received: Iterable[Received]) -> list[Received]:
    # The same pack may be mounted at two places
    by_digest = {item.manifest.digest: item for item in received}
    chosen: list[Received] = []
    for scenario, origin in spec.heads.items():
        head = by_digest.get(origin.digest)
        if head is None or head.manifest.scenario != scenario:
            present = ", ".join(sorted(item.manifest.stem for item in by_digest.values())) or "no pack at all"
            raise NothingFoundError(
                f"scenario {scenario} must go on from num_timesteps {origin.num_timesteps} ({origin.digest}), "
                f"and that checkpoint is not in {inputs}; found: {present}. Nothing is started from zero in its place",
                hint="launch the session again; 'ckptsync launch --fresh' begins from zero on purpose",
            )
        chosen.append(head)
        chosen += [item for item in by_digest.values() if _belongs(item.manifest, head.manifest)]
    return sorted(chosen, key=lambda item: item.manifest.num_timesteps)


def _belongs(manifest: Manifest, head: Manifest) -> bool:
    # A set beyond the head would be taken for the newest by a script that looks for the highest N
    return (
        manifest.scenario == head.scenario
        and manifest.lineage == head.lineage
        and manifest.num_timesteps < head.num_timesteps
    )


def _lay(chosen: list[Received], tree: TrainingTree) -> None:
    begin = time.time() - len(chosen)
    for position, item in enumerate(chosen):
        # The pack's digests are checked and equal the manifest's, so a second name is as good as a second copy
        sets.copy_set(item.folder, item.manifest, tree.checkpoints, link=True)
        seal = item.manifest.stem + names.MANIFEST_SUFFIX
        for name in [*(entry.path for entry in item.manifest.members), seal]:
            os.utime(tree.checkpoints / name, (begin + position, begin + position))


def _best(laid: list[Manifest]) -> heads.Best | None:
    scored = [manifest for manifest in laid if SCORE in manifest.metrics]
    best = max(scored, key=lambda manifest: manifest.metrics[SCORE], default=None)
    return heads.Best(best.stem, best.digest, best.metrics[SCORE]) if best else None
