"""The process that runs one session on this machine, detached from whoever started it.

    python -m ckptsync.runners.supervisor FOLDER LOCK

It inherits the lock of the session's folder, runs the kernel script in a process group of its own, kills the
whole group at the time limit as a service does (what it has written stays), asks it to stop when it is cancelled,
and writes how it ended. It sleeps until something happens; nothing is polled. Its own environment, without secrets,
is what it hands on to the script.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from ..core import fsio
from .base import SessionState
from .local_folder import ExitRecord, LocalFolder, StartRecord, SubmissionRecord

# From a request to stop to the end by force: time to finish one rollout and to write a checkpoint
GRACE_SECONDS = 20.0
_PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG
_CANCEL_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def main(arguments: list[str]) -> int:
    """Supervise the session in a folder whose lock is held by an inherited descriptor."""
    folder = LocalFolder(Path(arguments[0]))
    del os.environ["PYTHONPATH"]  # where ckptsync was to be found for us; the script brings its own
    os.set_inheritable(int(arguments[1]), False)  # the lock says that a supervisor lives, so it alone may hold it
    submission = folder.submission()
    if submission is None or folder.start() is not None:
        sys.stderr.write(f"{folder.root} holds no session to start\n")
        return 1
    wakeup = _Wakeup()
    folder.write(StartRecord(os.getpid(), time.time()))
    # In the system's own place, for sockets of multiprocessing need a short path; removed with all that a killed
    # script left in it
    temporary = Path(tempfile.mkdtemp(prefix="ckptsync-"))
    try:
        folder.write(_Supervision(folder, submission, wakeup, temporary).run())
    finally:
        fsio.remove_folder(temporary)
    return 0


class _Wakeup:
    """Turns signals into bytes of a socket, so that one `select` waits for all that can happen."""

    def __init__(self) -> None:
        self._receiver, sender = socket.socketpair()
        sender.setblocking(False)
        self._sender = sender  # kept open
        self.cancelled = False
        signal.set_wakeup_fd(sender.fileno())
        signal.signal(signal.SIGCHLD, self._note)
        for number in _CANCEL_SIGNALS:
            signal.signal(number, self._note)

    def wait(self, until: float | None) -> None:
        """Sleep until a signal came or the monotonic clock says `until`."""
        timeout = None if until is None else max(until - time.monotonic(), 0.0)
        if select.select([self._receiver], [], [], timeout)[0]:
            self._receiver.recv(4096)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.cancelled = self.cancelled or number in _CANCEL_SIGNALS


class _Supervision:
    def __init__(self, folder: LocalFolder, submission: SubmissionRecord, wakeup: _Wakeup, temporary: Path) -> None:
        self._folder = folder
        self._submission = submission
        self._wakeup = wakeup
        self._temporary = temporary
        self._begin = time.monotonic()

    def run(self) -> ExitRecord:
        """Run the script to its end, whichever that is."""
        fsio.make_folder(self._folder.working)
        script_lock = self._folder.try_lock(self._folder.script_lock)  # so that it is known to run without us, too
        with self._folder.log.open("ab") as log:
            try:
                child = subprocess.Popen(
                    [self._submission.python, "-u", str(self._folder.kernel)],
                    cwd=self._folder.working,
                    env={**os.environ, "TMPDIR": str(self._temporary)},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    preexec_fn=_stop_with_parent(),
                    pass_fds=() if script_lock is None else (script_lock,),
                )
            except OSError as error:
                return self._record(SessionState.ERROR, None, f"cannot run {self._submission.python}: {error}")
            finally:
                if script_lock is not None:
                    os.close(script_lock)
        record = self._watch(child)
        _kill_group(child.pid)  # whatever the script left behind
        return record

    def _watch(self, child: subprocess.Popen[bytes]) -> ExitRecord:
        budget = self._submission.budget_seconds
        limit = None if budget is None else self._begin + budget
        forced: float | None = None  # when a cancelled script is killed
        while child.poll() is None:
            moment = time.monotonic()
            if limit is not None and moment >= limit:
                _kill_group(child.pid)
                code = child.wait()
                return self._record(SessionState.TIMED_OUT, code, f"killed at the limit of {budget:g} s")
            if forced is not None and moment >= forced:
                _kill_group(child.pid)
                code = child.wait()
                return self._record(SessionState.CANCELLED, code, f"killed {GRACE_SECONDS:g} s after it was cancelled")
            if forced is None and (self._wakeup.cancelled or self._folder.cancel.exists()):
                forced = moment + GRACE_SECONDS
                child.terminate()
            self._wakeup.wait(min((t for t in (limit, forced) if t is not None), default=None))
        code = child.returncode
        if forced is not None:
            return self._record(SessionState.CANCELLED, code, "cancelled")
        if code == 0:
            return self._record(SessionState.COMPLETE, code, "")
        message = f"killed by {signal.Signals(-code).name}" if code < 0 else f"the script ended with exit code {code}"
        return self._record(SessionState.ERROR, code, message)

    def _record(self, state: SessionState, code: int | None, message: str) -> ExitRecord:
        exit_code = 128 - code if code is not None and code < 0 else code
        return ExitRecord(state.value, exit_code, round(time.monotonic() - self._begin, 3), message)


def _kill_group(leader: int) -> None:
    try:
        os.killpg(leader, signal.SIGKILL)
    except ProcessLookupError:
        return  # all of it is gone


def _stop_with_parent() -> Callable[[], None] | None:
    """Make what a new process calls to be asked to stop when the supervisor is killed: nobody else keeps the limit.

    Linux only; elsewhere such a script runs on until it ends by itself.
    """
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl
    return lambda: prctl(_PARENT_DEATH_SIGNAL, signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
