"""Checkpoint files made by hand, good and hostile, with the standard library only.

`sb3_file` gives a small file as SB3 and torch write it, byte by byte; each argument replaces one part of it. `Pickle`
assembles pickles instruction by instruction, so that a test can write what no pickler would.
"""

from __future__ import annotations

import base64
import io
import json
import struct
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ckptsync.core.findings import Severity, Verdict, verdict_of
from ckptsync.core.readers import ModelReport

FLOAT = ("FloatStorage", "<f", 4)
DOUBLE = ("DoubleStorage", "<d", 8)
HALF = ("HalfStorage", "<e", 2)
LONG = ("LongStorage", "<q", 8)


class Pickle:
    """Writes pickle instructions; every method returns the writer."""

    def __init__(self, protocol: int = 2) -> None:
        self.data = bytearray(b"\x80" + bytes([protocol]))

    def raw(self, data: bytes) -> Pickle:
        self.data += data
        return self

    def named(self, module: str, name: str) -> Pickle:
        return self.raw(f"c{module}\n{name}\n".encode())

    def text(self, value: str) -> Pickle:
        encoded = value.encode()
        return self.raw(b"X" + struct.pack("<I", len(encoded)) + encoded)

    def data_bytes(self, value: bytes) -> Pickle:
        return self.raw(b"B" + struct.pack("<I", len(value)) + value)

    def integer(self, value: int) -> Pickle:
        if -(2**31) <= value < 2**31:
            return self.raw(b"J" + struct.pack("<i", value))
        body = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
        return self.raw(b"\x8a" + bytes([len(body)]) + body)

    def value(self, value: Any) -> Pickle:
        """Write a plain value: None, bool, int, float, str, bytes, tuple, list, dict, or a Pickle's instructions."""
        if isinstance(value, Pickle):
            return self.raw(bytes(value.data[2:]))
        if value is None:
            return self.raw(b"N")
        if isinstance(value, bool):
            return self.raw(b"\x88" if value else b"\x89")
        if isinstance(value, int):
            return self.integer(value)
        if isinstance(value, float):
            return self.raw(b"G" + struct.pack(">d", value))
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, bytes):
            return self.data_bytes(value)
        if isinstance(value, tuple):
            self.raw(b"(")
            for item in value:
                self.value(item)
            return self.raw(b"t")
        if isinstance(value, list):
            self.raw(b"](")
            for item in value:
                self.value(item)
            return self.raw(b"e")
        self.raw(b"}(")
        for key, item in value.items():
            self.value(key).value(item)
        return self.raw(b"u")

    def call(self, module: str, name: str, *args: Any) -> Pickle:
        return self.named(module, name).value(args).raw(b"R")

    def done(self) -> bytes:
        return bytes(self.data) + b"."


def named(module: str, name: str) -> Pickle:
    return Pickle().named(module, name)


def call(module: str, name: str, *args: Any) -> Pickle:
    return Pickle().call(module, name, *args)


@dataclass(frozen=True)
class FakeTensor:
    """A tensor to be written: its numbers, and what the pickle claims about it where that differs."""

    shape: tuple[int, ...]
    numbers: Sequence[float]
    kind: tuple[str, str, int] = FLOAT
    offset: int = 0
    stride: tuple[int, ...] | None = None
    count: int | None = None
    key: str | None = None


def zeros(*shape: int, kind: tuple[str, str, int] = FLOAT) -> FakeTensor:
    count = 1
    for size in shape:
        count *= size
    return FakeTensor(shape, [0.5 if kind is FLOAT else 0] * count, kind)


def tensor_program(tensor: FakeTensor, key: str) -> Pickle:
    stride = tensor.stride
    if stride is None:
        steps = [1]
        for size in reversed(tensor.shape[1:]):
            steps.insert(0, steps[0] * size)
        stride = tuple(steps[: len(tensor.shape)])
    count = len(tensor.numbers) if tensor.count is None else tensor.count
    storage = Pickle().value(("storage", named("torch", tensor.kind[0]), key, "cpu", count)).raw(b"Q")
    hooks = call("collections", "OrderedDict")
    return call("torch._utils", "_rebuild_tensor_v2", storage, tensor.offset, tensor.shape, stride, False, hooks)


def state_dict_program(tensors: Mapping[str, FakeTensor]) -> Pickle:
    program = Pickle().named("collections", "OrderedDict").raw(b")R(")
    for index, (name, tensor) in enumerate(tensors.items()):
        program.text(name).value(tensor_program(tensor, tensor.key or str(index)))
    return program.raw(b"u")


def storage_bytes(tensor: FakeTensor) -> bytes:
    return b"".join(struct.pack(tensor.kind[1], number) for number in tensor.numbers)


def torch_archive(records: Mapping[str, bytes], root: str = "archive") -> bytes:
    """Write records as torch's own zip writer does: padded headers, data descriptors, a zip64 end."""
    body = bytearray()
    directory = bytearray()
    for record, data in records.items():
        name = f"{root}/{record}".encode()
        at = len(body)
        crc = zlib.crc32(data)
        pad = -(at + 30 + len(name) + 4) % 64
        extra = b"FB" + struct.pack("<H", pad) + b"Z" * pad
        body += struct.pack("<4s5H3L2H", b"PK\3\4", 0, 0x808, 0, 0, 0, 0, 0, 0, len(name), len(extra)) + name + extra
        body += data + struct.pack("<4s3L", b"PK\7\x08", crc, len(data), len(data))
        directory += struct.pack(
            *("<4s6H3L5H2L", b"PK\1\2", 0, 0, 0x808, 0, 0, 0, crc, len(data), len(data), len(name), 0, 0, 0, 0, 0, at)
        )
        directory += name
    start, size, count = len(body), len(directory), len(records)
    body += directory
    end = len(body)
    body += struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 798, 45, 0, 0, count, count, size, start)
    body += struct.pack("<4sLQL", b"PK\6\7", 0, end, 1)
    body += struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, count, count, size, start, 0)
    return bytes(body)


def torch_file(
    tensors: Mapping[str, FakeTensor], program: bytes | None = None, extra: Mapping[str, bytes] | None = None
) -> bytes:
    """Write a state dict in torch's zip format.

    Args:
        tensors: the state dict; its storages are written even when `program` says something else.
        program: replaces the pickle.
        extra: further records, or replacements.
    """
    records = {"data.pkl": program if program is not None else state_dict_program(tensors).done()}
    records["byteorder"] = b"little"
    for index, tensor in enumerate(tensors.values()):
        records[f"data/{index}"] = storage_bytes(tensor)
    records["version"] = b"3\n"
    return torch_archive({**records, **(extra or {})})


def legacy_torch_file(tensors: Mapping[str, FakeTensor]) -> bytes:
    """Write a state dict in torch's format of before 1.6: five pickles, then the storages."""
    program = Pickle().named("collections", "OrderedDict").raw(b")R(")
    for index, (name, tensor) in enumerate(tensors.items()):
        piece = tensor_program(tensor, str(index)).data
        program.text(name).raw(bytes(piece[2:]).replace(b"tQ", b"NtQ"))  # the old format names a view too
    parts = [
        b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.",
        b"\x80\x02M\xe9\x03.",
        Pickle().value({"protocol_version": 1001, "little_endian": True, "type_sizes": {"int": 4}}).done(),
        program.raw(b"u").done(),
        Pickle().value([str(index) for index in range(len(tensors))]).done(),
    ]
    for tensor in tensors.values():
        parts.append(struct.pack("<q", len(tensor.numbers)) + storage_bytes(tensor))
    return b"".join(parts)


POLICY = {
    "mlp_extractor.policy_net.0.weight": zeros(8, 4),
    "mlp_extractor.policy_net.0.bias": zeros(8),
    "mlp_extractor.value_net.0.weight": zeros(8, 4),
    "mlp_extractor.value_net.0.bias": zeros(8),
    "action_net.weight": zeros(2, 8),
    "action_net.bias": zeros(2),
    "value_net.weight": zeros(1, 8),
    "value_net.bias": zeros(1),
}


def optimizer_program() -> bytes:
    state = {0: {"step": tensor_program(zeros(1), "0"), "exp_avg": tensor_program(zeros(8, 4), "1")}}
    return Pickle().value({"state": state, "param_groups": [{"lr": 0.001, "params": [0]}]}).done()


def optimizer_file() -> bytes:
    return torch_file({"step": zeros(1), "exp_avg": zeros(8, 4)}, optimizer_program())


def box(size: int) -> Pickle:
    dtype = call("numpy", "dtype", "f4", False, True).value((3, "<", None, None, None, -1, -1, 0)).raw(b"b")
    space = Pickle().named("gymnasium.spaces.box", "Box").raw(b")\x81")
    return space.value({"dtype": dtype, "_shape": (size,)}).raw(b"b")


def discrete(n: int) -> Pickle:
    return Pickle().named("gymnasium.spaces.discrete", "Discrete").raw(b")\x81").value({"n": n, "start": 0}).raw(b"b")


def serialized(program: Pickle | bytes) -> dict[str, Any]:
    data = program.done() if isinstance(program, Pickle) else program
    return {":type:": "<class 'object'>", ":serialized:": base64.b64encode(data).decode()}


def sb3_data(**fields: Any) -> dict[str, Any]:
    """Return `data` of a PPO file; a Pickle or bytes becomes a `:serialized:` field."""
    values: dict[str, Any] = {
        "policy_class": named("stable_baselines3.common.policies", "ActorCriticPolicy"),
        "observation_space": box(4),
        "action_space": discrete(2),
        "num_timesteps": 2048,
        "n_epochs": 10,
        "clip_range": Pickle()
        .named("stable_baselines3.common.utils", "ConstantSchedule")
        .raw(b")\x81")
        .value({"val": 0.2})
        .raw(b"b"),
        "vf_coef": 0.5,
        **fields,
    }
    return {name: serialized(value) if isinstance(value, Pickle | bytes) else value for name, value in values.items()}


@dataclass
class Sb3Parts:
    """The members of an SB3 file, ready to be changed before `pack`."""

    members: dict[str, bytes] = field(default_factory=dict)

    def pack(self, compression: int = zipfile.ZIP_STORED) -> bytes:
        return pack_zip(self.members, compression)


def pack_zip(members: Mapping[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    """Write members as SB3 does: `writestr` for texts, `force_zip64` for torch files, no time of today."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in members.items():
            info = zipfile.ZipInfo(name, (2024, 1, 2, 3, 4, 6))
            info.external_attr = 0o600 << 16
            info.compress_type = compression
            if name.endswith(".pth"):
                with archive.open(info, "w", force_zip64=True) as member:
                    member.write(content)
            else:
                archive.writestr(info, content)
    return buffer.getvalue()


def sb3_parts(tensors: Mapping[str, FakeTensor] | None = None, **fields: Any) -> Sb3Parts:
    return Sb3Parts(
        {
            "data": json.dumps(sb3_data(**fields), indent=4).encode(),
            "pytorch_variables.pth": torch_file({}, Pickle().raw(b"}").done()),
            "policy.pth": torch_file(POLICY if tensors is None else tensors),
            "policy.optimizer.pth": optimizer_file(),
            "_stable_baselines3_version": b"2.9.2",
            "system_info.txt": b"- OS: Linux\n- Python: 3.11.7\n- Stable-Baselines3: 2.9.2\n- PyTorch: 2.13.0\n",
        }
    )


def sb3_file(tensors: Mapping[str, FakeTensor] | None = None, **fields: Any) -> bytes:
    """Return a small PPO file: two networks of eight units, four observations, two actions, 2,048 steps."""
    return sb3_parts(tensors, **fields).pack()


def code_object(code: bytes, name: str = "<lambda>", constants: tuple[Any, ...] = (None,), **changes: Any) -> Pickle:
    """Write a code object as cloudpickle does for Python 3.11 and newer."""
    args: dict[str, Any] = {
        **{"argcount": 1, "posonly": 0, "kwonly": 0, "locals": 1, "stack": 1, "flags": 19, "code": code},
        **{"constants": constants, "names": (), "variables": ("_",), "file": "/somewhere/utils.py", "name": name},
        **{"qualname": name, "line": 124, "lines": b"\x80", "exceptions": b"", "free": ("val",), "cells": ()},
        **changes,
    }
    maker = call("cloudpickle.cloudpickle", "_builtin_type", "CodeType")
    return Pickle().value(maker).value(tuple(args.values())).raw(b"R")


def function(code: Pickle, closed: float = 0.5) -> Pickle:
    """Write a function by value around a code object, as cloudpickle does."""
    cell = call("cloudpickle.cloudpickle", "_make_cell", closed)
    return call("cloudpickle.cloudpickle", "_make_function", code, {"__name__": "m"}, None, None, (cell,))


def safetensors_file(header: Mapping[str, Any], numbers: bytes) -> bytes:
    encoded = json.dumps(header).encode()
    return struct.pack("<Q", len(encoded)) + encoded + numbers


def blockers(report: ModelReport) -> list[tuple[str, str]]:
    """Return code and subject of each blocker."""
    return [(finding.code, finding.subject) for finding in report.findings if finding.severity is Severity.BLOCKER]


def verdict(report: ModelReport) -> Verdict:
    """Return the verdict of a file that is compared with nothing."""
    return verdict_of(report.findings, compared=False)
