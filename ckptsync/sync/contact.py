"""How a runner is asked: how often, how patiently, for how many files at once. Settings that every runner has.

Stand in `[runners.<name>]` and `[runs.<run>.<name>]`, beside the settings of the runner's own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..core.errors import ConfigError
from ..core.patience import Failures, Patience
from ..project import values
from ..project.config import Project

_PARSERS: Mapping[str, values.Parser] = {
    "poll_first": values.duration,
    "poll_longest": values.duration,
    "wait_patience": values.duration,
    "fetch_at_once": values.count,
    "fetch_patience": values.duration,
}
CONTACT_KEYS = tuple(_PARSERS)
_MOST_AT_ONCE = 64


@dataclass(frozen=True)
class Contact:
    """How a runner is asked.

    Args:
        poll_first: seconds between the first two looks at a session; they grow from there.
        poll_longest: what they grow to.
        wait_patience: how many seconds nothing may be heard of a session before waiting for it is given up.
        fetch_at_once: how many files are downloaded at the same time.
        fetch_patience: how many seconds a download may get nothing at all before it is given up.
    """

    poll_first: float = 1.0
    poll_longest: float = 60.0
    wait_patience: float = 24 * 3600.0
    fetch_at_once: int = 16
    fetch_patience: float = 600.0

    def __post_init__(self) -> None:
        if self.poll_first > self.poll_longest:
            raise ValueError(f"poll_first is {self.poll_first:g} s, more than poll_longest, {self.poll_longest:g} s")
        if self.fetch_at_once > _MOST_AT_ONCE:
            raise ValueError(f"fetch_at_once is {self.fetch_at_once}; at most {_MOST_AT_ONCE} files come at once")

    def bearing(
        self, seconds: float, *, sleep: Callable[[float], object], clock: Callable[[], float] = time.monotonic
    ) -> Failures:
        """Begin to bear failures, so many seconds without a sign of life, with pauses as between two looks."""
        first, longest = self.poll_first / 2, self.poll_longest
        return Failures(Patience(seconds, first, longest, from_start=True, sleep=sleep, clock=clock))


# On this machine a look costs nothing, and two files at once keep the disk and the hashing busy
_LOCAL = {"poll_first": 0.05, "poll_longest": 1.0, "fetch_at_once": 2}


def contact_of(project: Project, runner: str, run: str | None = None) -> Contact:
    """Return how a runner is asked for a run.

    Raises:
        ConfigError: a setting makes no sense.
    """
    settings = project.runner_settings(runner, run)
    given: dict[str, Any] = dict(_LOCAL) if runner == "local" else {}
    where = f"{project.layout.config}, [runners.{runner}]"
    for key in CONTACT_KEYS:
        if key in settings:
            try:
                given[key] = _PARSERS[key](settings[key])
            except ValueError as error:
                raise ConfigError(f"{where}: {key}: {error}") from None
    try:
        return Contact(**given)
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from None


def own_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that are the runner's own."""
    return {key: value for key, value in settings.items() if key not in CONTACT_KEYS}
