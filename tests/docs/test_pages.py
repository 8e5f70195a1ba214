"""The pages of the reference that people write name what the code has: all of it, and nothing else."""

from __future__ import annotations

import inspect
import json
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from support import pages, toysets

from ckptsync.core import heads, manifest, metadata, names, session, summary
from ckptsync.core.errors import ConfigError, ExitCode
from ckptsync.core.findings import CODES, note
from ckptsync.core.layout import EVENTS_NAME, METRICS_NAME, SESSION_INFO_NAME, ProjectLayout, TrainingTree
from ckptsync.core.manifest import FileEntry, Manifest, Origin
from ckptsync.core.session import SavePolicy
from ckptsync.project import config, tiers
from ckptsync.project.config import RunConfig
from ckptsync.project.ledger import EVENTS, LedgerEntry
from ckptsync.runners.kaggle.settings import CARRIERS
from ckptsync.runners.local_folder import LocalFolder
from ckptsync.sync.report import VERIFY_SCHEMA, CheckpointReport, VerifyReport
from ckptsync.sync.runners import runner_for
from ckptsync.training import Outcome, Scenario, TrainingSession
from ckptsync.training.stop import REQUEST_NAME

CONFIGURATION = pages.REFERENCE / "configuration.md"
MANIFEST = pages.REFERENCE / "manifest.md"
SESSION_FILES = pages.REFERENCE / "session-files.md"
LAYOUT = pages.REFERENCE / "layout.md"
API = pages.REFERENCE / "training-api.md"
JSON = pages.REFERENCE / "json.md"
ORIGIN = Origin("toy/s0001", 10, "sha256:" + "0" * 64)


def _named(page: Path, heading: str, column: int = 0) -> list[str]:
    """Return what a column of the tables under a heading names."""
    return [name for row in pages.rows(pages.section(page, heading)) for name in pages.inline_code(row[column])]


def _tables(page: Path, heading: str) -> list[list[list[str]]]:
    """Return the tables under a heading, each as its rows."""
    parts = re.split(r"\n\n", pages.section(page, heading))
    return [found for part in parts if (found := pages.rows(part))]


# --- configuration ----------------------------------------------------------------------------------------------------


def test_every_configuration_key_is_described() -> None:
    assert set(_named(CONFIGURATION, "The file itself")) == set(config._TOP)
    run = {*config._SCALARS, *config._TABLES, *config._RUNNER_TABLES, "save"}
    assert set(_named(CONFIGURATION, "A run")) == run
    assert set(_named(CONFIGURATION, "When to save, what to keep")) == set(config._SAVE)
    assert set(_named(CONFIGURATION, "Trust")) == set(config._TRUST)
    near, far = _tables(CONFIGURATION, "Store")
    assert {key for row in near for key in pages.inline_code(row[0])} == set(tiers._NEAR)
    assert {key for row in far for key in pages.inline_code(row[0])} == set(tiers._FAR)
    words = {word.strip('"') for row in far if row[0] == "`copies`" for word in pages.inline_code(row[3])}
    assert words == set(tiers.COPIES)


@pytest.mark.parametrize("name", ["local", "kaggle"])
def test_every_setting_of_a_runner_is_described(tmp_path: Path, name: str) -> None:
    (tmp_path / "ckptsync.toml").write_text(f"[runs.some]\n[runners.{name}]\nqqqqqqqqqq = 1\n")
    with pytest.raises(ConfigError) as refused:
        runner_for(config.load_project(tmp_path, environ={}), name)
    known = (refused.value.hint or "").removeprefix("known are: ").split(", ")
    settings = _tables(CONFIGURATION, f"The runner `{name}`")[0]
    assert sorted(key for row in settings for key in pages.inline_code(row[0])) == known


def test_every_carrier_is_described() -> None:
    carriers = _tables(CONFIGURATION, "The runner `kaggle`")[1]
    assert {row[0].strip('`"') for row in carriers} == set(CARRIERS)


def test_expected_keys_are_described() -> None:
    described = set(_named(CONFIGURATION, "What a run expects"))
    assert described == set(config.values._EXPECTED_KEYS)


@pytest.mark.parametrize(
    ("heading", "keys"), [("A run", config._SCALARS), ("When to save, what to keep", config._SAVE)]
)
def test_every_key_has_its_variable(heading: str, keys: Any) -> None:
    for row in pages.rows(pages.section(CONFIGURATION, heading)):
        (key,) = pages.inline_code(row[0])
        expected = [config.ENVIRONMENT_PREFIX + key.upper()] if key in keys else []
        assert pages.inline_code(row[3]) == expected, key


def test_defaults_are_those_of_the_code(tmp_path: Path) -> None:
    (tmp_path / "ckptsync.toml").write_text("[runs.some]\n")
    run = config.load_project(tmp_path, environ={}).run(None)
    defaults: dict[str, Any] = {
        "script": run.script,
        "runner": run.runner,
        "version": run.version,
        "tree": run.tree,
        "total_timesteps": run.scenarios[0].total_timesteps,
        "quick_steps": run.quick_steps,
        "margin": run.margin_seconds,
        "seed": run.seed,
        "params": dict(run.params),
        "packages": list(run.packages),
        "every_steps": run.save.every_steps,
        "every_time": run.save.every_seconds,
        "keep_last": run.save.keep_last,
        "save_best": run.save.save_best,
        "keep_best": run.save.keep_best,
        "keep_every_steps": run.save.keep_every_steps or 0,
        "failure_time": run.save.failure_seconds,
        "max_overhead": run.save.max_overhead,
    }
    assert run.kernel == run.name and run.budget_seconds is None and run.expects is None
    found: dict[str, Any] = {}
    for heading in ("A run", "When to save, what to keep"):
        for row in pages.rows(pages.section(CONFIGURATION, heading)):
            (key,) = pages.inline_code(row[0])
            if key in defaults:
                (text,) = pages.inline_code(row[2])
                found[key] = _parsed(key, text)
    assert found == defaults


def _parsed(key: str, text: str) -> Any:
    value = json.loads(text.replace("_", "")) if text[0].isdigit() else json.loads(text)
    return config.values.duration(value) if key in ("margin", "every_time", "failure_time") else value


def test_a_run_has_no_field_that_no_key_sets() -> None:
    by_key = {"budget_seconds": "budget", "margin_seconds": "margin", "max_output_bytes": "max_output"}
    described = set(_named(CONFIGURATION, "A run"))
    assert {by_key.get(f.name, f.name) for f in fields(RunConfig)} - {"name", "origins", "runner_settings"} <= described
    by_key = {"every_seconds": "every_time", "failure_seconds": "failure_time"}
    saved = set(_named(CONFIGURATION, "When to save, what to keep"))
    assert {by_key.get(f.name, f.name) for f in fields(SavePolicy)} == saved


def test_every_environment_variable_is_described_and_exists() -> None:
    used = {
        found
        for source in (pages.ROOT / "ckptsync").rglob("*.py")
        for found in re.findall(r"\"(CKPTSYNC_[A-Z_]+)\"", source.read_text("utf-8"))
    } - {config.ENVIRONMENT_PREFIX}
    described = {*_named(CONFIGURATION, "Environment variables inside a session"), *_named(CONFIGURATION, "Runners")}
    assert {name for name in described if name.startswith(config.ENVIRONMENT_PREFIX)} == used
    known = used | {config.ENVIRONMENT_PREFIX + key.upper() for key in (*config._SCALARS, *config._SAVE)}
    for page in pages.pages():
        assert set(re.findall(r"CKPTSYNC_[A-Z_]*[A-Z]", pages.read(page))) <= known, page


def test_options_in_the_configuration_exist() -> None:
    from ckptsync.cli.catalogue import CATALOGUE

    for row in pages.rows(pages.section(CONFIGURATION, "A run")):
        assert set(pages.inline_code(row[4])) <= set(CATALOGUE.by_name["launch"].option_names)


# --- manifest and head ------------------------------------------------------------------------------------------------


def _full_manifest() -> Manifest:
    files = toysets.files_of("toy", 20)
    made = toysets.manifest_of("toy", 20, files, session="toy/s0002", resumed_from=ORIGIN, parent=ORIGIN.digest)
    return Manifest.parse(made.serialise())


def test_every_field_of_the_manifest_is_described() -> None:
    sealed = _full_manifest()
    value = json.loads(sealed.serialise())
    assert set(_named(MANIFEST, "Fields")) == set(value)
    described_files, roles = _tables(MANIFEST, "Files")
    entry = FileEntry("toy.zip", "model", 1, ORIGIN.digest, ORIGIN.digest).to_json()
    assert {name for row in described_files for name in pages.inline_code(row[0])} == set(entry)
    assert [name for row in roles for name in pages.inline_code(row[0])] == list(manifest.ROLES)
    assert set(_named(MANIFEST, "Signature")) == set(sealed.signature.to_json())
    assert set(_named(MANIFEST, "Kinds")) == set(manifest.KINDS)
    words = pages.inline_code(
        next(row for row in pages.rows(pages.section(MANIFEST, "Fields")) if "fidelity" in row[0])[2]
    )
    assert set(manifest.FIDELITIES) <= set(words) and set(value["fidelity"]) <= set(words)


def test_findings_on_all_pages_exist() -> None:
    groups = {code.partition(".")[0] for code in CODES}
    pattern = re.compile(rf"`((?:{'|'.join(groups)})\.[a-z-]+)`")
    suffixes = (".zip", ".md", ".json", ".toml", ".pkl")
    for page in pages.pages():
        found = {code for code in pattern.findall(pages.read(page)) if not code.endswith(suffixes)}
        # `session.params` and the like are no findings: no group of findings is called so
        assert found <= set(CODES), page


def test_every_field_of_a_head_is_described() -> None:
    head = heads.Head.of(_full_manifest()).to_json()
    assert set(_named(LAYOUT, "The head")) == set(head)


# --- layout -----------------------------------------------------------------------------------------------------------


def test_paths_of_a_tree_are_described() -> None:
    tree, shown = TrainingTree(Path("data/models")), pages.read(LAYOUT)
    assert tree.lock.as_posix() in shown and tree.attic.as_posix() in shown
    described = " ".join(_named(LAYOUT, "The training tree"))
    assert f"/<scenario>{names.SEGMENTS_SUFFIX}/" in described
    for role in [role for role in manifest.ROLES[1:] if role != manifest.SEGMENT]:
        assert f"_steps.{role}." in described
    for path in (tree.metadata, tree.checkpoints, tree.best):
        assert path.name in described
    for path in (tree.head("S"), tree.final("S"), *tree.best_exports("S", only=True)):
        assert path.relative_to(tree.root).as_posix().replace("S_", "<scenario>_") in described


def test_places_of_a_project_are_described() -> None:
    layout, described = ProjectLayout(Path()), _named(LAYOUT, "What ckptsync remembers")
    for path in (layout.ledger, layout.lock, layout.staging, layout.attic, layout.quarantine, layout.cache):
        assert any(name.rstrip("/") == path.as_posix() for name in described), path
    folder = LocalFolder(Path())
    names = {name.rstrip("/") for name in described}
    for path in (folder.kernel, folder.inputs, folder.working, folder.log, folder.supervisor_log, folder.cancel):
        assert path.as_posix() in names
    left = _named(LAYOUT, "What a session leaves")
    assert {SESSION_INFO_NAME, EVENTS_NAME, METRICS_NAME} <= set(left)


def test_the_ledger_is_described() -> None:
    entry = LedgerEntry(1, "now", "planned", "toy", None, {})
    line, events = _tables(LAYOUT, "The ledger")
    assert {name for row in line for name in pages.inline_code(row[0])} == set(json.loads(entry.line()))
    assert {pages.inline_code(row[0])[0]: row[1] for row in events} == EVENTS


# --- session files ----------------------------------------------------------------------------------------------------


def test_every_event_is_described() -> None:
    written = {
        event
        for source in (pages.ROOT / "ckptsync" / "training").glob("*.py")
        for event in re.findall(r"(?:events|log|_log|_events)\.write\(\s*\"([a-z-]+)\"", source.read_text("utf-8"))
    }
    written.add("error")  # EventLog.write_error
    assert {"boot", "start", "save", "end"} <= written
    assert set(_named(SESSION_FILES, "events.jsonl")) >= written
    described = {pages.inline_code(row[0])[0] for row in pages.rows(pages.section(SESSION_FILES, "events.jsonl"))}
    assert described == written


def test_every_cause_is_described() -> None:
    assert _named(SESSION_FILES, "Causes") == list(summary._SEVERITY)
    assert set(summary._SEVERITY) == set(session.CAUSES)
    assert f"`{REQUEST_NAME}`" in pages.section(SESSION_FILES, "Causes")


def test_every_field_of_the_end_marker_is_described() -> None:
    events = [{"event": "start", "scenario": "toy", "num_timesteps": 0, "target": 10}]
    value = summary.summarise(events, None, ExitCode.OK, 1.0).to_json()
    text = pages.section(SESSION_FILES, "session_info.json")
    assert set(_named(SESSION_FILES, "session_info.json")) == set(value)
    assert set(value["scenarios"]["toy"]) <= set(pages.inline_code(text))


def test_every_field_of_the_metadata_is_described(tmp_path: Path) -> None:
    tree = TrainingTree(tmp_path)
    metadata.write_metadata(tree, {"toy": _full_manifest()})
    value = json.loads(tree.metadata.read_text())
    whole, block = _tables(SESSION_FILES, "training_metadata.json")
    assert {name for row in whole for name in pages.inline_code(row[0])} == {"schema", "timestamp", "scenarios"}
    assert {name for row in block for name in pages.inline_code(row[0])} == set(value["scenarios"]["toy"])
    assert set(value) == {"schema", "scenarios", *value["scenarios"]["toy"]}


# --- JSON and API -----------------------------------------------------------------------------------------------------


def test_every_field_of_verify_is_described() -> None:
    sealed = _full_manifest()
    checkpoint = CheckpointReport(
        Path("x.zip"), "toy", 20, "final", True, True, None, manifest=sealed, findings=(note("set.unsealed", "x"),)
    )
    report = VerifyReport("x", (), (checkpoint,)).to_json()
    tables = _tables(JSON, "verify, show, ls")
    described = [{name for row in table for name in pages.inline_code(row[0])} for table in tables]
    assert described[0] | {"schema", "exit_code"} == set(report)
    assert described[1] == set(report["checkpoints"][0])
    text = pages.section(JSON, "verify, show, ls")
    assert set(report["checkpoints"][0]["findings"][0]) <= set(pages.inline_code(text))
    (example,) = pages.blocks(JSON, "json")[1:2]
    shown = json.loads(example.text)
    assert shown["schema"] == VERIFY_SCHEMA
    assert set(shown) == set(report) and set(shown["checkpoints"][0]) == set(report["checkpoints"][0])


def test_every_schema_of_a_command_is_described() -> None:
    from ckptsync.cli.catalogue import CATALOGUE

    text = pages.read(JSON)
    for command in (CATALOGUE.overview, *CATALOGUE.commands):
        assert f"`{command.schema}`" in text, command.name


SIGNATURE = re.compile(r"^(?P<owner>\w+)(?:\.(?P<name>\w+))?\((?P<arguments>.*)\)$")
OWNERS = {"session": TrainingSession, "scenario": Scenario, "TrainingSession": TrainingSession}
# Of Scenario these are for the session and the package's own modules
INTERNAL = {"resume", "start", "course", "is_own", "surroundings", "finished", "fit", "newest", "has_begun"}


def test_the_training_api_is_what_the_page_says() -> None:
    described: dict[type, set[str]] = {TrainingSession: set(), Scenario: set()}
    for heading in ("TrainingSession", "Scenario"):
        for member in _named(API, heading):
            owner, _, name = member.partition("(")[0].partition(".")
            if owner not in OWNERS:
                continue
            described[OWNERS[owner]].add(name)
            match = SIGNATURE.match(member)
            if match:
                real = getattr(OWNERS[owner], name) if name else OWNERS[owner]
                assert _shape(match["arguments"]) == _shape_of(real), member
    public = {name for name in vars(TrainingSession) if not name.startswith("_")}
    assert public <= described[TrainingSession]
    public = {name for name in vars(Scenario) if not name.startswith("_")} - INTERNAL
    assert public <= described[Scenario]
    assert set(_named(API, "Outcome")) >= {field.name for field in fields(Outcome)}


def _shape(arguments: str) -> list[tuple[str, Any, Any]]:
    made: dict[str, Any] = {}
    exec(f"def made({arguments}): ...", made)
    return _shape_of(made["made"])


def _shape_of(function: Any) -> list[tuple[str, Any, Any]]:
    parameters = inspect.signature(function).parameters.values()
    return [(p.name, p.kind, p.default) for p in parameters if p.name not in ("self", "cls")]
