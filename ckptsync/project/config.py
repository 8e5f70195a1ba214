"""ckptsync.toml: runs, runners, trust. Every value knows where it comes from.

Later ones win: defaults, `ckptsync.toml`, `CKPTSYNC_*` variables, flags. An unknown key is an error
with the key that was probably meant, never something to skip.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..core import fsio, names
from ..core.code_source import CodeSource
from ..core.errors import CkptsyncError, ConfigError, NothingFoundError, UsageError
from ..core.layout import CONFIG_NAME, DEFAULT_RESULTS, DEFAULT_TREE, ProjectLayout, TrainingTree, find_root
from ..core.session import SavePolicy, ScenarioSpec
from ..core.signature import Signature
from . import values
from .tiers import StoreConfig, parse_store

DEFAULT_TOTAL_TIMESTEPS = 100_000
ENVIRONMENT_PREFIX = "CKPTSYNC_"
_MAX_CONFIG_BYTES = 1 << 20

# Key in [runs.<name>] -> parser. Keys in _SCALARS may also come from the environment (CKPTSYNC_<KEY>) and flags.
_SCALARS: dict[str, values.Parser] = {
    "kernel": values.relative_path,
    "script": values.relative_path,
    "runner": values.text,
    "version": values.text,
    "tree": values.relative_path,
    "total_timesteps": values.count,
    "quick_steps": values.count,
    "budget": values.duration,
    "margin": values.duration,
    "max_output": values.size,
    "seed": values.seed,
}
_TABLES: dict[str, values.Parser] = {
    "scenarios": values.scenarios,
    "params": values.table,
    "packages": values.texts,
    "expects": values.expects,
    "code": CodeSource.parse,
}
_SAVE: dict[str, values.Parser] = {
    "every_steps": values.optional_count,
    "every_time": values.interval,
    "keep_last": values.count,
    "save_best": values.flag,
    "keep_best": values.count,
    "keep_every_steps": values.optional_count,
    "failure_time": values.duration,
    "max_overhead": values.share,
}
# A key is written with a unit of the user's choice; the field behind it names its unit
_FIELDS = {
    "budget": "budget_seconds",
    "margin": "margin_seconds",
    "max_output": "max_output_bytes",
    "every_time": "every_seconds",
    "failure_time": "failure_seconds",
}
_TRUST: dict[str, values.Parser] = {"functions": values.texts, "files": values.texts}
_TOP = ("results", "runs", "runners", "store", "trust")
# Runners whose settings a run may give a table of its own, over those in [runners.<name>]
_RUNNER_TABLES = ("local", "kaggle")


@dataclass(frozen=True)
class RunConfig:
    """One run, as configured.

    Args:
        name: the run's name.
        kernel: its folder under `kernels/`.
        script: the training script in that folder.
        runner: where its sessions execute.
        version: the user's word for the task; another one starts a new lineage.
        tree: the training tree, relative to the project.
        scenarios: what it trains, in this order.
        save: when sessions save and what is kept.
        quick_steps: transitions of a `launch --quick`.
        budget_seconds: wall clock of one session; None: the runner's own limit.
        margin_seconds: how long before that a session begins to stop.
        max_output_bytes: how much a session's working folder may hold; None: what the disk holds.
        seed: for environments and models; None: not seeded.
        params: handed to the script as `session.params`.
        packages: pure-Python packages that travel in the bundle.
        code: the commit whose files stand for the kernel folder in a session; None: they travel with the script.
        expects: what the run declares of its network, or None.
        runner_settings: runner -> settings of this run, over those in `[runners.<name>]`.
        origins: key -> `default`, `ckptsync.toml`, `CKPTSYNC_...` or `flag`.
    """

    name: str
    kernel: str
    script: str = "train.py"
    runner: str = "local"
    version: str = "1"
    tree: str = DEFAULT_TREE
    scenarios: tuple[ScenarioSpec, ...] = ()
    save: SavePolicy = field(default_factory=SavePolicy)
    quick_steps: int = 2_000
    budget_seconds: float | None = None
    margin_seconds: float = 30.0
    max_output_bytes: int | None = None
    seed: int | None = 0
    params: Mapping[str, Any] = field(default_factory=dict)
    packages: tuple[str, ...] = ("stable_baselines3",)
    code: CodeSource | None = None
    expects: Signature | None = None
    runner_settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    origins: Mapping[str, str] = field(default_factory=dict)

    @property
    def scenario_names(self) -> tuple[str, ...]:
        """The names of its scenarios, in order."""
        return tuple(scenario.name for scenario in self.scenarios)


@dataclass(frozen=True)
class Project:
    """A folder with a `ckptsync.toml`, as configured.

    Args:
        root: the folder.
        layout: where things lie in it.
        runs: name -> run, in the order of the file.
        trusted: digests of functions and files whose byte code the user has approved.
        runners: runner -> its settings.
        stores: where checkpoints are kept outside of this machine; None: nowhere.
    """

    root: Path
    layout: ProjectLayout
    runs: Mapping[str, RunConfig]
    trusted: frozenset[str] = frozenset()
    runners: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    stores: StoreConfig | None = None

    def run(self, name: str | None) -> RunConfig:
        """Return a run by its name; the only one when no name is given.

        Raises:
            UsageError: it does not exist, or there are several and none is named.
        """
        if name is None:
            if len(self.runs) == 1:
                return next(iter(self.runs.values()))
            raise UsageError(
                f"{self.layout.config} has {len(self.runs)} runs", hint="name one of: " + ", ".join(self.runs)
            )
        if name not in self.runs:
            raise UsageError(
                f"{self.layout.config} has no run {names.printable(name)}", hint=values.did_you_mean(name, self.runs)
            )
        return self.runs[name]

    def tree(self, run: RunConfig) -> TrainingTree:
        """The training tree of a run."""
        return self.layout.tree(run.tree)

    def runner_settings(self, runner: str, run: str | None = None) -> Mapping[str, Any]:
        """The settings of a runner; those that a run gives it come over those that it has for all runs."""
        own = self.runs[run].runner_settings.get(runner, {}) if run is not None and run in self.runs else {}
        return {**self.runners.get(runner, {}), **own}

    def kernel_folder(self, run: RunConfig) -> Path:
        """The folder of a run's training code."""
        return self.root / "kernels" / run.kernel


def load_project(
    start: Path | None = None, *, environ: Mapping[str, str] = os.environ, flags: Mapping[str, Any] | None = None
) -> Project:
    """Read the configuration of the project that a folder lies in.

    Args:
        start: a folder; the current one when None.
        environ: where `CKPTSYNC_*` variables are looked up.
        flags: key -> value from the command line, for all runs.

    Raises:
        NothingFoundError: there is no `ckptsync.toml` here or above.
        ConfigError: a key is unknown or a value is wrong; the message names file and key.
    """
    folder = start or Path.cwd()
    root = find_root(folder)
    if root is None:
        raise NothingFoundError(
            f"no {CONFIG_NAME} in {folder.absolute()} or above", hint="ckptsync init makes a ready project"
        )
    path = root / CONFIG_NAME
    data = _read_toml(path)
    values.check_keys(data, _TOP, str(path))
    results = values.parsed(values.relative_path, data.get("results", DEFAULT_RESULTS), f"{path}: results")
    overrides = [_from_environment(environ), [("flag", key, value) for key, value in (flags or {}).items()]]
    runs = {
        name: _run(name, section, path, [item for group in overrides for item in group])
        for name, section in _section(data, "runs", path).items()
    }
    if not runs:
        raise ConfigError(f"{path} has no run", hint="add a section such as [runs.cartpole_ppo]")
    _refuse_shared_scenarios(runs, path)
    trust = _section(data, "trust", path)
    values.check_keys(trust, _TRUST, f"{path}, [trust]")
    trusted = {digest for key in trust for digest in values.parsed(_TRUST[key], trust[key], f"{path}: trust.{key}")}
    runners = {
        name: values.parsed(values.table, section, f"{path}: runners.{name}")
        for name, section in _section(data, "runners", path).items()
    }
    stores = parse_store(_section(data, "store", path), f"{path}, [store]")
    return Project(root, ProjectLayout(root, results), runs, frozenset(trusted), runners, stores)


def _refuse_shared_scenarios(runs: Mapping[str, RunConfig], path: Path) -> None:
    owners: dict[tuple[str, str], str] = {}
    for run in runs.values():
        for scenario in run.scenario_names:
            owner = owners.setdefault((run.tree, scenario), run.name)
            if owner != run.name:
                raise ConfigError(
                    f"{path}: the runs {owner} and {run.name} both train scenario {scenario} in {run.tree}",
                    hint="give one of them another tree, or the scenario another name",
                )


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(fsio.read_bytes(path, limit=_MAX_CONFIG_BYTES).decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is no valid TOML: {error}") from None
    except CkptsyncError as error:
        raise ConfigError(error.message, hint=error.hint) from None


def _section(data: Mapping[str, Any], key: str, path: Path) -> dict[str, Any]:
    section = data.get(key, {})
    if not isinstance(section, dict):
        raise ConfigError(f"{path}: {key} is no section")
    return section


def _from_environment(environ: Mapping[str, str]) -> list[tuple[str, str, Any]]:
    known = {*_SCALARS, *_SAVE}
    return [
        (variable, key, environ[variable])
        for key in sorted(known)
        if (variable := ENVIRONMENT_PREFIX + key.upper()) in environ
    ]


def _run(name: str, section: Any, path: Path, overrides: list[tuple[str, str, Any]]) -> RunConfig:
    where = f"{path}, [runs.{name}]"
    values.parsed(values.name, name, where)
    if not isinstance(section, dict):
        raise ConfigError(f"{where} is no section")
    values.check_keys(section, {*_SCALARS, *_TABLES, *_RUNNER_TABLES, "save"}, where)
    save_section = section.get("save", {})
    if not isinstance(save_section, dict):
        raise ConfigError(f"{where}: save is no section")
    values.check_keys(save_section, _SAVE, f"{path}, [runs.{name}.save]")

    parsers = {**_SCALARS, **_TABLES, **_SAVE}
    found: dict[str, Any] = {}
    origins = dict.fromkeys(parsers, "default")
    given = [(CONFIG_NAME, key, value) for key, value in {**section, **save_section}.items() if key in parsers]
    for origin, key, value in [*given, *overrides]:
        label = f"{where}: {key}" if origin == CONFIG_NAME else f"{origin} ({key} of run {name})"
        found[key] = values.parsed(parsers[key], value, label)
        origins[key] = origin
    if "scenarios" in section and "total_timesteps" in section:
        raise ConfigError(f"{where}: total_timesteps and scenarios exclude each other; give each scenario its target")
    tables = {
        key: values.parsed(values.table, section[key], f"{where}: {key}") for key in _RUNNER_TABLES if key in section
    }
    return _build(name, {**found, "runner_settings": tables}, origins)


def _build(name: str, found: dict[str, Any], origins: dict[str, str]) -> RunConfig:
    total = found.pop("total_timesteps", None)
    scenarios = found.pop("scenarios", None) or (ScenarioSpec(name, DEFAULT_TOTAL_TIMESTEPS),)
    if total is not None:  # from a flag or variable it counts for every scenario
        scenarios = tuple(ScenarioSpec(scenario.name, total) for scenario in scenarios)
    found = {_FIELDS.get(key, key): value for key, value in found.items()}
    save_fields = SavePolicy.__dataclass_fields__
    save = SavePolicy(**{key: found.pop(key) for key in list(found) if key in save_fields})
    kernel = found.pop("kernel", name)
    return RunConfig(name=name, kernel=kernel, scenarios=scenarios, save=save, origins=origins, **found)


def changed_policy(policy: SavePolicy, given: Mapping[str, Any], where: str) -> SavePolicy:
    """Return a policy with other values under the keys of `[runs.<name>.save]`.

    Raises:
        ConfigError: a key is unknown, or a value makes no sense.
    """
    values.check_keys(given, _SAVE, where)
    parsed = {_FIELDS.get(key, key): values.parsed(_SAVE[key], value, f"{where} {key}") for key, value in given.items()}
    return replace(policy, **parsed)
