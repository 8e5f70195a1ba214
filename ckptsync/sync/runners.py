"""Which runner a name means."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from ..core.errors import ConfigError, UsageError
from ..project import values
from ..project.config import Project, RunConfig
from ..project.lineage import SessionRecord
from ..runners.base import Runner, Submission, TellingRunner
from ..runners.kaggle.settings import OUTPUT_BYTES, KaggleSettings
from .contact import own_settings

Factory = Callable[[Project, Mapping[str, Any]], Runner]


def _local(project: Project, settings: Mapping[str, Any]) -> Runner:
    from ..runners.local import LocalRunner

    values.check_keys(settings, ("python", "budget"), f"{project.layout.config}, [runners.local]")
    given: dict[str, Any] = {}
    if "python" in settings:
        given["python"] = values.text(settings["python"])
    if "budget" in settings:
        given["default_budget"] = values.duration(settings["budget"])
    return LocalRunner(project.layout.session, **given)


def first_machine(value: Any) -> Any:
    """Return the kind of machine that is wanted first; `availability` goes on to the others."""
    return value[0] if isinstance(value, list) and value else value


# key in [runners.kaggle] -> (field of KaggleSettings, parser)
_KAGGLE: Mapping[str, tuple[str, values.Parser]] = {
    "owner": ("owner", values.text),
    "kernel": ("kernel", values.text),
    "accelerator": ("accelerator", lambda value: values.text(first_machine(value))),
    "internet": ("internet", values.flag),
    "private": ("private", values.flag),
    "docker_image": ("docker_image", values.text),
    "competitions": ("competitions", values.texts),
    "datasets": ("datasets", values.texts),
    "kernels": ("kernels", values.texts),
    "models": ("models", values.texts),
    "carrier": ("carrier", values.text),
    "budget": ("budget_seconds", values.duration),
    "timeout": ("timeout_seconds", values.duration),
    "patience": ("patience_seconds", values.duration),
    "dataset_wait": ("dataset_seconds", values.duration),
}


def kaggle_settings(project: Project, settings: Mapping[str, Any]) -> KaggleSettings:
    """Return what a project says of the runner `kaggle`.

    Raises:
        ConfigError: a key is not known.
        ValueError: a value is wrong.
    """
    values.check_keys(settings, _KAGGLE, f"{project.layout.config}, [runners.kaggle]")
    given = {}
    for key, value in settings.items():
        field, parse = _KAGGLE[key]
        try:
            given[field] = parse(value)
        except ValueError as error:
            raise ValueError(f"{key}: {error}") from None
    return KaggleSettings(**given)


def _kaggle(project: Project, settings: Mapping[str, Any]) -> Runner:
    found = kaggle_settings(project, settings)
    try:
        from ..runners.kaggle.runner import KaggleRunner
    except ImportError as error:
        raise ConfigError(
            f"the runner kaggle needs a package that is not installed: {error.name}",
            hint="pip install 'ckptsync[kaggle]'",
        ) from None
    return KaggleRunner(found)


# name -> how to make it from the project and its settings in [runners.<name>]
RUNNERS: dict[str, Factory] = {"local": _local, "kaggle": _kaggle}


def within_limits(project: Project, run: RunConfig, name: str) -> RunConfig:
    """Return a run with the limits of a runner where it has none of its own, so that its sessions stop before them.

    Args:
        project: the project.
        run: the run.
        name: the runner, which was made from the same settings before.
    """
    if name != "kaggle":
        return run  # nothing is known of others without asking them
    settings = kaggle_settings(project, own_settings(project.runner_settings(name, run.name)))
    return replace(
        run,
        budget_seconds=min(run.budget_seconds or settings.session_seconds, settings.session_seconds),
        max_output_bytes=run.max_output_bytes or OUTPUT_BYTES,
    )


def runner_for(
    project: Project, name: str, run: str | None = None, *, tell: Callable[[str], object] | None = None
) -> Runner:
    """Return the runner of a name, set up as `[runners.<name>]` and the run's own table for it say.

    Args:
        project: the project.
        name: the runner's name.
        run: the run that it is for.
        tell: is given a line when the runner is busy for long, where it says with what.

    Raises:
        UsageError: there is no such runner.
        ConfigError: its settings are wrong.
    """
    if name not in RUNNERS:
        raise UsageError(f"there is no runner {name!r}", hint=values.did_you_mean(name, RUNNERS))
    try:
        runner = RUNNERS[name](project, own_settings(project.runner_settings(name, run)))
    except ValueError as error:
        raise ConfigError(f"{project.layout.config}, [runners.{name}]: {error}") from None
    if tell is not None and isinstance(runner, TellingRunner):
        runner.tell = tell
    return runner


def to_be_found(record: SessionRecord) -> Submission:
    """Return what `Runner.find` needs to know a session again; its header tells it apart from another lineage's."""
    from ..runners.bundle import header

    return Submission(record.session, record.spec.generation, header(record.spec))
