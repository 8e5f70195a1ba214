"""ci: a workflow that brings home what has ended and starts the next session, with no machine held in between."""

from __future__ import annotations

import difflib
import importlib.metadata
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .._version import __version__
from ..core import fsio, names
from ..core.errors import UsageError
from ..project.config import Project, RunConfig
from .reporting import shown_path

CI_SCHEMA = "ckptsync.ci/1"
# Not at the full hour, when everybody's jobs are due and many are left out
DEFAULT_SCHEDULE = "17 */2 * * *"
SECRETS = ("KAGGLE_API_TOKEN", "KAGGLE_USERNAME", "KAGGLE_KEY")
STORE_SECRETS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
TEMPLATE = Path(__file__).parent.parent / "templates" / "ci" / "github.yml"
WORKFLOW = ".github/workflows/ckptsync.yml"

_CRON_FIELD = r"[0-9A-Za-z*/,-]+"
_CRON = re.compile(rf"{_CRON_FIELD}(?: {_CRON_FIELD}){{4}}", re.ASCII)
# What means the same in YAML, in an expression of GitHub, in a glob and in a shell
_PLAIN = re.compile(r"[\w.][\w./ -]*")


@dataclass(frozen=True)
class CiReport:
    """What `ci init` writes or wrote.

    Args:
        path: the workflow.
        runs: the runs that it trains.
        schedule: when, as a cron line in UTC.
        difference: lines of a unified diff from what is there to what belongs there; none when they are equal.
        dry_run: nothing was written.
        secrets: the names of secrets that it knows.
    """

    path: Path
    runs: tuple[str, ...]
    schedule: str
    difference: tuple[str, ...]
    dry_run: bool = False
    secrets: tuple[str, ...] = SECRETS

    @property
    def next_command(self) -> str:
        """What puts the workflow into use."""
        return f"git add {shown_path(self.path)}"

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object of the command."""
        return {
            "schema": CI_SCHEMA,
            "exit_code": 0,
            "path": str(self.path),
            "runs": list(self.runs),
            "schedule": self.schedule,
            "secrets": list(self.secrets),
            "difference": list(self.difference),
            "dry_run": self.dry_run,
            "next_command": self.next_command,
        }


def init_ci(
    project: Project,
    chosen: Sequence[str] = (),
    schedule: str = DEFAULT_SCHEDULE,
    *,
    force: bool = False,
    dry_run: bool = False,
) -> CiReport:
    """Write a workflow for GitHub Actions into the repository that the project lies in.

    Args:
        project: the project.
        chosen: names of runs; without any all that a service trains.
        schedule: when it looks, as five fields of cron, in UTC.
        force: replace a workflow that was changed.
        dry_run: write nothing.

    Raises:
        UsageError: a run is trained on this machine, the schedule is none, or a workflow is there that differs.
    """
    if not _CRON.fullmatch(schedule):
        raise UsageError(
            f"{names.printable(schedule)} is no schedule: five fields of cron are expected",
            hint=f"--schedule {DEFAULT_SCHEDULE!r} means: every two hours, at minute 17",
        )
    runs = _runs(project, chosen)
    folder = project.root.resolve()
    root = _repository(folder)
    path = root / WORKFLOW
    kinds = _stores(project)
    new = _workflow(runs, schedule, folder.relative_to(root).as_posix(), project.layout.results_name, kinds)
    old = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    difference = tuple(difflib.unified_diff(old.splitlines(), new.splitlines(), "there", "new", lineterm=""))
    if difference and not dry_run:
        if old and not force:
            raise UsageError(
                f"{path} is there and differs in {_changes(difference)}; nothing was written",
                hint="'ckptsync ci init --dry-run' shows the difference, --force replaces the file",
            )
        fsio.make_folder(path.parent)
        fsio.write_bytes(path, new.encode())
    needed = (*SECRETS, *(STORE_SECRETS if "s3" in kinds else ()))
    return CiReport(path, tuple(run.name for run in runs), schedule, difference, dry_run, needed)


def _runs(project: Project, chosen: Sequence[str]) -> list[RunConfig]:
    runs = [project.run(name) for name in chosen] or list(project.runs.values())
    away = [run for run in runs if run.runner != "local"]
    here = [run.name for run in runs if run.runner == "local"]
    if here and (chosen or not away):
        raise UsageError(
            f"run {here[0]} is trained by the runner local, on the machine that launches it: a job of CI would end with it",
            hint=f'set runner = "kaggle" under [runs.{here[0]}] in {project.layout.config}',
        )
    return away


def _repository(folder: Path) -> Path:
    """Return the root of the repository that a folder lies in, for workflows count only there; else the folder."""
    return next((root for root in (folder, *folder.parents) if (root / ".git").exists()), folder)


def _stores(project: Project) -> frozenset[str]:
    """Return which extras the stores of a project need: `s3`, `fsspec`; a folder needs none."""
    urls = [tier.url for tier in project.stores.tiers] if project.stores is not None else []
    schemes = {url.split("://")[0] for url in urls if "://" in url} - {"file"}
    return frozenset("s3" if scheme == "s3" else "fsspec" for scheme in schemes)


def _workflow(runs: Sequence[RunConfig], schedule: str, folder: str, results: str, stores: frozenset[str]) -> str:
    inside = "" if folder == "." else f"{_plain(folder)}/"
    trees = dict.fromkeys(_plain(run.tree) for run in runs)
    models = (f"{inside}{tree}/{name}" for tree in trees for name in ("*_final.zip", "best_model/"))
    values = {
        "SCHEDULE": json.dumps(schedule),
        "OPTIONS": ", ".join(json.dumps(_plain(run.name), ensure_ascii=False) for run in runs),
        "FOLDER": json.dumps(folder, ensure_ascii=False),
        "WORKFLOW": WORKFLOW,
        "RESULTS": f"{inside}{_plain(results)}",
        "INSTALLS": _block(10, _installs({package for run in runs for package in run.packages}, stores)),
        "STORE": _block(10, (f"{name}: ${{{{ secrets.{name} }}}}" for name in STORE_SECRETS) if "s3" in stores else ()),
        "NEEDS": f"# For the store: {', '.join(STORE_SECRETS)}.\n" if "s3" in stores else "",
        "KEPT": _block(12, (f"{inside}plot.png", *models)),
    }
    return re.sub(r"@([A-Z]+)@", lambda mark: values[mark[1]], TEMPLATE.read_text(encoding="utf-8"))


def _installs(packages: Iterable[str], stores: frozenset[str]) -> list[str]:
    """Return the commands that install ckptsync, and the packages that travel with scripts as they are here."""
    extras = ",".join(["kaggle", "plot", *sorted(stores)])
    lines = [f'python -m pip install "ckptsync[{extras}]=={__version__}"']
    for package in sorted(packages):
        try:
            version = f"=={importlib.metadata.version(package)}"
        except importlib.metadata.PackageNotFoundError:
            version = ""
        lines.append(f'python -m pip install --no-deps "{_plain(package)}{version}"')
    return lines


def _plain(value: str) -> str:
    if not _PLAIN.fullmatch(value):
        raise UsageError(
            f"{names.printable(value)} cannot stand in a workflow",
            hint="letters, digits, '.', '-' and '_' are fine everywhere",
        )
    return value


def _block(indent: int, lines: Iterable[str]) -> str:
    return "".join(f"{' ' * indent}{line}\n" for line in lines)


def _changes(difference: Sequence[str]) -> str:
    body = difference[2:]  # behind the names of the two files
    counts = {sign: sum(line.startswith(sign) for line in body) for sign in "+-"}
    return f"{counts['-']} line(s) there and {counts['+']} new"
