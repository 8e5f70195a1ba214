"""Which runner a name means."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..core.errors import ConfigError, UsageError
from ..project import values
from ..project.config import Project
from ..runners.base import Runner
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


# name -> how to make it from the project and its settings in [runners.<name>]
RUNNERS: dict[str, Factory] = {"local": _local}


def runner_for(project: Project, name: str, run: str | None = None) -> Runner:
    """Return the runner of a name, set up as `[runners.<name>]` and the run's own table for it say.

    Raises:
        UsageError: there is no such runner.
        ConfigError: its settings are wrong.
    """
    if name not in RUNNERS:
        raise UsageError(f"there is no runner {name!r}", hint=values.did_you_mean(name, RUNNERS))
    try:
        return RUNNERS[name](project, own_settings(project.runner_settings(name, run)))
    except ValueError as error:
        raise ConfigError(f"{project.layout.config}, [runners.{name}]: {error}") from None
