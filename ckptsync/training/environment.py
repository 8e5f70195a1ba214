"""Environments: captured and put back attribute by attribute, in place.

The objects that the user's script has built stay: wrappers, environments and spaces. What they hold is
exchanged, because others hold references to them (the model its action space, the buffer its
environment), and because many wrappers cannot be pickled whole. All attributes travel in one pickle,
in which the objects themselves are names; so whatever two attributes share stays shared. Functions and
classes are the script's code and are no state.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import gymnasium

from .layers import Layer, walk
from .objects import NamedObjects, put_space_generators, space_generators
from .workers import Workers

NEW_EPISODES = "so they begin new episodes"


class EnvironmentCapture:
    """Captures chains of environments again and again, and remembers what cannot be captured.

    Make it before training begins: arguments of classes that are later as they are now are settings of the
    script, and where the script has changed them between sessions, the script wins. So do attributes that
    the script's classes have been given since: their code needs them.

    Args:
        chains: name -> environment, as `walk` takes them.
        others: further objects that stay, by name: attributes of environments or callbacks may point to them.
    """

    def __init__(self, chains: Mapping[str, Any], others: Mapping[str, Any] | None = None) -> None:
        found = walk(chains)
        self._layers = found.layers
        self._workers = {name: Workers(venv) for name, venv in found.workers.items()}
        self._found_reasons = (*found.reasons, *(why for workers in self._workers.values() for why in workers.reasons))
        self.reasons = self._found_reasons
        self.kinds = [layer.kind for layer in self._layers]
        for name, workers in self._workers.items():
            self.kinds += [f"{name}/worker/{kind}" for kind in workers.kinds]
        self._built = {layer.path: layer.settings() for layer in self._layers}
        self._known = {layer.path: set(layer.attributes()) for layer in self._layers}
        self._captured = False
        self._spaces = _spaces(self._layers)
        self.names = NamedObjects(
            {**(others or {}), **{layer.path: layer.target for layer in self._layers}, **self._spaces}
        )

    def capture(self) -> bytes | None:
        """Return the pickle of all that the environments hold; None, with `reasons`, when it cannot be made."""
        if self._found_reasons:
            return None
        workers = {name: workers.capture() for name, workers in self._workers.items()}
        self.reasons = tuple(why for each in self._workers.values() for why in each.reasons)
        if self.reasons:
            return None
        held = {layer.path: layer.attributes() for layer in self._layers}
        for path, attributes in held.items():
            self._known[path].update(attributes)
        self._captured = True
        point = {
            "held": held,
            "built": self._built,
            "known": {path: sorted(names) for path, names in self._known.items()},
            "spaces": {name: space_generators(space) for name, space in self._spaces.items()},
            "workers": workers,
        }
        try:
            return self.names.dump(point)
        except Exception:  # noqa: BLE001 - objects of users raise whatever they like from __reduce__
            # It is not tried again: what cannot be pickled now is seldom better later, and looking for it takes long
            self._found_reasons = self.reasons = (self._culprit(held),)
            return None

    def _culprit(self, held: Mapping[str, Mapping[str, Any]]) -> str:
        for path, attributes in held.items():
            for name, value in attributes.items():
                if (why := self.names.problem(value)) is not None:
                    return f"{path}: attribute {name!r} cannot be pickled ({why})"
        return "the environments cannot be pickled together"

    def put_back(self, blob: bytes) -> tuple[str, ...]:
        """Exchange what the environments hold.

        Args:
            blob: what `capture` gave, for chains of the same `kinds`; trusted, for loading it may run code.

        Returns:
            What the script has changed since, and what went wrong in a worker.

        Raises:
            Exception: whatever loading a pickle raises; nothing has changed then.
        """
        captured = self.names.load(blob)
        reasons: list[str] = []
        for layer in self._layers:
            held = dict(captured["held"][layer.path])
            changed = changed_settings(held, captured["built"][layer.path], self._built[layer.path])
            reasons += [f"{layer.path}: {name} was {held[name]!r}, is {value!r}" for name, value in changed.items()]
            new = self._new(layer, held, captured["known"][layer.path])
            reasons += [f"{layer.path}: {name} is new" for name in new]
            layer.exchange({**held, **changed, **new})
        for name, space in self._spaces.items():
            put_space_generators(space, captured["spaces"][name])
        for name, workers in self._workers.items():
            reasons += workers.put_back(captured["workers"][name])
        return tuple(reasons)

    def _new(self, layer: Layer, held: Mapping[str, Any], known: Iterable[str]) -> dict[str, Any]:
        """Return the attributes that the script's classes did not have yet at the capture."""
        live = layer.attributes()
        self._known[layer.path].update(live)
        if self._captured:
            return {}  # the capture is of this process: what is not in it, training has made since
        return {name: value for name, value in live.items() if name not in held and name not in known}


def changed_settings(held: Mapping[str, Any], built: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that the script has changed: those that training left as they were built, and are new.

    Args:
        held: attributes at the capture.
        built: settings before that training.
        now: settings before this training.
    """
    return {
        name: value
        for name, value in now.items()
        if name in held and name in built and _same(held[name], built[name]) and not _same(value, built[name])
    }


def _same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and bool(one == other or (one != one and other != other))


def _spaces(layers: tuple[Any, ...]) -> dict[str, gymnasium.Space]:
    """Name spaces by the place where they are found first: chains share them."""
    found: dict[str, gymnasium.Space] = {}
    for layer in layers:
        for name, value in vars(layer.target).items():
            if isinstance(value, gymnasium.Space) and not any(value is space for space in found.values()):
                found[f"{layer.path}.{name}"] = value
    return found
