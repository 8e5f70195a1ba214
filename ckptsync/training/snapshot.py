"""Clean points in memory: everything that a set is made of, copied, so that training can go on meanwhile.

Two slots of tensors, allocated once: one holds the kept point, the other the one that is being written.
A set is made from its snapshot alone, never from the live model.
"""

from __future__ import annotations

import copy
import pickle
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, BinaryIO

import torch

from .arrays import UnencodableError, encode, write_arrays
from .log import log
from .replay import ReplayLog, ReplayPoint
from .sb3_model import data_of, put_tensors, signature_of, tensors_of, write_zip
from .state import Captured, TrainingState
from .versions import current_versions
from .writer import Draft, Member

# A point is kept at every rollout of so many steps. Shorter ones (off-policy, A2C) come so often that there it costs
# at most about this share of the time
_LONG_ROLLOUT = 16
_KEEP_SHARE = 0.01
_SECOND_AFTER_SECONDS = 1.0


class TensorMemory:
    """Memory for copies of one structure of tensors: allocated by the first copy, used again by the next ones."""

    def __init__(self) -> None:
        self._held: list[Any] = []

    def copy(self, value: Any) -> Any:
        """Copy a structure; what was copied before is overwritten.

        Args:
            value: dicts, lists and tuples of tensors and plain values. Tensors that share memory share it in
                the copy too, so a file of the copy is as large as one of the original.
        """
        pairs: dict[tuple[Any, ...], tuple[Any, Any]] = {}
        copied = self._copied(value, pairs)
        self._held = [target for target, _ in pairs.values()]
        if pairs:
            with torch.no_grad():
                torch._foreach_copy_(self._held, [source for _, source in pairs.values()])
        return copied

    def _copied(self, value: Any, pairs: dict[tuple[Any, ...], tuple[Any, Any]]) -> Any:
        if isinstance(value, torch.Tensor):
            # Empty ones all lie at the same address
            address = value.data_ptr() if value.numel() else -1 - len(pairs)
            place = (address, value.shape, value.stride(), value.dtype, value.device, value.requires_grad)
            if place not in pairs:
                pairs[place] = (self._room(len(pairs), value), value)
            return pairs[place][0]
        if isinstance(value, dict):
            twin = copy.copy(value)  # a state dict is a class of its own with attributes
            for key, item in value.items():
                twin[key] = self._copied(item, pairs)
            return twin
        if isinstance(value, list | tuple):
            return type(value)(self._copied(item, pairs) for item in value)
        return value

    def _room(self, index: int, value: Any) -> Any:
        held = self._held[index] if index < len(self._held) else None
        if (
            held is not None
            and (held.shape, held.dtype, held.requires_grad) == (value.shape, value.dtype, value.requires_grad)
            and held.stride() == value.stride()
        ):
            return held
        room = torch.empty_like(value, device="cpu", pin_memory=value.is_cuda)
        return room.requires_grad_(value.requires_grad)


@dataclass
class _Slot:
    """Memory of one snapshot, and the write that reads it."""

    memory: TensorMemory
    write: Future[Any] | None = None

    @property
    def busy(self) -> bool:
        return self.write is not None and not self.write.done()


@dataclass(frozen=True)
class Snapshot:
    """One clean point.

    Args:
        num_timesteps: N.
        parameters: state dicts by name, as SB3's `get_parameters` gives them.
        variables: further tensors by name.
        data: the text of the part of SB3's zip that holds plain attributes.
        captured: everything around the tensors.
        normaliser: VecNormalize in SB3's own form, pickled; None: there is none.
        replay: the moment of the replay buffer; None: there is none, or it cannot be captured.
        reasons: why something is missing.
        numbers: finite numbers of this moment.
        taken_at: when, on the clock of `time.monotonic`.
        seconds: how long taking it held training up.
        slot: where the tensors lie.
    """

    num_timesteps: int
    parameters: Mapping[str, Any]
    variables: Mapping[str, Any]
    data: str
    captured: Captured
    normaliser: bytes | None
    replay: ReplayPoint | None
    reasons: tuple[str, ...]
    numbers: Mapping[str, float]
    taken_at: float
    seconds: float
    slot: _Slot


class Snapshots:
    """Takes the clean points of one call of `learn`. All of it belongs to whoever holds `StopWatch.undisturbed`.

    Args:
        model: an SB3 algorithm.
        around: captures everything around its tensors.
        replay: captures the replay buffer; None: there is none.
    """

    def __init__(self, model: Any, around: TrainingState, replay: ReplayLog | None) -> None:
        self.kept: Snapshot | None = None
        self._model = model
        self._around = around
        self._slots = (_Slot(TensorMemory()), _Slot(TensorMemory()))
        self._signature = signature_of(model)
        self._replay = replay
        self._due_at = 0.0
        self._measured = False

    def due(self) -> bool:
        """Whether the kept point shall be taken anew: at each long rollout, else as often as its cost allows."""
        long = self._replay is None and getattr(self._model, "n_steps", 0) >= _LONG_ROLLOUT
        return long or time.monotonic() >= self._due_at

    def take(self, numbers: Mapping[str, float]) -> Snapshot:
        """Keep the clean point of this moment in place of the one before.

        Whatever may fail comes first: until the tensors are copied, the point before stays the kept one.
        """
        started = time.monotonic()
        model = self._model
        captured = self._around.capture()
        normaliser = model.get_vec_normalize_env()
        pickled = None if normaliser is None else pickle.dumps(normaliser)
        data = data_of(model)
        replay = None if self._replay is None else self._replay.keep()
        problem = None if self._replay is None else self._replay.problem
        slot = self._free_slot()
        if self.kept is not None and self.kept.slot is slot:
            self.kept = None
        parameters, variables = slot.memory.copy(tensors_of(model))
        self.kept = Snapshot(
            num_timesteps=model.num_timesteps,
            parameters=parameters,
            variables=variables,
            data=data,
            captured=captured,
            normaliser=pickled,
            replay=replay,
            reasons=(*captured.reasons, *([problem] if problem else [])),
            numbers=numbers,
            taken_at=started,
            seconds=time.monotonic() - started,
            slot=slot,
        )
        pause = self.kept.seconds / _KEEP_SHARE
        # The first one also pays for what is done once, so it does not tell what the next one costs
        self._due_at = started + (pause if self._measured else min(pause, _SECOND_AFTER_SECONDS))
        self._measured = True
        return self.kept

    def _free_slot(self) -> _Slot:
        """Return a slot that is not being written, the kept one's only where there is no other."""
        kept = None if self.kept is None else self.kept.slot
        return next(slot for slot in sorted(self._slots, key=lambda slot: slot is kept) if not slot.busy)

    def draft(self, snapshot: Snapshot) -> Draft:
        """Make the set of a snapshot. Called by the writer's thread."""
        reasons = list(snapshot.reasons)
        members = [Member("model", "zip", lambda file: _write_model(file, snapshot))]
        arrays: dict[str, Any] = {}
        try:
            encoded = encode(snapshot.captured.state, arrays)
        except UnencodableError as error:
            reasons.append(f"the state holds {error}")
            encoded = None
        if encoded is not None:
            members.append(Member("resume", "safetensors", lambda file: write_arrays(file, encoded, arrays)))
        if snapshot.captured.objects is not None:
            members.append(Member("environment", "pkl", _writes(snapshot.captured.objects)))
        if snapshot.normaliser is not None:
            members.append(Member("vecnormalize", "pkl", _writes(snapshot.normaliser)))
        captured = "weights" if encoded is None else "state" if reasons else "exact"
        draft = Draft(
            snapshot.num_timesteps, tuple(members), self._signature, captured, tuple(reasons), current_versions()
        )
        if self._replay is None or snapshot.replay is None:
            return draft
        rows = self._replay.members(snapshot.replay)
        return replace(
            draft,
            members=(*members, Member("replay", "safetensors", rows.state)),
            segments=rows.segments,
            sealed=partial(self._replay.sealed, snapshot.replay),
        )

    def roll_back(self) -> None:
        """Bring the live model, its environments and its replay buffer back to the kept point."""
        kept, model = self.kept, self._model
        if kept is None:
            return
        if self._replay is not None and (kept.replay is None or not self._replay.roll_back(kept.replay)):
            log("[TRAIN] The replay buffer cannot be brought back to the last clean point; what is saved is whole")
        put_tensors(model, copy.deepcopy(kept.parameters), kept.variables, "the kept point")
        self._around.put_back(kept.captured.state, kept.captured.objects)
        self._around.put_back_generators(kept.captured.state)
        model.num_timesteps = kept.num_timesteps


def _write_model(file: BinaryIO, snapshot: Snapshot) -> None:
    write_zip(file, snapshot.data, snapshot.parameters, snapshot.variables)


def _writes(data: bytes) -> Callable[[BinaryIO], None]:
    def write(file: BinaryIO) -> None:
        file.write(data)

    return write
