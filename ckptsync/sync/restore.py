"""restore: carry a plan out.

Sets are added, then heads move, then old sets give way. Before the head moves the tree is the old one,
after it the new one. Whatever is cut short is completed by running the same command again: sets that are
there already are left alone.
"""

from __future__ import annotations

from dataclasses import replace

from ..core import fsio, heads, names, sets
from ..core.errors import LockedError, StorageError
from ..core.layout import TrainingTree
from ..core.units import size_text
from ..project.config import Project
from .ledgers import find_record, open_ledger
from .quarantine import copy_to_quarantine
from .receipts import Moved, RestoreReceipt
from .reporting import Reporter
from .restore_plan import RestorePlan, ScenarioPlan, plan_restore
from .treework import head_in_file, renew_exports, sealed
from .undo import undo
from .verdicts import VerdictCache

__all__ = ["RestorePlan", "RestoreReceipt", "ScenarioPlan", "apply", "keep_verdicts", "plan_restore", "undo"]


def apply(project: Project, plan: RestorePlan, reporter: Reporter) -> RestoreReceipt:
    """Carry a plan out: whole or not at all, and to be run again after a crash.

    Raises:
        LockedError: a scenario would go behind something newer, somebody works on the tree, or the heads
            have moved since the plan was made.
        CorruptError: a file has changed since it was judged, or nothing was good.
        StorageError: the tree cannot be written; it is as it was.
    """
    run = project.run(plan.run)
    behind = [part.behind for part in plan.scenarios.values() if part.behind]
    if behind:
        raise LockedError(
            "; ".join(behind),
            hint=f"'ckptsync restore {plan.run} --session {plan.session}' does it on purpose; the newer sets go to "
            "the attic, and --undo brings them back",
        )
    tree = project.tree(run)
    _require_room(tree, plan)
    with fsio.locked(tree.lock, what=f"the training tree {tree.root}"):
        receipt = _intent(project, plan, tree)
        fsio.make_folder(tree.checkpoints)
        for stem in sets.sweep(tree.checkpoints):
            reporter.warn(f"{stem}: a save was cut short; removed")
        _tell(plan, reporter)
        for part in plan.scenarios.values():
            for stored, findings in part.refused:
                folder = copy_to_quarantine(project, stored, findings)
                reporter.warn(f"refused {stored.stem}: {findings[0]}; it lies in {folder}, with the reason")
        hashed: sets.Hashed = {}
        _heal_sets(project, plan, tree, reporter, hashed)
        _add_sets(plan, tree, hashed)
        for part in plan.scenarios.values():
            if part.head_to is not None and part.head_to != head_in_file(tree, part.scenario):
                heads.write_head(tree, part.head_to)
        _give_way(plan, tree)
        if plan.moves:
            renew_exports(tree)
        open_ledger(project).append("restored", run=run.name, session=plan.session, receipt=receipt.to_json())
    files = {entry.path for part in plan.scenarios.values() for manifest in part.copies for entry in manifest.files}
    if files:
        reporter.line(f"[CHECKPOINT] Successfully restored {len(files)} file(s)")
    return receipt


def keep_verdicts(project: Project, plan: RestorePlan) -> None:
    """Let `ls` show what the restored sets were judged to be: each copy was hashed on its way.

    No part of `apply`: a cache that cannot be written is no reason for a restore to fail.
    """
    folder = project.tree(project.run(plan.run)).checkpoints
    copied = [m for part in plan.scenarios.values() for m in part.copies if m.digest in plan.verdicts]
    VerdictCache(project).keep((folder, m, plan.verdicts[m.digest]) for m in copied)


def _require_room(tree: TrainingTree, plan: RestorePlan) -> None:
    replaced = {stored.stem for part in plan.scenarios.values() for stored, _ in part.heal}
    here = [s.manifest for s in sets.scan(tree.checkpoints) if s.manifest is not None and s.stem not in replaced]
    copies = [manifest for part in plan.scenarios.values() for manifest in part.copies]
    # A segment is copied once for all sets that share it, and not at all where a set of the tree has it
    files = {entry for manifest in copies for entry in manifest.files}
    files -= {entry for manifest in here for entry in manifest.segments}
    needed = sum(entry.size_bytes for entry in files)
    if needed and needed > (free := fsio.free_bytes(tree.root)):
        raise StorageError(
            f"{tree.root} needs {size_text(needed)} for the new sets; free are {size_text(free)}",
            hint="'ckptsync clean --dry-run' shows what can go",
        )


def _intent(project: Project, plan: RestorePlan, tree: TrainingTree) -> RestoreReceipt:
    """Write down what is about to be done, once: after a crash the first plan still says where the heads were."""
    record = find_record(project, plan.session)
    moved = {name: _moved(part) for name, part in plan.scenarios.items()}
    for name, part in plan.scenarios.items():
        now = head_in_file(tree, name)
        expected = part.head_from
        if now is not None and expected is not None and now.digest != expected.digest:
            raise LockedError(
                f"the head of {name} has moved since the plan was made", hint="run the same command again"
            )
    if record.stage == "restoring" and record.receipt is not None:
        begun = RestoreReceipt.from_json(record.receipt)
        moved = {name: _continued(part, begun.scenarios.get(name)) for name, part in moved.items()}
    receipt = RestoreReceipt(plan.run, plan.session, moved, plan.exit_code)
    open_ledger(project).append("restoring", run=plan.run, session=plan.session, receipt=receipt.to_json())
    return receipt


def _moved(part: ScenarioPlan) -> Moved:
    return Moved(
        head_from=part.head_from,
        head_to=part.head_to,
        added=tuple((m.stem, m.digest) for m in part.add),
        attic=tuple((m.stem, m.digest) for m in part.attic),
        healed=tuple((s.stem, s.manifest.digest) for s, _ in part.heal if s.manifest is not None),
        refused=tuple((stored.stem, str(findings[0])) for stored, findings in part.refused),
        fallback=part.fallback,
    )


def _continued(part: Moved, begun: Moved | None) -> Moved:
    if begun is None:
        return part
    return replace(
        part,
        head_from=begun.head_from,
        added=tuple(item for item in dict.fromkeys([*begun.added, *part.added]) if item not in begun.healed),
        attic=tuple(dict.fromkeys([*begun.attic, *part.attic])),
        healed=tuple(dict.fromkeys([*begun.healed, *part.healed])),
    )


def _tell(plan: RestorePlan, reporter: Reporter) -> None:
    added = [manifest for part in plan.scenarios.values() for manifest in part.copies]
    reporter.line("====== CHECKPOINT RESTORATION ======")
    if not any(part.head_to for part in plan.scenarios.values()):
        reporter.line("[CHECKPOINT] Nothing to restore: no checkpoint of this session may be used")
    elif not added:
        reporter.line("[CHECKPOINT] Nothing new to restore: the training tree has it all already")
    else:
        reporter.line(f"[CHECKPOINT] Found {len(added)} checkpoint(s) to restore:")
        for manifest in added:
            reporter.line(f"[CHECKPOINT]   {manifest.model.path} ({size_text(manifest.size_bytes)})")
    for part in plan.scenarios.values():
        for note in part.notes:
            reporter.warn(f"{names.printable(part.scenario)}: {note}")


def _heal_sets(
    project: Project, plan: RestorePlan, tree: TrainingTree, reporter: Reporter, hashed: sets.Hashed
) -> None:
    for part in plan.scenarios.values():
        for stored, findings in part.heal:
            folder = copy_to_quarantine(project, stored, findings)
            reporter.warn(
                f"{stored.stem} of the training tree was damaged: {findings[0]}; it lies in {folder}, and a sound copy "
                "is in its place"
            )
            for manifest in (m for m in part.copies if m == stored.manifest):
                sets.heal_set(plan.source[manifest.digest], manifest, tree.checkpoints, folder, hashed=hashed)


def _add_sets(plan: RestorePlan, tree: TrainingTree, hashed: sets.Hashed) -> None:
    for part in plan.scenarios.values():
        for manifest in part.copies:
            standing = sets.find(tree.checkpoints, manifest.stem)
            if standing is not None and (standing.manifest is None or standing.manifest.digest != manifest.digest):
                sets.set_aside(standing, tree.attic)  # another set, or a plain file, of the same N
            sets.copy_set(plan.source[manifest.digest], manifest, tree.checkpoints, hashed=hashed)


def _give_way(plan: RestorePlan, tree: TrainingTree) -> None:
    here = sealed(sets.scan(tree.checkpoints))
    for part in plan.scenarios.values():
        for manifest in part.attic:
            if manifest.digest in here:
                sets.set_aside(here[manifest.digest], tree.attic)
