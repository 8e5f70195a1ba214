"""The runner that is always there: sessions as processes on this machine, with the states and ends of a service."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from ..core import fsio, names
from ..core.errors import LockedError, NothingFoundError, UsageError
from ..core.layout import SAVE_REQUEST_NAME
from ..core.session import INPUT_VARIABLE
from .base import OutputFile, SessionHandle, SessionState, SessionStatus, Submission
from .detached import start_detached
from .local_folder import LocalFolder, SubmissionRecord

# How long another process may be in the middle of starting the same session
_START_SECONDS = 5.0
# A longer log comes in pieces, so that nobody holds it whole
_LOG_PIECE = 4 << 20
# What a script gets of our environment; everything else stays here, for it may be a secret
_PASSED = (
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "LANG",
    "LANGUAGE",
    "TZ",
    "TMPDIR",
    "LD_LIBRARY_PATH",
    "SSL_CERT_FILE",
)
_PASSED_PREFIXES = ("LC_", "CUDA_", "NVIDIA_", "ROCR_", "HIP_", "OMP_", "MKL_", "OPENBLAS_", "TORCH_", "PYTORCH_")


class LocalRunner:
    """Runs sessions on this machine, each under a detached supervisor that outlives the command that started it.

    Args:
        folder_of: session id -> the session's folder, as `ProjectLayout.session`.
        default_budget: the time limit of sessions that have none of their own, in seconds; None: no limit.
        python: the interpreter that runs kernel scripts; it needs torch and SB3, not ckptsync.
    """

    name = "local"

    def __init__(
        self,
        folder_of: Callable[[str], Path],
        *,
        default_budget: float | None = None,
        python: str = sys.executable,
    ) -> None:
        self._folder_of = folder_of
        self._default_budget = default_budget
        self._python = python
        # Kept so that a supervisor that has ended while we live is reaped, and none is reported as forgotten
        self._supervisors: dict[str, subprocess.Popen[bytes]] = {}

    def find(self, submission: Submission) -> SessionHandle | None:
        """Return the handle of this very submission if it was ever started."""
        folder = LocalFolder(self._folder_of(submission.session))
        record = folder.submission()
        if record is None or record.generation != submission.generation:
            return None
        # A supervisor that starts now holds the lock, one that has ended has written its start: in this order none is missed
        if folder.is_locked() or folder.start() is not None:
            return self._handle(record)
        return None  # whoever wrote the submission died before anything ran

    def start(self, submission: Submission) -> SessionHandle:
        """Start a session and return at once; one that was started already is found, never started twice.

        Raises:
            UsageError: the folder belongs to another submission of the same id.
            UnsafePathError: an input's name is no safe file name.
            LockedError: another process is starting the session and does not come to an end.
        """
        folder = LocalFolder(self._folder_of(submission.session))
        for name in submission.inputs:
            names.check_component(name, what="name of an input")
        fsio.make_folder(folder.root)
        deadline = time.monotonic() + _START_SECONDS
        while (lock := folder.try_lock()) is None:
            if found := self.find(submission):
                return found
            if time.monotonic() > deadline:
                raise LockedError(f"{folder.root} is in use by another process", hint="run the same command again")
            time.sleep(0.01)
        try:
            return self._start(folder, submission, lock)
        finally:
            os.close(lock)

    def _start(self, folder: LocalFolder, submission: Submission, lock: int) -> SessionHandle:
        record = folder.submission()
        if folder.start() is not None and record is not None:
            if record.generation == submission.generation:
                return self._handle(record)
            raise UsageError(f"{folder.root} already holds session {record.session} of generation {record.generation}")
        fsio.remove_folder(folder.inputs)  # of an attempt that died before anything ran
        fsio.make_folder(folder.inputs)
        for name, source in submission.inputs.items():
            fsio.link_or_copy(source, folder.inputs / name)
        fsio.write_bytes(folder.kernel, submission.script)
        record = SubmissionRecord(
            session=submission.session,
            generation=submission.generation,
            script="sha256:" + hashlib.sha256(submission.script).hexdigest(),
            python=self._python,
            budget_seconds=submission.budget_seconds or self._default_budget,
            title=submission.title,
        )
        folder.write(record)
        self._supervisors[submission.session] = start_detached(
            "ckptsync.runners.supervisor",
            [str(folder.root.absolute())],
            lock=lock,
            log=folder.supervisor_log,
            environment={**_environment(os.environ), INPUT_VARIABLE: str(folder.inputs.absolute())},
        )
        return self._handle(record)

    def status(self, handle: SessionHandle) -> SessionStatus:
        """Say what the session is doing. Reads only."""
        folder = self._known(handle)
        supervisor = self._supervisors.get(handle.session)
        if supervisor is not None:
            supervisor.poll()
        # In this order: a supervisor writes the exit record first and drops the lock then
        alive = folder.is_locked()
        ended = folder.exit()
        if ended is not None:
            return SessionStatus(SessionState(ended.state), ended.message, ended.exit_code, ended.seconds)
        started = folder.start()
        if alive:
            if started is None:
                return SessionStatus(SessionState.QUEUED)
            return SessionStatus(SessionState.RUNNING, seconds=max(time.time() - started.started, 0.0))
        if folder.script_runs():
            return SessionStatus(SessionState.RUNNING, "its supervisor was killed; it seals what it has and ends")
        reason = "the supervisor was killed or the machine restarted" if started else "the supervisor could not start"
        return SessionStatus(SessionState.ERROR, f"{reason}; see {folder.supervisor_log}")

    def cancel(self, handle: SessionHandle) -> None:
        """Ask the session to stop, so that it can seal what it has; nothing happens when it has ended."""
        folder = self._known(handle)
        fsio.write_bytes(folder.cancel, b"")
        # A supervisor that has not written its start yet looks for the file by itself. One that holds the lock
        # is alive, so its process id is its own.
        started = folder.start()
        if started is not None and folder.exit() is None and folder.is_locked():
            try:
                os.kill(started.supervisor, signal.SIGTERM)
            except ProcessLookupError:
                return  # it ended this very moment

    def request_save(self, handle: SessionHandle) -> None:
        """Ask the session for a save at its next clean point; nothing happens when it has ended."""
        folder = self._known(handle)
        if folder.exit() is None and folder.is_locked():
            fsio.make_folder(folder.working)  # the supervisor has perhaps not come to it yet
            fsio.write_bytes(folder.working / SAVE_REQUEST_NAME, b"")

    def log(self, handle: SessionHandle, offset: int = 0) -> bytes:
        """Return what the session has printed from a byte offset on, a piece of a long log at a time."""
        folder = self._known(handle)
        try:
            with fsio.open_regular(folder.log) as file:
                file.seek(offset)
                return file.read(_LOG_PIECE)
        except NothingFoundError:
            return b""  # nothing is printed yet

    def outputs(self, handle: SessionHandle) -> list[OutputFile]:
        """List every regular file in the working folder; links are not followed and not listed."""
        return sorted(_regular_files(self._known(handle).working, ""), key=lambda file: file.path)

    def read_output(self, handle: SessionHandle, file: OutputFile, offset: int = 0) -> Iterator[bytes]:
        """Stream one output file from a byte offset on, in chunks of at most 1 MB.

        Raises:
            UnsafePathError: the path leads out of the working folder or through a link.
            NothingFoundError: there is no such file.
        """
        path = fsio.safe_join(self._known(handle).working, file.path)
        with fsio.open_regular(path) as opened:
            opened.seek(offset)
            while chunk := opened.read(fsio.CHUNK):
                yield chunk

    def _handle(self, record: SubmissionRecord) -> SessionHandle:
        return SessionHandle(record.session, self.name, {"generation": record.generation})

    def _known(self, handle: SessionHandle) -> LocalFolder:
        folder = LocalFolder(self._folder_of(handle.session))
        record = folder.submission()
        if record is None or record.generation != handle.reference.get("generation"):
            raise NothingFoundError(f"no session {handle.session} was started on this machine", hint="ckptsync status")
        return folder


def _environment(ours: Mapping[str, str]) -> dict[str, str]:
    passed = {name: text for name, text in ours.items() if name in _PASSED or name.startswith(_PASSED_PREFIXES)}
    return {name: text for name, text in passed.items() if not names.names_secret(name)}


def _regular_files(folder: Path, prefix: str) -> Iterator[OutputFile]:
    try:
        entries = list(os.scandir(folder))
    except FileNotFoundError:
        return  # not begun yet, or removed by the script while we look
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from _regular_files(Path(entry.path), f"{prefix}{entry.name}/")
        elif entry.is_file(follow_symlinks=False):
            try:
                size = entry.stat(follow_symlinks=False).st_size
            except FileNotFoundError:
                continue
            yield OutputFile(prefix + entry.name, size)
