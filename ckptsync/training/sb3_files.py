"""Files in the form of SB3's models, written with the standard library alone.

For training loops without torch (the `toy` kernel) and for tests, which need checkpoints in
milliseconds. `policy.pth` and `policy.optimizer.pth` are real torch files, so `torch.load` and SB3's
`set_parameters` accept them; `data` holds plain values only, nothing pickled.

Source: the zip form of `torch.save` and of stable-baselines3's `save_to_zip_file`.
"""

from __future__ import annotations

import io
import json
import pickle
import random
import struct
import sys
import zipfile
from array import array
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

from ..core.signature import Signature, TensorSpec

# A parameter: its shape and its values as float32, in C order
Parameter = tuple[tuple[int, ...], "array[float]"]

_TIME = (1980, 1, 1, 0, 0, 0)  # SB3 stamps the clock; equal bytes for equal content suit tests better


def mlp_parameters(
    observations: int = 4, actions: int = 2, hidden: Sequence[int] = (8, 8), *, seed: int = 0
) -> dict[str, Parameter]:
    """Make the parameters of PPO's MlpPolicy for a box of observations and a discrete action.

    Args:
        observations: length of the observation vector.
        actions: number of actions.
        hidden: layer sizes, the same for policy and value.
        seed: equal seeds give equal values.
    """
    source = random.Random(seed)  # noqa: S311 - weights of a toy, no secret
    parameters: dict[str, Parameter] = {}

    def linear(name: str, inputs: int, outputs: int) -> None:
        scale = inputs**-0.5
        weight = array("f", (source.uniform(-scale, scale) for _ in range(inputs * outputs)))
        parameters[f"{name}.weight"] = ((outputs, inputs), weight)
        parameters[f"{name}.bias"] = ((outputs,), array("f", bytes(4 * outputs)))

    for net in ("policy_net", "value_net"):
        sizes = [observations, *hidden]
        for index, (inputs, outputs) in enumerate(pairwise(sizes)):
            linear(f"mlp_extractor.{net}.{2 * index}", inputs, outputs)
    last = hidden[-1] if hidden else observations
    linear("action_net", last, actions)
    linear("value_net", last, 1)
    return parameters


def mlp_signature(parameters: Mapping[str, Parameter], hidden: Sequence[int] = (8, 8)) -> Signature:
    """Return the signature of parameters that `mlp_parameters` made."""
    specs = {name: TensorSpec(shape, "float32") for name, (shape, _) in parameters.items()}
    return Signature(parameters=specs, net_arch=list(hidden))


def write_sb3_zip(
    target: Path | BinaryIO,
    parameters: Mapping[str, Parameter],
    *,
    num_timesteps: int,
    hidden: Sequence[int] = (8, 8),
    observations: int = 4,
    actions: int = 2,
    extra: Mapping[str, Any] | None = None,
) -> None:
    """Write a model in SB3's form.

    Args:
        target: a path, or a binary file open for writing.
        parameters: the state dict of the policy.
        num_timesteps: what the file says of itself.
        hidden: `net_arch`, as `data` names it.
        observations: length of the observation vector, as `data` names it.
        actions: number of actions, as `data` names it.
        extra: more fields of `data`.
    """
    data = {
        "policy_class": {
            ":type:": "<class 'abc.ABCMeta'>",
            "__module__": "stable_baselines3.common.policies",
            "__name__": "ActorCriticPolicy",
        },
        "policy_kwargs": {"net_arch": list(hidden)},
        "num_timesteps": num_timesteps,
        "n_envs": 1,
        "seed": None,
        "observation_space": {
            ":type:": "<class 'gymnasium.spaces.box.Box'>",
            "dtype": "float32",
            "_shape": [observations],
        },
        "action_space": {
            ":type:": "<class 'gymnasium.spaces.discrete.Discrete'>",
            "n": str(actions),
            "start": "0",
            "_shape": [],
            "dtype": "int64",
        },
        **(extra or {}),
    }
    members = {
        "data": json.dumps(data, indent=4).encode(),
        "pytorch_variables.pth": torch_file(pickle.dumps({}, protocol=2)),
        "policy.pth": torch_file(_state_dict_pickle(parameters), [values for _, values in parameters.values()]),
        "policy.optimizer.pth": torch_file(_optimizer_pickle(len(parameters))),
        "_stable_baselines3_version": b"2.9.2",
        "system_info.txt": f"- Python: {sys.version.split()[0]}\n- Stable-Baselines3: 2.9.2\n".encode(),
    }
    with zipfile.ZipFile(target, "w") as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name, _TIME), content)


def torch_file(program: bytes, storages: Sequence[array[float]] = ()) -> bytes:
    """Return a torch file: a zip of a pickle program and the storages that it names `0`, `1`, ..."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        members = {"data.pkl": program, "byteorder": sys.byteorder.encode()}
        members |= {f"data/{index}": storage.tobytes() for index, storage in enumerate(storages)}
        for name, content in {**members, "version": b"3\n"}.items():
            archive.writestr(zipfile.ZipInfo(f"archive/{name}", _TIME), content)
    return buffer.getvalue()


def _state_dict_pickle(parameters: Mapping[str, Parameter]) -> bytes:
    # The program that torch writes for an OrderedDict of tensors; its globals cannot be pickled without torch
    ordered_dict = b"ccollections\nOrderedDict\n)R"
    program = [b"\x80\x02", ordered_dict, b"("]
    for index, (name, (shape, values)) in enumerate(parameters.items()):
        strides = [1] * len(shape)
        for axis in range(len(shape) - 2, -1, -1):
            strides[axis] = strides[axis + 1] * shape[axis + 1]
        storage = (
            b"(" + _text("storage") + b"ctorch\nFloatStorage\n" + _text(str(index)) + _text("cpu") + _int(len(values))
        )
        program += [_text(name), b"ctorch._utils\n_rebuild_tensor_v2\n(", storage, b"tQ", _int(0)]
        program += [_tuple(shape), _tuple(strides), b"\x89", ordered_dict, b"tR"]
    return b"".join([*program, b"u."])


def _optimizer_pickle(count: int) -> bytes:
    group: dict[str, Any] = {"lr": 3e-4, "betas": (0.9, 0.999), "eps": 1e-5, "weight_decay": 0, "amsgrad": False}
    group |= {"maximize": False, "foreach": None, "capturable": False, "differentiable": False, "fused": None}
    return pickle.dumps({"state": {}, "param_groups": [{**group, "params": list(range(count))}]}, protocol=2)


def _text(text: str) -> bytes:
    encoded = text.encode()
    return b"X" + struct.pack("<I", len(encoded)) + encoded


def _int(number: int) -> bytes:
    return b"J" + struct.pack("<i", number)


def _tuple(numbers: Sequence[int]) -> bytes:
    return b"(" + b"".join(map(_int, numbers)) + b"t"
