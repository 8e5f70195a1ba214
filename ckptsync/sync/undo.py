"""undo: take the last restore of a run back, from its receipt and the attic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ..core import fsio, heads, names, sets
from ..core.errors import CorruptError, LockedError, NothingFoundError
from ..core.layout import TrainingTree
from ..project.config import Project, RunConfig
from ..project.ledger import LedgerEntry
from .ledgers import open_ledger
from .receipts import Moved, RestoreReceipt
from .reporting import Reporter
from .treework import head_in_file, remove_exports, renew_exports, sealed


def undo(
    project: Project, run: RunConfig, reporter: Reporter | None = None, *, dry_run: bool = False
) -> RestoreReceipt:
    """Put the heads and sets back that the last restore of a run changed; what it added goes to the attic.

    Args:
        project: the project.
        run: the run.
        reporter: receives what was done.
        dry_run: only look whether it can be done, and return what would be.

    Raises:
        NothingFoundError: there is nothing to undo, or it is undone already.
        LockedError: a head has moved since.
        CorruptError: a set is no longer in the attic; nothing has changed then.
    """
    receipt = last_change(open_ledger(project).entries(), run.name)
    if receipt is None:
        raise NothingFoundError(f"run {run.name} has no restore to undo", hint=f"ckptsync restore {run.name}")
    again = f"ckptsync restore {run.name} --session {receipt.session}"
    if receipt.undone:
        raise NothingFoundError(
            f"the last restore, of {receipt.session}, is undone already; an undo is not undone, it is restored again",
            hint=again,
        )
    tree = project.tree(run)
    with fsio.locked(tree.lock, what=f"the training tree {tree.root}"):
        for name, moved in receipt.scenarios.items():
            _require(tree, name, moved)
        taken_back = replace(receipt, undone=True, exit_code=0)
        if dry_run:
            return taken_back
        for name, moved in receipt.scenarios.items():
            if moved.changed:
                _put_back(tree, name, moved)
        renew_exports(tree)
        open_ledger(project).append("undone", run=run.name, session=receipt.session, receipt=taken_back.to_json())
    if reporter is not None:
        if any(moved.head_to is not None for moved in receipt.scenarios.values()):
            reporter.line(f"[CHECKPOINT] took the restore of {receipt.session} back; '{again}' does it again")
        else:  # `launch --fresh` whose session left nothing
            reporter.line(f"[CHECKPOINT] took the fresh start of {receipt.session} back")
    return taken_back


def last_change(entries: Sequence[LedgerEntry], run: str) -> RestoreReceipt | None:
    """Return the receipt of the last change of the tree, as undone where it was; None without any.

    The restore of a session that began a new lineage counts from before `--fresh` on, for "nothing" is
    not what the user had.
    """
    given_way = {
        entry.session: RestoreReceipt.from_json(entry.fields["receipt"])
        for entry in entries
        if entry.run == run and entry.event == "fresh" and "receipt" in entry.fields
    }
    for entry in reversed(entries):
        if entry.run == run and entry.event in ("restoring", "restored", "undone", "fresh"):
            if "receipt" not in entry.fields:
                continue
            receipt = RestoreReceipt.from_json(entry.fields["receipt"])
            if entry.event == "undone":
                return receipt
            if entry.event != "fresh" and entry.session in given_way:
                receipt = _from_before(receipt, given_way[entry.session])
            if any(moved.changed for moved in receipt.scenarios.values()):
                return receipt
    return None


def _from_before(receipt: RestoreReceipt, fresh: RestoreReceipt) -> RestoreReceipt:
    """Join the receipt of a new lineage's first restore with what gave way to that lineage."""
    scenarios = dict(fresh.scenarios)
    for name, moved in receipt.scenarios.items():
        before = fresh.scenarios.get(name)
        if before is not None and moved.head_from is None:
            moved = replace(moved, head_from=before.head_from, attic=(*before.attic, *moved.attic))
        scenarios[name] = moved
    return replace(receipt, scenarios=scenarios)


def _require(tree: TrainingTree, scenario: str, moved: Moved) -> None:
    now = head_in_file(tree, scenario)
    known = [head.digest for head in (moved.head_from, moved.head_to) if head is not None]
    if now is not None and now.digest not in known:
        raise LockedError(
            f"the head of {scenario} is {now.stem}, which the last restore did not put there",
            hint="training went on from it; 'ckptsync restore --session ...' chooses another state on purpose",
        )
    for stem, digest in moved.attic:
        if not any(_holds(place, stem, digest) for place in (tree.checkpoints, sets.attic_folder(tree.attic, digest))):
            raise CorruptError(f"{stem} is no longer in {sets.attic_folder(tree.attic, digest)}; nothing was changed")


def _holds(folder: Path, stem: str, digest: str) -> bool:
    stored = sets.find(folder, stem)
    return stored is not None and stored.manifest is not None and stored.manifest.digest == digest


def _put_back(tree: TrainingTree, scenario: str, moved: Moved) -> None:
    for stem, digest in moved.attic:
        here = sets.find(tree.checkpoints, stem)
        if _holds(tree.checkpoints, stem, digest):
            continue
        if here is not None:
            sets.set_aside(here, tree.attic)
        folder = sets.attic_folder(tree.attic, digest)
        sets.copy_set(folder, sets.read_manifest(folder / (stem + names.MANIFEST_SUFFIX)), tree.checkpoints)
    if moved.head_from is not None:
        heads.write_head(tree, moved.head_from)
    else:
        heads.remove_head(tree, scenario)
    present = sealed(sets.scan(tree.checkpoints), scenario)
    before = {digest for _, digest in moved.attic}
    gone = [present[digest] for _, digest in moved.added if digest in present and digest not in before]
    for stored in gone:
        sets.set_aside(stored, tree.attic)
    remove_exports(tree, scenario, {s.manifest.model.digest: s.manifest for s in gone if s.manifest is not None})
