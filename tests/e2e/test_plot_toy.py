"""The metric history of a real run: a session that dies, one that goes on, one that is still running."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from support.commands import run_json

from ckptsync.cli.app import main

pytestmark = pytest.mark.slow


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    assert main(["init", "--kernel", "toy", "-q"]) == 0
    return tmp_path


def plotted(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    capsys.readouterr()
    code, value = run_json("plot", "--metric", "ep_rew_mean", capsys=capsys)
    assert code == 0
    (scenario,) = value["scenarios"]
    return dict(scenario)


def test_a_died_session_gives_way_where_the_next_went_on(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # It leaves at 380 without a word; its last set is older, its last rows perhaps not
    main(["launch", "-q", "--set", "exit_at=380", "--set", "pause=0.05"])
    assert main(["launch", "-q"]) == 0
    scenario = plotted(capsys)
    first, second = scenario["sessions"]
    steps = [x for x, _y in scenario["series"][0]["points"]]
    assert steps == sorted(set(steps))
    assert steps[-1] == 1000
    assert first["ended_at"] <= second["begun_at"] < 380
    assert all(y == pytest.approx(x / 10) for x, y in scenario["series"][0]["points"])
    start = json.loads((project / "results/toy/s0002/metrics.jsonl").read_text().splitlines()[0])
    assert start["start"]["resumed_from"]["num_timesteps"] == second["begun_at"]


def test_a_running_session_is_seen(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["launch", "-q", "--steps", "100"]) == 0
    assert main(["launch", "-q", "--detach", "--set", "pause=0.2"]) == 0
    try:
        ends_by = time.monotonic() + 60
        while plotted(capsys)["series"][0]["points"][-1][0] <= 100:
            assert time.monotonic() < ends_by
            time.sleep(0.3)
        assert not (project / "results/toy/s0002").exists()
    finally:
        main(["cancel", "-q"])
        main(["wait", "-q"])
