"""Beginning from the store: what its heads name and the training tree lacks is brought before anything is planned.

An empty clone has nothing at all; one that others have left behind has something older.
"""

from __future__ import annotations

from ...core import sets
from ...core.errors import CkptsyncError, NothingFoundError
from ...core.units import size_text
from ...project.config import Project, RunConfig
from ..ledgers import open_ledger
from ..reporting import Reporter
from ..treework import head_in_file
from .pull import NoCheckpointError, PulledSet, pull

# What moves heads, by the ledger's words
_CHANGES = ("restored", "undone", "pulled", "adopted", "fresh")
# How long a store that fails is tried again where the tree has something to go on from
_SECONDS = 3.0


def missing(project: Project, run: RunConfig) -> tuple[str, ...]:
    """Return the scenarios of which the training tree has nothing at all, where a store may know more."""
    if project.stores is None or _was_taken_back(project, run):
        return ()
    tree = project.tree(run)
    stored = {found.scenario for found in sets.scan(tree.checkpoints)}
    return tuple(name for name in run.scenario_names if name not in stored and head_in_file(tree, name) is None)


def _was_taken_back(project: Project, run: RunConfig) -> bool:
    """Whether the tree is behind because the last restore was undone: then it is meant to be."""
    entries = reversed(open_ledger(project).entries())
    return next((e.event for e in entries if e.run == run.name and e.event in _CHANGES), None) == "undone"


def bring_newer(
    project: Project, run: RunConfig, reporter: Reporter, *, dry_run: bool = False
) -> tuple[PulledSet, ...]:
    """Bring what the near store's heads name where that is newer than what is here.

    A store without anything of the run is a first start, and a store that is not made yet is told of. One that cannot
    be read is told of where there is something to go on from here; else it is an error, for nobody knows what a start
    from zero would leave behind.

    Args:
        project: the project.
        run: the run.
        reporter: receives progress.
        dry_run: only look what there is.

    Raises:
        CkptsyncError: as `pull`, where the tree has nothing of a scenario; nothing was changed.
    """
    if project.stores is None or _was_taken_back(project, run):
        return ()
    lacking = missing(project, run)
    try:
        report = pull(project, run, reporter, patience_seconds=None if lacking else _SECONDS, dry_run=dry_run)
        return tuple(item for item in report.scenarios if not item.behind)
    except NoCheckpointError:
        pass  # a first start
    except NothingFoundError as error:
        reporter.warn(f"{error.message}: {error.hint}" if error.hint else error.message)
    except CkptsyncError as error:
        if lacking:
            error.hint = f"{error.hint or 'try again'}; '--fresh' begins from zero without it"
            raise
        hint = f" ({error.hint})" if error.hint else ""
        reporter.warn(f"going on from what is here, for nobody knows what the store has: {error.message}{hint}")
    return ()


def brought(pulled: PulledSet) -> str:
    """Say what came, or would come, from the store."""
    version = pulled.version
    size = f", {size_text(pulled.received_bytes)}" if pulled.received_bytes is not None else ""
    return f"{version.scenario}: {version.stem} from the store{size}"
