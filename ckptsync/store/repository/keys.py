"""Where things lie in a repository: the only place that builds or parses its keys.

    ckptsync-repository.json                                         what this is
    objects/<2 hex>/<64 hex>                                         bytes, named by their sha256
    versions/<run>/<scenario>/<lineage>/<generation>/<N>-<kind>-<score>-<64 hex>.json    a checkpoint
    heads/<run>/<scenario>.json                                      what the next session starts from
    tags/<run>/<scenario>/<tag>.json                                 a name that somebody gave to a version
    claims/<what>/<token>.json                                       who is at work

A version's key says all that ordering and retention need, so that no listing reads what it lists.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from ...core import names
from ...core.errors import CkptsyncError, UnsafePathError
from ...core.manifest import KINDS, Manifest
from ...core.policy import SCORE

FORMAT_KEY = "ckptsync-repository.json"
OBJECTS, VERSIONS, HEADS, TAGS, CLAIMS = "objects/", "versions/", "heads/", "tags/", "claims/"

_SUFFIX = ".json"
_GENERATION_DIGITS = 10
_OBJECT = re.compile(r"objects/([0-9a-f]{2})/(\1[0-9a-f]{62})", re.ASCII)
_NAME = re.compile(
    rf"(?P<steps>[0-9]{{{names.MAX_DIGITS}}})-(?P<kind>{'|'.join(KINDS)})-(?P<score>none|[-+.e0-9]{{1,30}})"
    r"-(?P<digest>[0-9a-f]{64})\.json",
    re.ASCII,
)
_LIKE_VERSION = re.compile(r"-[0-9a-f]{64}\.json\Z", re.ASCII)
_CLAIM = re.compile(r"claims/.+/[0-9a-f]{16}\.json", re.ASCII)
_DIGITS = re.compile(rf"[0-9]{{{_GENERATION_DIGITS}}}", re.ASCII)


@dataclass(frozen=True)
class VersionKey:
    """A checkpoint in a repository, as its key tells.

    Args:
        run: the run whose scenario it belongs to.
        scenario: the task.
        lineage: its lineage.
        generation: its generation.
        num_timesteps: its N.
        kind: why it was saved.
        score: what the best is chosen by; None where it has none.
        digest: of its manifest.
    """

    run: str
    scenario: str
    lineage: str
    generation: int
    num_timesteps: int
    kind: str
    score: float | None
    digest: str

    @property
    def key(self) -> str:
        """Where it lies."""
        score = "none" if self.score is None else repr(self.score)
        hexadecimal = self.digest.removeprefix("sha256:")
        name = f"{self.num_timesteps:0{names.MAX_DIGITS}d}-{self.kind}-{score}-{hexadecimal}{_SUFFIX}"
        generation = f"{self.generation:0{_GENERATION_DIGITS}d}"
        return f"{line_prefix(self.run, self.scenario)}{self.lineage}/{generation}/{name}"

    @property
    def order(self) -> tuple[str, int, int]:
        """Sort key of "newest": (lineage, generation, N)."""
        return (self.lineage, self.generation, self.num_timesteps)

    @property
    def stem(self) -> str:
        """The stem of its files' names."""
        return names.checkpoint_stem(self.scenario, self.num_timesteps)

    @classmethod
    def of(cls, run: str, manifest: Manifest) -> VersionKey:
        """Return the key of a sealed set of a run."""
        score = manifest.metrics.get(SCORE)
        usable = score is not None and math.isfinite(score)
        return cls(
            names.check_scenario(run),
            manifest.scenario,
            check_lineage(manifest.lineage),
            manifest.generation,
            manifest.num_timesteps,
            manifest.kind,
            float(score) if score is not None and usable else None,
            manifest.digest,
        )

    @classmethod
    def parse(cls, key: str) -> VersionKey | None:
        """Parse the key of a version; None when it is none, however much it looks like one."""
        parts = key.split("/")
        if len(parts) != 6 or f"{parts[0]}/" != VERSIONS or not _DIGITS.fullmatch(parts[4]):
            return None
        match = _NAME.fullmatch(parts[5])
        try:
            if match is None:
                return None
            score = None if match["score"] == "none" else float(match["score"])
            run, scenario = names.check_scenario(parts[1]), names.check_scenario(parts[2])
        except (ValueError, CkptsyncError):
            return None
        steps, digest = int(match["steps"]), f"sha256:{match['digest']}"
        found = cls(run, scenario, parts[3], int(parts[4]), steps, match["kind"], score, digest)
        return found if found.key == key else None


def object_key(digest: str) -> str:
    """Where the bytes of a digest lie."""
    hexadecimal = digest.removeprefix("sha256:")
    return f"{OBJECTS}{hexadecimal[:2]}/{hexadecimal}"


def parse_object(key: str) -> str | None:
    """Return the digest of the bytes that lie there; None when it is no object's key."""
    match = _OBJECT.fullmatch(key)
    return f"sha256:{match[2]}" if match else None


def run_prefix(run: str) -> str:
    """Where the versions of a run lie."""
    return f"{VERSIONS}{names.check_scenario(run)}/"


def line_prefix(run: str, scenario: str) -> str:
    """Where the versions of a run's scenario lie."""
    return f"{run_prefix(run)}{names.check_scenario(scenario)}/"


def head_key(run: str, scenario: str) -> str:
    """Where a head lies."""
    return f"{HEADS}{names.check_scenario(run)}/{names.check_scenario(scenario)}{_SUFFIX}"


def parse_head(key: str) -> tuple[str, str] | None:
    """Return the run and scenario of a head's key; None when it is none."""
    parts = key.removesuffix(_SUFFIX).split("/")
    if len(parts) != 3 or not _are_names(parts[1:]) or head_key(parts[1], parts[2]) != key:
        return None
    return parts[1], parts[2]


def tag_key(run: str, scenario: str, tag: str) -> str:
    """Where a tag lies. Raises UsageError when nothing may be called so."""
    return f"{tags_prefix(run, scenario)}{names.check_scenario(tag)}{_SUFFIX}"


def tags_prefix(run: str, scenario: str) -> str:
    """Where the tags of a run's scenario lie."""
    return f"{TAGS}{names.check_scenario(run)}/{names.check_scenario(scenario)}/"


def parse_tag(key: str) -> tuple[str, str, str] | None:
    """Return the run, the scenario and the name of a tag's key; None when it is none."""
    parts = key.removesuffix(_SUFFIX).split("/")
    if len(parts) != 4 or not _are_names(parts[1:]) or tag_key(parts[1], parts[2], parts[3]) != key:
        return None
    return parts[1], parts[2], parts[3]


def claim_key(kind: str, token: str) -> str:
    """Where a claim of a kind lies."""
    return f"{CLAIMS}{kind}/{token}{_SUFFIX}"


def is_claim(key: str) -> bool:
    """Whether a claim may lie there."""
    return _CLAIM.fullmatch(key) is not None


def looks_like_version(key: str) -> bool:
    """Whether a key ends as those of versions do; one that is none all the same was changed."""
    return key.startswith(VERSIONS) and _LIKE_VERSION.search(key) is not None


def _are_names(parts: list[str]) -> bool:
    try:
        return all(names.check_scenario(part) == part for part in parts)
    except CkptsyncError:
        return False


def check_lineage(lineage: str) -> str:
    """Return a lineage unchanged if keys may hold it. Raises UnsafePathError."""
    if names.check_component(lineage, what="lineage").startswith("."):
        raise UnsafePathError(f"unsafe lineage {names.printable(lineage)}: it begins with a dot")
    return lineage
