"""What the script has built, before anything is put back or trained: what is different later is training's doing."""

from __future__ import annotations

import inspect
from types import FunctionType, MethodType
from typing import Any

from stable_baselines3.common.logger import Logger
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.vec_env import VecEnv

from ..core.errors import UsageError
from .arrays import UnencodableError, comparable
from .settings import settings_of

_LIBRARIES = ("stable_baselines3", "sb3_contrib")


class Built:
    """A model as the script has built it. Make it before tensors are loaded.

    The attributes that SB3 knows are captured by name (module capture). A class that somebody has derived
    from an algorithm may have others; those that training changes are state too.

    Args:
        model: an SB3 algorithm.

    Raises:
        UsageError: it is of a kind that has no rollouts, and so no moments to cut training at.
    """

    def __init__(self, model: Any) -> None:
        if not isinstance(model, OnPolicyAlgorithm | OffPolicyAlgorithm):
            raise UsageError(
                f"{type(model).__name__} collects no rollouts, so there is no moment at which it could be cut exactly",
                hint="use an on-policy or off-policy algorithm, or a loop of your own with scenario.clean_point()",
            )
        self.settings = settings_of(model)
        known = _known_attributes(type(model))
        self._own = [name for name in vars(model) if name not in known]
        self._initial = {name: _form(getattr(model, name)) for name in self._own}

    def own_attributes(self, model: Any) -> dict[str, Any]:
        """Return the plain attributes of a derived class that have changed."""
        found = {}
        for name in self._own:
            value = getattr(model, name, None)
            form = _form(value)
            if form is not None and form != self._initial[name]:
                found[name] = value
        return found

    def reasons(self, model: Any) -> list[str]:
        """Return which attributes of a derived class cannot be captured."""
        return [
            f"{type(model).__name__}.{name} is a {type(value).__name__}, which is not captured"
            for name in self._own
            if _form(value := getattr(model, name, None)) is None
            and not isinstance(value, VecEnv | Logger | FunctionType | MethodType | type)
        ]


def _known_attributes(algorithm: type) -> set[str]:
    """The names that the code of SB3's own classes uses: what it does not mention is somebody else's."""
    known: set[str] = set()
    for base in algorithm.__mro__:
        if base.__module__.partition(".")[0] in _LIBRARIES:
            known.update(inspect.get_annotations(base))
            for member in vars(base).values():
                function = getattr(member, "__func__", member)
                if isinstance(function, FunctionType):
                    known.update(function.__code__.co_names)
    return known


def _form(value: Any) -> Any:
    """A form of a plain value that can be compared; None: it is not plain."""
    try:
        return comparable(value)
    except UnencodableError:
        return None
