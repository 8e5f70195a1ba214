"""The throw-away project that a drill works in: the run's code and settings, none of its checkpoints and history."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...core import fsio, names
from ...core.errors import CkptsyncError, ConfigError, UsageError
from ...core.layout import CONFIG_NAME, ProjectLayout
from ...core.session import ScenarioSpec, SessionSpec
from ...project.config import Project, RunConfig
from ...runners.bundle import build_bundle
from ...runners.kernel_folder import SKIPPED_FOLDERS
from ..ledgers import known_records
from ..runners import runner_for, to_be_found

WRAPPER_NAME = "ckptsync_drill.py"
# The script runs through ckptsync.training.watch, which notes what it does outside its working folder
_WRAPPER = "from ckptsync.training.watch import main\n\nif __name__ == '__main__':\n    main(__file__, {script!r})\n"
# The target lies so many times the drill's steps away, so that no session reaches it
_FAR = 16
_SAVES = 4
# A session that is asked to stop ends within its runner's grace, or somebody must look at it
_END_SECONDS = 30.0


@dataclass(frozen=True)
class Terms:
    """How a drill is done.

    Args:
        steps: transitions of a session, for each scenario.
        limit_seconds: the wall clock after which a session is killed.
        runner: where it runs; None: where the run's sessions do.
        set: parameters for the script, over those of the run.
        keep: the throw-away project stays, to be looked at.
    """

    steps: int
    limit_seconds: float
    runner: str | None = None
    set: Mapping[str, Any] | None = None
    keep: bool = False

    def budget_seconds(self, run: RunConfig) -> float:
        """Return the wall clock of a session.

        Raises:
            UsageError: the run's margin leaves nothing of it.
        """
        budget = min(self.limit_seconds, run.budget_seconds or self.limit_seconds)
        if budget <= run.margin_seconds:
            raise UsageError(
                f"a session of the drill would have {budget:g} s, and it begins to stop {run.margin_seconds:g} s before "
                "its end",
                hint=f"give it more time: --limit {4 * run.margin_seconds:g}s",
            )
        return budget


@contextmanager
def throw_away(project: Project, run: RunConfig, terms: Terms) -> Iterator[tuple[Project, RunConfig]]:
    """Make the throw-away project of a drill, and remove it with all that runs in it.

    Raises:
        LockedError: another drill runs in this project.
        CkptsyncError: the kernel cannot be bundled; see `build_bundle`.
    """
    folder = project.layout.drill
    with fsio.locked(folder.with_suffix(".lock"), what=f"the drill in {folder}"):
        _remove(_at(project, folder))  # of a drill that was killed, or kept
        place = _at(project, folder)
        try:
            drilled = _lay(project, run, terms, folder)
            yield replace(place, runs={run.name: drilled}), drilled
        finally:
            _stop(place)
            if not terms.keep:
                fsio.remove_folder(folder)


def _at(project: Project, folder: Path) -> Project:
    # Without the stores: nothing of a throw-away lineage is kept anywhere
    return replace(project, root=folder, layout=ProjectLayout(folder, project.layout.results_name), stores=None)


def _lay(project: Project, run: RunConfig, terms: Terms, folder: Path) -> RunConfig:
    spec = SessionSpec(run.name, names.session_id(run.name, 1), "drill", 1, run.scenarios, script=run.script)
    kernel = project.kernel_folder(run)
    # Once with the names that the user knows, for what is wrong with the kernel is told by them
    build_bundle(kernel, spec, wheels=run.packages, cache=project.layout.cache)
    _copy(kernel, folder / "kernels" / run.kernel)
    _copy(project.layout.cache / "bundle", ProjectLayout(folder).cache / "bundle")
    fsio.write_bytes(folder / CONFIG_NAME, fsio.read_bytes(project.layout.config, limit=1 << 20))
    script = Path(run.script)
    fsio.write_bytes(
        folder / "kernels" / run.kernel / script.with_name(WRAPPER_NAME),
        _WRAPPER.format(script=script.name).encode(),
    )
    far = terms.steps * _FAR
    return replace(
        run,
        script=script.with_name(WRAPPER_NAME).as_posix(),
        code=None,  # the wrapper lies in the kernel folder of this machine
        runner=terms.runner or run.runner,
        scenarios=tuple(ScenarioSpec(s.name, max(s.total_timesteps, far)) for s in run.scenarios),
        save=replace(run.save, every_steps=max(1, terms.steps // _SAVES)),
        budget_seconds=terms.budget_seconds(run),
        params={**run.params, **(terms.set or {})},
    )


def _copy(source: Path, target: Path) -> None:
    fsio.make_folder(target)
    for name in fsio.list_names(source):
        path = source / name
        if path.is_symlink():
            raise ConfigError(f"{path} is a link, and links do not travel", hint="put the file itself there")
        if path.is_dir():
            if name not in SKIPPED_FOLDERS:
                _copy(path, target / name)
        else:
            fsio.link_or_copy(path, target / name)


def _remove(place: Project) -> None:
    if place.layout.ledger.exists():
        _stop(place)
    fsio.remove_folder(place.root)


def _stop(place: Project) -> None:
    """Ask every session that still runs to stop, and wait until it has."""
    for record in known_records(place):
        runner = runner_for(place, record.runner, record.run)
        # The ledger may have no line of it yet
        handle = runner.find(to_be_found(record))
        if handle is None or record.state is not None or runner.status(handle).state.finished:
            continue
        runner.cancel(handle)
        deadline = time.monotonic() + _END_SECONDS
        while not runner.status(handle).state.finished:
            if time.monotonic() > deadline:
                raise CkptsyncError(
                    f"{record.session} of the drill does not end; its folder {place.root} stays",
                    hint=f"end it at its runner ({record.runner}), then run the drill again",
                )
            time.sleep(0.05)
