"""Lay the training tree of a session from what it was given: packs, or the outputs of an earlier session.

A session that was promised a checkpoint gets exactly that one or does not begin: a start from zero when a
checkpoint was expected would throw away everything before, and nobody would notice for days.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from ..core import fsio, heads, names, sets
from ..core.errors import CorruptError, NothingFoundError
from ..core.layout import TrainingTree
from ..core.manifest import FileEntry, Manifest, Origin
from ..core.policy import SCORE
from ..core.session import SessionSpec
from .offers import Offers, search
from .sources import Offer


def lay_tree(spec: SessionSpec, inputs: Path, tree: TrainingTree) -> list[Manifest]:
    """Lay the promised heads into the tree, and with each what else came for its scenario (the best set).

    Files appear in the order of N with rising times, so that a script finds the newest by either.

    Args:
        spec: what the session is told; without heads nothing is laid.
        inputs: the folder that is searched for packs and outputs.
        tree: the session's tree; the caller holds its lock.

    Returns:
        The manifests that were laid, in the order of N.

    Raises:
        NothingFoundError: a promised head is not among the inputs; the message says what is.
        CorruptError: a file of a set that is needed is damaged or missing.
    """
    if not spec.heads:
        return []
    chosen = _choose(spec, inputs, search(spec, inputs))
    incoming = tree.root.parent / f".{tree.root.name}.incoming"
    fsio.remove_folder(incoming)
    try:
        _lay(chosen, _bring(chosen, incoming), tree)
    finally:
        fsio.remove_folder(incoming)
    for scenario, origin in spec.heads.items():
        laid = [offer.manifest for offer in chosen if offer.manifest.scenario == scenario]
        head = next(manifest for manifest in laid if manifest.digest == origin.digest)
        heads.write_head(tree, heads.Head.of(head, _best(laid)))
    return [offer.manifest for offer in chosen]


def _choose(spec: SessionSpec, inputs: Path, offers: Offers) -> list[Offer]:
    chosen: list[Offer] = []
    for scenario, origin in spec.heads.items():
        head = offers.by_digest.get(origin.digest)
        if head is None or head.manifest.scenario != scenario:
            raise _missing(scenario, origin, inputs, offers)
        chosen.append(head)
        chosen += [offer for offer in offers.by_digest.values() if _belongs(offer.manifest, head.manifest)]
    return sorted(chosen, key=lambda offer: offer.manifest.num_timesteps)


def _missing(scenario: str, origin: Origin, inputs: Path, offers: Offers) -> CorruptError | NothingFoundError:
    kind = CorruptError if offers.damaged else NothingFoundError
    lines = [
        f"scenario {scenario} must go on from num_timesteps {origin.num_timesteps} ({origin.digest}), and that "
        f"checkpoint is not in {inputs}. Nothing is started from zero in its place",
        *offers.report(),
    ]
    return kind(
        "\n".join(lines), hint="launch the session again; 'ckptsync launch --fresh' begins from zero on purpose"
    )


def _belongs(manifest: Manifest, head: Manifest) -> bool:
    # A set beyond the head would be taken for the newest by a script that looks for the highest N
    return (
        manifest.scenario == head.scenario
        and manifest.lineage == head.lineage
        and manifest.num_timesteps < head.num_timesteps
    )


def _bring(chosen: list[Offer], incoming: Path) -> list[Path]:
    """Bring each set into a folder of its own, with the segments that came with another one."""
    folders = [incoming / f"{number:04d}" for number in range(len(chosen))]
    held: dict[FileEntry, Path] = {}
    for offer, folder in zip(chosen, folders, strict=True):
        offer.source.bring(offer, folder, held)
        held.update({entry: folder for entry in offer.manifest.segments if (folder / entry.path).exists()})
    for offer, folder in zip(chosen, folders, strict=True):
        for entry in offer.manifest.segments:
            if entry not in held:
                raise CorruptError(
                    f"{offer.where} lacks {entry.path}, and nothing else holds it", hint="launch the session again"
                )
            sets.give_second_name(held[entry], entry.path, folder)
    return folders


def _lay(chosen: list[Offer], folders: list[Path], tree: TrainingTree) -> None:
    begin = time.time() - len(chosen)
    for position, (offer, folder) in enumerate(zip(chosen, folders, strict=True)):
        manifest = offer.manifest
        # The digests were checked as the files came, so a second name is as good as a second copy
        sets.copy_set(folder, manifest, tree.checkpoints, link=True)
        for name in [*(entry.path for entry in manifest.members), manifest.stem + names.MANIFEST_SUFFIX]:
            os.utime(tree.checkpoints / name, (begin + position, begin + position))


def _best(laid: list[Manifest]) -> heads.Best | None:
    scored = [manifest for manifest in laid if SCORE in manifest.metrics]
    best = max(scored, key=lambda manifest: manifest.metrics[SCORE], default=None)
    return heads.Best(best.stem, best.digest, best.metrics[SCORE]) if best else None
