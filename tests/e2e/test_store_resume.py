"""Push and pull that were stopped go on where they were: what arrived is not sent again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import weed
from support.projects import CONFIG, make_project, seal_set, set_head

from ckptsync.testing.faulty_proxy import FaultyProxy

pytestmark = pytest.mark.slow

COMMAND = [sys.executable, "-m", "ckptsync"]
# A set is two objects, one of them large enough to be asked for
OBJECTS_OF_A_SET = 2
STEPS = range(100, 1300, 100)


@pytest.fixture(scope="module")
def proxy(s3_server: weed.Server) -> Iterator[FaultyProxy]:
    """A server behind a proxy that is slow enough for a command to be stopped in the middle."""
    with FaultyProxy("127.0.0.1", s3_server.port, latency_seconds=0.03) as proxy:
        yield proxy


@pytest.fixture
def url(proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    for name, value in weed.credentials().items():
        monkeypatch.setenv(name, value)
    return f"s3://{weed.BUCKET}/{request.node.originalname}-{request.node.callspec.id}?endpoint={proxy.url}&region=us-east-1"


def sent(proxy: FaultyProxy, method: str) -> list[str]:
    return [asked for asked in proxy.requests if asked.startswith(f"{method} ") and "/objects/" in asked]


def stop(folder: Path, line: str, proxy: FaultyProxy, method: str, how: signal.Signals) -> None:
    """Run a command, and stop it when it has sent or asked for some objects."""
    before = len(sent(proxy, method))
    process = subprocess.Popen([*COMMAND, line], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while len(sent(proxy, method)) < before + 4 * OBJECTS_OF_A_SET:
            assert process.poll() is None
            time.sleep(0.005)
        process.send_signal(how)
    finally:
        if how is not signal.SIGINT:
            process.kill()
    assert process.wait(60) == (130 if how is signal.SIGINT else -signal.SIGKILL)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_push_that_was_stopped(tmp_path: Path, url: str, proxy: FaultyProxy, how: signal.Signals) -> None:
    project = make_project(tmp_path / "project", f'{CONFIG}\n[store]\nurl = "{url}"\n')
    tree = project.tree(project.run("a"))
    for steps in STEPS:
        set_head(tree, seal_set(tree.checkpoints, steps, extra={"resume": os.urandom(1_200_000)}))
    subprocess.run([*COMMAND, "init-store"], cwd=project.root, check=True, capture_output=True)
    first = len(sent(proxy, "PUT"))
    stop(project.root, "push", proxy, "PUT", how)
    begun = sent(proxy, "PUT")[first:]
    subprocess.run([*COMMAND, "push"], cwd=project.root, check=True, capture_output=True)
    rest = sent(proxy, "PUT")[first + len(begun) :]
    assert len(set(begun) & set(rest)) <= OBJECTS_OF_A_SET  # what was on its way may not have arrived
    assert len(set(begun) | set(rest)) == OBJECTS_OF_A_SET * len(STEPS)
    done = subprocess.run([*COMMAND, "scrub"], cwd=project.root, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_pull_that_was_stopped(tmp_path: Path, url: str, proxy: FaultyProxy, how: signal.Signals) -> None:
    """A large file goes on behind the bytes that are here."""
    config = f'{CONFIG}\n[store]\nurl = "{url}"\n'
    project = make_project(tmp_path / "project", config)
    tree = project.tree(project.run("a"))
    size = 96 << 20
    manifest = seal_set(tree.checkpoints, 100, extra={"resume": os.urandom(size)})
    set_head(tree, manifest)
    for line in ("init-store", "push"):
        subprocess.run([*COMMAND, line], cwd=project.root, check=True, capture_output=True)
    elsewhere = make_project(tmp_path / "elsewhere", config)
    first = len(sent(proxy, "GET"))
    stop(elsewhere.root, "pull", proxy, "GET", how)
    begun = len(sent(proxy, "GET"))
    subprocess.run([*COMMAND, "pull"], cwd=elsewhere.root, check=True, capture_output=True)
    pieces = 1 + size // (4 << 20)
    assert len(sent(proxy, "GET")) - begun < pieces
    assert begun - first < pieces
    here = elsewhere.tree(elsewhere.run("a")).checkpoints
    for entry in manifest.files:
        assert (here / entry.path).read_bytes() == (tree.checkpoints / entry.path).read_bytes()
