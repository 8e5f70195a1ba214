"""--fresh: what stands in the tree gives way to a new lineage, so that `restore --undo` can bring it back."""

from __future__ import annotations

from ..core import fsio, sets
from ..core.layout import TrainingTree
from ..core.sets import SetState
from ..project.config import Project, RunConfig
from ..project.lineage import SessionRecord
from .ledgers import open_ledger
from .receipts import Moved, RestoreReceipt
from .reporting import Reporter
from .treework import head_in_file, start_over


def begin_lineage(project: Project, run: RunConfig, record: SessionRecord, reporter: Reporter) -> None:
    """Move the sets and heads of older lineages to the attic; the ledger has the receipt before anything moves.

    Args:
        project: the project.
        run: the run.
        record: the session that begins the new lineage.
        reporter: receives what was moved.
    """
    tree, ledger = project.tree(run), open_ledger(project)
    with fsio.locked(tree.lock, what=f"the training tree {tree.root}"):
        if not any(entry.event == "fresh" and entry.session == record.session for entry in ledger.entries()):
            scenarios = {name: _giving_way(tree, name, record.spec.lineage) for name in run.scenario_names}
            receipt = RestoreReceipt(run.name, record.session, scenarios)
            ledger.append(
                "fresh",
                run=run.name,
                session=record.session,
                lineage=record.spec.lineage,
                receipt=receipt.to_json(),
            )
        moved = start_over(tree, run.scenario_names, record.spec.lineage)
    if moved:
        reporter.line(f"[CHECKPOINT] moved {len(moved)} checkpoint(s) to {tree.attic}; nothing is deleted")


def _giving_way(tree: TrainingTree, scenario: str, lineage: str) -> Moved:
    stored = [s for s in sets.scan(tree.checkpoints) if s.scenario == scenario and s.state is SetState.SEALED]
    old = [s.manifest for s in stored if s.manifest is not None and s.manifest.lineage != lineage]
    head = head_in_file(tree, scenario)
    return Moved(
        head_from=head if head is not None and head.lineage != lineage else None,
        head_to=None,
        attic=tuple((manifest.stem, manifest.digest) for manifest in old),
    )
