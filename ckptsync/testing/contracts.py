"""Contract suites: what every implementation must keep, written once, as classes that a test module inherits.

    class TestMyRunner(RunnerContract):
        @pytest.fixture
        def runner(self, tmp_path): return MyRunner(...)

Source: the idea of contract tests that other packages mix with their own fixtures is fsspec's.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from ..core import jsonio, names
from ..core.errors import CkptsyncError, CorruptError, NothingFoundError
from ..core.layout import SAVE_REQUEST_NAME
from ..core.session import ScenarioSpec, SessionSpec
from ..runners.base import (
    LiveRunner,
    OutputFile,
    RemoteRunner,
    Runner,
    SessionHandle,
    SessionState,
    SessionStatus,
    StreamingRunner,
    Submission,
)

_FILES = b"""
import os, sys
os.makedirs("data/models")
with open("data/models/a file", "wb") as file:
    file.write(bytes(range(256)) * 5000)
os.makedirs("data/models/checkpoints/toy_replay")
with open("data/models/checkpoints/toy_replay/0-5-rows", "wb") as file:
    file.write(b"rows")
open("empty", "wb").close()
os.symlink(sys.executable, "link")
print("made", flush=True)
"""
_INPUT = b"""
import hashlib, os
folder = os.environ.get("CKPTSYNC_INPUT_DIR", "/kaggle/input")
for place, folders, names in os.walk(folder):
    for name in names:
        with open(os.path.join(place, name), "rb") as file:
            print(name, hashlib.sha256(file.read()).hexdigest())
"""
_FAIL = b"""
open("partial", "w").write("kept")
print("before the end", flush=True)
raise SystemExit(7)
"""
UNTIL_STOPPED = b"""
import signal, sys, time
def stop(number, frame):
    open("sealed", "w").write("on request")
    sys.exit(143)
signal.signal(signal.SIGTERM, stop)
open("partial", "w").write("kept")
print("ready", flush=True)
time.sleep(600)
"""
SAVES_WHEN_ASKED = b"""
import os, time
print("ready", flush=True)
while not os.path.exists("%s"):
    time.sleep(0.01)
open("saved", "w").write("on request")
os.remove("%s")
time.sleep(600)
""" % ((SAVE_REQUEST_NAME.encode(),) * 2)
FOR_EVER = b"""
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
open("partial", "w").write("kept")
print("ready", flush=True)
time.sleep(600)
"""


class RunnerContract:
    """What every runner must keep. Inherit it and give a fixture `runner`.

    Attributes:
        poll_seconds: how long to wait between two looks.
        wait_seconds: how long a small script may take, with all the runner's own delays.
        limit_seconds: a time limit that the runner can keep, with time for the script to begin.
        preamble: put in front of every script: what a session must say for the runner to reach it.
    """

    poll_seconds = 0.02
    wait_seconds = 30.0
    limit_seconds = 1.0
    preamble = b""

    @pytest.fixture
    def runner(self) -> Runner:
        """The runner under test; to be overridden."""
        raise NotImplementedError

    def submission(
        self,
        script: bytes,
        *,
        session: str = "contract/s0001",
        generation: int = 1,
        inputs: Mapping[str, Path] | None = None,
        budget_seconds: float | None = None,
    ) -> Submission:
        """Make a submission of a plain script."""
        told = self.preamble + script
        return Submission(session, generation, told, inputs or {}, budget_seconds, "contract")

    def finish(self, runner: Runner, handle: SessionHandle) -> SessionStatus:
        """Wait for the end of a session."""
        return self._wait(runner, handle, lambda: runner.status(handle).state.finished)

    def ready(self, runner: Runner, handle: SessionHandle) -> SessionStatus:
        """Wait until the script has printed `ready`."""
        return self._wait(runner, handle, lambda: b"ready" in runner.log(handle))

    def _wait(self, runner: Runner, handle: SessionHandle, happened: Callable[[], bool]) -> SessionStatus:
        deadline = time.monotonic() + self.wait_seconds
        while not happened():
            if time.monotonic() > deadline:
                pytest.fail(f"nothing happened for {self.wait_seconds} s: {runner.status(handle)}")
            time.sleep(self.poll_seconds)
        return runner.status(handle)

    def read(self, runner: Runner, handle: SessionHandle, path: str, offset: int = 0) -> bytes:
        """Read one output file from an offset on."""
        listed = {file.path: file for file in runner.outputs(handle)}
        return b"".join(runner.read_output(handle, listed[path], offset))

    def test_it_has_a_name(self, runner: Runner) -> None:
        """The name stands in handles and in the configuration."""
        assert runner.name

    def test_nothing_is_found_before_the_start(self, runner: Runner) -> None:
        """`find` is asked first, so it must not take another session for this one."""
        assert runner.find(self.submission(b"")) is None

    def test_a_session_completes(self, runner: Runner) -> None:
        """The common case: started, found again, finished, with its log."""
        submission = self.submission(_FILES)
        handle = runner.start(submission)
        assert handle.session == submission.session
        assert handle.runner == runner.name
        assert runner.find(submission) == handle
        status = self.finish(runner, handle)
        assert status.state is SessionState.COMPLETE
        assert status.exit_code in (0, None)
        assert b"made" in runner.log(handle)
        assert runner.find(submission) == handle

    def test_a_handle_survives_the_ledger(self, runner: Runner) -> None:
        """A handle is written as JSON and used by another process on another day."""
        handle = runner.start(self.submission(_FILES))
        again = SessionHandle.from_json(handle.to_json())
        assert self.finish(runner, again).state is SessionState.COMPLETE

    def test_another_generation_is_another_submission(self, runner: Runner) -> None:
        """Id and generation together say which submission it is."""
        handle = runner.start(self.submission(_FILES))
        assert runner.find(self.submission(_FILES, generation=2)) is None
        assert runner.find(self.submission(_FILES, session="contract/s0002")) is None
        self.finish(runner, handle)

    def test_starting_twice_runs_once(self, runner: Runner) -> None:
        """A start whose answer was lost is tried again; the second must not run."""
        submission = self.submission(_FILES)
        first = runner.start(submission)
        second = runner.find(submission) or runner.start(submission)
        assert second == first
        self.finish(runner, first)
        assert runner.log(first).count(b"made") == 1

    def test_inputs_arrive_unchanged(self, runner: Runner, tmp_path: Path) -> None:
        """A pack must arrive byte for byte, under its own name."""
        pack = tmp_path / "local.ckpt"
        pack.write_bytes(bytes(range(256)) * 1000)
        handle = runner.start(self.submission(_INPUT, inputs={"toy.ckpt": pack}))
        assert self.finish(runner, handle).state is SessionState.COMPLETE
        expected = f"toy.ckpt {hashlib.sha256(pack.read_bytes()).hexdigest()}"
        assert expected.encode() in runner.log(handle)

    def test_an_input_cannot_leave_its_folder(self, runner: Runner, tmp_path: Path) -> None:
        """Names are checked before anything is started."""
        (tmp_path / "x").write_bytes(b"x")
        submission = self.submission(_INPUT, inputs={"../x": tmp_path / "x"})
        with pytest.raises(CorruptError):
            runner.start(submission)
        assert runner.find(submission) is None

    def test_outputs_are_listed_and_read(self, runner: Runner) -> None:
        """Every regular file with its size, in ranges of any offset; links are left out."""
        handle = runner.start(self.submission(_FILES))
        self.finish(runner, handle)
        listed = {file.path: file.size_bytes for file in runner.outputs(handle)}
        data = bytes(range(256)) * 5000
        assert listed["data/models/a file"] in (len(data), None)
        assert "empty" in listed
        rows = "data/models/checkpoints/toy_replay/0-5-rows"
        assert listed[rows] in (4, None)
        assert self.read(runner, handle, rows) == b"rows"
        assert "link" not in listed
        for offset in (0, 1, 777, len(data) - 1, len(data)):
            assert self.read(runner, handle, "data/models/a file", offset) == data[offset:]
        assert self.read(runner, handle, "empty") == b""

    def test_only_outputs_can_be_read(self, runner: Runner) -> None:
        """A path from outside never leads anywhere else."""
        handle = runner.start(self.submission(_FILES))
        self.finish(runner, handle)
        for path in ("../kernel.py", "/etc/passwd", "data/../../kernel.py", "link", "nothing", ""):
            with pytest.raises(CkptsyncError):
                list(runner.read_output(handle, OutputFile(path)))

    def test_the_log_can_be_followed(self, runner: Runner) -> None:
        """What is asked from an offset on continues what was read before."""
        handle = runner.start(self.submission(_FAIL))
        self.finish(runner, handle)
        whole = runner.log(handle)
        assert b"before the end" in whole
        for offset in (0, 1, 5, len(whole)):
            assert runner.log(handle, offset) == whole[offset:]

    def test_a_failed_session_keeps_its_outputs(self, runner: Runner) -> None:
        """A crash is an error with an exit code, where the runner tells it, and with partial output."""
        handle = runner.start(self.submission(_FAIL))
        status = self.finish(runner, handle)
        assert status.state is SessionState.ERROR
        assert status.exit_code in (7, None)
        assert self.read(runner, handle, "partial") == b"kept"

    def test_a_cancelled_session_may_seal(self, runner: Runner) -> None:
        """A cancelled script gets a signal and time, and what it wrote is there."""
        handle = runner.start(self.submission(UNTIL_STOPPED))
        assert not self.ready(runner, handle).state.finished
        runner.cancel(handle)
        assert self.finish(runner, handle).state is SessionState.CANCELLED
        assert self.read(runner, handle, "partial") == b"kept"
        assert self.read(runner, handle, "sealed") == b"on request"

    def test_cancelling_a_finished_session_changes_nothing(self, runner: Runner) -> None:
        """The request may come too late."""
        handle = runner.start(self.submission(_FILES))
        before = self.finish(runner, handle)
        runner.cancel(handle)
        assert runner.status(handle) == before

    def test_a_session_is_killed_at_its_limit(self, runner: Runner) -> None:
        """Also one that ignores signals; what it had written is there."""
        handle = runner.start(self.submission(FOR_EVER, budget_seconds=self.limit_seconds))
        assert self.finish(runner, handle).state is SessionState.TIMED_OUT
        assert self.read(runner, handle, "partial") == b"kept"
        assert b"ready" in runner.log(handle)

    def test_an_unknown_session_is_not_found(self, runner: Runner) -> None:
        """Nothing is said of a session that was never started here."""
        handle = SessionHandle("contract/s0999", runner.name, {})
        with pytest.raises(NothingFoundError):
            runner.status(handle)
        with pytest.raises(NothingFoundError):
            runner.log(handle)
        with pytest.raises(NothingFoundError):
            runner.outputs(handle)
        with pytest.raises(NothingFoundError):
            runner.cancel(handle)
        with pytest.raises(NothingFoundError):
            list(runner.read_output(handle, OutputFile("partial")))


class LiveRunnerContract(RunnerContract):
    """What a runner must keep besides when it reaches into running sessions."""

    def test_outputs_of_a_running_session_can_be_read(self, runner: LiveRunner) -> None:
        """What is there so far, while the session goes on."""
        handle = runner.start(self.submission(UNTIL_STOPPED))
        assert not self.ready(runner, handle).state.finished
        assert self.read(runner, handle, "partial") == b"kept"
        runner.cancel(handle)
        self.finish(runner, handle)

    def test_a_session_can_be_asked_for_a_save(self, runner: LiveRunner) -> None:
        """The request arrives, the script takes it away, and the session goes on."""
        assert isinstance(runner, LiveRunner)
        handle = runner.start(self.submission(SAVES_WHEN_ASKED))
        self.ready(runner, handle)
        runner.request_save(handle)
        self._wait(runner, handle, lambda: "saved" in self._listed(runner, handle))
        self._wait(runner, handle, lambda: SAVE_REQUEST_NAME not in self._listed(runner, handle))
        assert not runner.status(handle).state.finished
        runner.cancel(handle)
        self.finish(runner, handle)

    def test_asking_an_ended_session_for_a_save_changes_nothing(self, runner: LiveRunner) -> None:
        """The request may come too late."""
        handle = runner.start(self.submission(_FILES))
        self.finish(runner, handle)
        before = runner.outputs(handle)
        runner.request_save(handle)
        assert runner.outputs(handle) == before

    def test_an_unknown_session_cannot_be_asked(self, runner: LiveRunner) -> None:
        """Nothing is asked of a session that was never started here."""
        with pytest.raises(NothingFoundError):
            runner.request_save(SessionHandle("contract/s0999", runner.name, {}))

    def _listed(self, runner: Runner, handle: SessionHandle) -> set[str]:
        return {file.path for file in runner.outputs(handle)}


class StreamingRunnerContract(RunnerContract):
    """What a runner must keep besides when it sends what a session prints as it prints it."""

    def test_what_is_followed_is_the_log(self, runner: StreamingRunner) -> None:
        """The same bytes as `log` gives, from any offset on; a stream that breaks early is no error."""
        assert isinstance(runner, StreamingRunner)
        handle = runner.start(self.submission(_FILES))
        whole = b"".join(runner.follow(handle))
        self.finish(runner, handle)
        told = runner.log(handle)
        assert told.startswith(whole)
        for offset in (0, 1, 5, len(told)):
            assert told[offset:].startswith(b"".join(runner.follow(handle, offset)))

    def test_what_is_followed_comes_while_the_session_runs(self, runner: StreamingRunner) -> None:
        """Else `log` would do."""
        handle = runner.start(self.submission(UNTIL_STOPPED))
        self.ready(runner, handle)
        stream = runner.follow(handle)
        seen = b""
        while b"ready" not in seen:
            seen += next(stream)
        assert not runner.status(handle).state.finished
        runner.cancel(handle)
        self.finish(runner, handle)


class RemoteRunnerContract(RunnerContract):
    """What a runner must keep besides when its sessions are known to a service."""

    def bundle(self, session: str, generation: int) -> bytes:
        """Make the script of a session; to be overridden where the first line of a bundle is not enough."""
        run, _number = names.parse_session_id(session)
        spec = SessionSpec(run, session, "20260101-aaaaaa", generation, (ScenarioSpec("toy", 100),))
        return b"# ckptsync-session: " + jsonio.canonical(spec.to_json()) + b"\n" + self.preamble + _FILES

    def test_sessions_are_discovered_newest_first(self, runner: RemoteRunner) -> None:
        """Another machine finds them with what they were told, and nothing of other runs."""
        assert isinstance(runner, RemoteRunner)
        assert runner.discover("contract") == []
        handles = []
        for number in (1, 2):
            session = names.session_id("contract", number)
            handles.append(runner.start(Submission(session, number, self.bundle(session, number))))
            self.finish(runner, handles[-1])
        found = runner.discover("contract")
        assert [discovered.handle for discovered in found] == handles[::-1]
        assert [discovered.spec.generation for discovered in found] == [2, 1]
        assert runner.discover("contract", limit=1) == found[:1]
        assert runner.discover("other") == []

    def test_limits_are_told(self, runner: RemoteRunner) -> None:
        """They are amounts that can be compared."""
        told = runner.limits()
        assert told.session_seconds is None or told.session_seconds > 0
        assert all(allowance.left_seconds >= 0 for allowance in told.allowances)
