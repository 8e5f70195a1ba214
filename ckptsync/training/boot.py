"""The first code of ours in a session: lay the tree, run the script as a child, seal, write the end marker.

The script is a child, so that whatever becomes of it (a crash in C, `os._exit`) somebody is left to write how
the session ended. Folders are all that differs between machines: the working folder is the current one, inputs
lie in CKPTSYNC_INPUT_DIR, else where Kaggle mounts them.
"""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..core import fsio, jsonio, sets
from ..core.clock import now
from ..core.errors import CkptsyncError, ConfigError, ExitCode, NothingFoundError
from ..core.layout import EVENTS_NAME, SESSION_INFO_NAME, TrainingTree
from ..core.session import (
    BOOT_VARIABLE,
    DEFAULT_INPUT,
    INPUT_VARIABLE,
    MAX_INFO_BYTES,
    SPEC_VARIABLE,
    STARTED_VARIABLE,
    EventLog,
    SessionSpec,
    read_events,
    write_session_info,
)
from ..core.summary import summarise, trained_seconds
from .child import ChildEnd, run_child
from .host import current_host
from .versions import current_versions

_STOP_CODES = (ExitCode.INTERRUPTED, ExitCode.TERMINATED)
# On Kaggle the middle part is the id that a session is cancelled by; the service tells it nowhere else
_CONTAINER = re.compile(r"[A-Za-z0-9]+[_-](?P<session>[0-9]{1,19})[_-][A-Za-z0-9_-]+")
# How long a process that the script left behind may hold the tree
_LOCK_SECONDS = 10.0


def main(root: str) -> int:
    """Run the session whose bundle was unpacked to `root`; return the exit code of the process."""
    started = time.monotonic()
    try:
        spec = SessionSpec.from_json(jsonio.parse(fsio.read_bytes(Path(root, "spec.json"), limit=MAX_INFO_BYTES)))
    except ValueError as error:
        raise ConfigError(f"the session specification is damaged: {error}") from None
    return _Boot(Path(root), spec, Path.cwd(), started).run()


class _Boot:
    def __init__(self, root: Path, spec: SessionSpec, working: Path, started: float) -> None:
        self._root = root
        self._spec = spec
        self._working = working
        self._started = started
        self._tree = TrainingTree(working / spec.tree)
        self._log = EventLog(working / EVENTS_NAME, spec.session)
        self._script_seconds: float | None = None
        self._kernel = root / "kernel" / (spec.code.subfolder if spec.code is not None else "")

    def run(self) -> int:
        spec = self._spec
        _say(f"[CKPTSYNC] session {spec.session} (generation {spec.generation}) started at {now()}")
        if container := _CONTAINER.fullmatch(os.environ.get("KAGGLE_CONTAINER_NAME", "")):
            _say(f"[CKPTSYNC] container session {container['session']}")  # whoever reads the log can cancel by it
        self._log.write("boot", run=spec.run, generation=spec.generation, versions=current_versions())
        try:
            self._fetch_code()
            self._lay_tree()
            begun = time.monotonic()
            asked, killed = self._limits()
            end = run_child(self._command(), self._environment(), seconds=asked, kill_seconds=killed)
            self._script_seconds = time.monotonic() - begun
        except CkptsyncError as error:
            self._log.write_error(error)
            end = _failure(error)
        # From here on the session is ending already: another request to stop must not cut the end marker off
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        return self._finish(end)

    def _fetch_code(self) -> None:
        code = self._spec.code
        if code is None:
            return
        from .clone import clone  # hardly any session needs it

        clone(code, self._root / "kernel")
        if not (self._kernel / self._spec.script).is_file():
            where = f"{code.subfolder}/{self._spec.script}" if code.subfolder else self._spec.script
            raise NothingFoundError(f"commit {code.commit} of {code.git} holds no {where}, the script of this run")
        _say(f"[CKPTSYNC] code: commit {code.commit} of {code.git}")

    def _lay_tree(self) -> None:
        if not self._spec.heads:
            _say("[CHECKPOINT] No checkpoints came with this session: it begins from zero (normal for a first run)")
            return
        from .intake import lay_tree  # the first session of a run needs none of it

        inputs = Path(os.environ.get(INPUT_VARIABLE) or DEFAULT_INPUT)
        fsio.make_folder(self._tree.root.parent)
        with fsio.locked(self._tree.lock, what=f"the training tree {self._tree.root}"):
            laid = lay_tree(self._spec, inputs, self._tree)
        _say(f"[CHECKPOINT] Found {len(laid)} checkpoint(s) to restore:")
        for manifest in laid:
            _say(f"[CHECKPOINT]   {manifest.model.path} ({manifest.size_bytes:,} bytes)")
        _say(f"[CHECKPOINT] Successfully restored {sum(len(m.files) for m in laid)} file(s)")

    def _command(self) -> list[str]:
        # -P: the script's folder must not come before our own on sys.path; _environment puts it second
        return [sys.executable, "-u", "-P", str(self._kernel / self._spec.script)]

    def _environment(self) -> dict[str, str]:
        paths = [str(self._root / "lib"), str((self._kernel / self._spec.script).parent)]
        paths += [str(folder) for folder in _needed_packages(self._root / "fallback")]
        paths += [os.environ["PYTHONPATH"]] if os.environ.get("PYTHONPATH") else []
        return {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(paths),
            SPEC_VARIABLE: str(self._root / "spec.json"),
            BOOT_VARIABLE: "1",
            STARTED_VARIABLE: repr(self._started),
        }

    def _limits(self) -> tuple[float | None, float | None]:
        """When the script is asked to stop, and when it is killed so that the end marker is still written in time.

        One that uses TrainingSession has stopped by itself before.
        """
        budget, margin = self._spec.budget_seconds, self._spec.margin_seconds
        if budget is None:
            return None, None
        passed = time.monotonic() - self._started
        asked = max(budget - margin / 2, budget / 2)
        return asked - passed, max(budget - margin / 4, (asked + budget) / 2) - passed

    def _finish(self, end: ChildEnd) -> int:
        stopped_in_time = end.deadline and end.exit_code in _STOP_CODES
        code = 0 if stopped_in_time else end.exit_code
        error = None if stopped_in_time else end.error
        try:
            self._seal(end, stopped_in_time)
            fsio.remove_file(self._tree.lock)  # empty, and nobody needs to download it
            events = read_events(self._working / EVENTS_NAME)
            trained = trained_seconds(self._tree, [scenario.name for scenario in self._spec.scenarios])
            if code != 0:
                error = _told(events) or error
            if self._script_seconds is not None:
                self._log.write("script", exit_code=end.exit_code, seconds=round(self._script_seconds, 3))
        except CkptsyncError as failed:
            _say(f"[CKPTSYNC] ERROR: {failed.message}")
            events, trained, error, code = [], {}, failed.message, code or failed.exit_code
        seconds = time.monotonic() - self._started
        info = summarise(
            events,
            self._spec,
            code,
            seconds,
            versions=current_versions(),
            host=current_host(),
            trained=trained,
            error=error,
        )
        if end.killed or (stopped_in_time and info.cause == "signal"):
            info = replace(info, cause="deadline")  # the signal was ours
        try:
            write_session_info(self._working / SESSION_INFO_NAME, info)
        except CkptsyncError as failed:
            _say(f"[CKPTSYNC] ERROR: how the session has ended could not be written down: {failed.message}")
            code = code or failed.exit_code
        saved = sum(block["checkpoints"] for block in info.scenarios.values())
        _say(
            f"[CKPTSYNC] session {self._spec.session} ended: cause {info.cause}, exit code {code}, "
            f"{saved} checkpoint(s), {seconds:.1f} s"
        )
        return code

    def _seal(self, end: ChildEnd, stopped_in_time: bool) -> None:
        if not self._tree.checkpoints.is_dir():
            return
        with fsio.locked(self._tree.lock, what=f"the training tree {self._tree.root}", wait_seconds=_LOCK_SECONDS):
            for stem in sets.sweep(self._tree.checkpoints):
                _say(f"[CHECKPOINT] {stem}: the save was cut short; removed")
            if {event["event"] for event in read_events(self._working / EVENTS_NAME)} - {"boot", "torn"}:
                return  # the script uses TrainingSession and has sealed its sets itself
            from .classic import ClassicEnd, seal_classic  # the readers are needed for plain files only

            cause = "deadline" if stopped_in_time or end.killed else _cause(end)
            classic_end = ClassicEnd(cause, None if stopped_in_time else end.signal)
            seal_classic(self._spec, self._tree, self._log, classic_end, say=_say)


def _cause(end: ChildEnd) -> str:
    if end.exit_code in _STOP_CODES:
        return "signal"
    return "exit" if end.exit_code == 0 else "error"


def _told(events: Sequence[Mapping[str, Any]]) -> str | None:
    """Return the error that the script itself wrote down last, as a traceback would name it."""
    errors = [event for event in events if event["event"] == "error"]
    return f"{errors[-1].get('type')}: {errors[-1].get('message')}" if errors else None


def _failure(error: CkptsyncError) -> ChildEnd:
    _say(f"[CKPTSYNC] ERROR: {error.message}")
    if error.hint:
        _say(f"[CKPTSYNC] Next: {error.hint}")
    return ChildEnd(int(error.exit_code), None, False, error.message)


def _needed_packages(fallback: Path) -> list[Path]:
    """Return the folders of bundled packages that are not installed on this machine."""
    return [fallback / name for name in fsio.list_names(fallback) if not _installed(fallback / name)]


def _installed(package: Path) -> bool:
    modules = {name.removesuffix(".py") for name in fsio.list_names(package) if "." not in name or name.endswith(".py")}
    return all(importlib.util.find_spec(module) is not None for module in modules)


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
