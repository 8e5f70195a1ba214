"""What a drill says of what it saw: faults, figures, and the notes of the script's own doings."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support import pages
from support.projects import make_project, seal_set

from ckptsync.core.errors import ExitCode
from ckptsync.core.findings import Severity
from ckptsync.core.manifest import Origin
from ckptsync.core.session import SavePolicy, ScenarioSpec, SessionSpec
from ckptsync.runners.base import SessionState, SessionStatus
from ckptsync.sync.drill.faults import CODES, Fault, exit_code, of_first, of_second
from ckptsync.sync.drill.figures import Measured, TripSeconds, measure, project_run
from ckptsync.sync.drill.observed import Begun, Observed, Save, read_notes

HEAD = Origin("a/s0001", 100, "sha256:" + "0" * 64)
WATCHED = "import sys; from ckptsync.training.watch import main; main(sys.argv[1], 'train.py')"


def spec(**fields: Any) -> SessionSpec:
    return SessionSpec(
        "a", "a/s0002", "l1", 2, (ScenarioSpec("a", 10_000),), heads={"a": HEAD}, max_steps=100, **fields
    )


def save(steps: int, **fields: Any) -> Save:
    values = {"seconds": 0.5, "stall_seconds": 0.1, "size_bytes": 1000, "trained_seconds": steps / 10, **fields}
    return Save("a", steps, values.pop("kind", "periodic"), **values)


@pytest.fixture
def good(tmp_path: Path) -> Observed:
    """A second session that resumed exactly, trained 100 steps and was told to stop there."""
    return Observed(
        spec=spec(),
        status=SessionStatus(SessionState.COMPLETE, exit_code=0, seconds=14.0),
        begun={"a": Begun(100, "exact", (), 10.0)},
        reached={"a": 200},
        saves=[save(150), save(200)],
        sealed=[seal_set(tmp_path, 200, captured="exact", session="a/s0002")],
        unsealed=[],
        failed_saves=[],
        warnings=[],
        error=None,
        uses_session=True,
        read=[],
        written=[],
        hosts=[],
    )


def first_faults(seen: Observed, margin: float = 30.0) -> list[tuple[str, str]]:
    return [(fault.code, fault.severity.value) for fault in of_first(seen, margin)]


def second_faults(seen: Observed) -> list[tuple[str, str]]:
    return [(fault.code, fault.severity.value) for fault in of_second(seen)]


def stopped(seen: Observed, seconds: float = 1.0, before: int = 1, code: int = 143) -> Observed:
    status = SessionStatus(SessionState.CANCELLED, exit_code=code)
    return replace(seen, status=status, interrupted=True, stop_seconds=seconds, saves_before_stop=before)


def test_a_good_pair_has_no_faults(good: Observed) -> None:
    assert first_faults(stopped(good)) == second_faults(good) == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"status": SessionStatus(SessionState.ERROR), "error": "ValueError: no"}, [("script.crash", "blocker")]),
        ({"written": ["/elsewhere/x"]}, [("output.outside", "warning"), ("stop.untried", "note")]),
        ({"failed_saves": ["OSError: full"]}, [("stop.untried", "note"), ("save.failed", "warning")]),
        ({"hosts": ["example.org"]}, [("stop.untried", "note"), ("network.used", "note")]),
        ({"spec": spec(seed=None)}, [("stop.untried", "note"), ("seed.missing", "note")]),
        ({"sealed": [], "saves": []}, [("save.none", "blocker")]),
        (
            {"status": SessionStatus(SessionState.TIMED_OUT), "spec": spec(budget_seconds=9)},
            [("script.limit", "warning")],
        ),
    ],
)
def test_faults_of_a_first_session(good: Observed, changes: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    assert first_faults(replace(good, **changes)) == expected


def test_faults_of_a_stop(good: Observed) -> None:
    assert first_faults(stopped(good, seconds=31)) == [("stop.slow", "warning")]
    assert first_faults(stopped(good, seconds=21, code=137)) == [("stop.ignored", "warning")]
    assert first_faults(stopped(good, before=2)) == [("stop.unsaved", "warning")]
    plain = replace(stopped(good), uses_session=False)
    assert first_faults(plain) == [("stop.unsaved", "warning")]


def test_a_save_must_fit_into_the_margin_with_room_to_spare(good: Observed) -> None:
    slow = stopped(replace(good, saves=[save(150), save(200, seconds=4.0)]))
    assert first_faults(slow, margin=6.0) == []
    [fault] = of_first(slow, 5.9)
    assert (fault.code, fault.hint) == ("save.margin", 'set margin = "10s" in ckptsync.toml')


def test_nothing_saved_is_told_with_its_likely_cause(good: Observed) -> None:
    nothing = replace(good, sealed=[], saves=[])
    told = {
        "TrainingSession and saved nothing": nothing,
        "the script left models/a.zip": replace(nothing, unsealed=["models/a.zip"]),
        "saved nothing in its working folder": replace(nothing, written=["/elsewhere/a.zip"]),
        "the script saved nothing; it was told: no": replace(nothing, uses_session=False, warnings=["no"]),
    }
    for words, seen in told.items():
        fault = next(fault for fault in of_first(seen, 30.0) if fault.code == "save.none")
        assert words in fault.message


def test_a_session_of_its_own_words_is_told(good: Observed) -> None:
    own = [replace(manifest, session=None) for manifest in good.sealed]
    assert first_faults(stopped(replace(good, sealed=own)))[0] == ("session.ignored", "blocker")


def test_an_environment_that_cannot_be_pickled_is_told_once(good: Observed, tmp_path: Path) -> None:
    reason = "training/env/0/0: attribute 'x' cannot be pickled (no)"
    manifest = seal_set(tmp_path / "other", 200, captured="state", session="a/s0001", captured_reasons=(reason,))
    first, second = replace(stopped(good), sealed=[manifest]), {"a": Begun(100, "state", (reason,), 10.0)}
    assert first_faults(first) == [("env.not-picklable", "warning")]
    assert second_faults(replace(good, begun=second)) == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"begun": {"a": Begun(0, None, (), 0.0)}}, [("resume.none", "blocker")]),
        ({"begun": {}}, [("resume.none", "blocker")]),
        ({"uses_session": False, "read": ["b_checkpoint_100_steps.zip"]}, [("resume.none", "blocker")]),
        ({"uses_session": False, "read": ["a_checkpoint_100_steps.zip"]}, []),
        ({"reached": {"a": 100}, "saves": []}, [("resume.no-progress", "blocker")]),
        ({"begun": {"a": Begun(100, "state", ("another machine",), 0.0)}}, [("resume.fidelity", "warning")]),
        ({"begun": {"a": Begun(100, "weights", ("a loop of its own does",), 0.0)}}, [("resume.fidelity", "note")]),
        ({"reached": {"a": 300}}, []),
        ({"reached": {"a": 301}}, [("steps.ignored", "warning")]),
        ({"status": SessionStatus(SessionState.ERROR), "begun": {}}, [("script.crash", "blocker")]),
    ],
)
def test_faults_of_a_second_session(good: Observed, changes: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    assert second_faults(replace(good, **changes)) == expected


def test_exit_codes_follow_the_worst() -> None:
    def fault(severity: Severity) -> Fault:
        return Fault("save.none", severity, "", "")

    note, warning, blocker = fault(Severity.NOTE), fault(Severity.WARNING), fault(Severity.BLOCKER)
    assert exit_code([]) == exit_code([note]) == ExitCode.OK
    assert exit_code([note, warning]) == ExitCode.PARTIAL
    assert exit_code([note, warning, blocker]) == ExitCode.SESSION_FAILED


def test_figures_are_those_of_both_sessions(good: Observed, tmp_path: Path) -> None:
    first = replace(
        stopped(good),
        begun={"a": Begun(0, None, (), 0.0)},
        saves=[save(50, stall_seconds=0.3), save(100, size_bytes=2000)],
        reached={"a": 100},
        sealed=[seal_set(tmp_path / "first", 100, captured="state", session="a/s0001", captured_reasons=("a reason",))],
    )
    measured = measure(first, good, TripSeconds(1.0, 2.0, 3.0))
    assert measured == Measured(
        saves=4,
        save_seconds=0.5,
        stall_seconds=0.3,
        size_bytes=2000,
        stop_seconds=1.0,
        fetch_seconds=1.0,
        verify_seconds=2.0,
        restore_seconds=3.0,
        start_seconds=4.0,  # 14 s, of which 10 s are training
        steps_per_second=10.0,
        clean_every=50,
        own_interval=None,
        captured="state",
        captured_reasons=("a reason",),
        resumed="exact",
    )
    assert json.loads(json.dumps(measured.to_json()))["captured_reasons"] == ["a reason"]
    plain = measure(replace(first, uses_session=False), replace(good, saves=[save(180)]), None)
    assert plain.own_interval == 80


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (SavePolicy(every_steps=1000, every_seconds=None), (1000, 1000 + 49 + 5)),
        (SavePolicy(every_steps=1000, every_seconds=60.0), (600, 600 + 49 + 5)),
        (SavePolicy(every_steps=None, every_seconds=60.0), (600, 600 + 49 + 5)),
        (SavePolicy(every_steps=None, every_seconds=None), (None, None)),
    ],
)
def test_what_is_lost_at_worst(tmp_path: Path, policy: SavePolicy, expected: tuple[int | None, int | None]) -> None:
    run = replace(make_project(tmp_path).run(None), save=policy)
    measured = Measured(saves=3, save_seconds=0.5, steps_per_second=10.0, clean_every=50)
    projected = project_run(run, measured)
    assert (projected.interval_steps, projected.lost_steps) == expected
    assert projected.lost_seconds == (None if expected[1] is None else pytest.approx(expected[1] / 10))
    own = project_run(run, replace(measured, own_interval=128, save_seconds=None))
    assert (own.interval_steps, own.lost_steps) == (128, 128)


def test_every_fault_is_on_the_page() -> None:
    rows = pages.rows(pages.section(pages.DOCS / "how-to" / "drill.md", "The faults"))
    assert [pages.inline_code(row[0]) for row in rows if pages.inline_code(row[0])] != []
    assert {code for row in rows for code in pages.inline_code(row[0])} == set(CODES)


@pytest.fixture
def on_disk() -> Iterator[Path]:
    """A folder outside /dev, whose files the watch passes over."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def test_the_watch_notes_what_a_script_does_outside(on_disk: Path) -> None:
    working, kernel, elsewhere = on_disk / "working", on_disk / "kernel", on_disk / "elsewhere"
    for folder in (working, kernel, elsewhere, on_disk / "tmp"):
        folder.mkdir()
    (working / "a_checkpoint_5_steps.zip").write_bytes(b"")
    (kernel / "train.py").write_text(
        f"""
import os, socket, sys, tempfile
from pathlib import Path
assert __name__ == "__main__" and sys.argv[0] == __file__ == {str(kernel / "train.py")!r}
open("inside", "w").close()
tempfile.NamedTemporaryFile().close()
open({str(elsewhere / "read")!r}, "a").close()
Path({str(elsewhere / "path")!r}).write_text("x")
os.close(os.open(Path("..") / "elsewhere" / "raw", os.O_CREAT | os.O_WRONLY))
Path({str(elsewhere / "folder")!r}).mkdir()
open({str(elsewhere / "read")!r}).close()
open("a_checkpoint_5_steps.zip", "rb").close()
open(os.environ["CKPTSYNC_SESSION"]).close()
with socket.socket() as local:
    local.bind(("127.0.0.1", 0))
    local.listen()
    socket.create_connection(local.getsockname()).close()
try:
    socket.getaddrinfo("nowhere.invalid", 80)
except OSError:
    pass
"""
    )
    (on_disk / "spec.json").write_text("{}")
    environment = {**os.environ, "TMPDIR": str(on_disk / "tmp"), "CKPTSYNC_SESSION": str(on_disk / "spec.json")}
    command = [sys.executable, "-P", "-c", WATCHED, str(kernel / "wrapper.py")]
    done = subprocess.run(command, cwd=working, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert read_notes(working / "drill.jsonl") == [
        {"note": "written", "path": str(elsewhere / "read")},
        {"note": "written", "path": str(elsewhere / "path")},
        {"note": "written", "path": str(elsewhere / "raw")},
        {"note": "written", "path": str(elsewhere / "folder")},
        {"note": "read", "file": "a_checkpoint_5_steps.zip"},
        {"note": "session"},
        {"note": "network", "host": "nowhere.invalid"},
    ]


def test_torn_and_foreign_notes_are_passed_over(tmp_path: Path) -> None:
    assert read_notes(tmp_path / "none") == []
    (tmp_path / "notes").write_bytes(b'{"note":"session"}\n[1]\n{"note":3}\n{"note":"wri')
    assert read_notes(tmp_path / "notes") == [{"note": "session"}]
