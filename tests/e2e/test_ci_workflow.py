"""The workflow that `ci init` writes, run step by step in empty clones against a service on this machine."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import workflows
from support.workflows import StepDone

from ckptsync.cli.app import main
from ckptsync.sync.ci import WORKFLOW
from ckptsync.testing.kaggle import KaggleService

pytestmark = pytest.mark.slow

KERNEL = "tester/ckptsync-toy"


class Repository:
    """What was pushed to GitHub, and the jobs that run from it.

    Args:
        folder: for the repository and one clone for each job.
        service: in Kaggle's place.
    """

    def __init__(self, folder: Path, service: KaggleService) -> None:
        self._folder = folder
        self.service = service
        self.root = folder / "repository"
        self.workflow = self.root / WORKFLOW
        self.jobs = 0

    def job(self, *, steps: str = "", signed_in: bool = True, by_hand: bool = False) -> dict[str, StepDone]:
        """Run the workflow's job in an empty clone."""
        self.jobs += 1
        self.clone = self._folder / f"job{self.jobs}"
        shutil.copytree(self.root, self.clone)
        account = self.service.account
        secrets = {"secrets.KAGGLE_USERNAME": account.name, "secrets.KAGGLE_KEY": account.key} if signed_in else {}
        environment = {"HOME": str(self._folder), "CKPTSYNC_KAGGLE_URL": self.service.url}
        known = {"matrix.run": "toy", "inputs.steps": steps, **secrets}
        done = workflows.run_job(self.workflow, self.clone, known, environment, by_hand=by_hand)
        return {step.name: step for step in done}


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[Repository]:
    """A repository with the toy kernel, a workflow, and nothing else."""
    (tmp_path / "away").mkdir()
    with KaggleService(tmp_path / "away") as service:
        made = Repository(tmp_path, service)
        assert main(["init", str(made.root), "--kernel", "toy", "--quiet"]) == 0
        config = made.root / "ckptsync.toml"
        config.write_text(config.read_text().replace('runner = "local"', 'runner = "kaggle"'))
        assert main(["ci", "init", "-C", str(made.root), "--quiet"]) == 0
        yield made


def codes(job: dict[str, StepDone]) -> dict[str, int]:
    return {name: step.exit_code for name, step in job.items()}


def test_jobs_in_empty_clones_go_on_with_the_run(repository: Repository) -> None:
    first = repository.job(steps="200")
    assert codes(first) == {"Collect": 0, "Dispatch": 0}, first
    repository.service.run(KERNEL, 1).wait(60)

    second = repository.job(steps="200")
    assert codes(second) == {"Collect": 0, "Dispatch": 0, "Plot": 0}, second
    assert (repository.clone / "plot.png").read_bytes().startswith(b"\x89PNG")
    assert (repository.clone / "data/models/checkpoints/toy_checkpoint_200_steps.zip").is_file()
    assert "toy/s0001" in second["Collect"].summary
    assert "~~~" in second["Plot"].summary
    repository.service.run(KERNEL, 2).wait(60)

    third = repository.job(steps="200")
    assert (repository.clone / "data/models/checkpoints/toy_checkpoint_400_steps.zip").is_file(), third
    assert "toy/s0002" in third["Collect"].summary


def test_a_job_beside_a_running_session_ends_well_and_starts_nothing(repository: Repository) -> None:
    config = repository.root / "ckptsync.toml"
    config.write_text(config.read_text().replace("packages = []", "packages = []\nparams = { sleep = 60 }"))
    repository.job()
    beside = repository.job()
    assert codes(beside) == {"Collect": 0, "Dispatch": 0}, beside
    assert "::error::" not in beside["Dispatch"].printed
    assert len(repository.service.runs()) == 1


def test_a_job_without_a_secret_fails_and_says_so(repository: Repository) -> None:
    job = repository.job(signed_in=False)
    assert codes(job) == {"Collect": 10}, job
    assert "credentials" in job["Collect"].printed
    assert not repository.service.runs()


def test_a_crashed_session_waits_for_a_person(repository: Repository) -> None:
    script = repository.root / "kernels/toy/train.py"
    working = script.read_text()
    script.write_text(working + "\nraise RuntimeError('broken')\n")
    repository.job()
    repository.service.run(KERNEL, 1).wait(60)

    scheduled = repository.job()
    assert codes(scheduled) == {"Collect": 7, "Plot": 0}, scheduled
    assert "::error::" in scheduled["Collect"].printed
    assert len(repository.service.runs()) == 1

    script.write_text(working)
    by_hand = repository.job(by_hand=True)
    assert codes(by_hand)["Collect"] == 7 and codes(by_hand)["Dispatch"] == 0, by_hand
