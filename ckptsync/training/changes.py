"""What a script may change between two sessions, and what a resume makes of it: one table, for code and docs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Effect(StrEnum):
    """What becomes of a changed setting."""

    APPLIES = "takes effect"
    ANEW = "takes effect, something begins anew"
    NONE = "no effect on the training"
    REFUSED = "refused"


@dataclass(frozen=True)
class Change:
    """One row of the table.

    Args:
        setting: as the script writes it; `settings_of` names it so, or begins with it and a dot.
        effect: what becomes of the change.
        words: what is kept and what is not.
        code: the finding's code, where it is refused.
    """

    setting: str
    effect: Effect
    words: str
    code: str | None = None


CHANGES = (
    Change("learning_rate", Effect.APPLIES, "counts from the next update on; a schedule goes on where the training is"),
    Change("clip_range", Effect.APPLIES, "counts from the next update on"),
    Change("clip_range_vf", Effect.APPLIES, "counts from the next update on"),
    Change("batch_size", Effect.APPLIES, "counts from the next update on"),
    Change("n_epochs", Effect.APPLIES, "counts from the next update on"),
    Change(
        "n_steps", Effect.APPLIES, "rollouts have the new length; of a replay buffer of n-step returns the rows stay"
    ),
    Change("gamma", Effect.APPLIES, "counts from the next update on; the value function has to learn it"),
    Change("ent_coef", Effect.APPLIES, "counts from the next update on; between a number and 'auto' it begins anew"),
    Change("train_freq", Effect.APPLIES, "counts from the next rollout on"),
    Change("target_kl", Effect.APPLIES, "counts from the next update on"),
    Change("total_timesteps", Effect.APPLIES, "training goes on to the new target; schedules are measured by it"),
    Change("exploration_fraction", Effect.APPLIES, "the exploration rate follows the new schedule"),
    Change("action_noise", Effect.APPLIES, "another noise begins at its start"),
    Change("optimizer_kwargs", Effect.APPLIES, "the new options count, the optimizer's moments stay"),
    Change("optimizer_class", Effect.ANEW, "the optimizer begins without moments"),
    Change("n_envs", Effect.ANEW, "the environments begin new episodes; a replay buffer is left out"),
    Change("buffer_size", Effect.ANEW, "the replay buffer is left out and begins empty"),
    Change("replay_buffer_class", Effect.ANEW, "the replay buffer is left out and begins empty"),
    Change("optimize_memory_usage", Effect.ANEW, "the replay buffer is left out and begins empty"),
    Change(
        "normalisation", Effect.ANEW, "what the policy sees is on another scale: its statistics begin anew or are lost"
    ),
    Change("env wrappers", Effect.ANEW, "the environments begin new episodes"),
    Change("env settings", Effect.APPLIES, "plain attributes of environments that the script sets anew count"),
    Change("callbacks", Effect.ANEW, "a new callback begins at its start; the state of one that is gone is dropped"),
    Change("device", Effect.APPLIES, "other arithmetic gives other last bits"),
    Change("activation_fn", Effect.APPLIES, "the same weights are used in another network: its outputs jump"),
    Change("seed", Effect.NONE, "the generators go on where they were"),
    Change("verbose", Effect.NONE, "only what is shown changes"),
    Change("tensorboard_log", Effect.NONE, "only where the log is written changes"),
    Change("stats_window_size", Effect.NONE, "only the means in the log change"),
    Change("net_arch", Effect.REFUSED, "the weights do not fit", "arch.net-arch"),
    Change("policy", Effect.REFUSED, "the weights do not fit", "arch.policy"),
    Change("use_sde", Effect.REFUSED, "the weights do not fit", "arch.parameter-shape"),
    Change("algorithm", Effect.REFUSED, "another algorithm learns other things", "arch.algorithm"),
    Change("observation_space", Effect.REFUSED, "the weights do not fit", "arch.observation-space"),
    Change("action_space", Effect.REFUSED, "the weights do not fit", "arch.action-space"),
)
WITHOUT_EFFECT = frozenset(change.setting for change in CHANGES if change.effect is Effect.NONE)


def changed(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return in words which settings differ, and where something begins anew because of it.

    Args:
        before: settings at the save, by name; values of JSON.
        now: settings of the script as it is.
    """
    told = []
    for name in sorted(before.keys() | now.keys()):
        setting = name.rpartition(".")[2]
        if before.get(name) == now.get(name) or setting in WITHOUT_EFFECT:
            continue
        words = f"{name} was {_shown(before.get(name))}, is {_shown(now.get(name))}"
        row = next((change for change in CHANGES if change.setting == setting), None)
        told.append(f"{words}: {row.words}" if row is not None and row.effect is Effect.ANEW else words)
    return told


def _shown(value: Any) -> str:
    return "not set" if value is None else str(value)
