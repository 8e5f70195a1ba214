"""Small projects for tests: a configuration, a kernel, sets that were never trained, a runner that needs no process."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ckptsync.core import sets
from ckptsync.core.heads import Best, Head, read_head, write_head
from ckptsync.core.layout import EVENTS_NAME, SESSION_INFO_NAME, TrainingTree
from ckptsync.core.manifest import FileEntry, Manifest, Origin
from ckptsync.core.readers import read_model
from ckptsync.core.session import EventLog, SessionInfo, SessionSpec, write_session_info
from ckptsync.project.config import Project, load_project
from ckptsync.runners.base import OutputFile, SessionHandle, SessionState, SessionStatus, Submission
from ckptsync.sync.store.stores import init_store
from ckptsync.testing.sb3_files import mlp_parameters, mlp_signature, write_sb3_zip
from support.toysets import digest_of, lay_segments

CONFIG = """
[runs.a]
kernel = "toy"
runner = "scripted"
total_timesteps = 1000
packages = []
[runs.a.save]
every_steps = 100
keep_last = 2
"""
WITH_STORE = CONFIG + '\n[store]\nurl = "../store"\n'


def make_project(folder: Path, config: str = CONFIG) -> Project:
    """Write a project with a kernel that does nothing."""
    (folder / "kernels" / "toy").mkdir(parents=True, exist_ok=True)
    (folder / "kernels" / "toy" / "train.py").write_text("print('hello')\n")
    (folder / "ckptsync.toml").write_text(config)
    return load_project(folder, environ={})


def make_project_with_store(folder: Path) -> Project:
    """Write such a project, and a store beside it, ready for checkpoints."""
    project = make_project(folder, WITH_STORE)
    init_store(project)
    return project


def write_model(path: Path, num_timesteps: int, *, hidden: tuple[int, ...] = (8, 8), seed: int | None = None) -> Path:
    """Write a sound model file."""
    parameters = mlp_parameters(hidden=hidden, seed=num_timesteps if seed is None else seed)
    write_sb3_zip(path, parameters, num_timesteps=num_timesteps, hidden=hidden)
    return path


def seal_set(
    folder: Path,
    num_timesteps: int,
    *,
    scenario: str = "a",
    hidden: tuple[int, ...] = (8, 8),
    seed: int | None = None,
    extra: Mapping[str, bytes] | None = None,
    rows: Sequence[int] = (),
    **fields: Any,
) -> Manifest:
    """Seal a set with a sound model, other members by role and segments; `fields` are the manifest's."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"{scenario}_checkpoint_{num_timesteps}_steps"
    path = write_model(folder / f"{stem}.zip", num_timesteps, hidden=hidden, seed=seed)
    report = read_model(path)
    files = [FileEntry(path.name, "model", report.size_bytes, report.digest, report.content)]
    for role, data in (extra or {}).items():
        member = folder / f"{stem}.{role}.bin"
        member.write_bytes(data)
        files.append(FileEntry(member.name, role, len(data), digest_of(data)))
    files += lay_segments(folder, scenario, rows)
    manifest = Manifest(
        scenario=scenario,
        num_timesteps=num_timesteps,
        kind=fields.pop("kind", "periodic"),
        files=tuple(files),
        signature=mlp_signature(mlp_parameters(hidden=hidden), hidden),
        lineage=fields.pop("lineage", "l0001-aaaaaa"),
        generation=fields.pop("generation", 1),
        created_at="2026-01-01T00:00:00Z",
        **fields,
    )
    return sets.seal_in_place(folder, manifest)


def set_head(tree: TrainingTree, manifest: Manifest, best: Best | None = None) -> None:
    """Make a set the head of its scenario."""
    write_head(tree, Head.of(manifest, best))


@dataclass
class Script:
    """What a session of the scripted runner does.

    Args:
        steps: N of the sets that it seals, in order.
        state: how it ends.
        hidden: layers of its network.
        change: called with the working folder at the end, to do harm.
        fields: of the manifests.
        rows: how many rows a segment holds; each set needs the last three segments. 0: no segments.
    """

    steps: tuple[int, ...] = (100, 200)
    state: SessionState = SessionState.COMPLETE
    hidden: tuple[int, ...] = (8, 8)
    change: Callable[[Path], None] = lambda working: None
    fields: Mapping[str, Any] = field(default_factory=dict)
    rows: int = 0

    def rows_at(self, num_timesteps: int) -> Sequence[int]:
        """Where the segments of the set at N begin and end."""
        return range(0, num_timesteps + 1, self.rows)[-4:] if self.rows else ()


class ScriptedRunner:
    """A runner whose sessions are over as soon as they start; it keeps the contract and leaves real files.

    Args:
        folder: where sessions work.
        specs: the project, to read what each session is told from its ledger line.
    """

    name = "scripted"

    def __init__(self, folder: Path, script: Script, spec_of: Callable[[str], SessionSpec]) -> None:
        self.folder = folder
        self.script = script
        self.spec_of = spec_of
        self.started: list[Submission] = []
        self.chunk = 1 << 16
        self.fail_read_after: int | None = None

    def find(self, submission: Submission) -> SessionHandle | None:
        """Known once its folder is there."""
        there = self._working(submission.session).is_dir()
        return SessionHandle(submission.session, self.name, {"generation": submission.generation}) if there else None

    def start(self, submission: Submission) -> SessionHandle:
        """Do everything at once."""
        self.started.append(submission)
        working = self._working(submission.session)
        spec = self.spec_of(submission.session)
        tree = TrainingTree(working / spec.tree)
        tree.checkpoints.mkdir(parents=True)
        log = EventLog(working / EVENTS_NAME, submission.session)
        for scenario in spec.scenarios:
            origin = spec.heads.get(scenario.name)
            begun = origin.num_timesteps if origin else 0
            log.write("start", scenario=scenario.name, num_timesteps=begun, target=scenario.total_timesteps)
            self._seal(tree, spec, scenario.name, origin, begun, log)
        if self.script.state is SessionState.COMPLETE:
            self.end(spec.session)
        self.script.change(working)
        return SessionHandle(submission.session, self.name, {"generation": submission.generation})

    def _seal(
        self, tree: TrainingTree, spec: SessionSpec, scenario: str, origin: Origin | None, begun: int, log: EventLog
    ) -> None:
        last: Manifest | None = None
        for step in self.script.steps:
            fields = {
                "lineage": spec.lineage,
                "generation": spec.generation,
                "session": spec.session,
                "version": spec.version,
                "resumed_from": origin,
                "parent": last.digest if last else origin.digest if origin else None,
                **self.script.fields,
            }
            rows = self.script.rows_at(begun + step)
            last = seal_set(
                tree.checkpoints, begun + step, scenario=scenario, hidden=self.script.hidden, rows=rows, **fields
            )
            log.write("save", scenario=scenario, num_timesteps=begun + step, kind="periodic")
        if last is not None:
            set_head(tree, last)

    def go_on(self, session: str, num_timesteps: int) -> None:
        """Let a session that was called running seal another set and end."""
        spec = self.spec_of(session)
        tree = TrainingTree(self._working(session) / spec.tree)
        (scenario,) = spec.scenarios
        head = read_head(tree, scenario.name)
        fields = {"lineage": spec.lineage, "generation": spec.generation, "session": spec.session}
        origin = spec.heads.get(scenario.name)
        parent = head.digest if head is not None else None
        made = seal_set(
            tree.checkpoints, num_timesteps, scenario=scenario.name, resumed_from=origin, parent=parent, **fields
        )
        set_head(tree, made)
        self.end(session)

    def end(self, session: str) -> None:
        """Write the end marker of a session."""
        info = SessionInfo(session, "steps", 0, {}, seconds=1.0, total_training_time=1.0)
        write_session_info(self._working(session) / SESSION_INFO_NAME, info)

    def status(self, handle: SessionHandle) -> SessionStatus:
        """Over, or what the script says."""
        return SessionStatus(self.script.state, "as scripted", seconds=1.0)

    def cancel(self, handle: SessionHandle) -> None:
        """Nothing to cancel."""

    def log(self, handle: SessionHandle, offset: int = 0) -> bytes:
        """One line."""
        return b"hello\n"[offset:]

    def outputs(self, handle: SessionHandle) -> list[OutputFile]:
        """Every file."""
        working = self._working(handle.session)
        files = sorted(path for path in working.rglob("*") if path.is_file() and not path.is_symlink())
        return [OutputFile(path.relative_to(working).as_posix(), path.stat().st_size) for path in files]

    def read_output(self, handle: SessionHandle, file: OutputFile, offset: int = 0) -> Iterator[bytes]:
        """Stream it, and break off where the test wants that."""
        data = (self._working(handle.session) / file.path).read_bytes()[offset:]
        for start in range(0, len(data), self.chunk):
            if self.fail_read_after is not None:
                if self.fail_read_after <= 0:
                    raise ConnectionResetError("the line is dead")
                self.fail_read_after -= 1
            yield data[start : start + self.chunk]

    def _working(self, session: str) -> Path:
        return self.folder / session.replace("/", "-")


class Told:
    """A reporter that remembers."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.warnings: list[str] = []

    def line(self, text: str) -> None:
        """Remember a line."""
        self.lines.append(text)

    def warn(self, text: str) -> None:
        """Remember a warning."""
        self.warnings.append(text)

    def progress(self, label: str, total: int | None, unit: str = "B") -> Any:
        """Show nothing."""
        from ckptsync.sync.reporting import NullReporter

        return NullReporter().progress(label, total, unit)

    @property
    def text(self) -> str:
        """All that was said."""
        return "\n".join([*self.lines, *self.warnings])


def rewrite_manifest(folder: Path, manifest: Manifest, **changes: Any) -> Manifest:
    """Replace a manifest by one that says something else and is sealed again."""
    changed = replace(manifest, **changes)
    (folder / f"{manifest.stem}.manifest.json").write_bytes(changed.serialise())
    return changed
