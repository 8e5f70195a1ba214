"""Whole sessions of bundled scripts, as processes: what `boot` lays, runs, seals and writes down."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.chain import Machine, Session, kernel_of

from ckptsync.core import heads
from ckptsync.core.layout import EVENTS_NAME, ProjectLayout
from ckptsync.core.session import SessionSpec, read_events
from ckptsync.runners.base import SessionState, Submission
from ckptsync.runners.bundle import build_bundle
from ckptsync.runners.local import LocalRunner
from ckptsync.testing.sb3_files import mlp_parameters, write_sb3_zip

TOY = Path(__file__).parents[2] / "kernels" / "toy"
# Plain SB3's habits without SB3: look for the newest by glob, save under the classic name, never hear of ckptsync
CLASSIC = """
import glob, os, re, shutil, sys, time
here = os.path.dirname(os.path.abspath(__file__))
os.makedirs("data/models/checkpoints", exist_ok=True)
found = glob.glob("data/models/checkpoints/x_checkpoint_*_steps.zip")
steps = max((int(re.search(r"_(\\d+)_steps", name)[1]) for name in found), default=0)
newest = max(found, key=os.path.getmtime, default=None)
print("resumed at", steps, "newest by time", newest and os.path.basename(newest))
for _ in range(2):
    steps += 500
    shutil.copy(f"{here}/model_{steps}.zip", f"data/models/checkpoints/x_checkpoint_{steps}_steps.zip")
"""


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def toy(tmp_path: Path, cache: Path) -> Machine:
    return Machine(tmp_path, TOY, cache)


@pytest.fixture
def classic(tmp_path: Path, cache: Path) -> Machine:
    kernel = kernel_of(tmp_path, CLASSIC)
    for steps in range(500, 2501, 500):
        write_sb3_zip(kernel / f"model_{steps}.zip", mlp_parameters(seed=steps), num_timesteps=steps)
    return Machine(tmp_path, kernel, cache)


def test_the_second_session_resumes_where_the_first_ended(toy: Machine) -> None:
    first = toy.run(max_steps=300)
    assert first.code == 0, first.log
    assert first.info["cause"] == "steps"
    head = toy.carry(first)
    assert head.num_timesteps == 300
    second = toy.run()
    assert second.code == 0, second.log
    assert "Found 1 checkpoint(s) to restore" in second.log
    block = second.info["scenarios"]["x"]
    assert (block["started_at"], block["num_timesteps"], block["cause"]) == (300, 2000, "target")
    assert block["resumed_from"]["digest"] == head.digest
    assert second.info["training_completed"] is True
    assert "ended: cause target, exit code 0" in second.log.splitlines()[-1]


@pytest.mark.parametrize("damage", ["missing", "flipped", pytest.param("cut", marks=pytest.mark.slow)])
def test_a_promised_checkpoint_that_is_not_there_is_no_start_from_zero(toy: Machine, damage: str) -> None:
    toy.carry(toy.run(max_steps=100))
    (path,) = toy.packs.values()
    data = bytearray(path.read_bytes())
    data[2000] ^= 4
    if damage == "missing":
        toy.packs.clear()
    else:
        path.write_bytes(data if damage == "flipped" else data[:2000])
    session = toy.run()
    assert session.code == (6 if damage == "missing" else 4)
    assert "ERROR" in session.log
    assert not session.tree.checkpoints.exists()
    assert session.info["cause"] == "error"
    assert session.info["error"]
    events = read_events(session.working / EVENTS_NAME)
    assert [event["event"] for event in events] == ["boot", "error"]
    assert events[-1]["exit_code"] == session.code


@pytest.mark.slow
@pytest.mark.parametrize(
    ("params", "code", "error"),
    [({"crash_at": 150}, 1, "RuntimeError: crashed at 150, as told"), ({"exit_at": 150}, 1, "exit code 1")],
)
def test_a_crash_keeps_what_was_sealed_and_says_why(
    toy: Machine, params: dict[str, Any], code: int, error: str
) -> None:
    session = toy.run(params=params)
    assert session.code == code
    assert session.info["cause"] == "error"
    assert error in session.info["error"]
    assert 100 in session.sealed()


def test_a_request_to_stop_is_forwarded_and_sealed(toy: Machine) -> None:
    command, working, environment = toy.prepare(toy.spec(params={"pause": 0.02}))
    process = subprocess.Popen(command, cwd=working, env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if "Saved x_checkpoint_100_steps" in line:
            break
    process.send_signal(signal.SIGTERM)
    log = process.communicate(timeout=30)[0]
    session = Session(working, process.returncode, log)
    assert session.code == 143, log
    assert session.info["cause"] == "signal"
    assert session.info["signal"] == "SIGTERM"
    assert max(session.sealed()) > 100


def test_an_unmodified_script_resumes(classic: Machine) -> None:
    first = classic.run()
    assert first.code == 0, first.log
    assert "resumed at 0 newest by time None" in first.log
    assert first.sealed() == [500, 1000]
    assert first.info["cause"] == "exit"
    head = classic.carry(first)
    second = classic.run()
    assert "resumed at 1000 newest by time x_checkpoint_1000_steps.zip" in second.log
    assert second.sealed() == [1000, 1500, 2000]
    assert second.info["cause"] == "target"
    assert second.info["scenarios"]["x"]["resumed_from"]["digest"] == head.digest
    read = heads.read_head(second.tree, "x")
    assert read is not None
    assert (read.num_timesteps, read.generation) == (2000, 2)


@pytest.mark.slow
def test_an_unmodified_script_is_stopped_before_the_limit_and_sealed(classic: Machine) -> None:
    script = classic.kernel / "train.py"
    script.write_text(script.read_text() + "\ntime.sleep(60)\n")
    begin = time.monotonic()
    session = classic.run(budget_seconds=2.0, margin_seconds=1.0)
    assert time.monotonic() - begin < 30
    assert session.code == 0, session.log
    assert session.info["cause"] == "deadline"
    assert session.sealed() == [500, 1000]


@pytest.mark.slow
def test_a_script_that_misses_its_own_deadline_is_asked_to_stop(toy: Machine) -> None:
    # its deadline is at 1.8 s, it is asked at 5.4 s, and would be killed at 7.2 s
    session = toy.run(budget_seconds=9.0, margin_seconds=7.2, params={"sleep": 6.0})
    assert session.code == 0, session.log
    assert session.info["cause"] == "deadline"
    assert session.info["scenarios"]["x"]["signal"] == "SIGTERM"


@pytest.mark.slow
def test_a_crash_in_c_leaves_an_end_marker(classic: Machine) -> None:
    script = classic.kernel / "train.py"
    script.write_text(script.read_text() + "\nos.kill(os.getpid(), 11)\n")
    session = classic.run()
    assert session.code == 139
    assert session.sealed() == [500, 1000]
    assert session.info["error"] == "killed by SIGSEGV"
    assert session.info["cause"] == "error"


@pytest.mark.slow
def test_an_end_that_cannot_be_told_is_no_success(tmp_path: Path, cache: Path) -> None:
    script = "import os\nos.remove('events.jsonl')\nos.mkdir('events.jsonl')\n"
    session = Machine(tmp_path, kernel_of(tmp_path, script), cache).run()
    assert session.code == 4
    assert "events.jsonl" in session.info["error"]


@pytest.mark.slow
def test_an_end_marker_that_cannot_be_written_is_told_without_a_traceback(tmp_path: Path, cache: Path) -> None:
    script = "import os\nos.mkdir('session_info.json')\n"
    session = Machine(tmp_path, kernel_of(tmp_path, script), cache).run()
    assert session.code == 1
    assert "ERROR: how the session has ended could not be written down" in session.log
    assert "Traceback" not in session.log


@pytest.mark.slow
def test_the_script_of_a_deeper_folder_finds_its_neighbours(tmp_path: Path, cache: Path) -> None:
    kernel = kernel_of(tmp_path, "")
    (kernel / "src").mkdir()
    (kernel / "src" / "go.py").write_text("import beside\nprint(beside.WORD)\n")
    (kernel / "src" / "beside.py").write_text("WORD = 'beside me'\n")
    session = Machine(tmp_path, kernel, cache).run(script="src/go.py")
    assert session.code == 0, session.log
    assert "beside me" in session.log


def test_through_the_local_runner(toy: Machine, tmp_path: Path) -> None:
    runner = LocalRunner(ProjectLayout(tmp_path / "project").session)
    ends = []
    for fields in ({"max_steps": 300}, {}):
        spec = toy.spec(**fields)
        script = build_bundle(toy.kernel, spec, cache=toy.cache).script
        submission = Submission(spec.session, spec.generation, script, inputs=toy.packs)
        assert runner.find(submission) is None
        handle = runner.start(submission)
        while not (status := runner.status(handle)).state.finished:
            time.sleep(0.02)
        log = runner.log(handle).decode()
        assert status.state is SessionState.COMPLETE, log
        working = tmp_path / "outputs" / str(spec.generation)
        for file in runner.outputs(handle):
            target = working / file.path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(b"".join(runner.read_output(handle, file)))
        session = Session(working, 0, log)
        toy.carry(session)
        ends.append(session.info["scenarios"]["x"])
    assert [(end["started_at"], end["num_timesteps"]) for end in ends] == [(0, 300), (300, 2000)]


@pytest.mark.slow
def test_the_specification_reaches_the_script(tmp_path: Path, cache: Path) -> None:
    script = (
        "import json, os, time\n"
        "from ckptsync.core.session import read_spec_from_environment\n"
        "spec = read_spec_from_environment()\n"
        "print(json.dumps([spec.to_json(), os.environ['CKPTSYNC_BOOT'], float(os.environ['CKPTSYNC_STARTED'])]))\n"
    )
    machine = Machine(tmp_path, kernel_of(tmp_path, script), cache)
    session = machine.run(params={"lr": 0.1})
    line = next(line for line in session.log.splitlines() if line.startswith("[{"))
    told, boot, started = json.loads(line)
    machine.number = 0
    assert SessionSpec.from_json(told) == replace(machine.spec(), params={"lr": 0.1})
    assert boot == "1"
    assert 0 <= time.monotonic() - started < 60
