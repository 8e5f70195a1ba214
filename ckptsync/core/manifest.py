"""The manifest: the seal of a checkpoint.

It names the set's files with sizes and digests, says what the set holds and where it comes from, and
carries its own digest. It is written last, so its presence is the commit. The file is one line of
canonical JSON whose last field is `digest`: the sha256 of the same object without that field. The
serialised form is the promise, not these classes: unknown fields are kept, a field never changes
its meaning, another schema number means a form that older versions refuse.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from . import fields, jsonio, names, selfdigest
from .errors import CorruptError, UnsafePathError, UsageError
from .findings import Finding, blocker
from .signature import Signature, shared_signature

_SCHEMA_FAMILY = "ckptsync.manifest/"
SCHEMA = _SCHEMA_FAMILY + "1"
MAX_MANIFEST_BYTES = 16 << 20
KINDS = ("periodic", "time", "emergency", "final", "best", "request", "adopted")
FIDELITIES = ("exact", "state", "weights")
SEGMENT = "segment"
ROLES = ("model", "resume", "environment", "vecnormalize", "replay", SEGMENT)


class ManifestError(CorruptError):
    """A manifest cannot be used; `finding` says why."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(str(finding))
        self.finding = finding


@dataclass(frozen=True)
class FileEntry:
    """One file of a set.

    Args:
        path: its name, beside the manifest; begins with the set's stem and a dot. For a segment
            `<scenario>_replay/<name>`: it belongs to every set that names it.
        role: one of ROLES.
        size_bytes: its length.
        digest: sha256 of its bytes.
        content: sha256 over the tensor members alone, for models: SB3 stamps the time into its zip,
            so two saves of equal weights differ in `digest` and agree in `content`.
    """

    path: str
    role: str
    size_bytes: int
    digest: str
    content: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the entry as it stands in the manifest."""
        entry = {"path": self.path, "role": self.role, "size_bytes": self.size_bytes, "digest": self.digest}
        return entry if self.content is None else {**entry, "content": self.content}


@dataclass(frozen=True)
class Origin:
    """The set that a session resumed from: enough to follow a lineage when that set is gone.

    Args:
        session: the session that made it, or None outside any session.
        num_timesteps: its N.
        digest: its manifest's digest.
    """

    session: str | None
    num_timesteps: int
    digest: str

    def to_json(self) -> dict[str, Any]:
        """Return the origin as it stands in the manifest."""
        return {"session": self.session, "num_timesteps": self.num_timesteps, "digest": self.digest}

    @classmethod
    def from_json(cls, value: Any) -> Origin:
        """Parse what `to_json` gave. Raises ValueError when it is anything else."""
        if not isinstance(value, dict):
            raise ValueError("an origin is an object")
        return cls(_session(value), fields.count(value, "num_timesteps"), fields.digest(value, "digest"))


@dataclass(frozen=True)
class Manifest:
    """What is known of a sealed set.

    Args:
        scenario: the task that it belongs to.
        num_timesteps: transitions, summed over all environments.
        kind: why it was saved, one of KINDS.
        files: its files, the model first; its segments in the order of their rows.
        signature: which network it holds.
        lineage: id of the chain that it belongs to.
        generation: counter of sessions in the lineage.
        session: id of the session that made it; None outside any session.
        version: the user's word for the task (reward, physics).
        parent: digest of the manifest before it in the chain.
        resumed_from: what its session resumed from; None when that began from zero.
        captured: one of FIDELITIES.
        captured_reasons: why it is no more than that.
        versions: of Python and the libraries that wrote it.
        metrics: numbers at the time of saving, such as `ep_rew_mean`.
        created_at: ISO 8601, UTC; for people, never for order.
        extra: fields of newer versions, kept as they are.
        digest: of the manifest itself; empty until sealed.
    """

    scenario: str
    num_timesteps: int
    kind: str
    files: tuple[FileEntry, ...]
    signature: Signature
    lineage: str
    generation: int
    session: str | None = None
    version: str = "1"
    parent: str | None = None
    resumed_from: Origin | None = None
    captured: str = "weights"
    captured_reasons: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    created_at: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)
    digest: str = ""

    @property
    def stem(self) -> str:
        """The stem of the set's file names."""
        return names.checkpoint_stem(self.scenario, self.num_timesteps)

    @property
    def model(self) -> FileEntry:
        """The entry of the model file."""
        return self.files[0]

    @property
    def order(self) -> tuple[int, int]:
        """Sort key within one lineage: (generation, N). Never time, never N alone."""
        return (self.generation, self.num_timesteps)

    def entry(self, role: str) -> FileEntry | None:
        """Return the file of a role, or None."""
        return next((entry for entry in self.files if entry.role == role), None)

    @property
    def members(self) -> tuple[FileEntry, ...]:
        """The files that belong to this set alone, the model first."""
        return tuple(entry for entry in self.files if entry.role != SEGMENT)

    @property
    def segments(self) -> tuple[FileEntry, ...]:
        """The files that other sets may share, in the order of their rows."""
        return tuple(entry for entry in self.files if entry.role == SEGMENT)

    @property
    def size_bytes(self) -> int:
        """Bytes of all files together, segments included."""
        return sum(entry.size_bytes for entry in self.files)

    def body(self) -> dict[str, Any]:
        """Return the manifest as a JSON object without its own digest."""
        return {
            **self.extra,
            "schema": SCHEMA,
            "scenario": self.scenario,
            "num_timesteps": self.num_timesteps,
            "kind": self.kind,
            "files": [entry.to_json() for entry in self.files],
            "signature": self.signature.to_json(),
            "lineage": self.lineage,
            "generation": self.generation,
            "session": self.session,
            "version": self.version,
            "parent": self.parent,
            "resumed_from": self.resumed_from.to_json() if self.resumed_from else None,
            "fidelity": {"captured": self.captured, "reasons": list(self.captured_reasons)},
            "versions": dict(self.versions),
            "metrics": dict(self.metrics),
            "created_at": self.created_at,
        }

    def serialise(self) -> bytes:
        """Return the bytes of the manifest file, with its own digest in it."""
        return selfdigest.serialise(self.body())

    @classmethod
    def parse(cls, data: bytes, *, name: str = "manifest") -> Manifest:
        """Parse a manifest file.

        Args:
            data: its bytes.
            name: what to call it in findings.

        Raises:
            ManifestError: its bytes disagree with its own digest, a field is missing or wrong
                (`manifest.damaged`), its schema is unknown (`manifest.schema`), or a path in it leads
                outside (`path.escape`).
        """
        try:
            value = jsonio.parse(data)
            if not isinstance(value, dict):
                raise ValueError("it is no object")
            schema = value.get("schema")
            if not isinstance(schema, str):
                raise ValueError("it has no schema")
            if schema != SCHEMA:
                hint = "a newer ckptsync may read it" if schema.startswith(_SCHEMA_FAMILY) else ""
                raise ManifestError(blocker("manifest.schema", name, SCHEMA, schema, hint))
            return cls._from_json(value, selfdigest.check(data, value))
        except UnsafePathError as error:
            raise ManifestError(blocker("path.escape", name, actual=error.message)) from None
        except (ValueError, UsageError) as error:
            raise ManifestError(blocker("manifest.damaged", name, actual=str(error))) from None

    @classmethod
    def _from_json(cls, value: dict[str, Any], digest: str) -> Manifest:
        fidelity = fields.mapping(value, "fidelity")
        scenario, num_timesteps = fields.text(value, "scenario"), fields.count(value, "num_timesteps")
        origin = value.get("resumed_from")
        return cls(
            scenario=scenario,
            num_timesteps=num_timesteps,
            kind=fields.one_of(value, "kind", KINDS),
            files=_files(value.get("files"), scenario, names.checkpoint_stem(scenario, num_timesteps)),
            signature=shared_signature(value.get("signature")),
            lineage=names.check_component(fields.text(value, "lineage"), what="lineage"),
            generation=fields.count(value, "generation"),
            session=_session(value),
            version=fields.text(value, "version"),
            parent=fields.digest(value, "parent") if value.get("parent") is not None else None,
            resumed_from=Origin.from_json(origin) if origin is not None else None,
            captured=fields.one_of(fidelity, "captured", FIDELITIES),
            captured_reasons=fields.texts(fidelity, "reasons"),
            versions=_versions(value),
            metrics=_metrics(value),
            created_at=fields.text(value, "created_at"),
            extra={key: kept for key, kept in value.items() if key not in _FIELDS},
            digest=digest,
        )


_FIELDS = frozenset(
    [
        "schema",
        "scenario",
        "num_timesteps",
        "kind",
        "files",
        "signature",
        "lineage",
        "generation",
        "session",
        "version",
        "parent",
        "resumed_from",
        "fidelity",
        "versions",
        "metrics",
        "created_at",
        "digest",
    ]
)


def _files(value: Any, scenario: str, stem: str) -> tuple[FileEntry, ...]:
    if not isinstance(value, list) or not value:
        raise ValueError("field 'files' is no list of files")
    entries = [_file(item, stem) for item in value]
    if len({entry.path.casefold() for entry in entries}) != len(entries):
        raise ValueError("field 'files' names a file twice")
    models = [entry.path for entry in entries if entry.role == "model"]
    if models != [names.model_name(stem)] or entries[0].role != "model":
        raise ValueError(f"field 'files' must begin with the one model, {names.model_name(stem)}")
    rows = [_rows(scenario, entry) for entry in entries if entry.role == SEGMENT]
    if any(later.start < earlier.end for earlier, later in pairwise(rows)):
        raise ValueError("field 'files' names segments out of order, or two that hold the same rows")
    return tuple(entries)


def _file(item: Any, stem: str) -> FileEntry:
    if not isinstance(item, dict):
        raise ValueError("field 'files' holds something that is no file")
    path, role = fields.text(item, "path"), fields.one_of(item, "role", ROLES)
    if role != SEGMENT:
        names.check_member(stem, path)
    content = fields.digest(item, "content") if item.get("content") is not None else None
    return FileEntry(path, role, fields.count(item, "size_bytes"), fields.digest(item, "digest"), content)


def _rows(scenario: str, entry: FileEntry) -> names.SegmentParts:
    parts = names.check_segment(scenario, entry.path)
    if not entry.digest.startswith("sha256:" + parts.digest):
        raise ValueError(f"segment {names.printable(entry.path)} has another digest than its name says")
    return parts


def _session(value: Mapping[str, Any]) -> str | None:
    if value.get("session") is None:
        return None
    return names.session_id(*names.parse_session_id(fields.text(value, "session")))


def _metrics(value: Mapping[str, Any]) -> dict[str, float]:
    metrics = fields.mapping(value, "metrics")
    if not all(type(number) in (int, float) for number in metrics.values()):
        raise ValueError("field 'metrics' holds something that is no number")
    return metrics  # as they came: a count that turned into a float would give the manifest another digest


def _versions(value: Mapping[str, Any]) -> dict[str, str]:
    versions = fields.mapping(value, "versions")
    return {name: fields.text(versions, name) for name in versions}
