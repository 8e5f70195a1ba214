"""Where things lie."""

from __future__ import annotations

from pathlib import Path

import pytest

from ckptsync.core.errors import UsageError
from ckptsync.core.layout import ProjectLayout, TrainingTree

TREE = TrainingTree(Path("/p/data/models"))


def test_the_tree_is_the_classic_one() -> None:
    assert TREE.checkpoints == Path("/p/data/models/checkpoints")
    assert TREE.head("a") == Path("/p/data/models/checkpoints/a_head.json")
    assert TREE.final("a") == Path("/p/data/models/a_final.zip")
    assert TREE.metadata == Path("/p/data/models/training_metadata.json")


def test_lock_and_attic_lie_beside_the_tree_so_that_globbing_scripts_never_meet_them() -> None:
    assert TREE.lock == Path("/p/data/.models.lock")
    assert TREE.attic == Path("/p/data/.models.attic")


def test_best_model_zip_is_there_for_one_scenario_alone() -> None:
    best = Path("/p/data/models/best_model")
    assert TREE.best_exports("a", only=True) == [best / "a_best_model.zip", best / "best_model.zip"]
    assert TREE.best_exports("a", only=False) == [best / "a_best_model.zip"]


def test_a_session_has_its_folders() -> None:
    layout = ProjectLayout(Path("/p"))
    assert layout.session("run/s0003") == Path("/p/.ckptsync/sessions/run/s0003")
    assert layout.results("run/s0003") == Path("/p/results/run/s0003")
    assert ProjectLayout(Path("/p"), results_name="out").results("run/s0003") == Path("/p/out/run/s0003")


def test_a_projects_tree_keeps_its_attic_in_the_project() -> None:
    layout = ProjectLayout(Path("/p"))
    assert layout.tree("data/models").attic == layout.attic == Path("/p/.ckptsync/attic")
    everything = (layout.ledger, layout.lock, layout.staging, layout.attic, layout.quarantine, layout.cache)
    assert all(path.parent == layout.state for path in everything)


@pytest.mark.parametrize("session", ["../../etc/s0001", "run", "run/s1", "a/../s0001"])
def test_no_session_id_leads_outside(session: str) -> None:
    layout = ProjectLayout(Path("/p"))
    for place in (layout.session, layout.results):
        with pytest.raises(UsageError):
            place(session)


def test_no_scenario_leads_outside() -> None:
    for place in (TREE.head, TREE.final, lambda name: TREE.best_exports(name, only=True)):
        with pytest.raises(UsageError):
            place("../x")
