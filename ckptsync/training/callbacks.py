"""The SB3 callback that drives a session; the user's own callbacks run inside it.

It comes before the user's at each rollout start, so that what is captured there is the state before
any of them has run, and they run again when training goes on from it.
"""

from __future__ import annotations

from typing import Any, Protocol

from stable_baselines3.common.callbacks import BaseCallback, CallbackList, ConvertCallback


class StopTraining(Exception):
    """Raised at a clean point to leave SB3's `learn`: no error, but the one way out that leaves the model whole."""


class Driver(Protocol):
    """What the callback calls."""

    def on_start(self) -> None:
        """Training starts: put the objects back."""

    def on_clean_point(self) -> None:
        """A rollout starts or training has ended. Raises StopTraining to stop here."""

    def must_cut(self) -> bool:
        """Whether training has to stop in the middle of a rollout."""


def as_callback(given: Any) -> BaseCallback | None:
    """Return the user's callback as an object: SB3 also takes lists and functions."""
    if given is None or isinstance(given, BaseCallback):
        return given
    return CallbackList(given) if isinstance(given, list) else ConvertCallback(given)


class SessionCallback(BaseCallback):
    """Tells the driver of every moment that counts.

    Args:
        driver: what decides.
        user: the user's callback, or None.
    """

    def __init__(self, driver: Driver, user: BaseCallback | None) -> None:
        super().__init__()
        self.user = user
        self.user_stopped = False
        self.cut = False
        self._driver = driver

    def _init_callback(self) -> None:
        if self.user is not None:
            self.user.init_callback(self.model)

    def _on_training_start(self) -> None:
        if self.user is not None:
            self.user.on_training_start(self.locals, self.globals)
        self._driver.on_start()

    def _on_rollout_start(self) -> None:
        self._driver.on_clean_point()
        if self.user is not None:
            self.user.on_rollout_start()

    def _on_step(self) -> bool:
        if self.user is not None and not self.user.on_step():
            self.user_stopped = True
            return False
        self.cut = self._driver.must_cut()
        return not self.cut

    def _on_rollout_end(self) -> None:
        if self.user is not None:
            self.user.on_rollout_end()

    def _on_training_end(self) -> None:
        if not (self.user_stopped or self.cut):
            self._driver.on_clean_point()
        self.end_user()

    def end_user(self) -> None:
        """Tell the user's callback that training has ended."""
        if self.user is not None:
            self.user.on_training_end()

    def update_child_locals(self, locals_: dict[str, Any]) -> None:
        """Hand the rollout's variables on, as SB3's own containers of callbacks do."""
        if self.user is not None:
            self.user.update_locals(locals_)
