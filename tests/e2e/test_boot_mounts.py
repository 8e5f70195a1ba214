"""Sessions on a service's machine: what is mounted for them, what they say and what they leave."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import pytest
from support.chain import Machine, kernel_of
from support.repositories import make_repository

from ckptsync.core import heads, names
from ckptsync.core.code_source import CodeSource
from ckptsync.core.layout import EVENTS_NAME
from ckptsync.core.session import read_events
from ckptsync.testing.sb3_files import mlp_parameters, write_sb3_zip

pytestmark = pytest.mark.slow  # up to three whole sessions each

TOY = Path(__file__).parents[2] / "kernels" / "toy"


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def toy(tmp_path: Path, cache: Path) -> Machine:
    return Machine(tmp_path, TOY, cache)


@pytest.mark.parametrize("place", ["slug", "notebooks/owner/slug"])
def test_a_session_goes_on_from_the_mounted_outputs_of_the_one_before(toy: Machine, place: str) -> None:
    first = toy.run(max_steps=300)
    head = toy.carry(first)
    toy.packs.clear()
    toy.mounts[place] = first.working
    second = toy.run(max_steps=300)
    assert second.code == 0, second.log
    assert second.info["scenarios"]["x"]["resumed_from"]["digest"] == head.digest
    toy.carry(second)
    toy.packs.clear()
    # What the second session left serves the third, and what the first left is passed over
    toy.mounts["another"] = second.working
    third = toy.run()
    assert third.code == 0, third.log
    assert third.info["scenarios"]["x"]["started_at"] == 600


def test_a_session_goes_on_from_one_archive_of_all_outputs(toy: Machine) -> None:
    first = toy.run(max_steps=300)
    toy.carry(first)
    toy.packs.clear()
    folder = toy.root / "archived"
    folder.mkdir()
    with zipfile.ZipFile(folder / "_output_.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(first.working.rglob("*")):
            archive.write(path, path.relative_to(first.working))
    toy.mounts["slug"] = folder
    second = toy.run()
    assert second.code == 0, second.log
    assert second.info["scenarios"]["x"]["started_at"] == 300


def test_outputs_without_the_promised_checkpoint_are_no_start_from_zero(toy: Machine) -> None:
    first = toy.run(max_steps=300)
    head = toy.carry(first)
    toy.packs.clear()
    toy.mounts["notebooks/owner/slug"] = first.working
    for path in (first.tree.checkpoints).glob(f"{head.stem}.*"):
        path.unlink()
    second = toy.run()
    assert second.code == 6
    assert f"holds no {head.stem} but x_checkpoint_" in second.log
    assert "looked in: " in second.log
    assert second.info["cause"] == "error"
    assert not second.tree.checkpoints.exists()
    assert [event["event"] for event in read_events(second.working / EVENTS_NAME)] == ["boot", "error"]


def test_a_model_that_was_unpacked_on_its_way_is_named(toy: Machine, tmp_path: Path) -> None:
    script = (
        "import os, shutil\n"
        "os.makedirs('data/models/checkpoints', exist_ok=True)\n"
        "here = os.path.dirname(os.path.abspath(__file__))\n"
        "shutil.copy(f'{here}/model.zip', 'data/models/checkpoints/x_checkpoint_500_steps.zip')\n"
    )
    machine = Machine(tmp_path, kernel_of(tmp_path, script), toy.cache)
    write_sb3_zip(machine.kernel / "model.zip", mlp_parameters(seed=1), num_timesteps=500)
    first = machine.run()
    head = machine.carry(first)
    machine.packs.clear()
    machine.mounts["slug"] = first.working
    model = first.tree.checkpoints / names.model_name(head.stem)
    with zipfile.ZipFile(model) as archive:
        archive.extractall(model.with_suffix(""))
    model.unlink()
    second = machine.run()
    assert second.code == 4
    assert "was unpacked on its way here" in second.log
    assert 'Next: set carrier = "dataset"' in second.log
    assert second.info["cause"] == "error"


def test_code_comes_from_a_pinned_commit(toy: Machine, tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    files = {f"kernels/toy/{path.name}": path.read_text() for path in TOY.glob("*.py")}
    found = make_repository(repository, files)
    toy.kernel = tmp_path / "no kernel folder here"
    code = {"git": repository.as_uri(), "commit": found, "subfolder": "kernels/toy"}
    session = toy.run(code=CodeSource.parse(code), max_steps=100)
    assert session.code == 0, session.log
    assert f"[CKPTSYNC] code: commit {found} of {repository.as_uri()}" in session.log
    assert session.info["scenarios"]["x"]["num_timesteps"] == 100
    session = toy.run(code=CodeSource.parse({**code, "commit": "0" * 40}))
    assert session.code == 1
    assert "could not be fetched" in session.log
    assert session.info["cause"] == "error"
    session = toy.run(code=CodeSource.parse({**code, "subfolder": "kernels"}))
    assert session.code == 6
    assert "holds no kernels/train.py" in session.log


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("kaggle_123456789_abc", "[CKPTSYNC] container session 123456789"),
        ("abcDEF0-42-0", "[CKPTSYNC] container session 42"),
        ("kaggle_token_abc", None),
        ("hunter2", None),
        ("kaggle_7_b-2-c", "[CKPTSYNC] container session 7"),
        ("kaggle_7", None),
        ("kaggle_1\n2_abc", None),
    ],
)
def test_the_id_that_a_service_cancels_by_is_said_once(toy: Machine, name: str, said: str | None) -> None:
    toy.environment = {"KAGGLE_CONTAINER_NAME": name, "KAGGLE_USER_SECRETS_TOKEN": "hunter2"}
    session = toy.run(max_steps=100)
    lines = session.log.splitlines()
    assert [line for line in lines if "container" in line] == ([said] if said else [])
    assert lines[0].startswith("[CKPTSYNC] session r/s0001 (generation 1) started at 2")
    assert "hunter2" not in session.log


def test_a_session_leaves_files_alone(toy: Machine) -> None:
    """No links, no empty folders, no locks and nothing temporary: none of that survives a service, or helps anybody."""
    session = toy.run(max_steps=300)
    toy.carry(session)
    after = toy.run()
    for place in (session.working, after.working):
        for path in place.rglob("*"):
            assert not path.is_symlink()
            assert path.is_file() or os.listdir(path), f"{path} is empty"
            assert not path.name.startswith("."), f"{path} is of no use to anybody"
    read = heads.read_head(after.tree, "x")
    assert read is not None
    assert read.num_timesteps == 2000
