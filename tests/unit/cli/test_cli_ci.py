from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from support import workflows
from support.commands import run, run_json

from ckptsync.cli.catalogue import CATALOGUE
from ckptsync.sync.ci import DEFAULT_SCHEDULE, SECRETS, STORE_SECRETS, WORKFLOW

pytestmark = pytest.mark.slow

CONFIG = """\
[runs.walker]
runner = "kaggle"
[runs.hopper]
runner = "kaggle"
packages = ["not_here"]
[runs.quick]
"""


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository whose root is a project of several runs, and the current folder is in it."""
    (tmp_path / ".git").mkdir()
    (tmp_path / "ckptsync.toml").write_text(CONFIG)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_linters_accept_what_is_written(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run("ci", "init", capsys=capsys)
    assert code == 0
    assert out.startswith(f"wrote {WORKFLOW}\ntrains walker, hopper; looks at '17 */2 * * *' (UTC)\n")
    assert workflows.schema_says(repository / WORKFLOW) == ""
    scripts = workflows.scripts(repository / WORKFLOW)
    assert list(scripts) == ["Install", "Collect", "Dispatch", "Plot"]
    assert workflows.shellcheck_says("RUN='' STEPS='' GITHUB_STEP_SUMMARY=''\n" + "".join(scripts.values())) == ""


def test_the_linters_find_faults(repository: Path) -> None:
    (repository / "bad.yml").write_text("on: push\njobs: {one: {runs-on: some, steps: [{uses: a/b@v1, runs: x}]}}\n")
    assert "runs" in workflows.schema_says(repository / "bad.yml")
    assert "SC2086" in workflows.shellcheck_says("rm $HOME")


def test_what_the_workflow_says(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("ci", "init", "--schedule", "5 6 * * 1-5", capsys=capsys)[0] == 0
    workflow = workflows.load(repository / WORKFLOW)
    assert workflow["on"]["schedule"] == [{"cron": "5 6 * * 1-5"}]
    assert workflow["permissions"] == {"contents": "read"}
    job = workflow["jobs"]["train"]
    assert job["concurrency"] == {"group": "ckptsync-${{ matrix.run }}", "cancel-in-progress": False}
    assert json.loads(job["strategy"]["matrix"]["run"].split("'")[-2]) == ["walker", "hopper"]
    assert workflow["on"]["workflow_dispatch"]["inputs"]["run"]["options"] == ["every run", "walker", "hopper"]
    for step in job["steps"]:
        secret = re.findall(r"secrets\.(\w+)", json.dumps(step))
        assert secret == (list(SECRETS) if step.get("name") in ("Collect", "Dispatch") else [])
        assert "secrets" not in step.get("run", "") and "inputs" not in step.get("run", "")
        assert re.fullmatch(r"actions/[a-z-]+@v\d+", step.get("uses", "actions/none@v1"))
    installs = workflows.scripts(repository / WORKFLOW)["Install"].splitlines()
    assert installs[1] == 'python -m pip install --no-deps "not_here"'
    assert installs[2].startswith('python -m pip install --no-deps "stable_baselines3==')


def test_a_store_needs_its_package_and_secrets(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with (repository / "ckptsync.toml").open("a") as file:
        file.write('[store]\nurl = "s3://bucket/x"\n[store.far]\nurl = "gs://bucket/x"\n')
    code, value = run_json("ci", "init", capsys=capsys)
    assert (code, value["secrets"]) == (0, [*SECRETS, *STORE_SECRETS])
    assert workflows.schema_says(repository / WORKFLOW) == ""
    for step in workflows.load(repository / WORKFLOW)["jobs"]["train"]["steps"]:
        secret = re.findall(r"secrets\.(\w+)", json.dumps(step))
        assert secret == ([*SECRETS, *STORE_SECRETS] if step.get("name") in ("Collect", "Dispatch") else [])
    install = workflows.scripts(repository / WORKFLOW)["Install"].splitlines()[0]
    assert '"ckptsync[kaggle,plot,fsspec,s3]==' in install
    assert "and for the store AWS_ACCESS_KEY_ID" in run("ci", "init", capsys=capsys)[1]


def test_it_lies_where_github_looks_for_it(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    inner = repository / "rl" / "my walker"
    inner.mkdir(parents=True)
    (repository / "ckptsync.toml").rename(inner / "ckptsync.toml")
    code, value = run_json("ci", "init", "-C", str(inner), "--run", "walker", capsys=capsys)
    assert (code, value["path"]) == (0, str(repository / WORKFLOW))
    workflow = workflows.load(repository / WORKFLOW)
    assert workflow["defaults"]["run"]["working-directory"] == "rl/my walker"
    kept = workflows.steps(repository / WORKFLOW)[-1]["with"]["path"].splitlines()
    assert kept == [f"rl/my walker/{p}" for p in ("plot.png", "data/models/*_final.zip", "data/models/best_model/")]
    assert workflows.schema_says(repository / WORKFLOW) == ""


def test_a_changed_workflow_is_replaced_on_request_alone(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run("ci", "init", "--dry-run", capsys=capsys)
    assert code == 0 and "+name: ckptsync" in out and f"would write {WORKFLOW}" in out
    assert not (repository / WORKFLOW).exists()
    assert run("ci", "init", capsys=capsys)[0] == 0
    assert f"up to date: {WORKFLOW}" in run("ci", "init", capsys=capsys)[1]
    written = (repository / WORKFLOW).read_text()
    changed = written.replace("timeout-minutes: 60", "timeout-minutes: 90")
    (repository / WORKFLOW).write_text(changed)
    code, _, err = run("ci", "init", capsys=capsys)
    assert code == 2 and "is there and differs in 1 line(s) there and 1 new; nothing was written" in err
    assert (repository / WORKFLOW).read_text() == changed
    code, out, _ = run("ci", "init", "--dry-run", capsys=capsys)
    assert "-    timeout-minutes: 90" in out and "+    timeout-minutes: 60" in out
    assert run("ci", "init", "--force", capsys=capsys)[0] == 0
    assert (repository / WORKFLOW).read_text() == written


@pytest.mark.parametrize(
    ("words", "told", "hint"),
    [
        (["--schedule", "hourly"], "no schedule", "17 */2 * * *"),
        (["--schedule", '0 * * * *"\n'], "no schedule", "17 */2 * * *"),
        (["--run", "quick"], "runner local", 'runner = "kaggle" under [runs.quick]'),
        (["--run", "wolker"], "no run 'wolker'", "walker"),
    ],
)
def test_what_cannot_be_is_refused(
    words: list[str], told: str, hint: str, repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, value = run_json("ci", "init", *words, capsys=capsys)
    assert (code, value["schema"]) == (2, "ckptsync.ci/1")
    assert told in value["error"]["message"] and hint in value["error"]["hint"]
    assert not (repository / WORKFLOW).exists()


def test_no_name_becomes_an_expression(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (repository / "ckptsync.toml").write_text(
        '[runs.odd]\nrunner = "kaggle"\ntree = "data/${{ secrets.KAGGLE_KEY }}"\n'
    )
    code, _, err = run("ci", "init", capsys=capsys)
    assert code == 2 and "cannot stand in a workflow" in err


def test_the_schedule_in_the_help_is_the_default() -> None:
    (schedule,) = (a for a in CATALOGUE.by_name["ci"].arguments if a.flags == ("--schedule",))
    assert schedule.options["default"] == DEFAULT_SCHEDULE
