"""A session on Kaggle sends its checkpoints to a store, and leaves nothing else; machines that know nothing go on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support import weed

from ckptsync.testing.kaggle import KaggleService
from ckptsync.testing.kaggle.toy import TOY_RUN

KERNEL = "tester/ckptsync-toy"
_CONFIG = (
    TOY_RUN.format(every_steps=20)
    + """
[runners.kaggle]
internet = true
poll_first = 0.05
poll_longest = 0.2

[store]
url = "{url}"
mine = true
"""
)


class Clones:
    """Clones of one project, each of which knows nothing of the others but the service and the store."""

    def __init__(self, folder: Path, service: KaggleService, config: str) -> None:
        self._folder = folder
        self._config = config
        self._environment = {**os.environ, **service.environment(), **weed.credentials(), "HOME": str(folder)}
        self.last = folder

    def call(self, *arguments: str, code: int = 0) -> dict[str, Any]:
        """Run a command in a new clone; return its object."""
        self.last = self._folder / f"clone{len(list(self._folder.glob('clone*')))}"
        self.last.mkdir()
        self.again("init", "--kernel", "toy")
        (self.last / "ckptsync.toml").write_text(self._config)
        return self.again(*arguments, code=code)

    def again(self, *arguments: str, code: int = 0) -> dict[str, Any]:
        """Run a command in the same clone; return its object."""
        done = subprocess.run(
            [sys.executable, "-m", "ckptsync", *arguments, "--json"],
            cwd=self.last,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == code, done.stdout + done.stderr
        value: dict[str, Any] = json.loads(done.stdout)
        return {**value, "stderr": done.stderr}


def lose_a_session(service: KaggleService, clones: Clones) -> int:
    """Start a session, wait until it has saved a few times, and take everything that it made; return N of its last save."""
    clones.call("dispatch", "--set", "pause=0.15")
    run = service.run(KERNEL)
    deadline = time.monotonic() + 60
    while run.log.text().count("[STORE] Sent") < 3:
        assert time.monotonic() < deadline, run.log.text()
        time.sleep(0.05)
    run.cancel()
    assert run.wait(60)
    assert run.files() == []
    saved = [line for line in run.log.text().splitlines() if "[STORE] Sent" in line]
    return int(saved[-1].split("toy_checkpoint_")[1].split("_")[0])


@pytest.fixture
def service(tmp_path: Path) -> Iterator[KaggleService]:
    (tmp_path / "away").mkdir()
    with KaggleService(tmp_path / "away", cancel_keeps_outputs=False, cancel_grace_seconds=3.0) as running:
        yield running


def test_a_session_that_left_nothing_is_gone_on_from(
    tmp_path: Path, service: KaggleService, s3_server: weed.Server
) -> None:
    clones = Clones(tmp_path, service, _CONFIG.format(url=s3_server.url("kaggle")))
    clones.call("init-store")
    sent = lose_a_session(service, clones)
    home = clones.call("collect", code=3)
    moved = home["collected"]["receipt"]["scenarios"]["toy"]
    assert moved["head_to"]["num_timesteps"] == sent
    assert [state["heads"] for state in home["collected"]["copies"]] == [{"toy": sent}]
    # Nothing of the service is left either: the store alone
    clones.call("pull")
    assert json.loads((clones.last / "data/models/checkpoints/toy_head.json").read_text())["num_timesteps"] == sent
    second = clones.call("dispatch", "--steps", "40")
    assert second["session"] == "toy/s0002"
    assert service.run(KERNEL).wait(60)
    report = clones.call("collect")
    head = report["collected"]["receipt"]["scenarios"]["toy"]["head_to"]
    assert (head["num_timesteps"], report["collected"]["verdict"]) == (sent + 40, "valid")
