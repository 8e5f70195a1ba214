"""Sessions and descent as the ledger tells them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.toysets import files_of, manifest_of

from ckptsync.core.manifest import Manifest, Origin
from ckptsync.core.session import ScenarioSpec, SessionSpec
from ckptsync.project.ledger import LedgerEntry
from ckptsync.project.lineage import descends, next_generation, next_lineage, next_session, records, unsettled


def spec(number: int = 1, **fields) -> SessionSpec:
    known = {"run": "x", "lineage": "l0001-aaaaaa", "generation": number, "scenarios": (ScenarioSpec("a", 100),)}
    return SessionSpec(session=f"x/s{number:04d}", **{**known, **fields})


def history(*events) -> list[LedgerEntry]:
    planned = {"spec": spec().to_json(), "runner": "local", "inputs": []}
    lines = [("planned", planned), *events]
    return [LedgerEntry(n, "now", event, "x", "x/s0001", fields) for n, (event, fields) in enumerate(lines, 1)]


FINISHED = ("finished", {"state": "complete", "message": "", "seconds": 2.0})
STARTED = ("started", {"handle": {"session": "x/s0001", "runner": "local", "reference": {}}})


def test_histories_that_begin_alike_are_told_apart():
    """What was found for one is where the next may go on, and no more."""

    def stages(entries: list[LedgerEntry]) -> list[str]:
        return [record.stage for record in records(entries)]

    begun, ended = history(STARTED), history(STARTED, FINISHED)
    assert (stages(begun), stages(ended), stages(begun)) == (["started"], ["finished"], ["started"])
    assert stages(history(("closed", {"reason": "why"}), STARTED)) == ["started"]
    assert stages([]) == []
    given = records(ended)
    given.clear()
    assert stages(ended) == ["finished"]


def test_the_sessions_of_one_run_or_of_all():
    other = replace(history()[0], run="y", session="y/s0001", seq=2)
    entries = [*history(), other, *(replace(entry, seq=3) for entry in history(STARTED)[1:])]
    assert [record.session for record in records(entries, "y")] == ["y/s0001"]
    assert [(record.session, record.stage) for record in records(entries, "x")] == [("x/s0001", "started")]
    assert [record.session for record in records(entries)] == ["x/s0001", "y/s0001"]
    assert records(entries, "z") == []


@pytest.mark.parametrize(
    ("events", "stage"),
    [
        ((), "planned"),
        ((STARTED,), "started"),
        ((STARTED, FINISHED), "finished"),
        ((STARTED, FINISHED, ("fetched", {})), "fetched"),
        ((STARTED, FINISHED, ("fetched", {}), ("verified", {"verdict": "valid"})), "verified"),
        ((STARTED, ("fetched", {})), "started"),  # fetched while it runs: it goes on
        ((STARTED, ("fetched", {}), ("restored", {"receipt": {}})), "started"),  # as far as it was: it goes on
        ((STARTED, FINISHED, ("restored", {"receipt": {}})), "restored"),
        ((STARTED, FINISHED, ("restored", {"receipt": {}}), FINISHED, ("fetched", {})), "restored"),
        ((("closed", {"reason": "why"}),), "closed"),
    ],
)
def test_the_stage_is_the_last_step(events, stage):
    (record,) = records(history(*events))
    assert record.stage == stage
    assert (unsettled([record]) is None) == (stage in ("restored", "closed"))


def test_the_events_of_the_session_fill_the_table():
    data = [
        {"event": "boot"},
        {
            "event": "start",
            "scenario": "a",
            "num_timesteps": 100,
            "target": 300,
            "fidelity": {"resumed": "state", "reasons": ["r"]},
        },
        {"event": "save", "scenario": "a", "num_timesteps": 200},
        {"event": "end", "scenario": "a", "num_timesteps": 250, "cause": "deadline"},
    ]
    (record,) = records(history(STARTED, *(("session", {"data": event}) for event in data)))
    done = record.scenarios["a"]
    assert (done.started_at, done.ended_at, done.checkpoints, done.target) == (100, 250, 1, 300)
    assert (done.resumed, done.reasons, done.cause) == ("state", ("r",), "deadline")


def test_numbers_are_never_used_again():
    (record,) = records(history(("closed", {"reason": "why"})))
    assert next_session("x", [record]) == "x/s0002"
    assert next_session("x", []) == "x/s0001"
    assert next_generation("l0001-aaaaaa", [record], []) == 2
    assert next_generation("l0001-aaaaaa", [record], [("l0001-aaaaaa", 7), ("l0002-bbbbbb", 9)]) == 8
    assert next_generation("l0002-bbbbbb", [record], []) == 1


def test_lineages_sort_by_age():
    first = next_lineage([], "ffffff")
    second = next_lineage([first, "local"], "000000")
    assert (first, second) == ("l0001-ffffff", "l0002-000000")
    assert first < second


def made(number: int | None, steps: int, origin: Manifest | None = None) -> Manifest:
    session = f"x/s{number:04d}" if number else None
    manifest = manifest_of("a", steps, files_of("a", steps), generation=number or 0, session=session)
    origins = Origin(origin.session, origin.num_timesteps, origin.digest) if origin else None
    return Manifest.parse(replace(manifest, resumed_from=origins).serialise())


def test_descent_is_walked_through_sets_and_through_the_ledger():
    first, early = made(1, 200), made(1, 100)
    second = made(2, 400, first)
    third = made(3, 600, second)
    known = {m.digest: m for m in (first, second)}
    told = {"x/s0002": spec(2, heads={"a": second.resumed_from})}

    def down(newer, older, known=known, sessions=None):
        return descends(newer, older, known=known, sessions=sessions or {})

    assert down(third, first)
    assert down(third, early)  # the same session had passed it
    assert down(first, early)
    assert not down(early, first)
    assert not down(first, second)
    assert down(third, first, known={}, sessions=told)  # the set between them is gone, the ledger remembers
    assert not down(third, first, known={})
    branch = made(4, 500, first)
    assert not down(branch, second)
    assert not down(made(None, 900), first)


def test_adopted_sets_descend_by_their_order():
    old, new = made(None, 100), made(None, 200)
    session = made(1, 300, new)
    assert descends(session, old, known={new.digest: new}, sessions={})
