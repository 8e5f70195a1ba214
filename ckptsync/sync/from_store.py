"""Beginning from the store: in an empty clone, what its heads name is brought before anything is planned."""

from __future__ import annotations

from ..core import sets
from ..core.errors import CkptsyncError, NothingFoundError
from ..core.units import size_text
from ..project.config import Project, RunConfig
from .ledgers import open_ledger
from .pull import PulledSet, pull
from .reporting import Reporter
from .treework import head_in_file

# What moves heads, by the ledger's words
_CHANGES = ("restored", "undone", "pulled", "adopted", "fresh")


def missing(project: Project, run: RunConfig) -> tuple[str, ...]:
    """Return the scenarios of which the training tree has nothing at all, where a store may know more.

    Where the tree is empty because the last restore was taken back, it is meant to be empty.
    """
    if project.stores is None:
        return ()
    tree = project.tree(run)
    stored = {found.scenario for found in sets.scan(tree.checkpoints)}
    lacking = [name for name in run.scenario_names if name not in stored and head_in_file(tree, name) is None]
    if not lacking:
        return ()
    entries = open_ledger(project).entries()
    last = next((e.event for e in reversed(entries) if e.run == run.name and e.event in _CHANGES), None)
    return () if last == "undone" else tuple(lacking)


def bring_missing(
    project: Project, run: RunConfig, reporter: Reporter, *, dry_run: bool = False
) -> tuple[PulledSet, ...]:
    """Bring what the store has of the scenarios of which the training tree has nothing.

    A store without anything of the run is a first start, and a store that is not made yet is told of; one that cannot
    be read is an error: nobody knows what a start from zero would leave behind.

    Args:
        project: the project.
        run: the run.
        reporter: receives progress.
        dry_run: only look what there is.

    Raises:
        CkptsyncError: as `pull`; nothing was changed.
    """
    lacking = missing(project, run)
    if not lacking:
        return ()
    try:
        report = pull(project, run, reporter, scenarios=lacking, dry_run=dry_run)
    except NothingFoundError as error:
        if "has no checkpoint" not in error.message:
            reporter.warn(f"{error.message}: {error.hint}" if error.hint else error.message)
        return ()
    except CkptsyncError as error:
        error.hint = f"{error.hint or 'try again'}; '--fresh' begins from zero without it"
        raise
    return report.scenarios


def brought(pulled: PulledSet) -> str:
    """Say what came, or would come, from the store."""
    version = pulled.version
    size = f", {size_text(pulled.received_bytes)}" if pulled.received_bytes is not None else ""
    return f"{version.scenario}: {version.stem} from the store{size}"
