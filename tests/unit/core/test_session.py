"""What passes between project and session: specification, events, end marker."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.toysets import digest_of

from ckptsync.core import jsonio, session
from ckptsync.core.errors import ConfigError, CorruptError, NothingFoundError
from ckptsync.core.manifest import Origin
from ckptsync.core.session import EventLog, SavePolicy, ScenarioSpec, SessionInfo, SessionSpec

SPEC = SessionSpec(
    run="cartpole",
    session="cartpole/s0003",
    lineage="l0001-abcdef",
    generation=3,
    scenarios=(ScenarioSpec("easy", 1_000), ScenarioSpec("hard", 2_000)),
    heads={"easy": Origin("cartpole/s0002", 500, digest_of(b"head"))},
    params={"hidden": [32, 32], "name": "ü"},
    max_steps=200,
    budget_seconds=60.0,
    save=SavePolicy(every_steps=None, keep_last=2),
)


def test_a_specification_goes_there_and_back() -> None:
    assert SessionSpec.from_json(jsonio.parse(jsonio.canonical(SPEC.to_json()))) == SPEC


def test_an_unknown_field_of_a_newer_project_is_passed_over() -> None:
    assert SessionSpec.from_json({**SPEC.to_json(), "novelty": 1}) == SPEC


@pytest.mark.parametrize(
    "change",
    [
        {"schema": "ckptsync.session/2"},
        {"session": "cartpole"},
        {"session": "other/s0003"},
        {"scenarios": 5},
        {"scenarios": [{"name": "easy"}]},
        {"scenarios": [{"name": "../x", "total_timesteps": 1}]},
        {"scenarios": [{"name": "x", "total_timesteps": 1, "more": 2}]},
        {"heads": []},
        {"heads": {"easy": {}}},
        {"heads": {"../x": Origin(None, 5, digest_of(b"")).to_json()}},
        {"save": []},
        {"save": {"every": 5}},
        {"tree": "../outside"},
        {"tree": "/absolute"},
        {"script": "../../evil.py"},
        {"tree": 5},
    ],
)
def test_a_damaged_specification_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="damaged"):
        SessionSpec.from_json({**SPEC.to_json(), **change})


@pytest.mark.parametrize("value", [None, [], "x", {}])
def test_what_is_no_specification(value: object) -> None:
    with pytest.raises(ConfigError):
        SessionSpec.from_json(value)


def test_the_script_finds_its_specification(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(session.SPEC_VARIABLE, raising=False)
    assert session.read_spec_from_environment() is None
    path = tmp_path / "spec.json"
    path.write_bytes(jsonio.canonical(SPEC.to_json()))
    monkeypatch.setenv(session.SPEC_VARIABLE, str(path))
    assert session.read_spec_from_environment() == SPEC


@pytest.mark.parametrize("data", [None, b"{", b"[]", b'{"schema":"x"}'])
def test_a_specification_that_cannot_be_read_is_never_no_specification(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: bytes | None
) -> None:
    path = tmp_path / "spec.json"
    if data is not None:
        path.write_bytes(data)
    monkeypatch.setenv(session.SPEC_VARIABLE, str(path))
    with pytest.raises(ConfigError):
        session.read_spec_from_environment()


def test_events_are_written_as_they_happen(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    log = EventLog(path, "cartpole/s0001")
    log.write("start", scenario="easy", num_timesteps=0)
    assert [event["event"] for event in session.read_events(path)] == ["start"]
    log.write("warning", message="zwölf\nBoxkämpfer")
    first, second = session.read_events(path)
    assert (first["session"], first["num_timesteps"]) == ("cartpole/s0001", 0)
    assert second["message"] == "zwölf\nBoxkämpfer"
    assert path.read_bytes().count(b"\n") == 2


def test_no_events_is_none(tmp_path: Path) -> None:
    assert session.read_events(tmp_path / "none") == []


def test_an_error_is_written_whatever_its_text_is(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    EventLog(path, None).write_error(OSError("no file \udc80"))
    EventLog(path, None).write_error(CorruptError("it is cut", hint="fetch it"))
    first, second = session.read_events(path)
    assert (first["type"], first["message"], first["exit_code"]) == ("OSError", "no file \\udc80", None)
    assert (second["message"], second["hint"], second["exit_code"]) == ("it is cut", "fetch it", 4)


def test_a_line_cut_short_is_left_out_at_every_byte(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    EventLog(path, None).write("start")
    EventLog(path, None).write("save")
    data = path.read_bytes()
    first = data.index(b"\n") + 1
    for end in range(first, len(data)):
        path.write_bytes(data[:end])
        assert [event["event"] for event in session.read_events(path)] == ["start"]
        EventLog(path, None).write("end")
        found = [event["event"] for event in session.read_events(path)]
        assert found[0] == "start"
        assert found[-1] == "end"
        assert found[1:-1] in ([], ["torn"], ["save"])


@pytest.mark.parametrize("line", [b"{", b"5", b"[]", b'{"event":5}', b'{"no":"event"}', b"\xff", b""])
def test_a_line_that_makes_no_sense_is_told_and_hides_no_other(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b'{"event":"start"}\n' + line + b'\n{"event":"end"}\n')
    assert session.read_events(path) == [{"event": "start"}, {"event": "torn", "line": 2}, {"event": "end"}]


def test_too_many_events_are_refused(tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").write_bytes(b"x" * 100)
    with pytest.raises(CorruptError):
        session.read_events(tmp_path / "events.jsonl", limit=99)


INFO = SessionInfo(
    session="cartpole/s0003",
    cause="target",
    exit_code=0,
    scenarios={
        "easy": {"num_timesteps": 1_000, "cause": "target", "last_kind": "final"},
        "hard": {"num_timesteps": 2_000, "cause": "target", "last_kind": "emergency", "signal": "SIGTERM"},
    },
    seconds=1.23456,
    total_training_time=10.0,
)


def test_the_end_marker_has_the_keys_that_older_scripts_look_for(tmp_path: Path) -> None:
    session.write_session_info(tmp_path / "session_info.json", INFO)
    value = session.read_session_info(tmp_path / "session_info.json")
    assert (value["global_step"], value["training_completed"], value["emergency_save"]) == (2_000, True, True)
    assert (value["signal"], value["seconds"], value["exit_code"]) == ("SIGTERM", 1.235, 0)
    assert value["scenarios"]["easy"]["num_timesteps"] == 1_000


def test_nothing_trained_is_not_completed() -> None:
    empty = SessionInfo(None, "target", 0, {}, 0.0, 0.0).to_json()
    assert (empty["global_step"], empty["training_completed"], empty["signal"]) == (0, False, None)


@pytest.mark.parametrize("data", [b"{", b"[]", b'{"schema":"ckptsync.session-info/2"}', json.dumps({}).encode()])
def test_a_damaged_end_marker_is_no_end_marker(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "session_info.json").write_bytes(data)
    with pytest.raises(CorruptError):
        session.read_session_info(tmp_path / "session_info.json")
    with pytest.raises(NothingFoundError):
        session.read_session_info(tmp_path / "none")
