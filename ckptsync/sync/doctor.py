"""doctor: is everything in place? One check each, with what to do where something is wrong."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core import fsio, heads, sets
from ..core.errors import CkptsyncError, ExitCode
from ..core.units import size_text
from ..project.config import Project, RunConfig
from ..project.lineage import unsettled
from ..project.tiers import Tier
from ..runners.packages import load_package
from ..store.repository import probe_writing
from .ledgers import known_records
from .room import rooms
from .runners import runner_for
from .store.stores import opened
from .versions import installed_versions

DOCTOR_SCHEMA = "ckptsync.doctor/1"
_ENOUGH_BYTES = 1 << 30
_PATIENCE_SECONDS = 5.0


@dataclass(frozen=True)
class Check:
    """One check.

    Args:
        name: what was looked at.
        ok: whether all is well.
        found: what was found.
        fix: what to do; empty when all is well.
    """

    name: str
    ok: bool
    found: str
    fix: str = ""


@dataclass(frozen=True)
class DoctorReport:
    """All checks in order."""

    checks: tuple[Check, ...]

    @property
    def exit_code(self) -> int:
        """0 when all is well, else 1."""
        return int(ExitCode.OK if all(check.ok for check in self.checks) else ExitCode.ERROR)

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object of the command."""
        return {
            "schema": DOCTOR_SCHEMA,
            "exit_code": self.exit_code,
            "checks": [
                {"name": check.name, "ok": check.ok, "found": check.found, "fix": check.fix} for check in self.checks
            ],
        }


def doctor(project: Project | None, *, folder: Path | None = None) -> DoctorReport:
    """Check this machine and, where there is one, the project.

    Args:
        project: the project, or None outside any.
        folder: where files would be written outside a project; the current folder when None.
    """
    place = project.root if project is not None else folder or Path.cwd()
    checks = [_python(), *_libraries(project), _disk(place), _room(place)]
    if project is None:
        checks.append(Check("project", False, f"no ckptsync.toml in {place}", "ckptsync init"))
    else:
        checks += _project(project)
    return DoctorReport(tuple(checks))


def _python() -> Check:
    found = ".".join(map(str, sys.version_info[:3]))
    return Check(
        "python", sys.version_info >= (3, 11), found, "" if sys.version_info >= (3, 11) else "use 3.11 or newer"
    )


def _libraries(project: Project | None) -> Iterator[Check]:
    here = installed_versions()
    needed = project is None or any(run.runner == "local" for run in project.runs.values())
    for name in ("torch", "stable_baselines3"):
        if name in here:
            yield Check(name, True, here[name])
        elif needed:
            fix = "pip install 'ckptsync[train]' to train on this machine; nothing else needs it"
            yield Check(name, False, "not installed", fix)
        else:
            yield Check(name, True, "not installed: no run trains on this machine")


def _disk(place: Path) -> Check:
    path = place / f".ckptsync-check-{secrets.token_hex(4)}"
    try:
        fsio.write_bytes(path, b"check")
        fsio.remove_file(path)
    except CkptsyncError as error:
        return Check("disk", False, error.message, error.hint or "choose another folder")
    return Check("disk", True, f"{place} can be written, renamed and synced")


def _room(place: Path) -> Check:
    free = fsio.free_bytes(place)
    fix = "" if free >= _ENOUGH_BYTES else "'ckptsync clean --dry-run' shows what can go"
    return Check("room", free >= _ENOUGH_BYTES, f"{size_text(free)} free", fix)


def _project(project: Project) -> Iterator[Check]:
    yield Check("project", True, f"{project.layout.config}: {', '.join(project.runs)}")
    yield _guarded("ledger", lambda: _ledger(project))
    if any(run.runner == "kaggle" for run in project.runs.values()):
        yield from _kaggle(project)
    for tier in project.stores.tiers if project.stores is not None else ():
        yield _guarded(f"{tier.name} store", lambda tier=tier: _store(project, tier))  # type: ignore[misc]
    for run in project.runs.values():
        yield _kernel(project, run)
        yield _guarded(f"packages of {run.name}", lambda run=run: _packages(project, run))  # type: ignore[misc]
        yield _guarded(f"runner of {run.name}", lambda run=run: _runner(project, run))  # type: ignore[misc]
        yield _guarded(f"tree of {run.name}", lambda run=run: _tree(project, run))  # type: ignore[misc]
        yield _guarded(f"room for {run.name}", lambda run=run: _room_for(project, run))  # type: ignore[misc]


def _guarded(name: str, check: Callable[[], Check]) -> Check:
    try:
        return check()
    except CkptsyncError as error:
        return Check(name, False, error.message, error.hint or "")


def _ledger(project: Project) -> Check:
    found = known_records(project)
    left = unsettled(found)
    said = f"{len(found)} session(s)" + (f"; {left.session} is under way ({left.stage})" if left else "")
    return Check("ledger", True, said)


def _store(project: Project, tier: Tier) -> Check:
    with opened(project, tier.url, patience_seconds=_PATIENCE_SECONDS) as repository:
        probe_writing(repository)
        heads_move = "conditional writes" if repository.conditional else "leases"
        return Check(f"{tier.name} store", True, f"{repository.store.url} can be written; heads move by {heads_move}")


def _kernel(project: Project, run: RunConfig) -> Check:
    if run.code is not None:
        return Check(f"kernel of {run.name}", True, f"commit {run.code.commit} of {run.code.git}")
    script = project.kernel_folder(run) / run.script
    fix = "" if script.is_file() else f"write it, or change 'kernel' and 'script' of run {run.name}"
    return Check(f"kernel of {run.name}", script.is_file(), str(script), fix)


def _packages(project: Project, run: RunConfig) -> Check:
    found = [load_package(name, project.layout.cache) for name in run.packages]
    said = ", ".join(f"{package.name} {package.version}" for package in found)
    return Check(f"packages of {run.name}", True, f"{said} in the script" if said else "none travel in the script")


def _runner(project: Project, run: RunConfig) -> Check:
    runner_for(project, run.runner, run.name)
    return Check(f"runner of {run.name}", True, run.runner)


def _kaggle(project: Project) -> Iterator[Check]:
    from ..runners.kaggle.checks import checks

    folders = (project.root, *(project.kernel_folder(run) for run in project.runs.values()))
    for found in checks(tuple(dict.fromkeys(folders))):
        yield Check(found.name, found.ok, found.found, found.fix)


def _tree(project: Project, run: RunConfig) -> Check:
    tree = project.tree(run)
    stored = sets.scan(tree.checkpoints)
    places = {scenario: heads.standing(tree, stored, scenario) for scenario in run.scenario_names}
    troubles = [str(finding) for place in places.values() for finding in place.findings]
    if troubles:
        return Check(f"tree of {run.name}", False, "; ".join(troubles), f"ckptsync verify {run.name}")
    at = [f"{name} {place.head.num_timesteps:,}" for name, place in places.items() if place.head is not None]
    return Check(f"tree of {run.name}", True, ", ".join(at) or "no checkpoints yet: normal before the first run")


def _room_for(project: Project, run: RunConfig) -> Check:
    name = f"room for {run.name}"
    found = rooms(project, run, run.save, sets.scan(project.tree(run).checkpoints))
    known = [(room.scenario, room.ahead) for room in found if room.ahead is not None]
    if not known:
        return Check(name, True, "not known before the first checkpoint")
    worst = max(known, key=lambda part: part[1].least_bytes - part[1].free_bytes)[1]
    needed = sum(ahead.least_bytes for _, ahead in known)
    most = sum(ahead.most_bytes for _, ahead in known)
    said = f"its checkpoints need {size_text(needed)} to {size_text(most)} more, {size_text(worst.free_bytes)} free"
    return Check(name, needed <= worst.free_bytes, said, "" if needed <= worst.free_bytes else worst.advice(run.save))
