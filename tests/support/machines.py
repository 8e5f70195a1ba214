"""Several machines with clones of one project, and the service that they share; sessions end when they are told to."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from ckptsync.core import heads, sets
from ckptsync.core.layout import TrainingTree
from ckptsync.core.manifest import Manifest
from ckptsync.core.session import SessionSpec
from ckptsync.project.config import Project, RunConfig
from ckptsync.runners.base import SessionHandle, SessionState, Submission
from ckptsync.runners.bundle import read_spec
from ckptsync.sync import dispatch, roundtrip, runners
from ckptsync.sync.launch import LaunchOptions
from ckptsync.testing.remote import RemoteService, ServiceRunner
from support.projects import CONFIG, Script, ScriptedRunner, Told, make_project

REMOTE = CONFIG.replace('"scripted"', '"remote"').replace("1000", "1_000_000")


class Version(ScriptedRunner):
    """One version of the service: it does what its script says at once, and runs until it is told to end."""

    def __init__(self, folder: Path, script: Script) -> None:
        super().__init__(folder, script, lambda _session: self.told())
        self.spec: SessionSpec | None = None

    def told(self) -> SessionSpec:
        """What the session was told."""
        assert self.spec is not None
        return self.spec

    def start(self, submission: Submission) -> SessionHandle:
        """Do everything but end."""
        self.spec = read_spec(submission.script)
        self.script = replace(self.script)
        return super().start(submission)

    @property
    def running(self) -> bool:
        """Whether it was not told to end yet."""
        return self.script.state is SessionState.RUNNING

    def finish(self, state: SessionState = SessionState.COMPLETE) -> None:
        """End."""
        self.script.state = state
        if state is SessionState.COMPLETE:
            self.end(self.told().session)

    def cancel(self, handle: SessionHandle) -> None:
        """End, with what is there."""
        if self.running:
            self.script.state = SessionState.CANCELLED

    def made(self) -> list[Manifest]:
        """Every set that it has sealed."""
        trees = self.folder.glob("*/data/models")
        return [s.manifest for tree in trees for s in sets.scan(TrainingTree(tree).checkpoints) if s.manifest]


class Machine:
    """One clone of the project.

    Args:
        folder: where it is; anew when it exists.
        cache: what a first launch has packed.
    """

    def __init__(self, folder: Path, cache: Path) -> None:
        if folder.exists():
            shutil.rmtree(folder)
        self.project: Project = make_project(folder, REMOTE)
        shutil.copytree(cache, self.project.layout.cache)
        self.told = Told()

    @property
    def run(self) -> RunConfig:
        """The only run."""
        return self.project.run(None)

    @property
    def head(self) -> heads.Head | None:
        """Where it stands."""
        return heads.read_head(self.project.tree(self.run), "a")

    def dispatch(self, **options: object) -> dispatch.Report:
        """`ckptsync dispatch`."""
        given = LaunchOptions(**options)  # type: ignore[arg-type]
        return dispatch.dispatch(self.project, self.run, given, reporter=self.told)

    def collect(self) -> dispatch.Report:
        """`ckptsync collect`."""
        return dispatch.collect(self.project, self.run, reporter=self.told)

    def launch(self, **options: object) -> roundtrip.RoundTrip:
        """`ckptsync launch`."""
        given = LaunchOptions(**options)  # type: ignore[arg-type]
        return roundtrip.run(self.project, self.run, given, reporter=self.told)

    def wait(self) -> roundtrip.RoundTrip:
        """`ckptsync wait`."""
        return roundtrip.resume_unfinished(self.project, self.run, reporter=self.told)


class Machines:
    """A service and the machines that share it.

    Args:
        folder: for all of it.
        cache: what a first launch has packed.
    """

    def __init__(self, folder: Path, cache: Path) -> None:
        self.folder = folder
        self._cache = cache
        self.script = Script(state=SessionState.RUNNING)
        self.service = RemoteService(folder / "service", lambda place: Version(place, self.script))

    def machine(self, name: str) -> Machine:
        """Make a machine with an empty clone."""
        return Machine(self.folder / name, self._cache)

    @property
    def versions(self) -> list[Version]:
        """What the service has, oldest first."""
        return [version.runner for version in self.service.versions if isinstance(version.runner, Version)]

    def finish(self, state: SessionState = SessionState.COMPLETE) -> None:
        """End whatever runs."""
        for version in self.versions:
            if version.running:
                version.finish(state)

    @contextmanager
    def connected(self) -> Iterator[Machines]:
        """Let the name `remote` mean the service."""
        runners.RUNNERS["remote"] = lambda _project, _settings: ServiceRunner(self.service)
        try:
            yield self
        finally:
            del runners.RUNNERS["remote"]
