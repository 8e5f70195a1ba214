"""Near and far stores: what goes there by itself, what a store that is down keeps from happening, and what it has."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from support.projects import CONFIG, Script, make_project, seal_set, set_head

from ckptsync.core import sets
from ckptsync.core.errors import ConfigError, CorruptError, NothingFoundError
from ckptsync.core.manifest import Manifest
from ckptsync.core.metrics import REWARD
from ckptsync.project.config import Project
from ckptsync.project.tiers import Tier, parse_store
from ckptsync.store.repository import keys, list_tags
from ckptsync.sync import inspect, overview, restore, roundtrip, run_until
from ckptsync.sync.dispatch import collect
from ckptsync.sync.doctor import doctor
from ckptsync.sync.launch import LaunchOptions, plan
from ckptsync.sync.ledgers import known_records
from ckptsync.sync.store import from_store
from ckptsync.sync.store.prune import judge
from ckptsync.sync.store.push import push
from ckptsync.sync.store.rollback import rollback
from ckptsync.sync.store.stores import init_store, list_store, opened, store_url, stored_versions
from ckptsync.sync.store.tagging import tag
from ckptsync.sync.store.tier_states import known_states
from ckptsync.sync.store.tiers import chosen, push_everywhere, send_copies

pytestmark = pytest.mark.slow

NEAR = CONFIG + '\n[store]\nurl = "../near"\n'
BOTH = NEAR + '[store.far]\nurl = "../far"\n'


def held(project: Project, url: str | None = None) -> list[int]:
    """N of every version in a store."""
    return [item.key.num_timesteps for item in list_store(project, project.run("a"), url).versions]


def head(project: Project, url: str | None = None) -> list[int]:
    """N of the head in a store."""
    return [i.key.num_timesteps for i in list_store(project, project.run("a"), url).versions if i.head]


def trip(bench, **options):
    return roundtrip.run(bench.project, bench.run, LaunchOptions(**options), reporter=bench.told)


def another(bench, config: str = NEAR) -> Project:
    """A clone that knows nothing."""
    folder = bench.project.root.parent / "clone"
    shutil.rmtree(folder, ignore_errors=True)
    project = make_project(folder, config)
    shutil.copytree(bench.project.layout.cache, project.layout.cache)
    return project


@pytest.fixture
def stored(bench):
    """A bench with a near and a far store that are ready."""
    bench.reload(BOTH)
    init_store(bench.project)
    init_store(bench.project, "far")
    return bench


def sealed(project: Project, *steps: int, scores: dict[int, float] | None = None, **fields: object) -> list[Manifest]:
    tree = project.tree(project.run("a"))
    made = [
        seal_set(
            tree.checkpoints,
            n,
            metrics={REWARD: scores[n]} if scores and n in scores else {},
            kind="final" if n == 500 else "periodic",
            **fields,
        )
        for n in steps
    ]
    set_head(tree, made[-1])
    return made


def test_every_trip_sends_what_it_brought_home(stored) -> None:
    first = trip(stored)
    assert (first.exit_code, [state.tier for state in first.copies]) == (0, ["near", "far"])
    assert (held(stored.project), head(stored.project)) == ([100, 200], [200])
    assert (held(stored.project, "far"), head(stored.project, "far")) == ([100, 200], [200])
    again = trip(stored)
    assert [state.error for state in again.copies] == [None, None]
    assert held(stored.project) == held(stored.project, "far") == [100, 200, 300, 400]
    assert again.to_json()["copies"][0]["heads"] == {"a": 400}


def test_a_near_store_that_is_down_makes_the_trip_partial_and_is_made_up_for(stored) -> None:
    away = stored.project.root.parent / "near"
    away.rename(away.parent / "unplugged")
    result = trip(stored)
    assert result.exit_code == 3
    assert "the store has not got it" in result.message
    assert [state.error is None for state in result.copies] == [False, False]
    assert result.copies[0].waiting == 2
    assert known_states(stored.project, stored.run)[0].error is not None
    (away.parent / "unplugged").rename(away)
    assert trip(stored).exit_code == 0
    assert held(stored.project)[-2:] == [300, 400]
    assert known_states(stored.project, stored.run)[0].error is None


def test_a_far_store_that_is_down_is_no_failure_and_catches_up(stored) -> None:
    trip(stored)
    away = stored.project.root.parent / "far"
    away.rename(away.parent / "unplugged")
    result = trip(stored)
    assert result.exit_code == 0
    assert [state.error is None for state in result.copies] == [True, False]
    assert result.copies[1].waiting == 2
    assert any("the far store has not got what is new" in line for line in stored.told.warnings)
    assert any("init-store ../far" in line for line in stored.told.warnings)
    (away.parent / "unplugged").rename(away)
    trip(stored)  # also what retention has removed here meanwhile
    assert held(stored.project, "far") == [100, 200, 300, 400, 500, 600]
    assert known_states(stored.project, stored.run)[1].waiting == 0


def test_nothing_goes_by_itself_where_that_is_switched_off(bench) -> None:
    bench.reload(NEAR + "push = false\n")
    init_store(bench.project)
    assert trip(bench).copies == ()
    assert held(bench.project) == []


@pytest.mark.parametrize(
    ("copies", "keep", "expected"),
    [
        ("all", {}, [100, 200, 300, 400, 500, 600]),
        ("all", {"keep_last": 1}, [200, 500, 600]),
        ("milestones", {}, [200, 500]),
        ("milestones", {"keep_best": 2}, [200, 300, 500]),
        ("milestones", {"keep_every_steps": 300}, [200, 300, 500, 600]),
        ("final", {}, [500]),
    ],
)
def test_a_rule_chooses_what_a_far_store_gets(stored, copies: str, keep: dict[str, int], expected: list[int]) -> None:
    project = stored.project
    sealed(project, 100, 200, 300, 400, 500, 600, scores={100: 1.0, 200: 9.0, 300: 5.0})
    push(project, stored.run, stored.told)
    with opened(project) as repository:
        versions = stored_versions(repository, stored.run)
    tier = Tier("far", "../far", copies, keep)
    save = replace(stored.run.save, keep_best=1, keep_every_steps=None)
    keys = chosen(versions, tier, save)
    assert [key.num_timesteps for key in keys] == expected
    # What retention would remove is never sent, or each trip would send it anew
    there = [item for item in versions if item.key in keys]
    assert not keep or all(item.why for item in judge(there, tier.policy(save)))


def test_what_has_a_tag_goes_far_too(stored) -> None:
    stored.reload(BOTH + 'copies = "final"\n')
    sealed(stored.project, 100, 200)
    push(stored.project, stored.run, stored.told)
    tag(stored.project, stored.run, "paper", "100")
    send_copies(stored.project, stored.run, stored.told)
    assert (held(stored.project, "far"), head(stored.project, "far")) == ([100], [100])
    with opened(stored.project, "far") as far:
        assert [item.name for item in list_tags(far, "a", "a")] == ["paper"]


def test_retention_lets_go_only_what_the_far_store_has(bench) -> None:
    bench.reload(NEAR + 'keep_last = 1\n[store.far]\nurl = "../far"\n')
    init_store(bench.project)
    trip(bench)
    assert held(bench.project) == [100, 200]  # the far store is not ready, so nothing goes from the near one
    init_store(bench.project, "far")
    copies = trip(bench).copies
    assert held(bench.project, "far") == [100, 200, 300, 400]
    assert held(bench.project) == [400]
    assert copies[0].removed == 3
    assert send_copies(bench.project, bench.run, bench.told)[0].sent_bytes == 0
    assert held(bench.project) == [400]


def test_what_cannot_be_removed_is_told_and_is_no_failure(bench) -> None:
    bench.reload(NEAR + "keep_last = 2\n")
    init_store(bench.project)
    trip(bench)
    tag(bench.project, bench.run, "paper", "100")
    (damaged,) = (path for path in (bench.project.root.parent / "near/versions").rglob("*100-*.json"))
    damaged.write_bytes(b"{}")  # nobody knows which objects it needs
    result = trip(bench)
    assert (result.exit_code, result.copies[0].error, result.copies[0].removed) == (0, None, 0)
    assert any("keeps what its retention lets go" in line for line in bench.told.warnings)


def test_a_rollback_reaches_the_far_store(stored) -> None:
    sealed(stored.project, 100, 200)
    push_everywhere(stored.project, stored.run, stored.told)
    rollback(stored.project, stored.run, "100")
    send_copies(stored.project, stored.run, stored.told)
    assert head(stored.project, "far") == [100]
    trip(stored)
    assert head(stored.project) == head(stored.project, "far") == [300]


def test_push_sends_to_both_and_says_what_is_wrong(stored) -> None:
    sealed(stored.project, 100)
    report, far = push_everywhere(stored.project, stored.run, stored.told)
    assert ([item.manifest.num_timesteps for item in report.pushed], far and far.heads) == ([100], {"a": 100})
    shutil.rmtree(stored.project.root.parent / "far")
    with pytest.raises(NothingFoundError, match="no repository") as raised:
        push_everywhere(stored.project, stored.run, stored.told)
    assert "init-store ../far" in (raised.value.hint or "")


def test_the_copies_of_each_checkpoint_are_shown(stored) -> None:
    stored.reload(BOTH + 'copies = "final"\n')
    assert [s.reached_at for s in known_states(stored.project, stored.run)] == [None, None]
    sealed(stored.project, 400, 500)
    send_copies(stored.project, stored.run, stored.told)
    seal_set(stored.tree.checkpoints, 700)
    report = inspect.list_tree(stored.project, stored.run)
    copies = {item.num_timesteps: item.copies for item in report.checkpoints}
    assert copies == {400: ("near",), 500: ("near", "far"), 700: ()}
    (status,) = overview.overview(stored.project).runs
    assert [(state.tier, state.heads) for state in status.copies] == [("near", {"a": 500}), ("far", {"a": 500})]
    stored.reload(NEAR.replace("near", "elsewhere"))
    assert known_states(stored.project, stored.run)[0].reached_at is None  # another store, of which nothing is known


def test_an_empty_clone_goes_on_from_the_store(stored) -> None:
    trip(stored)
    trip(stored)
    stored.project = another(stored)
    (status,) = overview.overview(stored.project).runs
    assert (status.copies[0].heads, status.next_command) == ({"a": 400}, "ckptsync launch a")
    result = trip(stored)
    assert (result.exit_code, result.session) == (0, "a/s0003")
    assert stored.runner.started[-1].inputs.keys() == {"a_checkpoint_400_steps.ckpt"}
    assert (held(stored.project)[-1], head(stored.project)) == (600, [600])
    (record,) = known_records(stored.project)
    assert (record.spec.generation, record.spec.heads["a"].num_timesteps) == (3, 400)


def test_a_clone_that_was_left_behind_goes_on_from_the_store(stored) -> None:
    trip(stored)
    old = stored.project
    stored.project = another(stored)
    trip(stored)
    stored.project = old
    dry = from_store.bring_newer(old, stored.run, stored.told, dry_run=True)
    assert [item.version.num_timesteps for item in dry] == [400]
    stored.runner.folder = stored.runner.folder / "old"
    result = trip(stored)
    assert result.plan is not None
    assert result.plan.resumes == {"a": ("a_checkpoint_400_steps", 400)}
    assert (result.plan.spec.session, result.plan.spec.generation) == ("a/s0003", 3)


def test_a_store_that_is_down_keeps_no_clone_that_has_something(stored) -> None:
    trip(stored)
    (stored.project.root.parent / "near" / keys.FORMAT_KEY).write_text("{}")
    result = trip(stored)
    assert result.plan is not None
    assert result.plan.resumes == {"a": ("a_checkpoint_200_steps", 200)}
    assert result.exit_code == 3
    assert any("going on from what is here" in line for line in stored.told.warnings)


def test_run_until_in_an_empty_clone_knows_what_is_reached(stored) -> None:
    trip(stored)
    stored.project = another(stored)
    limits = run_until.Limits(steps=200)
    series = run_until.run_until(stored.project, stored.run, LaunchOptions(), limits, reporter=stored.told)
    assert (series.exit_code, series.trips) == (0, ())


def test_collect_in_an_empty_clone_takes_what_the_store_has(stored) -> None:
    trip(stored)
    stored.project = another(stored)
    report = collect(stored.project, stored.run, reporter=stored.told)
    assert report.exit_code == 0
    assert "a_checkpoint_200_steps from the store" in report.message
    assert [s.stem for s in sets.scan(stored.tree.checkpoints)] == ["a_checkpoint_200_steps"]


def test_a_store_that_cannot_be_read_is_no_start_from_zero(stored) -> None:
    trip(stored)
    store = stored.project.root.parent / "near"
    (store / keys.FORMAT_KEY).write_text("{}")
    stored.project = another(stored)
    with pytest.raises(CorruptError) as raised:
        trip(stored)
    assert "--fresh" in (raised.value.hint or "")
    assert known_records(stored.project) == []


def test_a_first_start_needs_nothing_in_the_store(stored) -> None:
    assert trip(stored).session == "a/s0001"
    shutil.rmtree(stored.project.root.parent / "near")
    stored.project = another(stored)
    stored.runner.folder = stored.runner.folder / "clone"
    assert trip(stored).exit_code == 3
    assert any("there is no repository" in line for line in stored.told.warnings)


def test_what_was_taken_back_does_not_come_back_by_itself(stored) -> None:
    trip(stored)
    restore.undo(stored.project, stored.run)
    assert sets.scan(stored.tree.checkpoints) == []
    assert plan(stored.project, stored.run, LaunchOptions()).resumes == {"a": None}
    result = trip(stored)
    assert result.plan is not None
    assert result.plan.resumes == {"a": None}


def test_fresh_asks_no_store(stored) -> None:
    trip(stored)
    stored.project = another(stored)
    shutil.rmtree(stored.project.root.parent / "near")
    result = trip(stored, fresh=True)
    assert result.plan is not None
    assert result.plan.resumes == {"a": None}


def test_after_a_rollback_an_empty_clone_leads_on(stored) -> None:
    trip(stored)
    trip(stored)
    rollback(stored.project, stored.run, "200")
    stored.project = another(stored)
    stored.runner.folder = stored.runner.folder / "clone"  # its s0002 is not that of the first machine
    stored.runner.script = Script(steps=(50, 150))
    trip(stored)
    (record,) = known_records(stored.project)
    assert record.spec.generation == 3  # 2 is what the rollback left
    assert head(stored.project) == [350]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('url = "x"\nkeep = 3', "unknown key 'keep'"),
        ("keep_last = 3", "has no url"),
        ('url = "x"\nkeep_last = 0', "keep_last"),
        ('url = "x"\nfar = "y"', "far is no section"),
        ('url = "x"\n[store.far]\nurl = "x"', "that of the near store"),
        ('url = "x"\n[store.far]\ncopies = "all"', "has no url"),
        ('url = "x"\n[store.far]\nurl = "y"\ncopies = "some"', "copies"),
        ('url = "x"\n[store.far]\nurl = "y"\nlive = true', "unknown key 'live'"),
    ],
)
def test_a_wrong_section_is_told(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        make_project(tmp_path, f"{CONFIG}\n[store]\n{text}\n")


def test_doctor_looks_at_the_stores(stored) -> None:
    def found() -> dict[str, tuple[bool, str]]:
        return {check.name: (check.ok, check.fix) for check in doctor(stored.project).checks}

    assert found()["near store"] == found()["far store"] == (True, "")
    shutil.rmtree(stored.project.root.parent / "far")
    assert found()["near store"][0]
    assert found()["far store"] == (False, "'ckptsync init-store ../far' makes one")


def test_stores_have_names(tmp_path: Path) -> None:
    project = make_project(tmp_path, BOTH)
    assert [store_url(project, name) for name in (None, "near", "far", "x")] == ["../near", "../near", "../far", "x"]
    plain = make_project(tmp_path / "plain", CONFIG)
    for name in (None, "near", "far"):
        with pytest.raises(ConfigError):
            store_url(plain, name)
    assert parse_store({}, "x, [store]") is None
