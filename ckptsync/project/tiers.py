"""[store] of ckptsync.toml: where copies of checkpoints are kept, what goes there and how long it stays.

The training tree is the first tier. The near store gets what is in the tree, after every session. The far store gets
from the near one what it is to keep.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ..core.errors import ConfigError
from ..core.session import SavePolicy
from ..core.urls import split_store_url
from . import values

NEAR, FAR = "near", "far"
# What a far store gets -> in words
COPIES: Mapping[str, str] = {
    "all": "every checkpoint",
    "milestones": "the best, milestones, final and tagged ones",
    "final": "final and tagged ones",
}


def _copies(value: Any) -> str:
    if value not in COPIES:
        raise ValueError("expected " + ", ".join(f'"{word}"' for word in COPIES))
    return str(value)


def _url(value: Any) -> str:
    url = values.text(value)
    split_store_url(url)  # a secret must not come as far as to be shown, or written down
    return url


_KEEP: dict[str, values.Parser] = {
    "keep_last": values.count,
    "keep_best": values.count,
    "keep_every_steps": values.count,
}
_NEAR: dict[str, values.Parser] = {
    "url": _url,
    "push": values.flag,
    "live": values.flag,
    "mine": values.flag,
    **_KEEP,
}
_FAR: dict[str, values.Parser] = {"url": _url, "copies": _copies, **_KEEP}


@dataclass(frozen=True)
class Tier:
    """A store that keeps copies.

    Args:
        name: NEAR or FAR.
        url: where it is, without secrets.
        copies: a key of COPIES: what goes there.
        keep: `keep_last`, `keep_best`, `keep_every_steps`: what stays there; what is not given is as in the run's
            policy, and without any of them everything stays.
    """

    name: str
    url: str
    copies: str = "all"
    keep: Mapping[str, Any] = field(default_factory=dict)

    def policy(self, save: SavePolicy) -> SavePolicy:
        """Return what its retention keeps of a run with this policy."""
        return replace(save, **self.keep)


@dataclass(frozen=True)
class StoreConfig:
    """[store], as configured.

    Args:
        near: the store that a project works with.
        far: a second one, or None.
        push: every trip that brings checkpoints home sends them there.
        live: sessions send their checkpoints while they train; None: where they can.
        mine: nobody else can write there, so pickles in its checkpoints are the user's own.
    """

    near: Tier
    far: Tier | None = None
    push: bool = True
    live: bool | None = None
    mine: bool = False

    @property
    def tiers(self) -> tuple[Tier, ...]:
        """The stores, the nearest first."""
        return (self.near,) if self.far is None else (self.near, self.far)


def parse_store(section: Mapping[str, Any], where: str) -> StoreConfig | None:
    """Read [store]; None where it is empty.

    Args:
        section: its keys and values.
        where: file and section, for messages.

    Raises:
        ConfigError: a key is unknown or missing, or a value is wrong.
    """
    values.check_keys(section, {*_NEAR, FAR}, where)
    if not section:
        return None
    far_section = section.get(FAR)
    near = _parsed({key: value for key, value in section.items() if key != FAR}, _NEAR, where)
    far = None
    if far_section is not None:
        there = f"{where[:-1]}.{FAR}]"
        if not isinstance(far_section, dict):
            raise ConfigError(f"{where}: {FAR} is no section", hint=f"write its url below {there}")
        values.check_keys(far_section, _FAR, there)
        far = _tier(FAR, _parsed(far_section, _FAR, there))
        if far.url == near["url"]:
            raise ConfigError(f"{there}: its url is that of the near store", hint="name another place")
    flags = {key: near[key] for key in ("push", "live", "mine") if key in near}
    return StoreConfig(_tier(NEAR, near), far, **flags)


def _parsed(section: Mapping[str, Any], parsers: Mapping[str, values.Parser], where: str) -> dict[str, Any]:
    if "url" not in section:
        raise ConfigError(f"{where} has no url", hint='url = "../nas/checkpoints", or "s3://bucket/prefix"')
    return {key: values.parsed(parsers[key], value, f"{where}: {key}") for key, value in section.items()}


def _tier(name: str, found: Mapping[str, Any]) -> Tier:
    keep = {key: found[key] for key in _KEEP if key in found}
    return Tier(name, found["url"], found.get("copies", "all"), keep)
