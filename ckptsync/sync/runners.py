"""Which runner a name means."""

from __future__ import annotations

from ..core.errors import ConfigError, UsageError
from ..project import values
from ..project.config import Project
from ..runners.base import Runner

RUNNERS = ("local",)
_LOCAL_KEYS = ("python", "budget")


def runner_for(project: Project, name: str) -> Runner:
    """Return the runner of a name, set up as `[runners.<name>]` says.

    Raises:
        UsageError: there is no such runner.
        ConfigError: its settings are wrong.
    """
    if name not in RUNNERS:
        raise UsageError(f"there is no runner {name!r}", hint=values.did_you_mean(name, RUNNERS))
    settings = project.runners.get(name, {})
    where = f"{project.layout.config}, [runners.{name}]"
    values.check_keys(settings, _LOCAL_KEYS, where)
    from ..runners.local import LocalRunner

    try:
        given = {}
        if "python" in settings:
            given["python"] = values.text(settings["python"])
        budget = values.duration(settings["budget"]) if "budget" in settings else None
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from None
    return LocalRunner(project.layout.session, default_budget=budget, **given)
