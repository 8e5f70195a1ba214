"""Names of outputs, room, links: nothing leads out of the session's results folder."""

from __future__ import annotations

import pytest
from support.projects import Script

from ckptsync.core import fsio
from ckptsync.core.errors import CorruptError, LimitError, LockedError, NothingFoundError, StorageError, UnsafePathError
from ckptsync.runners.base import OutputFile, SessionState
from ckptsync.sync import fetch as fetching
from ckptsync.sync import launch, listing
from ckptsync.sync.events import sound_event
from ckptsync.sync.launch import LaunchOptions
from ckptsync.sync.ledgers import known_records
from ckptsync.sync.wait import wait


@pytest.mark.parametrize(
    "paths",
    [
        ["../escape"],
        ["/etc/passwd"],
        ["a/../b"],
        ["C:/x"],
        ["a\\b"],
        ["a//b"],
        ["line\nbreak"],
        [""],
        ["x" * 300],
        ["Model.zip", "model.zip"],
        ["a", "a/b"],
        ["x.partial"],
    ],
)
def test_unsafe_names_are_refused_before_anything_is_written(paths):
    with pytest.raises(UnsafePathError):
        listing.checked_outputs([OutputFile(path, 1) for path in paths])


def test_too_much_is_refused():
    with pytest.raises(LimitError):
        listing.checked_outputs([OutputFile("big", listing.MAX_FILE_BYTES + 1)])
    with pytest.raises(LimitError):
        listing.checked_outputs([OutputFile(f"f{n}") for n in range(listing.MAX_FILES + 1)])


def started(bench) -> str:
    plan = launch.plan(bench.project, bench.run, LaunchOptions())
    launch.start(bench.project, plan, bench.told)
    wait(bench.project, plan.spec.session, reporter=bench.told)
    return plan.spec.session


def test_a_full_disk_is_told_before_anything_is_downloaded(bench, monkeypatch):
    session = started(bench)
    monkeypatch.setattr(fsio, "free_bytes", lambda path: 1000)
    with pytest.raises(StorageError, match="to spare"):
        fetching.fetch(bench.project, session, bench.told)
    assert not bench.project.layout.results(session).exists()


def test_nothing_is_written_through_a_link(bench, tmp_path):
    session = started(bench)
    results = bench.project.layout.results(session)
    results.mkdir(parents=True)
    (results / "data").symlink_to(tmp_path)
    with pytest.raises(UnsafePathError):
        fetching.fetch(bench.project, session, bench.told)
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_writes_nothing(bench):
    session = started(bench)
    report = fetching.fetch(bench.project, session, bench.told, dry_run=True)
    assert len(report.files) > 3
    assert not bench.project.layout.results(session).exists()


def test_two_downloads_at_once(bench):
    session = started(bench)
    with fsio.locked(bench.project.layout.session(session) / "fetch.lock", what="it"), pytest.raises(LockedError):
        fetching.fetch(bench.project, session, bench.told)


def test_a_session_that_left_nothing(bench):
    session = started(bench)
    bench.runner.outputs = lambda handle: []
    with pytest.raises(NothingFoundError, match="left no file"):
        fetching.fetch(bench.project, session, bench.told)


@pytest.mark.parametrize("ended", [True, False])
def test_a_file_that_is_gone_before_it_comes_is_no_empty_session(bench, ended):
    if ended:
        session = started(bench)
    else:
        bench.runner.script = Script(state=SessionState.RUNNING)
        plan = launch.plan(bench.project, bench.run, LaunchOptions())
        launch.start(bench.project, plan, bench.told)
        session = plan.spec.session
    listed, whole = bench.runner.outputs, bench.runner.read_output
    bench.runner.outputs = lambda handle: [*listed(handle), OutputFile(".model.zip.tmp", 7)]

    def read(handle, file, offset=0):
        if file.path == ".model.zip.tmp":
            raise NothingFoundError(f"{file.path} does not exist")
        return whole(handle, file, offset)

    bench.runner.read_output = read
    if ended:  # and written down as such, it would never be fetched again
        with pytest.raises(CorruptError, match="tmp does not exist"):
            fetching.fetch(bench.project, session, bench.told)
    else:
        assert ".model.zip.tmp" not in fetching.fetch(bench.project, session, bench.told).files


def test_a_source_that_sends_more_than_it_announced_is_cut_off(bench):
    session = started(bench)
    bench.runner.read_output = lambda handle, file, offset=0: iter([b"x" * (file.size_bytes + 1)])
    with pytest.raises(Exception, match="larger than"):
        fetching.fetch(bench.project, session, bench.told)


def test_events_that_make_no_sense_are_kept_and_not_computed_with(bench):
    assert sound_event({"event": "save", "scenario": "a", "num_timesteps": "many"})["event"] == "unsound"
    assert sound_event({"event": "start", "scenario": "a", "num_timesteps": 1, "fidelity": []})["event"] == "unsound"
    assert sound_event({"event": "end", "scenario": 7, "num_timesteps": 1})["event"] == "unsound"
    assert sound_event({"event": "warning", "message": "x"}) == {"event": "warning", "message": "x"}

    session = started(bench)
    events = next(bench.runner.folder.rglob("events.jsonl"))
    events.write_text('{"event":"start","scenario":"a","num_timesteps":true}\n{"event":"end"}\n')
    fetching.fetch(bench.project, session, bench.told)
    assert known_records(bench.project)[0].scenarios == {}
