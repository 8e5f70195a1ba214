"""Where things lie in a training tree, a project and a session's outputs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from . import names

DEFAULT_TREE = "data/models"
DEFAULT_RESULTS = "results"
CONFIG_NAME = "ckptsync.toml"
# What a session leaves at the top of its outputs, beside the tree
SESSION_INFO_NAME = "session_info.json"
EVENTS_NAME = "events.jsonl"
METRICS_NAME = "metrics.jsonl"
LOG_NAME = "training.log"
# Laid into a session's working folder by whoever wants a save now; removed when that save is sealed
SAVE_REQUEST_NAME = "ckptsync.save"
# What a drill's session does outside its working folder
DRILL_NOTES_NAME = "drill.jsonl"


def find_root(start: Path) -> Path | None:
    """Return the nearest folder at or above `start` that has a `ckptsync.toml`, or None."""
    here = start.absolute()
    return next((folder for folder in (here, *here.parents) if (folder / CONFIG_NAME).is_file()), None)


@dataclass(frozen=True)
class TrainingTree:
    """The local folder that the next session resumes from.

        checkpoints/   sets and heads
        best_model/    exported copies of the best sets
        <scenario>_final.zip, training_metadata.json

    Args:
        root: the tree's folder (`data/models`).
        attic: where good sets go that gave way; beside the tree when None.
    """

    root: Path
    attic_override: Path | None = None

    @property
    def checkpoints(self) -> Path:
        """The folder of sets and heads."""
        return self.root / "checkpoints"

    @property
    def best(self) -> Path:
        """The folder of exported best models."""
        return self.root / "best_model"

    @property
    def metadata(self) -> Path:
        """The JSON file for people and older scripts."""
        return self.root / "training_metadata.json"

    @property
    def lock(self) -> Path:
        """The lock that everybody takes who changes the tree; it lies beside the tree."""
        return self.root.parent / f".{self.root.name}.lock"

    @property
    def attic(self) -> Path:
        """Where good sets go that gave way."""
        return self.attic_override or self.root.parent / f".{self.root.name}.attic"

    def head(self, scenario: str) -> Path:
        """The file that names a scenario's head."""
        return self.checkpoints / names.head_name(scenario)

    def final(self, scenario: str) -> Path:
        """The exported copy of a scenario's final model."""
        return self.root / f"{names.check_scenario(scenario)}_final.zip"

    def exports(self, scenario: str) -> list[Path]:
        """Every place where a copy of one of a scenario's models may have been exported to."""
        return [self.final(scenario), *self.best_exports(scenario, only=True)]

    def best_exports(self, scenario: str, *, only: bool) -> list[Path]:
        """The exported copies of a scenario's best model; `best_model.zip` too where it is the only scenario."""
        exports = [self.best / f"{names.check_scenario(scenario)}_best_model.zip"]
        return [*exports, self.best / "best_model.zip"] if only else exports


@dataclass(frozen=True)
class ProjectLayout:
    """Where a project keeps what it is and remembers.

    Args:
        root: the folder of `ckptsync.toml`.
        results_name: folder of what was downloaded, relative to root.
    """

    root: Path
    results_name: str = DEFAULT_RESULTS

    @property
    def config(self) -> Path:
        """The configuration file."""
        return self.root / CONFIG_NAME

    @property
    def state(self) -> Path:
        """The folder of everything that is ckptsync's own."""
        return self.root / ".ckptsync"

    @property
    def ledger(self) -> Path:
        """The append-only history."""
        return self.state / "ledger.jsonl"

    @property
    def lock(self) -> Path:
        """The lock of commands that append to the ledger."""
        return self.state / "lock"

    @property
    def staging(self) -> Path:
        """Packs on their way to a runner."""
        return self.state / "staging"

    @property
    def attic(self) -> Path:
        """Good files that gave way, for undo."""
        return self.state / "attic"

    @property
    def quarantine(self) -> Path:
        """Refused files, each with its reason."""
        return self.state / "quarantine"

    @property
    def cache(self) -> Path:
        """What can be made again: packed wheels, cached verdicts."""
        return self.state / "cache"

    @property
    def tiers(self) -> Path:
        """What was last seen of each store: a file for each run and tier."""
        return self.state / "tiers"

    @property
    def drill(self) -> Path:
        """The throw-away project of a drill, there while it runs."""
        return self.state / "drill"

    def session(self, session: str) -> Path:
        """The folder of one session: submission, handle, exit record, log."""
        run, number = names.parse_session_id(session)
        return self.state / "sessions" / run / f"s{number:04d}"

    def results(self, session: str) -> Path:
        """Where a session's outputs are downloaded to, as they came."""
        run, number = names.parse_session_id(session)
        return self.root / self.results_name / run / f"s{number:04d}"

    def tree(self, relative: str) -> TrainingTree:
        """The training tree of a run."""
        return TrainingTree(self.root / relative, attic_override=self.attic)
