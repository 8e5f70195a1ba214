"""What changed from one sealed set to another, as their manifests say: metrics, configuration, files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..core.manifest import Manifest


@dataclass(frozen=True)
class Change:
    """One thing that differs.

    Args:
        group: `metrics`, `configuration` or `files`.
        name: what it is.
        left: what the first has; None where it has none.
        right: what the second has.
    """

    group: str
    name: str
    left: Any
    right: Any

    def to_json(self) -> dict[str, Any]:
        """Return it as it stands in the JSON output."""
        return {"group": self.group, "name": self.name, "left": self.left, "right": self.right}


def changes(left: Manifest, right: Manifest) -> tuple[Change, ...]:
    """Return everything in which two sets differ, by group."""
    return tuple(
        change
        for group, of in (("metrics", _metrics), ("configuration", _configuration), ("files", _files))
        for change in _differing(group, of(left), of(right))
    )


def _differing(group: str, left: Mapping[str, Any], right: Mapping[str, Any]) -> Iterator[Change]:
    for name in dict.fromkeys([*left, *right]):
        if left.get(name) != right.get(name):
            yield Change(group, name, left.get(name), right.get(name))


def _metrics(manifest: Manifest) -> Mapping[str, Any]:
    return manifest.metrics


def _configuration(manifest: Manifest) -> Mapping[str, Any]:
    return {
        "num_timesteps": manifest.num_timesteps,
        "kind": manifest.kind,
        "lineage": manifest.lineage,
        "generation": manifest.generation,
        "session": manifest.session,
        "version": manifest.version,
        "captured": manifest.captured,
        "algorithm": manifest.signature.algorithm,
        **{f"versions.{name}": version for name, version in manifest.versions.items()},
    }


def _files(manifest: Manifest) -> Mapping[str, Any]:
    """Return digest by name, so that equal files of sets at another N are equal."""
    return {entry.path.removeprefix(f"{manifest.stem}."): entry.digest for entry in manifest.files}
