"""How much may still be written, and what is done when that is too little: sets stay within the room there is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from pathlib import Path
from typing import Any

from ..core import fsio
from ..core.errors import StorageError
from ..core.forecast import Fit, Forecast, SetSize, forecast
from ..core.heads import Best
from ..core.layout import TrainingTree
from ..core.manifest import Manifest
from ..core.session import EventLog, SavePolicy
from ..core.units import size_text
from .log import log
from .retention import own_sets, retain_early, retained

# Adam, which nearly every algorithm uses, has two numbers for each that is trained
_OPTIMIZER_SHARE = 2


@dataclass(frozen=True)
class Disk:
    """Where a session writes, and how much that may hold.

    Args:
        working: the session's working folder.
        max_output_bytes: how much it may hold at the end; None: what the file system holds.
    """

    working: Path
    max_output_bytes: int | None = None

    def free_bytes(self, place: Path) -> int:
        """Return how many bytes may still be written at a place."""
        free = fsio.free_bytes(place)
        if self.max_output_bytes is None:
            return free
        return min(free, max(0, self.max_output_bytes - fsio.used_bytes(self.working)))


class Room:
    """Keeps one scenario's sets within the room that there is; the caller holds the tree's lock.

    Args:
        tree: the training tree.
        scenario: whose sets.
        lineage: theirs.
        policy: what to keep.
        disk: where they are written.
        events: where it is written down when the room gets tight.
        end_steps: num_timesteps at the end of this session, at most.
    """

    def __init__(
        self,
        tree: TrainingTree,
        scenario: str,
        lineage: str,
        policy: SavePolicy,
        disk: Disk,
        events: EventLog,
        *,
        end_steps: int,
    ) -> None:
        self._tree = tree
        self._scenario = scenario
        self._lineage = lineage
        self._policy = policy
        self._disk = disk
        self._events = events
        self._end_steps = end_steps
        self._expected: SetSize | None = None
        self._fit = Fit.ENOUGH
        self._enough_bytes: int | None = None

    def expect(self, size: SetSize, num_timesteps: int) -> None:
        """Look ahead at the start, when it is known how large the sets will be.

        Args:
            size: of the sets to come.
            num_timesteps: N now.

        Raises:
            StorageError: what the policy keeps can certainly not be written; nothing was trained yet.
        """
        self._expected = size
        ahead = self._look_ahead(size, num_timesteps)
        if ahead.fit is Fit.SHORT:
            raise StorageError(ahead.said(self._scenario, self._tree.checkpoints), hint=ahead.advice(self._policy))

    def make(
        self,
        num_timesteps: int,
        *,
        latest: Manifest | None,
        best: Best | None,
        exports: Sequence[Path],
        last_chance: bool,
    ) -> None:
        """Make room for the next set, as far as the policy lets older ones go, and write down which went.

        Args:
            num_timesteps: N of the next set.
            latest: the newest sealed set, or None.
            best: the best one, or None.
            exports: where copies of its model will be exported to.
            last_chance: no later save can make up for this one.

        Raises:
            StorageError: the next set would not fit; nothing was removed.
        """
        size = self._size(latest)
        if size is None:
            return  # nothing is known of the first set of a loop of the user's own: it is tried
        free = self._free_bytes()
        if self._enough_bytes is not None and free >= self._enough_bytes:
            return
        # Copies can be made again from a set: where no other save will come, it alone counts
        copies = 0 if last_chance else _copies(exports)
        needed = size.next_bytes(copies) + _new_rows_bytes(latest, num_timesteps)
        if needed > free and not self._prune(needed - free, latest, best, last_chance=last_chance):
            raise StorageError(
                f"the next checkpoint of {self._scenario} needs {size_text(needed)} in {self._tree.checkpoints}, "
                f"and {size_text(free)} are free",
                hint=self._look_ahead(size, num_timesteps).advice(self._policy),
            )
        self._look_ahead(size, num_timesteps)

    def _prune(self, missing: int, latest: Manifest | None, best: Best | None, *, last_chance: bool) -> bool:
        if latest is None or latest.lineage != self._lineage:
            return False
        folder, policy = self._tree.checkpoints, self._policy
        removed = retain_early(
            folder, self._scenario, self._lineage, policy, missing, latest=latest, best=best, last_chance=last_chance
        )
        for stem in removed:
            self._events.write("removed", scenario=self._scenario, stem=stem)
        if removed:
            self._warn("disk.tight", f"the disk is nearly full: {', '.join(removed)} went before the next save")
        return bool(removed)

    def _size(self, latest: Manifest | None) -> SetSize | None:
        if latest is None:
            return self._expected
        size = SetSize.of(latest, end_steps=self._end_steps)
        if self._expected is None:
            return size
        # How much a full buffer takes is known from the buffer itself
        return replace(
            size,
            shared_least_bytes=max(size.shared_least_bytes, self._expected.shared_least_bytes),
            shared_most_bytes=max(size.shared_least_bytes, self._expected.shared_most_bytes),
        )

    def _look_ahead(self, size: SetSize, num_timesteps: int) -> Forecast:
        """Make the forecast, and say it when it has become worse."""
        own = own_sets(self._tree.checkpoints, self._scenario, self._lineage)
        ahead = forecast(
            size,
            self._policy,
            retained(own),
            num_timesteps=num_timesteps,
            end_steps=self._end_steps,
            free_bytes=self._free_bytes(),
            exported_bytes=sum(path.stat().st_size for path in self._tree.exports(self._scenario) if path.is_file()),
        )
        self._enough_bytes = ahead.most_bytes
        if ahead.fit is not self._fit and ahead.fit is not Fit.ENOUGH:
            self._warn(f"disk.{ahead.fit}", ahead.said(self._scenario, self._tree.checkpoints))
        self._fit = ahead.fit
        return ahead

    def _free_bytes(self) -> int:
        return self._disk.free_bytes(self._tree.checkpoints)

    def _warn(self, code: str, message: str) -> None:
        self._events.write("warning", scenario=self._scenario, message=message, code=code)
        log(f"[CHECKPOINT] {message}")


def _copies(exports: Sequence[Path]) -> int:
    """Return how many copies of a model must fit at once: one that is replaced gives its room back at the end."""
    new = sum(not path.exists() for path in exports)
    return new + (new < len(exports))


def _new_rows_bytes(latest: Manifest | None, num_timesteps: int) -> int:
    """Return what the rows of a replay buffer since the newest set will take, as those before did."""
    if latest is None or not latest.num_timesteps:
        return 0
    shared = sum(entry.size_bytes for entry in latest.segments)
    return shared * max(0, num_timesteps - latest.num_timesteps) // latest.num_timesteps


def expected_size(model: Any, parent: Manifest | None, end_steps: int) -> SetSize:
    """Return how large the sets of an SB3 model will be, before the first one is written.

    Args:
        model: the model as the script has built it.
        parent: the set that it goes on from, which says it better; None: there is none.
        end_steps: num_timesteps at the end.
    """
    if parent is not None:
        size = SetSize.of(parent, end_steps=end_steps)
    else:
        model_bytes = _model_bytes(model)
        size = SetSize(model_bytes, model_bytes)
    replay = max(size.shared_bytes, _replay_bytes(model, end_steps))
    return replace(size, shared_least_bytes=replay, shared_most_bytes=replay)


def _model_bytes(model: Any) -> int:
    """Return what an SB3 model's own file takes: its networks, and what the optimizers keep of what they train."""
    total = sum(tensor.nbytes for tensor in model.policy.state_dict().values())
    for name in model._get_torch_save_params()[0]:
        for group in getattr(attrgetter(name)(model), "param_groups", ()):
            total += _OPTIMIZER_SHARE * sum(tensor.nbytes for tensor in group["params"])
    return total


def _replay_bytes(model: Any, end_steps: int) -> int:
    """Return what the rows of the replay buffer take at the end."""
    buffer = getattr(model, "replay_buffer", None)
    if buffer is None:
        return 0
    rows = min(buffer.buffer_size, -(-end_steps // model.n_envs))
    return sum(array.nbytes for array in _arrays(vars(buffer))) * rows // buffer.buffer_size


def _arrays(values: Mapping[str, Any]) -> Iterator[Any]:
    for value in values.values():
        if isinstance(value, dict):
            yield from _arrays(value)
        elif hasattr(value, "nbytes"):
            yield value
