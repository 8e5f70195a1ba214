"""A far store on a real S3 server that goes down and comes back, while a run goes on with the near one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from support import weed

from ckptsync.testing.faulty_proxy import Fault, FaultyProxy


def call(folder: Path, *arguments: str, code: int = 0) -> dict[str, Any]:
    """Run a command with `--json`; return its object, and what it said as `said`."""
    done = subprocess.run(
        [sys.executable, "-m", "ckptsync", *arguments, "--json"],
        cwd=folder,
        env={**os.environ, **weed.credentials()},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == code, done.stdout + done.stderr
    value: dict[str, Any] = json.loads(done.stdout)
    return {**value, "said": done.stderr}


def test_a_far_store_that_comes_back_gets_all_that_it_missed(tmp_path: Path, s3_server: weed.Server) -> None:
    down: list[Fault] = []
    with FaultyProxy("127.0.0.1", s3_server.port, lambda method, path: down[0] if down else None) as proxy:
        far = s3_server.url("far", endpoint=f"http://127.0.0.1:{proxy.port}")
        folder = tmp_path / "project"
        folder.mkdir()
        call(folder, "init", "--kernel", "toy")
        with (folder / "ckptsync.toml").open("a") as file:
            file.write(f'\n[store]\nurl = "../near"\n[store.far]\nurl = "{far}"\n')
        call(folder, "init-store")
        call(folder, "init-store", "far")

        first = call(folder, "launch", "--steps", "100")
        assert [state["error"] for state in first["copies"]] == [None, None]
        down.append(Fault("reset"))
        for _ in range(2):  # what these bring home goes from the training tree before the far store is back
            trip = call(folder, "launch", "--steps", "100")
            near, away = trip["copies"]
            assert (near["error"], near["heads"], away["heads"]) == (None, trip_heads(trip), {"toy": 100})
            assert away["waiting"] > 0
            assert "the far store has not got what is new" in trip["said"]
        (run,) = call(folder, "status")["runs"]
        assert [state["error"] is None for state in run["copies"]] == [True, False]

        down.clear()
        last = call(folder, "launch", "--steps", "100")
        assert [(state["waiting"], state["heads"]) for state in last["copies"]] == [(0, {"toy": 400})] * 2
        there = [set_["num_timesteps"] for set_ in versions(folder, "far")]
        assert there == [set_["num_timesteps"] for set_ in versions(folder, "near")]
        # The far store alone brings everything back
        (folder / "ckptsync.toml").write_text((folder / "ckptsync.toml").read_text().replace("../near", "../new"))
        call(folder, "init-store")
        call(folder, "copy", "near", "--store", "far")
        assert [set_["num_timesteps"] for set_ in versions(folder, "near")] == there
        assert call(folder, "scrub", "--store", "far")["damage"] == []


def trip_heads(trip: dict[str, Any]) -> dict[str, int]:
    return {name: moved["head_to"]["num_timesteps"] for name, moved in trip["receipt"]["scenarios"].items()}


def versions(folder: Path, store: str) -> list[dict[str, Any]]:
    """What a store holds, as a copy from there would see it."""
    found: list[dict[str, Any]] = call(folder, "prune", "--dry-run", "--store", store)["versions"]
    return [{**item, "num_timesteps": int(item["set"].split("_")[2])} for item in found]
