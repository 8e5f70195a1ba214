"""The self check: whether everything that a run depends on works on this very machine, tried for real.

Each check does the thing in a temporary folder, with a tiny kernel that needs no torch, and says what
it saw. `verify_checkpoint_system.py` and the tests run it.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import chdir
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..core import fsio, heads, names, sets
from ..core.errors import CkptsyncError
from ..core.findings import Verdict
from ..core.layout import TrainingTree
from ..core.session import ScenarioSpec, SessionSpec, read_session_info
from ..core.sets import SetState
from ..project.config import Project, RunConfig, load_project
from ..runners.bundle import build_bundle
from ..sync import launch, roundtrip
from ..sync.init import init
from ..sync.reporting import NullReporter
from ..sync.verify import verify_path
from ..training.sb3_files import mlp_parameters, write_sb3_zip

SCHEMA = "ckptsync.selfcheck/1"
_KERNEL = "toy"
_WAIT_SECONDS = 60.0


class CheckFailed(Exception):
    """A check did not see what it should have seen."""


@dataclass(frozen=True)
class CheckResult:
    """What one check saw.

    Args:
        name: the check.
        reason: why it matters.
        ok: whether it passed.
        found: what was seen, in words.
        seconds: how long it took.
    """

    name: str
    reason: str
    ok: bool
    found: str
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object of the check."""
        return {**vars(self), "seconds": round(self.seconds, 3)}


class Bench:
    """A throw-away project with one finished session, made when a check first needs it.

    Args:
        folder: an empty folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._project: Project | None = None

    @property
    def project(self) -> Project:
        """The project; its run has been launched once."""
        if self._project is None:
            init(self.folder / "project", _KERNEL)
            self._project = load_project(self.folder / "project")
            self.launch()
        return self._project

    @property
    def run(self) -> RunConfig:
        """The run of the project."""
        return self.project.run(None)

    @property
    def tree(self) -> TrainingTree:
        """The training tree of the run."""
        return self.project.tree(self.run)

    def launch(self) -> roundtrip.RoundTrip:
        """Launch one quick session and bring home what it made."""
        project = self._project or self.project
        with chdir(project.root):
            return roundtrip.run(project, project.run(None), launch.LaunchOptions(quick=True), reporter=NullReporter())

    def head(self) -> heads.Head:
        """The head that the tree has now."""
        head = heads.read_head(self.tree, self.run.scenario_names[0])
        if head is None:
            raise CheckFailed("the session left no checkpoint that could be restored")
        return head

    def copied_tree(self, name: str) -> Path:
        """A copy of the tree that a check may damage; returns the folder of its sets."""
        self.head()
        copy = self.folder / name
        shutil.copytree(self.tree.root, copy)
        return copy / "checkpoints"


def check_disk(bench: Bench) -> str:
    """A checkpoint counts only when it has reached the disk under its name."""
    path = bench.folder / "probe"
    fsio.write_bytes(path, b"first")
    fsio.write_bytes(path, b"second")
    if path.read_bytes() != b"second" or len(list(bench.folder.glob("*probe*"))) != 1:
        raise CheckFailed(f"{bench.folder} did not keep what was written")
    return f"written, synced and renamed; {fsio.free_bytes(bench.folder) / 1e9:.1f} GB are free"


def check_round_trip(bench: Bench) -> str:
    """A session must train, and its checkpoints must come home verified."""
    head = bench.head()
    report = verify_path(bench.tree.root, project=bench.project, run=bench.run)
    if report.verdict is None or not report.verdict.good:
        raise CheckFailed(f"the restored tree is judged {report.verdict}")
    return f"{len(report.checkpoints)} checkpoints restored, the newest at {head.num_timesteps:,} steps"


def check_resume(bench: Bench) -> str:
    """The next session must go on where the last one ended."""
    before = bench.head()
    trip = bench.launch()
    after = bench.head()
    sealed = sets.find(bench.tree.checkpoints, after.stem)
    origin = sealed.manifest.resumed_from if sealed is not None and sealed.manifest is not None else None
    if origin is None or origin.digest != before.digest or after.num_timesteps <= before.num_timesteps:
        raise CheckFailed(f"began at {before.num_timesteps:,}, ended at {after.num_timesteps:,}: {trip.message}")
    return f"resumed at {before.num_timesteps:,}, ended at {after.num_timesteps:,}"


def check_kill(bench: Bench) -> str:
    """A process that is killed while it saves must leave the previous checkpoint whole."""
    folder = bench.copied_tree("killed")
    head = bench.head()
    stem = names.checkpoint_stem(head.scenario, head.num_timesteps + 1)
    child = subprocess.Popen([sys.executable, "-c", _SAVE_WITHOUT_END, folder, stem], stdout=subprocess.PIPE)
    try:
        if child.stdout is None or child.stdout.readline() != b"writing\n":
            raise CheckFailed("the process that should be killed did not begin to save")
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait(_WAIT_SECONDS)
        if child.stdout is not None:
            child.stdout.close()
    torn = sets.find(folder, stem)
    if torn is None or torn.state is not SetState.TORN:
        raise CheckFailed("what it left is not recognised as torn")
    kept = sets.find(folder, head.stem)
    if kept is None or kept.manifest is None or sets.check_files(folder, kept.manifest):
        raise CheckFailed("the previous checkpoint is damaged")
    if sets.sweep(folder) != [stem] or sets.find(folder, stem) is not None:
        raise CheckFailed("what it left could not be swept")
    return f"the set at {head.num_timesteps:,} is whole, the torn one is no candidate"


_SAVE_WITHOUT_END = """
import sys, time
from pathlib import Path
from ckptsync.core.sets import SetWriter
folder, stem = Path(sys.argv[1]), sys.argv[2]
def write(file):
    file.write(b"half of a model")
    file.flush()
    print("writing", flush=True)
    time.sleep(600)
SetWriter(folder, stem, [stem + ".zip"]).add(stem + ".zip", "model", write)
"""


def check_flipped_bit(bench: Bench) -> str:
    """A single wrong bit in a checkpoint must be found before anything uses it."""
    folder = bench.copied_tree("flipped")
    model = folder / names.model_name(bench.head().stem)
    data = bytearray(model.read_bytes())
    data[len(data) // 2] ^= 1
    model.write_bytes(data)
    return _refused(model, Verdict.CORRUPT)


def check_missing_file(bench: Bench) -> str:
    """A set with a file missing must be refused whole."""
    folder = bench.copied_tree("missing")
    stem = bench.head().stem
    (folder / names.model_name(stem)).unlink()
    return _refused(folder / (stem + names.MANIFEST_SUFFIX), Verdict.CORRUPT)


def check_other_architecture(bench: Bench) -> str:
    """A network of another shape must be refused, and the parameter named."""
    head = bench.head()
    other = bench.folder / names.model_name(head.stem)
    write_sb3_zip(other, mlp_parameters(hidden=(16, 16)), num_timesteps=head.num_timesteps, hidden=(16, 16))
    report = verify_path(bench.tree.checkpoints / names.model_name(head.stem), against=other)
    named = [f.subject for c in report.checkpoints for f in c.findings if f.code == "arch.parameter-shape"]
    if report.verdict is not Verdict.INCOMPATIBLE or not named:
        raise CheckFailed(f"judged {report.verdict}, parameters named: {named}")
    return f"refused; {named[0]} and {len(named) - 1} more parameters are named"


def check_bundle(bench: Bench) -> str:
    """A session's machine has no ckptsync: the script must carry all that it needs."""
    working = bench.folder / "isolated"
    working.mkdir()
    spec = SessionSpec("check", "check/s0001", "l0001-check", 1, (ScenarioSpec(_KERNEL, 40),))
    script = working / "kernel.py"
    script.write_bytes(build_bundle(bench.project.kernel_folder(bench.run), spec, cache=bench.folder / "cache").script)
    # -I and -S: no environment, no current folder, no site-packages; PYTHONPATH would reach the script's own process
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "CKPTSYNC"))}
    environment["CKPTSYNC_INPUT_DIR"] = str(working)
    done = subprocess.run(
        [sys.executable, "-I", "-S", script],
        cwd=working,
        env=environment,
        capture_output=True,
        text=True,
        timeout=_WAIT_SECONDS,
        check=False,
    )
    if done.returncode != 0:
        raise CheckFailed(f"it ended with {done.returncode}: {(done.stdout + done.stderr).strip()[-300:]}")
    info = read_session_info(working / "session_info.json")
    return f"ran alone ({script.stat().st_size / 1e3:.0f} kB), cause of end: {info['cause']}"


def _refused(path: Path, expected: Verdict) -> str:
    report = verify_path(path)
    if report.verdict is not expected:
        raise CheckFailed(f"judged {report.verdict}, expected {expected.value}")
    finding = next(f for c in report.checkpoints for f in (*report.findings, *c.findings) if f.verdict is not None)
    return f"refused as {expected.value}: {finding.code} in {finding.subject}"


CHECKS: dict[str, Callable[[Bench], str]] = {
    "disk": check_disk,
    "round-trip": check_round_trip,
    "resume": check_resume,
    "kill": check_kill,
    "flipped-bit": check_flipped_bit,
    "missing-file": check_missing_file,
    "other-architecture": check_other_architecture,
    "bundle": check_bundle,
}


def run_checks(
    only: tuple[str, ...] = (), told: Callable[[CheckResult], None] = lambda result: None
) -> list[CheckResult]:
    """Run the checks and return what they saw; `told` hears of each as it ends.

    Args:
        only: names of checks; all when empty.
        told: called with each result.

    Raises:
        KeyError: a name is no check's.
    """
    chosen = {name: CHECKS[name] for name in only} or CHECKS
    results: list[CheckResult] = []
    with tempfile.TemporaryDirectory(prefix="ckptsync-check-") as folder:
        bench = Bench(Path(folder))
        for name, check in chosen.items():
            result = CheckResult(name, (check.__doc__ or "").strip(), True, "", 0.0)
            started = time.monotonic()
            try:
                result = replace(result, found=check(bench))
            except (CheckFailed, CkptsyncError, OSError, ValueError, subprocess.SubprocessError) as error:
                result = replace(result, ok=False, found=f"{type(error).__name__}: {error}")
            results.append(replace(result, seconds=time.monotonic() - started))
            told(results[-1])
    return results


def to_json(results: list[CheckResult]) -> dict[str, Any]:
    """Return the one JSON object of the self check."""
    good = all(result.ok for result in results)
    return {"schema": SCHEMA, "exit_code": 0 if good else 1, "checks": [result.to_json() for result in results]}
