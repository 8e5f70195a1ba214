"""The local runner keeps the contract of runners, and what it promises beyond."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from ckptsync.core.errors import UsageError
from ckptsync.core.layout import ProjectLayout
from ckptsync.runners import supervisor
from ckptsync.runners.base import Runner, SessionHandle, SessionState
from ckptsync.runners.local import LocalRunner
from ckptsync.runners.local_folder import LocalFolder
from ckptsync.testing.contracts import FOR_EVER, UNTIL_STOPPED, LiveRunnerContract

pytestmark = pytest.mark.slow  # real processes, limits that pass and graces that run out


def members(group: int) -> list[str]:
    """Return the living processes of a group; those that only wait to be reaped are dead."""
    listed = subprocess.run(["ps", "-eo", "pgid=,stat=,args="], capture_output=True, text=True, check=True).stdout
    rows = [line.split(None, 2) for line in listed.splitlines()]
    return [row[-1] for row in rows if row[0] == str(group) and not row[1].startswith("Z")]


class TestLocalRunner(LiveRunnerContract):
    @pytest.fixture
    def layout(self, tmp_path: Path) -> ProjectLayout:
        return ProjectLayout(tmp_path / "project")

    @pytest.fixture
    def runner(self, layout: ProjectLayout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Runner:
        monkeypatch.setenv("TMPDIR", str(tmp_path))  # a supervisor that is killed leaves its temporary folder
        return LocalRunner(layout.session)

    def folder(self, layout: ProjectLayout, handle: SessionHandle) -> LocalFolder:
        return LocalFolder(layout.session(handle.session))

    def test_another_process_finds_it(self, runner: Runner, layout: ProjectLayout) -> None:
        submission = self.submission(UNTIL_STOPPED)
        handle = runner.start(submission)
        other = LocalRunner(layout.session)
        assert other.find(submission) == handle
        self.ready(other, handle)
        other.cancel(handle)
        assert self.finish(other, handle).state is SessionState.CANCELLED

    def test_two_starts_at_once_run_one_session(self, layout: ProjectLayout) -> None:
        submission = self.submission(b"print('one start')\nimport time; time.sleep(0.3)\n")
        handles: list[SessionHandle] = []
        threads = [
            threading.Thread(target=lambda: handles.append(LocalRunner(layout.session).start(submission)))
            for _ in range(6)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(handles) == 6
        assert len(set(map(str, handles))) == 1
        runner = LocalRunner(layout.session)
        self.finish(runner, handles[0])
        assert runner.log(handles[0]) == b"one start\n"

    def test_it_survives_the_command_that_started_it(self, layout: ProjectLayout, tmp_path: Path) -> None:
        command = (
            "import os, signal, sys\n"
            "from pathlib import Path\n"
            "from ckptsync.core.layout import ProjectLayout\n"
            "from ckptsync.runners.base import Submission\n"
            "from ckptsync.runners.local import LocalRunner\n"
            'script = b\'import time; time.sleep(0.4); open("late", "w").write("here")\'\n'
            "LocalRunner(ProjectLayout(Path(sys.argv[1])).session).start(Submission('contract/s0001', 1, script))\n"
            "os.killpg(0, signal.SIGKILL)\n"
        )
        arguments = [sys.executable, "-c", command, str(layout.root)]
        assert subprocess.run(arguments, start_new_session=True).returncode == -signal.SIGKILL
        runner = LocalRunner(layout.session)
        handle = runner.find(self.submission(b""))
        assert handle is not None
        assert self.finish(runner, handle).state is SessionState.COMPLETE
        assert self.read(runner, handle, "late") == b"here"

    def test_a_start_that_died_before_anything_ran_is_repeated(self, runner: Runner, layout: ProjectLayout) -> None:
        submission = self.submission(b"print('ran')\n")
        folder = LocalFolder(layout.session(submission.session))
        folder.inputs.mkdir(parents=True)
        (folder.inputs / "half").write_bytes(b"half")
        (folder.root / "submission.json").write_text(
            json.dumps(
                {
                    "session": submission.session,
                    "generation": 1,
                    "script": "",
                    "python": "python",
                    "budget_seconds": None,
                    "title": "",
                }
            )
        )
        assert runner.find(submission) is None
        handle = runner.start(submission)
        assert self.finish(runner, handle).state is SessionState.COMPLETE
        assert not (folder.inputs / "half").exists()

    def test_a_folder_is_not_taken_over(self, runner: Runner) -> None:
        self.finish(runner, runner.start(self.submission(b"")))
        with pytest.raises(UsageError, match="generation 1"):
            runner.start(self.submission(b"", generation=2))

    def test_a_killed_supervisor_is_an_error_and_stops_the_script(self, runner: Runner, layout: ProjectLayout) -> None:
        handle = runner.start(self.submission(UNTIL_STOPPED))
        self.ready(runner, handle)
        started = self.folder(layout, handle).start()
        assert started is not None
        os.kill(started.supervisor, signal.SIGKILL)
        status = self.finish(runner, handle)
        assert status.state is SessionState.ERROR
        assert "supervisor" in status.message
        if sys.platform == "linux":  # what is told as ended writes no more
            assert "sealed" in {file.path for file in runner.outputs(handle)}
        runner.cancel(handle)
        assert runner.status(handle).state is SessionState.ERROR

    def test_cancelling_before_the_script_runs(self, runner: Runner) -> None:
        handle = runner.start(self.submission(b"import time; time.sleep(600)\n"))
        runner.cancel(handle)
        assert self.finish(runner, handle).state is SessionState.CANCELLED

    def test_nothing_is_left_running_after_the_limit(self, runner: Runner) -> None:
        script = b"import os; print(os.getpgid(0), flush=True)\n" + FOR_EVER
        handle = runner.start(self.submission(script, budget_seconds=0.5))
        self.ready(runner, handle)
        group = int(runner.log(handle).split()[0])
        assert members(group)
        assert self.finish(runner, handle).exit_code == 137
        assert not members(group)

    def test_a_script_that_ignores_the_request_is_killed(
        self, layout: ProjectLayout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder = LocalFolder(tmp_path / "session")
        runner = LocalRunner(lambda session: folder.root)
        handle = runner.start(self.submission(b""))
        self.finish(runner, handle)
        # The grace is long for a test, so the supervisor's loop runs here, with a shorter one
        monkeypatch.setattr(supervisor, "GRACE_SECONDS", 0.3)
        monkeypatch.setenv("PYTHONPATH", "where ckptsync is")
        for name in ("started.json", "exit.json"):
            (folder.root / name).unlink()
        folder.kernel.write_bytes(FOR_EVER)
        folder.log.unlink()

        def cancel_when_ready() -> None:
            while not folder.log.exists() or b"ready" not in folder.log.read_bytes():
                time.sleep(0.01)
            os.kill(os.getpid(), signal.SIGTERM)

        threading.Thread(target=cancel_when_ready).start()
        while (lock := folder.try_lock()) is None:  # the first supervisor is about to end
            time.sleep(0.01)
        before = {n: signal.getsignal(n) for n in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT)}
        try:
            assert supervisor.main([str(folder.root), str(lock)]) == 0
        finally:
            signal.set_wakeup_fd(-1)
            for number, handler in before.items():
                signal.signal(number, handler)
            os.close(lock)
        record = folder.exit()
        assert record is not None
        assert (record.state, record.exit_code) == (SessionState.CANCELLED.value, 137)

    def test_a_crash_in_c_is_named(self, runner: Runner) -> None:
        handle = runner.start(self.submission(b"import os; os.kill(os.getpid(), 11)\n"))
        status = self.finish(runner, handle)
        assert status.state is SessionState.ERROR
        assert status.exit_code == 139
        assert "SIGSEGV" in status.message

    def test_an_interpreter_that_is_not_there(self, layout: ProjectLayout) -> None:
        runner = LocalRunner(layout.session, python="/nowhere/python")
        handle = runner.start(self.submission(b""))
        status = self.finish(runner, handle)
        assert status.state is SessionState.ERROR
        assert "/nowhere/python" in status.message

    def test_secrets_stay_here(self, runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in (
            "KAGGLE_KEY",
            "AWS_SECRET_ACCESS_KEY",
            "HF_TOKEN",
            "CKPTSYNC_TOKEN",
            "WANDB_API_KEY",
            "LC_GIT_TOKEN",
        ):
            monkeypatch.setenv(name, "hunter2")
        handle = runner.start(self.submission(b"import os; print(dict(os.environ))\n"))
        self.finish(runner, handle)
        assert b"CKPTSYNC_INPUT_DIR" in runner.log(handle)
        assert b"hunter2" not in runner.log(handle)

    def test_a_module_in_the_current_folder_does_not_take_our_place(
        self, runner: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "ckptsync.py").write_text("raise SystemExit('taken over')\n")
        (tmp_path / "json.py").write_text("raise SystemExit('taken over')\n")
        monkeypatch.chdir(tmp_path)
        handle = runner.start(self.submission(b"print('mine')\n"))
        assert self.finish(runner, handle).state is SessionState.COMPLETE

    def test_the_default_limit_counts(self, layout: ProjectLayout) -> None:
        runner = LocalRunner(layout.session, default_budget=0.3)
        handle = runner.start(self.submission(b"import time; time.sleep(600)\n"))
        assert self.finish(runner, handle).state is SessionState.TIMED_OUT
