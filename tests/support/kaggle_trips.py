"""Trips to a Kaggle service that fails all the time: chains of them, each judged by what the service really holds."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ckptsync.core import heads, names, sets
from ckptsync.core.errors import CkptsyncError, ExitCode
from ckptsync.core.layout import EVENTS_NAME
from ckptsync.core.patience import Patience
from ckptsync.core.session import SessionSpec, parse_events
from ckptsync.project.config import Project, load_project
from ckptsync.runners.bundle import read_spec
from ckptsync.runners.kaggle.runner import KaggleRunner
from ckptsync.sync import dispatch, roundtrip, runners
from ckptsync.sync.launch import LaunchOptions
from ckptsync.sync.ledgers import known_records
from ckptsync.sync.reporting import NullReporter
from ckptsync.testing.kaggle import KaggleService
from ckptsync.testing.kaggle.faults import Fault
from ckptsync.testing.kaggle.runs import Run
from ckptsync.testing.kaggle.toy import TOY_RUN

KERNEL = "tester/ckptsync-toy"
_TOY = Path(runners.__file__).parents[1] / "templates" / "kernels" / "toy"
_COMMAND = Path(sys.executable).with_name("ckptsync")
_STEPS = 100
# No trip may take longer as a process of its own: patience of every kind is over long before
_DEADLINE_SECONDS = 120
_CONFIG = (
    TOY_RUN.format(every_steps=20)
    + """keep_last = 3

[runners.kaggle]
carrier = "{carrier}"
timeout = "2s"
patience = "6s"
dataset_wait = "20s"
poll_first = 0.02
poll_longest = 0.2
wait_patience = "20s"
fetch_patience = "10s"
"""
)
_ANSWER_LOST = {Fault.DROP_AFTER, Fault.DROP_IN, Fault.TRUNCATED, Fault.TRUNCATED_BARE}
# How a session ends, and how often
_ENDS = {"steps": 10, "crash": 2, "leaves": 1, "limit": 2, "cancelled": 1, "cancelled without a trace": 1}


@dataclass
class Counts:
    """What a chain of trips came to.

    Args:
        trips: how many.
        restored: those that brought new steps home.
        named: those that ended otherwise: exit codes by name, and classes of errors.
        faults: how often the service has failed.
        lost: pushes whose answer never came whole.
        runs: how many scripts it has run.
        doubles: runs of a submission that had been started before.
    """

    trips: int = 0
    restored: int = 0
    named: Counter[str] = field(default_factory=Counter)
    faults: int = 0
    lost: int = 0
    runs: int = 0
    doubles: int = 0


class Chain:
    """One run that goes to the service again and again, and what must hold after each trip.

    Args:
        folder: for the service and the project; empty.
        seed: draws all that goes wrong.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self._dice = random.Random(seed)
        self._folder = folder
        self._seed = seed
        self.counts = Counts()
        carrier = self._dice.choice(["auto", "dataset", "auto"])
        settings = {
            "mount_layout": self._dice.choice(["new", "old"]),
            "kernel_mount": self._dice.choice(["files", "zip"]),
            "crash_says_complete": self._dice.random() < 0.3,
            "processing_seconds": self._dice.choice([0.0, 0.2]),
            "status_lag_seconds": self._dice.choice([0.0, 0.3]),
            "version_lag_seconds": self._dice.choice([0.0, 0.2]),
            "listing_seconds": self._dice.choice([0.0, 0.3]),
            "saving_seconds": self._dice.choice([0.0, 0.2]),
            "dataset_number_at_once": self._dice.random() < 0.5,
        }
        self.told = f"seed {seed}, carrier {carrier}, {settings}"
        (folder / "away").mkdir()
        self.service = KaggleService(
            folder / "away",
            **settings,
            retry_after_seconds=0,
            stall_seconds=3.0,
            slow_seconds=0.1,
            cancel_grace_seconds=3.0,
        )
        self._config = _CONFIG.format(carrier=carrier)
        self.project = self._clone()
        self._reached = 0

    def _clone(self) -> Project:
        """Make a project with nothing but its code, as another machine has it."""
        root = self._folder / f"clone{len(list(self._folder.glob('clone*')))}"
        shutil.copytree(_TOY, root / "kernels" / "toy")
        (root / "ckptsync.toml").write_text(self._config)
        return load_project(root, environ={})

    def go(self, trips: int) -> None:
        """Make trips under faults, then one in peace, which must succeed."""
        with self.service:
            for number in range(trips):
                self.service.faults.clear()
                self.service.faults.rate(self._dice.uniform(0.1, 0.4), seed=self._seed * 1000 + number)
                if self._dice.random() < 0.2:
                    self.project = self._clone()
                self._trip()
                self._judge()
            self.service.faults.clear()
            self._in_peace()
            self.counts.faults = sum(self.service.faults.fired.values())
            self.counts.lost = sum(
                call.name == "SaveKernel" and call.fault in _ANSWER_LOST for call in self.service.requests
            )
            self.counts.runs = len(self.service.runs())
            assert self.service.failures == []

    def _trip(self) -> None:
        end = self._dice.choices([*_ENDS], [*_ENDS.values()])[0]
        verb = self._dice.choice([self._launch, self._launch, self._in_two, self._by_command])
        before = self._reached
        with self._ending(end) as params:
            self.counts.trips += 1
            try:
                code = verb(LaunchOptions(steps=_STEPS, set=params))
                assert code in set(ExitCode)
                ended = ExitCode(code).name
            except CkptsyncError as error:
                assert error.message
                ended = type(error).__name__
        if self._head() > before:
            self.counts.restored += 1
        else:
            self.counts.named[ended] += 1

    def _launch(self, options: LaunchOptions) -> int:
        run = self.project.run("toy")
        return roundtrip.run(self.project, run, options, reporter=NullReporter()).exit_code

    def _in_two(self, options: LaunchOptions) -> int:
        run = self.project.run("toy")
        dispatch.dispatch(self.project, run, options, reporter=NullReporter())
        for started in self.service.runs():
            started.wait(30)
        return dispatch.collect(self.project, run, reporter=NullReporter()).exit_code

    def _by_command(self, options: LaunchOptions) -> int:
        """Launch as people do, with the pauses that they have."""
        given = [word for key, value in options.set.items() for word in ("--set", f"{key}={json.dumps(value)}")]
        done = subprocess.run(
            [_COMMAND, "launch", "--steps", str(options.steps), *given],
            cwd=self.project.root,
            capture_output=True,
            text=True,
            timeout=_DEADLINE_SECONDS,
        )
        told = done.stdout + done.stderr
        assert "\nTraceback" not in told and "error: unexpected" not in told, told  # a script's own is indented
        return done.returncode

    def _ending(self, end: str) -> Ending:
        return Ending(self.service, end, self._reached)

    def _in_peace(self) -> None:
        """What was left undone is done, and a last session goes on from where the run stands."""
        settings = self.service.settings
        settings.session_limit_seconds, settings.cancel_keeps_outputs, settings.crash_says_complete = (
            3600.0,
            True,
            False,
        )
        run = self.project.run("toy")
        for _ in range(5):
            code = self._launch(LaunchOptions(steps=_STEPS))
            self._judge()
            if code == ExitCode.OK:
                break
        assert code == ExitCode.OK
        head = self._head()
        assert self._launch(LaunchOptions(steps=_STEPS)) == ExitCode.OK
        self._judge()
        assert self._head() >= head + _STEPS
        assert all(record.settled for record in known_records(self.project, run.name))

    # --- what must hold

    def _head(self) -> int:
        """Return N of the head of the tree that is worked in; one that was never there is 0."""
        head = heads.read_head(self.project.tree(self.project.run("toy")), "toy")
        return head.num_timesteps if head is not None else 0

    def _judge(self) -> None:
        started = self._started()
        self._judge_bytes(started)
        self._judge_beginnings(started)
        here = self._head()
        if known_records(self.project, "toy") and here:
            assert here >= self._reached, f"the head went back from {self._reached} to {here}"
        self._reached = max(self._reached, here)
        self.counts.doubles = sum(len(runs) - 1 for runs in started.values())

    def _started(self) -> dict[tuple[str, str, int], list[tuple[int, SessionSpec, Run]]]:
        """Return every run that the service has begun, by submission; the first is the session."""
        found: dict[tuple[str, str, int], list[tuple[int, SessionSpec, Run]]] = defaultdict(list)
        try:
            newest = self.service.version(KERNEL).number
        except KeyError:
            return found
        for number in range(1, newest + 1):
            version = self.service.version(KERNEL, number)
            spec = read_spec(version.text.encode())
            assert spec is not None and version.run is not None
            found[spec.session, spec.lineage, spec.generation].append((number, spec, version.run))
        return found

    def _judge_bytes(self, started: Mapping[tuple[str, str, int], list[tuple[int, SessionSpec, Run]]]) -> None:
        """Every file in the tree is, byte for byte, what the session that sealed it has left; never a double's."""
        tree = self.project.tree(self.project.run("toy"))
        for stored in sets.scan(tree.checkpoints):
            manifest = stored.manifest
            assert manifest is not None, f"{stored.stem} is {stored.state}"
            assert manifest.session is not None
            number, _spec, run = started[manifest.session, manifest.lineage, manifest.generation][0]
            left = {file.name: file.path for file in run.left if file.path is not None}
            for name in [*(entry.path for entry in manifest.files), stored.stem + names.MANIFEST_SUFFIX]:
                away = left.get(f"data/models/checkpoints/{name}")
                if away is None:  # a later session has carried it on, where this one left nothing
                    assert not run.files(), f"{name} is not among what version {number} left"
                    continue
                assert _digest(tree.checkpoints / name) == _digest(away), f"{name} is not that of version {number}"
        for record in known_records(self.project, "toy"):
            if record.handle is not None and (runs := started.get(_submission(record.spec))):
                assert record.handle["reference"]["version"] == runs[0][0], f"{record.session} is a double"

    def _judge_beginnings(self, started: Mapping[tuple[str, str, int], list[tuple[int, SessionSpec, Run]]]) -> None:
        """Every session was told to go on from a head once there was one, and did or ended with an error."""
        for runs in started.values():
            for number, spec, run in runs:
                assert number == 1 or spec.heads or not self._sealed_before(number), f"version {number} began at zero"
                events = [
                    each for file in run.left if file.name == EVENTS_NAME for each in parse_events(_bytes(file.path))
                ]
                for event in events:
                    if event["event"] == "start":
                        promised = spec.heads["toy"].num_timesteps if spec.heads else 0
                        assert event["num_timesteps"] == promised, f"version {number} began at {event['num_timesteps']}"

    def _sealed_before(self, number: int) -> bool:
        """Whether a version before has left a sealed set."""
        before = [self.service.run(KERNEL, earlier) for earlier in range(1, number)]
        return any(file.name.endswith(names.MANIFEST_SUFFIX) for run in before for file in run.left)


class Ending:
    """Sees to it that the next session ends in a certain way; gives the parameters for its script."""

    def __init__(self, service: KaggleService, end: str, reached: int) -> None:
        self._service = service
        self._end = end
        self._reached = reached
        self._left = threading.Event()
        self._thread = threading.Thread(target=self._cancel, args=(len(service.runs()),), daemon=True)

    def __enter__(self) -> dict[str, Any]:
        settings = self._service.settings
        settings.session_limit_seconds = 3.0 if self._end == "limit" else 3600.0
        settings.cancel_keeps_outputs = self._end != "cancelled without a trace"
        middle = self._reached + _STEPS // 2
        if self._end.startswith("cancelled"):
            self._thread.start()
        params: dict[str, dict[str, Any]] = {"crash": {"crash_at": middle}, "leaves": {"exit_at": middle}}
        return params.get(self._end, {} if self._end == "steps" else {"pause": 0.3})

    def __exit__(self, *exception: object) -> None:
        self._left.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _cancel(self, before: int) -> None:
        """Cancel the next run once it has saved something."""
        while not self._left.is_set():
            for run in self._service.runs()[before:]:
                if "Saved" in run.log.text():
                    run.cancel()
            time.sleep(0.05)


def _submission(spec: SessionSpec) -> tuple[str, str, int]:
    return spec.session, spec.lineage, spec.generation


def _bytes(path: Path | None) -> bytes:
    return path.read_bytes() if path is not None else b""


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def quick_runner(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the pauses of the runner; all else is as configured."""
    made = runners.RUNNERS["kaggle"]

    def make(project: Project, settings: Mapping[str, Any]) -> KaggleRunner:
        runner = made(project, settings)
        assert isinstance(runner, KaggleRunner)
        found = runners.kaggle_settings(project, settings)
        return KaggleRunner(
            found,
            patience=Patience(found.patience_seconds, first_pause=0.02, longest_pause=0.3),
            dataset_settle_seconds=0.05,
            listing_settle_seconds=0.05,
            log_idle_seconds=0.2,
        )

    monkeypatch.setitem(runners.RUNNERS, "kaggle", make)
