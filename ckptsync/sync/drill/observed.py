"""What a session of a drill did, gathered from what it left: values for faults and figures to be made from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...core import fsio, jsonio, names, sets
from ...core.layout import DRILL_NOTES_NAME, EVENTS_NAME, TrainingTree
from ...core.manifest import Manifest
from ...core.session import SessionSpec, read_events
from ...core.sets import SetState
from ...project.config import Project
from ...project.lineage import SessionRecord
from ...runners.base import SessionState, SessionStatus
from ..events import sound_event
from ..targets import MODEL_SUFFIXES


@dataclass(frozen=True)
class Save:
    """One save, as the session wrote it down.

    Args:
        scenario: whose.
        num_timesteps: N.
        kind: why.
        seconds: how long it took from the snapshot to the seal.
        stall_seconds: how long training was held; None where the session does not tell.
        size_bytes: of the set.
        trained_seconds: training time so far; None where nobody counted.
    """

    scenario: str
    num_timesteps: int
    kind: str
    seconds: float
    stall_seconds: float | None
    size_bytes: int
    trained_seconds: float | None


@dataclass(frozen=True)
class Begun:
    """How a scenario began.

    Args:
        num_timesteps: N at its start.
        resumed: fidelity of the resume; None when it began from zero.
        reasons: why it is no more than that.
        trained_seconds: of the sessions before.
    """

    num_timesteps: int
    resumed: str | None
    reasons: tuple[str, ...]
    trained_seconds: float


@dataclass(frozen=True)
class Observed:
    """What one session did.

    Args:
        spec: what it was told.
        status: what its runner said at the end.
        begun: scenario -> how it began.
        reached: scenario -> N at its last sign of life.
        saves: in order.
        sealed: manifests of the sets that it made.
        unsealed: files of models that nobody sealed, relative to the working folder.
        failed_saves: what went wrong with saves.
        warnings: what the session warned of.
        error: what ended its script, or None.
        uses_session: whether the script uses TrainingSession.
        read: names of the model files that it opened.
        written: what it wrote outside its working folder.
        hosts: what it spoke to over a network.
        interrupted: it was asked to stop in the middle.
        stop_seconds: from that request to its end; None where it was not asked.
        saves_before_stop: how many saves there were when it was asked.
        log_tail: the last lines that it printed.
    """

    spec: SessionSpec
    status: SessionStatus
    begun: Mapping[str, Begun]
    reached: Mapping[str, int]
    saves: Sequence[Save]
    sealed: Sequence[Manifest]
    unsealed: Sequence[str]
    failed_saves: Sequence[str]
    warnings: Sequence[str]
    error: str | None
    uses_session: bool
    read: Sequence[str]
    written: Sequence[str]
    hosts: Sequence[str]
    interrupted: bool = False
    stop_seconds: float | None = None
    saves_before_stop: int = 0
    log_tail: Sequence[str] = ()

    @property
    def killed(self) -> bool:
        """Whether it had to be killed after it was asked to stop."""
        return self.interrupted and self.status.exit_code == 137

    @property
    def crashed(self) -> bool:
        """Whether its script failed by itself."""
        return self.status.state is SessionState.ERROR and not self.interrupted


@dataclass(frozen=True)
class Stop:
    """That a session was asked to stop in the middle.

    Args:
        seconds: from the request to its end.
        saves: how many saves there were before.
    """

    seconds: float
    saves: int


def observe(
    place: Project, record: SessionRecord, status: SessionStatus, stop: Stop | None, log: bytes, *, lines: int = 15
) -> Observed:
    """Gather what a fetched session left."""
    folder = place.layout.results(record.session)
    events = [sound_event(event) for event in read_events(folder / EVENTS_NAME)]
    notes = read_notes(folder / DRILL_NOTES_NAME)
    tree = TrainingTree(folder / record.spec.tree)
    given = {item["digest"] for item in record.inputs}
    stored = sets.scan(tree.checkpoints)
    sealed = [s.manifest for s in stored if s.state is SetState.SEALED and s.manifest is not None]
    saves = [_save(event) for event in events if event["event"] == "save"]
    return Observed(
        spec=record.spec,
        status=status,
        begun=_begun(event for event in events if event["event"] == "start"),
        reached=_reached(events),
        saves=saves,
        sealed=[manifest for manifest in sealed if manifest.digest not in given],
        unsealed=_models(folder, {entry.path for manifest in sealed for entry in manifest.files}),
        failed_saves=[str(event.get("error")) for event in events if event["event"] == "failed-save"],
        warnings=[str(event.get("message")) for event in events if event["event"] == "warning"],
        error=record.error,
        uses_session=any(note["note"] == "session" for note in notes),
        read=[str(note.get("file")) for note in notes if note["note"] == "read"],
        written=[str(note.get("path")) for note in notes if note["note"] == "written"],
        hosts=[str(note.get("host")) for note in notes if note["note"] == "network"],
        interrupted=stop is not None,
        stop_seconds=stop.seconds if stop is not None else None,
        saves_before_stop=stop.saves if stop is not None else 0,
        log_tail=log.decode("utf-8", "replace").splitlines()[-lines:],
    )


def _save(event: Mapping[str, Any]) -> Save:
    metrics = event.get("metrics") or {}
    return Save(
        scenario=event["scenario"],
        num_timesteps=event["num_timesteps"],
        kind=str(event.get("kind")),
        seconds=float(event.get("seconds") or 0.0),
        stall_seconds=event.get("stall_seconds"),
        size_bytes=int(event.get("size_bytes") or 0),
        trained_seconds=metrics.get("training_seconds"),
    )


def _begun(starts: Iterable[Mapping[str, Any]]) -> dict[str, Begun]:
    begun: dict[str, Begun] = {}
    for event in starts:  # of several starts of one scenario the first says what was resumed
        fidelity = event.get("fidelity") or {}
        first = Begun(
            num_timesteps=event["num_timesteps"],
            resumed=fidelity.get("resumed") if event.get("resumed_from") else None,
            reasons=tuple(fidelity.get("reasons", ())),
            trained_seconds=float(event.get("training_seconds") or 0.0),
        )
        begun.setdefault(event["scenario"], first)
    return begun


def _reached(events: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    reached: dict[str, int] = {}
    for event in events:
        if event["event"] in ("start", "save", "end"):
            name = event["scenario"]
            reached[name] = max(reached.get(name, 0), event["num_timesteps"])
    return reached


def _models(folder: Path, sealed: set[str]) -> list[str]:
    """Files of models that no set holds, without the copies that ckptsync exports itself."""
    found = []
    for path in sorted(folder.rglob("*")):
        if path.suffix in MODEL_SUFFIXES and path.is_file() and path.name not in sealed:
            stem = path.name.removesuffix(names.MODEL_SUFFIX)
            if not stem.endswith(("_final", "best_model")) and names.parse_stem(stem.partition(".")[0]) is None:
                found.append(path.relative_to(folder).as_posix())
    return found


def read_notes(path: Path) -> list[Mapping[str, Any]]:
    """Read what the watch has noted; none when it has noted nothing.

    Raises:
        CorruptError: the file is far too large.
    """
    if not path.is_file():
        return []
    found: list[Mapping[str, Any]] = []
    for line in fsio.read_bytes(path, limit=1 << 20).splitlines():
        try:
            note = jsonio.parse(line)
        except ValueError:
            continue  # the script died while it wrote the line
        if isinstance(note, dict) and isinstance(note.get("note"), str):
            found.append(note)
    return found
