from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from support import toysets

from ckptsync.cli import session_text
from ckptsync.cli.text import Line, plain
from ckptsync.core.findings import blocker
from ckptsync.core.heads import Head
from ckptsync.core.session import ScenarioSpec, SessionSpec
from ckptsync.core.sets import SetState, StoredSet
from ckptsync.runners.bundle import Bundle
from ckptsync.sync.launch import LaunchPlan
from ckptsync.sync.overview import Overview, RunStatus, ScenarioStatus, SessionRow
from ckptsync.sync.receipts import Moved, RestoreReceipt
from ckptsync.sync.restore_plan import RestorePlan, ScenarioPlan

ROW = SessionRow("cart/s0001", "cart", 0, 2048, 2, 12.25, None, "complete", "steps")
HEAD = Head("cart", "cart_checkpoint_2048_steps", "sha256:" + "0" * 64, "l0001-abcdef", 1, 2048)
NEWER = replace(HEAD, stem="cart_checkpoint_4096_steps", digest="sha256:" + "1" * 64, num_timesteps=4096)


def read(lines: Iterable[Line]) -> list[str]:
    return [plain(line).rstrip() for line in lines]


def test_the_table_of_sessions_explains_itself() -> None:
    second = replace(ROW, session="cart/s0002", started_at=2048, ended_at=4096, fidelity="exact", cause="target")
    assert read(session_text.session_table([ROW, second])) == [
        "session     started at  ended at  checkpoints  seconds  fidelity   how it ended",
        "cart/s0001           0     2,048            2     12.2  from zero  its steps are done",
        "cart/s0002       2,048     4,096            2     12.2  exact      target reached",
    ]


def test_several_scenarios_stand_under_one_session() -> None:
    rows = [replace(ROW, scenario="ramp"), replace(ROW, scenario="lights", cause="error", state="error")]
    lines = read(session_text.session_table(rows))
    assert lines[0].split()[:2] == ["session", "scenario"]
    assert lines[1].split()[:2] == ["cart/s0001", "ramp"]
    assert lines[2].split()[:1] == ["lights"]
    assert lines[2].endswith("error, its script failed")


def test_states_in_words() -> None:
    bare = SessionRow("cart/s0001", None, None, None, 0, None, None, "started", None)
    for state, words in (
        ("planned", "planned, not started"),
        ("started", "running"),
        ("verified", "verified, to be restored"),
        ("timed out", "timed out"),
        ("a new word", "a new word"),
    ):
        assert read(session_text.session_table([replace(bare, state=state)]))[1].endswith(words)
    undone = read(session_text.session_table([replace(ROW, state="complete, undone")]))
    assert undone[1].endswith("its steps are done, undone")
    odd = read(session_text.session_table([replace(ROW, cause="a new cause")]))
    assert odd[1].endswith("a new cause")


def test_a_long_history_is_cut_and_says_so() -> None:
    rows = [replace(ROW, session=f"cart/s{number:04d}") for number in range(1, 9)]
    lines = read(session_text.session_table(rows, last=3))
    assert lines[0] == "(5 earlier lines: ckptsync status)"
    assert [line.split()[0] for line in lines[2:]] == ["cart/s0006", "cart/s0007", "cart/s0008"]


def test_the_overview_names_what_is_under_way_and_what_is_damaged() -> None:
    scenarios = (ScenarioStatus("cart", 0, 500, None, damaged=True), ScenarioStatus("pole", 250, 500, "pole_x"))
    status = RunStatus(
        "cart", "local", "data/models", scenarios, (), "cart/s0002", "started", "running", "ckptsync wait"
    )
    assert read(session_text.overview(Overview("/p", (status,)))) == [
        "cart on local, training tree data/models",
        "  cart  0 of 500 steps (0 %), its head is missing or damaged",
        "  pole  250 of 500 steps (50 %), head pole_x",
        "",
        "  under way: cart/s0002 (started, running)",
        "",
        "next: ckptsync wait",
    ]


def test_a_launch_plan_says_what_is_sent_and_when_it_ends() -> None:
    scenarios = (ScenarioSpec("cart", 500), ScenarioSpec("pole", 700))
    spec = SessionSpec(
        "cart", "cart/s0002", "l0001-abcdef", 2, scenarios, params={"lr": 0.1}, budget_seconds=43_200, max_steps=100
    )
    manifest = toysets.manifest_of("cart", 200, toysets.files_of("cart", 200))
    resumes = {"cart": ("cart_checkpoint_200_steps", 200), "pole": None}
    plan = LaunchPlan(spec, "local", (("x.ckpt", manifest),), resumes, ("look here",), code=Bundle(b"x" * 2000))
    assert read(session_text.planned(plan)) == [
        "would start cart/s0002 on local (lineage l0001-abcdef, generation 2)",
        "  cart: goes on from cart_checkpoint_200_steps, target 500 steps",
        "  pole: begins from zero, target 700 steps",
        "  at most 100 steps in this session",
        "  at most 12 h 0 min, stopping 30.0 s before",
        "  saves every 10,000 steps, every 3 min, on a new best, and at the end",
        "  keeps the newest 5, the best, and final ones",
        "  sends a script of 2.0 kB, 1 checkpoint with 6.0 kB",
        "  parameters: lr=0.1",
        "  note: look here",
    ]
    assert "raise total_timesteps" in read(session_text.planned(replace(plan, reached=True)))[0]


def test_a_restore_plan_shows_each_move_and_each_refusal() -> None:
    manifest = toysets.manifest_of("cart", 4096, toysets.files_of("cart", 4096))
    old = toysets.manifest_of("cart", 1024, toysets.files_of("cart", 1024))
    broken = StoredSet(Path("x"), "cart_checkpoint_8192_steps", "cart", 8192, SetState.CORRUPT)
    part = ScenarioPlan(
        "cart", (manifest,), HEAD, NEWER, (old,), ((broken, (blocker("file.empty", "a.zip"),)),), True, None, ("said",)
    )
    lines = read(session_text.restore_planned(RestorePlan("cart", "cart/s0002", {}, {"cart": part})))
    assert lines == [
        "would restore from cart/s0002:",
        "  cart",
        "    + cart_checkpoint_4096_steps (6.0 kB)",
        "    - cart_checkpoint_1024_steps to the attic",
        "    refused cart_checkpoint_8192_steps: a.zip: the file has no bytes",
        "    head: cart_checkpoint_2048_steps -> cart_checkpoint_4096_steps",
        "    note: said",
    ]
    behind = ScenarioPlan("cart", head_from=HEAD, behind="it would go back")
    lines = read(session_text.restore_planned(RestorePlan("cart", "cart/s0002", {}, {"cart": behind})))
    assert lines[-3] == "    it would go back"
    assert lines[-1] == "next: ckptsync restore cart --session cart/s0002"


def test_a_receipt_says_where_each_scenario_is_now() -> None:
    def told(moved: Moved, **fields: bool) -> list[str]:
        return read(session_text.restored(RestoreReceipt("cart", "cart/s0002", {"cart": moved}, **fields)))[:-1]

    assert told(Moved(HEAD, NEWER)) == ["cart: at 4,096 steps now (cart_checkpoint_4096_steps)"]
    assert told(Moved(HEAD, HEAD)) == ["cart: at 2,048 steps (cart_checkpoint_2048_steps), as before"]
    assert told(Moved(HEAD, None)) == ["cart: no checkpoint may be used; the head stays cart_checkpoint_2048_steps"]
    assert told(Moved(None, None)) == ["cart: no checkpoint may be used; there is no head"]
    assert told(Moved(HEAD, NEWER, fallback=True))[1] == "cart: the newest checkpoint is broken, an older one is used"
    assert told(Moved(HEAD, NEWER), undone=True) == ["cart: back at 2,048 steps (cart_checkpoint_2048_steps)"]
