"""A live SB3 model: its signature, its tensors, writing them in SB3's own form, and putting stored ones back."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import stable_baselines3
import torch
from gymnasium import spaces
from stable_baselines3.common.save_util import (
    data_to_json,
    load_from_zip_file,
    recursive_getattr,
    recursive_setattr,
)
from stable_baselines3.common.utils import get_system_info

from ..core.errors import IncompatibleError
from ..core.readers.inference import net_arch
from ..core.signature import Signature, TensorSpec
from .resume import FRESH_HINT
from .settings import optimizers


def signature_of(model: Any) -> Signature:
    """Return the signature of a live model, as reading its saved file would give it."""
    parameters = {
        name: TensorSpec(tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."))
        for name, tensor in model.policy.state_dict().items()
    }
    return Signature(
        algorithm=type(model).__name__,
        policy=model.policy_class.__name__,
        observation_space=space_of(model.observation_space),
        action_space=space_of(model.action_space),
        parameters=parameters,
        net_arch=net_arch(parameters),
    )


def space_of(space: spaces.Space) -> dict[str, Any]:
    """Return a space as the JSON object of signatures."""
    if isinstance(space, spaces.Box):
        return {"kind": "box", "shape": list(space.shape), "dtype": str(space.dtype)}
    if isinstance(space, spaces.Discrete):
        discrete = {"kind": "discrete", "n": int(space.n)}
        return discrete if int(space.start) == 0 else {**discrete, "start": int(space.start)}
    if isinstance(space, spaces.MultiDiscrete):
        return {"kind": "multi_discrete", "nvec": [int(n) for n in space.nvec.reshape(-1)]}
    if isinstance(space, spaces.MultiBinary):
        return {"kind": "multi_binary", "n": int(space.n) if isinstance(space.n, int) else [int(n) for n in space.n]}
    if isinstance(space, spaces.Dict):
        return {"kind": "dict", "spaces": {str(key): space_of(inner) for key, inner in space.spaces.items()}}
    if isinstance(space, spaces.Tuple):
        return {"kind": "tuple", "spaces": [space_of(inner) for inner in space.spaces]}
    return {"kind": "unknown", "class": f"{type(space).__module__}.{type(space).__qualname__}"}


def load_tensors(model: Any, path: Path, before: Mapping[str, Any] | None, now: Mapping[str, Any]) -> list[str]:
    """Put parameters, optimizers and further torch variables of a file into a model of the same architecture.

    SB3's loader is asked for tensors only, so nothing stored in the file is unpickled as an object. What the
    script has changed about optimizers counts: another class begins without moments, other options apply.

    Args:
        model: the model.
        path: the file.
        before: the settings that the file was made with; None: not known.
        now: the settings of the model.

    Returns:
        Which optimizers and variables begin anew, in words.

    Raises:
        IncompatibleError: the file does not fit.
    """
    _, parameters, variables = load_from_zip_file(path, device=model.device, load_data=False)
    variables = variables or {}
    mine, my_variables = tensors_of(model)
    key = "{}.optimizer_class".format
    other = [n for n in mine if before is not None and before.get(key(n), now.get(key(n))) != now.get(key(n))]
    fitting = {n: state for n, state in parameters.items() if n in mine and n not in other}
    tuned = {n: value for n, value in variables.items() if my_variables.get(n) is not None and value is not None}
    new = [n for n in mine if n not in fitting and n not in other]
    if "policy" in new or "policy" not in parameters:
        raise IncompatibleError(f"{path.name} holds no parameters of the policy", hint=FRESH_HINT)
    put_tensors(model, fitting, tuned, path.name, whole=not new and not other)
    if before is not None:
        _apply_options(model, before, now)
    return [
        f"{n} begins anew" for n in (*new, *(v for v, t in my_variables.items() if t is not None and v not in tuned))
    ]


def _apply_options(model: Any, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    for name, optimizer in optimizers(model).items():
        for option, value in optimizer.defaults.items():
            if option != "lr" and before.get(f"{name}.{option}") != now.get(f"{name}.{option}"):
                for group in optimizer.param_groups:
                    group[option] = value


def put_tensors(
    model: Any, parameters: Mapping[str, Any], variables: Mapping[str, Any], name: str, *, whole: bool = True
) -> None:
    """Put tensors into a model in place.

    Args:
        model: the model.
        parameters: state dicts by name.
        variables: single tensors by name (`log_ent_coef`); None: not defined.
        name: where they come from, for messages.
        whole: whether `parameters` must be all that the algorithm has.

    Raises:
        IncompatibleError: names or groups differ.
    """
    try:
        model.set_parameters(dict(parameters), exact_match=whole, device=model.device)
    except (ValueError, RuntimeError, KeyError) as error:
        raise IncompatibleError(f"{name} does not fit the optimizers of the model: {error}", hint=FRESH_HINT) from error
    for variable, tensor in variables.items():
        if tensor is not None:
            recursive_setattr(model, f"{variable}.data", tensor.data)


def tensors_of(model: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the live parameters with optimizers, and further torch variables, as SB3's `save` collects them."""
    _, names = model._get_torch_save_params()
    return model.get_parameters(), {name: recursive_getattr(model, name) for name in names}


def data_of(model: Any) -> str:
    """Return the text of a model's plain attributes, as SB3's `save` puts it into its zip."""
    parameters, variables = model._get_torch_save_params()
    left_out = {*model._excluded_save_params(), *(name.partition(".")[0] for name in (*parameters, *variables))}
    return data_to_json({name: value for name, value in vars(model).items() if name not in left_out})


def write_zip(file: BinaryIO, data: str, parameters: Mapping[str, Any], variables: Mapping[str, Any]) -> None:
    """Write a zip as SB3's `save` does, from parts that no longer change.

    Args:
        file: open for writing.
        data: what `data_of` gave.
        parameters: state dicts by name.
        variables: single tensors by name; None: not defined.

    Source: the layout is that of `save_to_zip_file` in stable_baselines3/common/save_util.py.
    """
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("data", data)
        for name, tensors in {"pytorch_variables": dict(variables), **parameters}.items():
            with archive.open(f"{name}.pth", "w", force_zip64=True) as member:
                torch.save(tensors, member)
        archive.writestr("_stable_baselines3_version", stable_baselines3.__version__)
        archive.writestr("system_info.txt", get_system_info(print_info=False)[1])
