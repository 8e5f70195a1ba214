"""A session that sends its checkpoints to the store while it trains, and vanishes with all that it wrote."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from support import sftp, weed

from ckptsync.core import sets
from ckptsync.core.session import read_events
from ckptsync.runners.local_folder import LocalFolder
from ckptsync.store import open_store
from ckptsync.testing.faulty_proxy import Fault, FaultyProxy

pytestmark = pytest.mark.slow

COMMAND = [sys.executable, "-m", "ckptsync"]
EVERY_STEPS = 100  # the toy's interval between saves


@pytest.fixture(scope="module")
def sftp_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sftp.Server]:
    with sftp.serving(tmp_path_factory.mktemp("sftp")) as running:
        yield running


@pytest.fixture(params=["folder", "s3", "sftp"])
def url(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """The URL of a store; a bucket or folder of a real server, or a folder here."""
    if request.param == "folder":
        return "../store"
    if request.param == "sftp":
        ssh: sftp.Server = request.getfixturevalue("sftp_server")
        return ssh.url(tmp_path / "store")
    server: weed.Server = request.getfixturevalue("s3_server")
    for name, value in weed.credentials().items():
        monkeypatch.setenv(name, value)
    return server.url("live")


@pytest.fixture
def project(tmp_path: Path, url: str) -> Path:
    """A project of the toy kernel with a store."""
    return make(tmp_path, url)


def make(tmp_path: Path, url: str) -> Path:
    """Make a project of the toy kernel with a store."""
    folder = tmp_path / "project"
    folder.mkdir()
    assert call(folder, "init", "--kernel", "toy")[0] == 0
    with (folder / "ckptsync.toml").open("a") as file:
        file.write(f'\n[store]\nurl = "{url}"\n')
    assert call(folder, "init-store")[0] == 0
    return folder


def call(folder: Path, *arguments: str) -> tuple[int, dict[str, Any]]:
    """Run a command with `--json`; return its exit code and its object."""
    done = subprocess.run([*COMMAND, *arguments, "--json"], cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def in_inbox(folder: Path, url: str) -> list[str]:
    store = open_store(url, base=folder)
    try:
        return [info.key for info in store.list("inbox/")]
    finally:
        store.close()


def wait_until_empty(folder: Path, url: str) -> None:
    """Nothing is left in the inbox, once whoever sends it has noticed that it is of no more use."""
    deadline = time.monotonic() + 20
    while left := in_inbox(folder, url):
        logs = {path.parent.name: path.read_text() for path in folder.glob(".ckptsync/sessions/*/*/log.txt")}
        assert time.monotonic() < deadline, (left, logs)
        time.sleep(0.1)


def vanish(session: Path) -> int:
    """Kill all of a session at once, and take what it wrote with it; return the N of its newest sealed set."""
    started = LocalFolder(session).start()
    assert started is not None
    for process in (*_relays(session), started.supervisor, *_below(started.supervisor)):
        os.kill(process, signal.SIGKILL)
    sealed = [stored.num_timesteps for stored in sets.scan(checkpoints_of(session)) if stored.manifest is not None]
    shutil.rmtree(session / "working")
    return max(sealed)


def checkpoints_of(session: Path) -> Path:
    """Where a session keeps its sets."""
    return next((session / "working").rglob("checkpoints"))


def _relays(session: Path) -> list[int]:
    """The process that sends the session's sets for it, where there is one."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it has ended meanwhile
            words = path.read_bytes().split(b"\0")
            if b"ckptsync.sync.store.relay" in words and str(session.parents[3]).encode() in words:
                found.append(int(path.parent.name))
    return found


def _below(process: int) -> list[int]:
    children = [int(word) for word in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
    return [other for child in children for other in (child, *_below(child))]


def test_the_next_session_goes_on_from_what_was_sent(project: Path, url: str) -> None:
    assert call(project, "launch", "--steps", "200")[0] == 0
    wait_until_empty(project, url)  # all of it came home
    assert call(project, "launch", "--detach", "--set", "pause=0.2")[0] == 0
    session = project / ".ckptsync/sessions/toy/s0002"
    deadline = time.monotonic() + 60
    while not any("_400_steps.sealed" in key for key in in_inbox(project, url)):
        assert time.monotonic() < deadline, (session / "log.txt").read_text()
        time.sleep(0.1)
    assert len(_relays(session)) == url.startswith("sftp")
    newest = vanish(session)

    code, ended = call(project, "wait")
    assert code in (3, 7), ended
    head = json.loads((project / "data/models/checkpoints/toy_head.json").read_text())
    assert head["num_timesteps"] >= 400
    assert newest - head["num_timesteps"] <= EVERY_STEPS  # what was sealed a moment before was still on its way
    _code, last = call(project, "launch", "--steps", "100")
    assert last["verdict"] == "restorable"
    after = json.loads((project / "data/models/checkpoints/toy_head.json").read_text())
    assert after["num_timesteps"] == head["num_timesteps"] + 100
    wait_until_empty(project, url)
    _no_secret_is_left(project)


def _no_secret_is_left(project: Path) -> None:
    """The key of the grant is in the file that travels, and in nothing else."""
    key = json.loads((project / ".ckptsync/sessions/toy/s0002/ckptsync-live.json").read_text())["key"]
    holders = {path.name for path in project.rglob("*") if path.is_file() and key.encode() in path.read_bytes()}
    assert holders == {"ckptsync-live.json"}
    modes = {path.stat().st_mode & 0o777 for path in project.rglob("ckptsync-live.json")}
    assert modes == {0o600}


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (Fault("silent"), "not sent: toy_checkpoint_500_steps"),
        (Fault("status", status=403, code="AccessDenied"), "the grant does not allow it, or has expired"),
        pytest.param(Fault("status", status=503, code="SlowDown"), "the server is busy", marks=pytest.mark.prove),
        pytest.param(Fault("half"), "not sent: toy_checkpoint_500_steps", marks=pytest.mark.prove),
    ],
    ids=["silent", "refuses", "busy", "breaks"],
)
def test_a_store_that_does_not_take_anything_holds_nothing_up(
    tmp_path: Path, s3_server: weed.Server, monkeypatch: pytest.MonkeyPatch, fault: Fault, said: str
) -> None:
    """Nothing is ever answered, and training comes to its end: so it has waited for no answer."""
    for name, value in weed.credentials().items():
        monkeypatch.setenv(name, value)

    def choose(method: str, path: str) -> Fault | None:
        return fault if method == "POST" else None

    with FaultyProxy("127.0.0.1", s3_server.port, choose) as proxy:
        folder = make(tmp_path, s3_server.url(f"live-{fault.kind}-{fault.status}", endpoint=proxy.url))
        config = (folder / "ckptsync.toml").read_text()
        (folder / "ckptsync.toml").write_text(config.replace('budget = "1h"', 'budget = "40s"'))  # its end waits less
        code, ended = call(folder, "launch", "--steps", "500")
        assert code == 0, ended
        assert any(asked.startswith("POST ") for asked in proxy.requests)
    head = json.loads((folder / "data/models/checkpoints/toy_head.json").read_text())
    assert head["num_timesteps"] == 500
    session = folder / ".ckptsync/sessions/toy/s0001"
    events = read_events(next(session.rglob("events.jsonl")))
    assert [event["num_timesteps"] for event in events if event["event"] == "save"][-1] == 500
    assert said in (session / "log.txt").read_text()


def test_a_store_that_answers_slowly_gets_the_newest_and_holds_nothing_up(
    tmp_path: Path, s3_server: weed.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Had training waited for it, every checkpoint would have been sent."""
    for name, value in weed.credentials().items():
        monkeypatch.setenv(name, value)
    with FaultyProxy("127.0.0.1", s3_server.port, latency_seconds=0.25) as proxy:
        folder = make(tmp_path, s3_server.url("live-slow", endpoint=proxy.url))
        code, ended = call(folder, "launch", "--steps", "600")
        assert code == 0, ended
    session = folder / ".ckptsync/sessions/toy/s0001"
    sent = re.findall(r"Sent toy_checkpoint_(\d+)_steps \(", (session / "log.txt").read_text())
    sealed = [e["num_timesteps"] for e in read_events(next(session.rglob("events.jsonl"))) if e["event"] == "save"]
    assert len(sealed) >= 6
    assert sealed[-1] == 600
    assert "600" in sent
    assert len(sent) < len(sealed)
    assert [(item["tier"], item["waiting"], item["error"]) for item in ended["copies"]] == [("near", 0, None)]
