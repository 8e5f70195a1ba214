"""Parsers of single configuration values; each says in its message what it expected."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

from ..core import names
from ..core.errors import ConfigError, UnsafePathError, UsageError
from ..core.nearest import nearest
from ..core.session import AUTO, ScenarioSpec
from ..core.signature import Signature
from ..core.units import parse_size

Parser = Callable[[Any], Any]

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"(?P<number>[0-9]+(?:\.[0-9]+)?)\s*(?P<unit>[smhd]?)", re.ASCII)
_SHARE = re.compile(r"(?P<number>[0-9]*\.?[0-9]+)\s*(?P<percent>%?)", re.ASCII)
_COUNT = re.compile(r"[0-9][0-9_]*", re.ASCII)
_TRUE_AND_FALSE = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
_EXPECTED_KEYS = ("algorithm", "policy", "net_arch", "observation_space", "action_space")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return a hint that names the nearest known word, or all of them."""
    choices = sorted(known)
    meant = nearest(word, choices)
    return f"did you mean '{meant}'?" if meant else "known are: " + (", ".join(choices) or "none")


def check_keys(value: Mapping[str, Any], known: Iterable[str], where: str) -> None:
    """Refuse every key that is not known.

    Raises:
        ConfigError: with the file and section, the key, and the key that was probably meant.
    """
    allowed = set(known)
    for key in value:
        if key not in allowed:
            raise ConfigError(f"{where}: unknown key {names.printable(key)}", hint=did_you_mean(key, allowed))


def parsed(parser: Parser, value: Any, where: str) -> Any:
    """Parse a value. Raises ConfigError that says where it stands and what was found."""
    try:
        return parser(value)
    except ValueError as error:
        raise ConfigError(f"{where}: {error}, found {names.printable(str(value))}") from None


def text(value: Any) -> str:
    """Parse a text that is not empty."""
    if not isinstance(value, str) or not value:
        raise ValueError("expected a text")
    return value


def name(value: Any) -> str:
    """Parse a name that may stand in file names."""
    try:
        return names.check_scenario(text(value))
    except UsageError as error:
        raise ValueError(error.message) from None


def relative_path(value: Any) -> str:
    """Parse a path below the project's folder, with `/`."""
    try:
        return "/".join(names.check_relative(text(value)))
    except UnsafePathError as error:
        raise ValueError(error.message) from None


def count(value: Any) -> int:
    """Parse a positive whole number; from the environment or a flag also as text."""
    if isinstance(value, str) and _COUNT.fullmatch(value):
        value = int(value.replace("_", ""))
    if type(value) is not int or value < 1:
        raise ValueError("expected a whole number of at least 1")
    return value


def optional_count(value: Any) -> int | None:
    """Parse a positive whole number, or 0 for "not at all"."""
    if _is_zero(value):
        return None
    try:
        return count(value)
    except ValueError as error:
        raise ValueError(f"{error}, or 0 for never") from None


def seed(value: Any) -> int | None:
    """Parse a seed: a whole number, or "none" for unseeded."""
    if value == "none":
        return None
    if isinstance(value, str) and _COUNT.fullmatch(value):
        value = int(value.replace("_", ""))
    if type(value) is not int or value < 0:
        raise ValueError('expected a whole number of at least 0, or "none"')
    return value


def duration(value: Any) -> float:
    """Parse a time span: seconds, or a text such as "90s", "30m", "12h". Returns seconds."""
    if isinstance(value, str) and (match := _DURATION.fullmatch(value.strip())):
        value = float(match["number"]) * _UNITS[match["unit"] or "s"]
    if type(value) not in (int, float) or not 0 < value < float("inf"):
        raise ValueError('expected seconds, or a text such as "90s", "30m" or "12h"')
    return float(value)


def interval(value: Any) -> float | Literal["auto"] | None:
    """Parse a time span, 0 for "not at all", or "auto"."""
    if value == AUTO:
        return AUTO
    if _is_zero(value):
        return None
    try:
        return duration(value)
    except ValueError as error:
        raise ValueError(f'{error}, "{AUTO}", or 0 for never') from None


def _is_zero(value: Any) -> bool:
    return value in (0, "0") and value is not False


def share(value: Any) -> float:
    """Parse a share of a whole: a number between 0 and 1, or a text such as "2 %"."""
    if isinstance(value, str) and (match := _SHARE.fullmatch(value.strip())):
        value = float(match["number"]) / (100 if match["percent"] else 1)
    if type(value) not in (int, float) or not 0 < value < 1:
        raise ValueError('expected a number between 0 and 1, or a text such as "2 %"')
    return float(value)


def size(value: Any) -> int:
    """Parse a size: bytes, or a text such as "500MB", "20GB", "2GiB". Returns bytes."""
    if isinstance(value, str):
        value = parse_size(value)
    if type(value) is not int or value < 1:
        raise ValueError('expected bytes, or a text such as "500MB", "20GB" or "2GiB"')
    return value


def flag(value: Any) -> bool:
    """Parse true or false; from the environment also as text."""
    if isinstance(value, str) and value.lower() in _TRUE_AND_FALSE:
        return _TRUE_AND_FALSE[value.lower()]
    if not isinstance(value, bool):
        raise ValueError("expected true or false")
    return value


def texts(value: Any) -> tuple[str, ...]:
    """Parse a list of texts."""
    if not isinstance(value, list) or not all(isinstance(item, str) and item for item in value):
        raise ValueError("expected a list of texts")
    return tuple(value)


def scenarios(value: Any) -> tuple[ScenarioSpec, ...]:
    """Parse a table of scenario -> total_timesteps, in the order of training."""
    if not isinstance(value, dict) or not value:
        raise ValueError("expected a table such as { warm_up = 5_000, full = 100_000 }")
    return tuple(ScenarioSpec(name(key), count(target)) for key, target in value.items())


def table(value: Any) -> Mapping[str, Any]:
    """Parse a table of free keys whose values are JSON."""
    if not isinstance(value, dict):
        raise ValueError("expected a table")
    return {key: _json_value(key, item) for key, item in value.items()}


def _json_value(key: str, value: Any) -> Any:
    if isinstance(value, dict):
        return table(value)
    if isinstance(value, list):
        return [_json_value(key, item) for item in value]
    if not isinstance(value, str | int | float | bool):
        raise ValueError(f"{key} is a {type(value).__name__}, expected text, a number, true, false, a list or a table")
    return value


def expects(value: Any) -> Signature:
    """Parse what a run declares of its network; what is not declared is not compared."""
    if not isinstance(value, dict):
        raise ValueError('expected a table such as { algorithm = "PPO", net_arch = [64, 64] }')
    unknown = sorted(set(value) - set(_EXPECTED_KEYS))
    if unknown:
        raise ValueError(f"unknown key {unknown[0]!r}; {did_you_mean(unknown[0], _EXPECTED_KEYS)}")
    return Signature.from_json({**value, "parameters": {}})
