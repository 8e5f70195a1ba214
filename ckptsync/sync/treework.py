"""Changes to a run's training tree that several verbs make; the caller holds the tree's lock.

Each is safe to repeat: after a crash the same call completes what was begun.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ..core import fsio, heads, metadata, sets
from ..core.layout import TrainingTree
from ..core.manifest import Manifest
from ..core.policy import Retained, to_remove
from ..core.session import SavePolicy
from ..core.sets import SetState, StoredSet


def sealed(stored: Iterable[StoredSet], scenario: str | None = None) -> dict[str, StoredSet]:
    """Return digest -> sealed set, of one scenario or of all."""
    return {
        s.manifest.digest: s
        for s in stored
        if s.state is SetState.SEALED and s.manifest is not None and scenario in (None, s.scenario)
    }


def retained(
    manifests: Iterable[Manifest], policy: SavePolicy, *, head: str | None, best: str | None
) -> tuple[list[Manifest], list[Manifest]]:
    """Divide sets of one scenario and lineage into those that stay and those that give way.

    Args:
        manifests: the sets.
        policy: what to keep.
        head: digest of the head's manifest; it always stays.
        best: digest of the best set's manifest; it always stays.
    """
    known = {manifest.digest: manifest for manifest in manifests}
    # A stem may stand for two sets here, of the tree and of a session; so digests take the place of stems
    items = [Retained.of(manifest, name=digest) for digest, manifest in known.items()]
    gone = set(to_remove(items, policy, keep=[digest for digest in (head, best) if digest is not None]))
    return [m for d, m in known.items() if d not in gone], [m for d, m in known.items() if d in gone]


def head_manifests(tree: TrainingTree, stored: Iterable[StoredSet]) -> dict[str, Manifest]:
    """Return scenario -> manifest of its head, for every scenario of the tree that has a sound one."""
    found = list(stored)
    by_digest = sealed(found)
    result: dict[str, Manifest] = {}
    for scenario in heads.tree_scenarios(found, tree.checkpoints):
        head = heads.standing(tree, found, scenario).head
        manifest = by_digest[head.digest].manifest if head is not None else None
        if manifest is not None:
            result[scenario] = manifest
    return result


def head_in_file(tree: TrainingTree, scenario: str) -> heads.Head | None:
    """Return the head as its file says, whether or not its set is there; None when there is none or it is damaged."""
    try:
        return heads.read_head(tree, scenario)
    except ValueError:
        return None


def renew_exports(tree: TrainingTree) -> None:
    """Write the exported copies (best, final) and the metadata anew from the heads and their sets."""
    stored = sets.scan(tree.checkpoints)
    by_digest = sealed(stored)
    current = head_manifests(tree, stored)
    for scenario, manifest in current.items():
        head = heads.standing(tree, stored, scenario).head
        best = by_digest.get(head.best.digest) if head is not None and head.best is not None else None
        if best is not None and best.manifest is not None:
            for target in tree.best_exports(scenario, only=len(current) == 1):
                fsio.make_folder(target.parent)
                fsio.copy_file(best.model_path, target, digest=best.manifest.model.digest)
        if manifest.kind == "final":
            source = tree.checkpoints / manifest.model.path
            fsio.copy_file(source, tree.final(scenario), digest=manifest.model.digest)
    metadata.write_metadata(tree, current)


def remove_exports(tree: TrainingTree, scenario: str, gone: Mapping[str, Manifest]) -> None:
    """Remove exported copies of sets that gave way; a file that is none of these copies stays.

    Args:
        tree: the tree.
        scenario: whose copies.
        gone: digest of the model file -> its set.
    """
    for target in tree.exports(scenario):
        if target.is_file() and not target.is_symlink() and fsio.sha256_file(target) in gone:
            fsio.remove_file(target)


def start_over(tree: TrainingTree, scenarios: Iterable[str], lineage: str) -> list[StoredSet]:
    """Move every set of other lineages than this one to the attic, and the heads with them.

    Returns:
        What was moved.
    """
    moved: list[StoredSet] = []
    stored = sets.scan(tree.checkpoints)
    for scenario in scenarios:
        old = heads.set_other_lineages_aside(tree, stored, scenario, lineage)
        models = {s.manifest.model.digest: s.manifest for s in old if s.manifest is not None}
        remove_exports(tree, scenario, models)
        moved += old
    if moved:
        metadata.write_metadata(tree, head_manifests(tree, sets.scan(tree.checkpoints)))
    return moved
