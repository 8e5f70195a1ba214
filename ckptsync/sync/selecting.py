"""Which of a session's files are wanted: `fetch --only checkpoints|logs|metrics|GLOB`."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from fnmatch import fnmatchcase
from pathlib import Path

from ..core import names
from ..core.errors import NothingFoundError
from ..core.layout import EVENTS_NAME, LOG_NAME, METRICS_NAME, SESSION_INFO_NAME, TrainingTree

# Word -> patterns; `{checkpoints}` is the folder of the session's sets
_WORDS = {
    "checkpoints": ("{checkpoints}/*",),
    "logs": ("*.log", f"{LOG_NAME}.*", EVENTS_NAME, SESSION_INFO_NAME),
    "metrics": (METRICS_NAME, EVENTS_NAME, "progress.csv", "events.out.tfevents.*"),
}


class Selection:
    """Chooses files by their paths; the seal of a chosen set comes with it.

    Args:
        only: words and patterns; a pattern without `/` is compared with the file's name, any other with its whole
            path. None at all choose everything.
        tree: the session's training tree.
    """

    def __init__(self, only: Iterable[str], tree: str) -> None:
        self._only = tuple(only)
        self._checkpoints = TrainingTree(Path(tree)).checkpoints.as_posix()
        self._patterns = [
            pattern.format(checkpoints=self._checkpoints) if word in _WORDS else pattern
            for word in self._only
            for pattern in _WORDS.get(word, (word,))
        ]

    @property
    def everything(self) -> bool:
        """Whether nothing is left out."""
        return not self._only

    def of(self, paths: Collection[str]) -> set[str]:
        """Return the chosen ones of all paths.

        Raises:
            NothingFoundError: there are files, and none of them is chosen.
        """
        if self.everything:
            return set(paths)
        chosen = {path for path in paths if self._chosen(path)}
        if paths and not chosen:
            raise NothingFoundError(
                f"no file of the session fits {', '.join(map(names.printable, self._only))}",
                hint="'ckptsync fetch --dry-run' lists what it left",
            )
        seals = {f"{self._checkpoints}/{stem}{names.MANIFEST_SUFFIX}" for path in chosen if (stem := self._stem(path))}
        return chosen | (seals & set(paths))

    def _chosen(self, path: str) -> bool:
        name = path.rpartition("/")[2]
        return any(fnmatchcase(path if "/" in pattern else name, pattern) for pattern in self._patterns)

    def _stem(self, path: str) -> str | None:
        """Return the stem of the set that a path belongs to, or None."""
        folder, _, name = path.rpartition("/")
        if folder != self._checkpoints:
            return None
        # No suffix of ours is without a dot, and a scenario's name may hold some
        parts = name.split(".")
        stems = (".".join(parts[:end]) for end in range(len(parts) - 1, 0, -1))
        return next((stem for stem in stems if names.parse_stem(stem) is not None), None)
