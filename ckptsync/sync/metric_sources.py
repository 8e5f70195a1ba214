"""Where metric rows lie: in what sessions left, in a session that still runs, beside a plain tree, in manifests."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ..core import fsio, heads, names, sets
from ..core.errors import CkptsyncError, LimitError, NothingFoundError, UsageError
from ..core.layout import DEFAULT_TREE, EVENTS_NAME, METRICS_NAME, TrainingTree
from ..core.manifest import Manifest, Origin
from ..core.metrics import MAX_METRICS_BYTES, Row, Stretch, parse_metrics, with_saves
from ..core.session import parse_events
from ..project.config import Project, RunConfig
from ..project.lineage import SessionRecord, unsettled
from ..runners.base import LiveRunner, OutputFile, Runner
from .ledgers import known_records
from .reporting import shown_path
from .runners import runner_for
from .targets import find_target
from .wait import handle_of


@dataclass(frozen=True)
class Source:
    """Stretches from one place.

    Args:
        stretches: in the order of writing.
        newest: scenario -> the stretch that nothing goes on from.
        origins: (session, scenario) -> what the session went on from, also for sessions whose rows are gone.
        notes: in words, what people should know.
    """

    stretches: tuple[Stretch, ...]
    newest: dict[str, Stretch]
    origins: dict[tuple[str, str], Origin | None]
    notes: tuple[str, ...] = ()


def of_run(project: Project, run: RunConfig) -> Source:
    """Return the stretches of a run: of every session whose outputs are here, and of the one that runs now."""
    records = known_records(project, run.name)
    notes: list[str] = []
    found: list[Stretch] = []
    current: list[Stretch] = []
    for record in records:
        stretches = _of_session(project, record, notes)
        found += stretches
        # A session that left nothing to restore, or whose restore was taken back, is no part of the run
        current += stretches if not record.undone and record.stage != "closed" else []
    # A script that is run by hand in the project's folder trains in its tree and writes beside it
    local = _read(project.layout.root, notes) if run.tree == DEFAULT_TREE else []
    scenarios = [scenario.name for scenario in run.scenarios]
    found, current = [*found, *local], [*current, *local]
    running = unsettled(records)
    newest = {
        name: _newest(project.tree(run), own, running.session if running is not None else None)
        for name in scenarios
        if (own := [stretch for stretch in current if stretch.scenario == name])
    }
    origins = {(r.session, name): r.spec.heads.get(name) for r in records for name in scenarios}
    if not newest:
        return _of_manifests(project.tree(run), scenarios)
    return Source(tuple(found), newest, origins, tuple(notes))


def of_session(project: Project, record: SessionRecord) -> Source:
    """Return what one session adds."""
    notes: list[str] = []
    stretches = _of_session(project, record, notes)
    return Source(tuple(stretches), {stretch.scenario: stretch for stretch in stretches}, {}, tuple(notes))


def of_path(path: Path) -> Source:
    """Return the stretches of a metrics file, of a session's outputs, of a folder of those, or of a training tree.

    Raises:
        NothingFoundError: there is nothing to draw.
        UsageError: there is more than one tree, and no metrics file that tells which of them is meant.
    """
    notes: list[str] = []
    if path.is_file():
        stretches = _merge(fsio.read_bytes(path, limit=MAX_METRICS_BYTES), b"", path, notes)
        return Source(tuple(stretches), {stretch.scenario: stretch for stretch in stretches}, {}, tuple(notes))
    if not path.is_dir():
        raise NothingFoundError(f"{path} does not exist")
    for folders in (_beside(path), sorted(file.parent for file in path.glob(f"*/{METRICS_NAME}"))):
        stretches = [stretch for folder in folders for stretch in _read(folder, notes)]
        if stretches:
            return Source(tuple(stretches), {stretch.scenario: stretch for stretch in stretches}, {}, tuple(notes))
    trees = find_target(path).trees
    if len(trees) > 1:
        found = ", ".join(str(shown_path(tree.root)) for tree in trees)
        raise UsageError(f"{path} holds several histories: {found}", hint="name the folder of one run or session")
    return _of_manifests(trees[0], None) if trees else Source((), {}, {})


def _beside(path: Path) -> list[Path]:
    """Return the folder itself and, where it is a training tree, the working folder that it lies in."""
    parts, whole = Path(DEFAULT_TREE).parts, path.absolute()
    return [path, whole.parents[len(parts) - 1]] if whole.parts[-len(parts) :] == parts else [path]


def _of_session(project: Project, record: SessionRecord, notes: list[str]) -> list[Stretch]:
    folder = project.layout.results(record.session)
    if record.state is None and record.handle is not None:
        runner = runner_for(project, record.runner, record.run)
        if isinstance(runner, LiveRunner):
            try:
                metrics, events = (_fetched(runner, record, name) for name in (METRICS_NAME, EVENTS_NAME))
                return _merge(metrics, events, Path(record.session, METRICS_NAME), notes)
            except CkptsyncError as error:
                notes.append(f"what {record.session} has written so far cannot be read: {error.message}")
    return _read(folder, notes)


def _fetched(runner: Runner, record: SessionRecord, name: str) -> bytes:
    data = bytearray()
    try:
        for chunk in runner.read_output(handle_of(record), OutputFile(name, None)):
            data += chunk
            if len(data) > MAX_METRICS_BYTES:
                raise LimitError(f"{name} has more than {MAX_METRICS_BYTES} bytes")
    except NothingFoundError:  # it has only just begun
        return b""
    return bytes(data)


def _read(folder: Path, notes: list[str]) -> list[Stretch]:
    metrics, events = (_bytes_or_nothing(folder / name) for name in (METRICS_NAME, EVENTS_NAME))
    return _merge(metrics, events, folder / METRICS_NAME, notes)


def _bytes_or_nothing(path: Path) -> bytes:
    try:
        return fsio.read_bytes(path, limit=MAX_METRICS_BYTES)
    except NothingFoundError:
        return b""


def _merge(metrics: bytes, events: bytes, path: Path, notes: list[str]) -> list[Stretch]:
    stretches, senseless = parse_metrics(metrics)
    if senseless:
        notes.append(f"{shown_path(path)}: {senseless} line(s) make no sense and are left out")
    return with_saves(stretches, parse_events(events))


def _newest(tree: TrainingTree, stretches: list[Stretch], running: str | None) -> Stretch:
    """Return the stretch that a scenario has come to: of the session under way, else the last one in its lineage."""
    try:
        head = heads.read_head(tree, stretches[0].scenario)
    except ValueError:  # `verify` tells of a damaged head; a plot goes by the sessions alone then
        head = None
    lineage = head.lineage if head is not None else stretches[-1].lineage
    own = (
        [stretch for stretch in stretches if stretch.session == running and running is not None]
        or [stretch for stretch in stretches if stretch.lineage == lineage]
        or stretches
    )
    return max(enumerate(own), key=lambda placed: (placed[1].generation, placed[0]))[1]


def _of_manifests(tree: TrainingTree, scenarios: Iterable[str] | None) -> Source:
    """Return what the seals of a tree say: a row for each set, where nobody has kept a history."""
    stored = sets.scan(tree.checkpoints)
    known = heads.tree_scenarios(stored, tree.checkpoints) if scenarios is None else scenarios
    stretches = {name: stretch for name in known for stretch in _sealed(name, stored)}
    notes = (f"no {METRICS_NAME} here: these are the numbers in the manifests of the checkpoints",) if stretches else ()
    return Source(tuple(stretches.values()), stretches, {}, notes)


def _sealed(scenario: str, stored: Iterable[sets.StoredSet]) -> Iterator[Stretch]:
    manifests = [found.manifest for found in sets.newest(list(stored), scenario) if found.manifest is not None]
    lineage = [manifest for manifest in manifests if manifest.lineage == manifests[0].lineage]
    rows: dict[int, Manifest] = {}
    for manifest in lineage:  # newest first
        rows.setdefault(manifest.num_timesteps, manifest)
    if rows:
        kept = tuple(Row(steps, rows[steps].metrics) for steps in sorted(rows) if rows[steps].metrics)
        yield Stretch(names.check_scenario(scenario), min(rows), lineage=manifests[0].lineage, rows=kept)
