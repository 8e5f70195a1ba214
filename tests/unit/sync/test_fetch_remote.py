"""Fetching from a service that lists late, wrongly or in part: the session's own seals decide what has to come."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.projects import Script, ScriptedRunner

from ckptsync.core import sets
from ckptsync.core.errors import NothingFoundError, ServiceError, UnsafePathError
from ckptsync.core.layout import SESSION_INFO_NAME
from ckptsync.runners.base import Discovered, Limits, OutputFile, RemoteRunner, SessionHandle, SessionState
from ckptsync.sync import fetch as fetching
from ckptsync.sync import launch, runners
from ckptsync.sync.launch import LaunchOptions
from ckptsync.sync.ledgers import find_record, open_ledger
from ckptsync.sync.selecting import Selection

CHECKPOINTS = "data/models/checkpoints"
SESSION = "a/s0001"


class Service(ScriptedRunner):
    """A runner whose sessions a service knows, with ways of its own."""

    late: dict[str, int]  # path -> how many listings it is missing in
    spoiled: dict[str, int]  # path -> how many times it comes with other bytes
    listings = 0

    def discover(self, run: str, *, limit: int = 20) -> list[Discovered]:
        return []

    def limits(self) -> Limits:
        return Limits()

    def outputs(self, handle: SessionHandle) -> list[OutputFile]:
        self.listings += 1
        return [file for file in super().outputs(handle) if self.late.get(file.path, 0) < self.listings]

    def read_output(self, handle: SessionHandle, file: OutputFile, offset: int = 0) -> Iterator[bytes]:
        self.spoiled[file.path] = left = self.spoiled.get(file.path, 0) - 1
        for chunk in super().read_output(handle, file, offset):
            yield bytes(byte ^ 1 for byte in chunk) if left >= 0 else chunk


@pytest.fixture
def service(bench, monkeypatch) -> Service:
    """The bench's runner as a service, with one session that has ended."""
    runner = Service(bench.runner.folder, Script(rows=50), lambda session: find_record(bench.project, session).spec)
    runner.late, runner.spoiled = {}, {}
    assert isinstance(runner, RemoteRunner)
    monkeypatch.setitem(runners.RUNNERS, "scripted", lambda project, settings: runner)
    runner.script.change = lambda working: (working / SESSION_INFO_NAME).write_text("{}") and None
    launch.start(bench.project, launch.plan(bench.project, bench.run, LaunchOptions()), bench.told)
    return runner


def fetch(bench, **options):
    pauses: list[float] = []
    return fetching.fetch(bench.project, SESSION, bench.told, sleep=pauses.append, **options), pauses


def here(bench) -> set[str]:
    folder: Path = bench.project.layout.results(SESSION)
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def damage(bench) -> list[object]:
    folder = bench.project.layout.results(SESSION) / CHECKPOINTS
    return [found for s in sets.scan(folder) if s.manifest for found in sets.check_files(folder, s.manifest)]


@pytest.mark.parametrize(
    "path",
    [
        f"{CHECKPOINTS}/a_checkpoint_200_steps.zip",
        f"{CHECKPOINTS}/a_checkpoint_200_steps.manifest.json",  # named by the head
        SESSION_INFO_NAME,  # a session that is called complete has one
    ],
)
def test_what_is_listed_late_is_waited_for(bench, service, path):
    service.late[path] = 2
    found, pauses = fetch(bench)
    assert path in found.files
    assert (service.listings, pauses) == (3, [1.0, 2.0])
    assert found.files == tuple(sorted(here(bench)))
    assert bench.told.warnings == []


def test_what_never_comes_is_told_and_what_came_is_kept(bench, service):
    service.late[f"{CHECKPOINTS}/a_checkpoint_200_steps.zip"] = 1000
    found, pauses = fetch(bench)
    assert len(pauses) == 3
    assert "1 file(s) that the session's own seals name did not come" in bench.told.warnings[0]
    assert "verify a/s0001" in bench.told.warnings[0]
    assert len(found.files) > 3
    assert find_record(bench.project, SESSION).stage == "fetched"


def test_other_bytes_than_sealed_are_fetched_again(bench, service):
    path = f"{CHECKPOINTS}/a_checkpoint_100_steps.zip"
    service.spoiled[path] = 1
    fetch(bench)
    assert (service.spoiled[path], damage(bench)) == (-1, [])


def test_the_same_wrong_bytes_twice_are_the_source_s_own(bench, service):
    path = f"{CHECKPOINTS}/a_checkpoint_100_steps.zip"
    service.spoiled[path] = 1000
    fetch(bench)
    assert (service.spoiled[path], len(damage(bench))) == (998, 1)


def test_no_file_at_all_is_waited_for_too(bench, service):
    service.late |= {file.path: 2 for file in service.outputs(SessionHandle(SESSION, "scripted"))}
    service.listings = 0
    assert len(fetch(bench)[0].files) > 3
    service.late = dict.fromkeys(service.late, 1000)
    with pytest.raises(NothingFoundError, match="left no file"):
        fetch(bench)


def test_a_service_that_is_away_is_asked_again(bench, service):
    whole, failures = service.outputs, iter([ServiceError("502"), ServiceError("reset", retry_after=33.0)])

    def outputs(handle):
        for error in failures:
            raise error
        return whole(handle)

    service.outputs = outputs
    found, pauses = fetch(bench)
    assert pauses[1] == 33.0
    assert len(found.files) > 3


def test_a_file_that_is_listed_twice_comes_once(bench, service):
    whole = service.outputs
    service.outputs = lambda handle: whole(handle) * 2
    assert fetch(bench)[0].files == tuple(sorted(here(bench)))
    service.outputs = lambda handle: [*whole(handle), OutputFile("events.jsonl", 1)]
    with pytest.raises(UnsafePathError, match="listed twice with different sizes"):
        fetch(bench)


def test_a_choice_comes_with_its_seal_and_all_that_this_names(bench, service):
    found, _ = fetch(bench, only=["*_100_steps.zip"])
    stem = f"{CHECKPOINTS}/a_checkpoint_100_steps"
    assert {f"{stem}.zip", f"{stem}.manifest.json"} < set(found.files)
    assert sum(path.endswith(".safetensors") for path in found.files) == 2  # rows 0 to 100, fifty in each
    assert not any("200" in path for path in found.files if not path.endswith(".safetensors"))
    assert (set(found.files), damage(bench)) == (here(bench), [])
    record = find_record(bench.project, SESSION)
    assert record.stage == "finished"  # what else it left is still to be fetched
    rest, _ = fetch(bench)
    assert set(rest.skipped) == set(found.files)
    assert find_record(bench.project, SESSION).stage == "fetched"


def test_logs_and_metrics_alone_make_no_session_a_fetched_one(bench, service):
    found, _ = fetch(bench, only=["logs", "metrics"])
    assert set(found.files) == {"events.jsonl", SESSION_INFO_NAME}
    assert fetching.fetched_sessions(bench.project, "a") == []
    assert any(entry.event == "session" for entry in open_ledger(bench.project).entries())
    with pytest.raises(NothingFoundError, match="no file of the session fits 'nothing'"):
        fetch(bench, only=["nothing"])


def test_what_came_while_it_ran_gives_way_to_what_it_left(bench, monkeypatch):
    bench.runner.script = Script(state=SessionState.RUNNING)
    launch.start(bench.project, launch.plan(bench.project, bench.run, LaunchOptions()), bench.told)
    fetch(bench)
    folder = bench.project.layout.results(SESSION)
    assert (folder / CHECKPOINTS / "a_checkpoint_100_steps.zip").exists()
    away = next(bench.runner.folder.iterdir())
    for path in (away / CHECKPOINTS).glob("a_checkpoint_100_steps.*"):
        path.unlink()  # as its retention does
    bench.runner.go_on(SESSION, 300)
    bench.runner.script = Script()
    found, _ = fetch(bench)
    assert set(found.files) == here(bench)
    assert "a_checkpoint_300_steps.zip" in {Path(path).name for path in found.files}


@pytest.mark.parametrize(
    ("only", "chosen"),
    [
        (["checkpoints"], {"c/checkpoints/a_head.json", "c/checkpoints/a.b_checkpoint_5_steps.zip"}),
        (["logs"], {"training.log", "training.log.1", "deep/x.log", "events.jsonl"}),
        (["metrics"], {"metrics.jsonl", "events.jsonl", "tb/events.out.tfevents.1"}),
        (["deep/*"], {"deep/x.log", "deep/y/z"}),
        (["z", "*.1"], {"deep/y/z", "training.log.1", "tb/events.out.tfevents.1"}),
    ],
)
def test_words_and_patterns(only, chosen):
    paths = {
        *("training.log", "training.log.1", "deep/x.log", "deep/y/z", "events.jsonl", "metrics.jsonl"),
        *("tb/events.out.tfevents.1", "c/checkpoints/a_head.json", "c/checkpoints/a.b_checkpoint_5_steps.zip"),
    }
    assert Selection(only, "c").of(paths) == chosen
    assert Selection([], "c").of(paths) == paths
