"""Torch files: the zip format and the old one of five pickles in a row. Tar files and TorchScript are refused.

The pickle of a torch file makes tensors out of storages by `_rebuild_tensor_v2(storage, offset, size, stride, ...)`;
here each such call becomes a name, a shape and a dtype, and its geometry is checked against the storage's real bytes.

Source: torch/serialization.py (`_save`, `_legacy_save`) and torch/_utils.py (`_rebuild_tensor_v2`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ..findings import Finding, Severity, blocker, warning
from ..signature import TensorSpec
from . import limits
from .allowed import HINT, TENSORS, Approval, bare_pickle, judge
from .archive import Entry, check_bytes, is_zip, read_entries, unpack
from .finite import MASKED, is_float, not_finite
from .pickle_program import Global, Made, Program, Stored
from .report import CodeByValue, MemberInfo
from .window import RefusedError, Window, refuse

_REBUILD = "torch._utils._rebuild_tensor_v2"
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_START = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
_LEGACY_PROTOCOL = 1001

# storage class -> (dtype, bytes of one element)
_STORAGES = {
    "FloatStorage": ("float32", 4),
    "DoubleStorage": ("float64", 8),
    "HalfStorage": ("float16", 2),
    "BFloat16Storage": ("bfloat16", 2),
    "LongStorage": ("int64", 8),
    "IntStorage": ("int32", 4),
    "ShortStorage": ("int16", 2),
    "CharStorage": ("int8", 1),
    "ByteStorage": ("uint8", 1),
    "BoolStorage": ("bool", 1),
    "ComplexFloatStorage": ("complex64", 8),
    "ComplexDoubleStorage": ("complex128", 16),
}


class Tensor(NamedTuple):
    """One tensor of a file: where its numbers lie."""

    spec: TensorSpec
    storage: str
    item_bytes: int
    first: int
    last: int


@dataclass
class TorchContent:
    """What a torch file holds.

    Args:
        tensors: by name; the names of nested dictionaries are joined by dots, list items have their number.
        findings: everything worth saying.
        functions: code by value.
        members: of the zip, empty for the old format.
        storages: where the tensors' numbers lie, by their `storage`.
    """

    tensors: dict[str, Tensor] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    functions: list[CodeByValue] = field(default_factory=list)
    members: tuple[MemberInfo, ...] = ()
    storages: dict[str, Window] = field(default_factory=dict)

    @property
    def parameters(self) -> dict[str, TensorSpec]:
        """Shape and dtype of each tensor by name, in the file's order."""
        return {name: tensor.spec for name, tensor in self.tensors.items()}


def is_legacy(window: Window) -> bool:
    """Whether the window begins like torch's old format."""
    return window.size >= len(_LEGACY_START) and window.read(0, len(_LEGACY_START)) == _LEGACY_START


def read_torch(
    window: Window, approval: Approval, *, check_values: bool = True, entries: dict[str, Entry] | None = None
) -> TorchContent:
    """Read a torch file of either format.

    Args:
        window: the whole file.
        approval: how far it is trusted.
        check_values: look for NaN and infinity too.
        entries: the archive's members, when the caller has read them already.

    Returns:
        The tensors with the findings about them.

    Raises:
        RefusedError: when the file's structure is damaged or its format is refused.
    """
    content = TorchContent()
    if is_legacy(window):
        program, storages = _read_legacy(window)
    elif is_zip(window):
        found = read_entries(window) if entries is None else entries
        content.members = tuple(MemberInfo(item.name, item.size_bytes, item.crc32) for item in found.values())
        program, storages = _read_zip(window, found)
    elif found_pickle := bare_pickle(window):
        raise refuse("pickle.foreign-global", window.name, "a torch file", found_pickle, HINT)
    else:
        raise refuse("format.unknown", window.name, "a torch file", "no zip and no pickle of torch's")
    content.storages = storages
    content.findings, content.functions = judge(program, window.name, TENSORS, approval)
    if any(finding.severity is Severity.BLOCKER for finding in content.findings):
        return content
    for name, call in _named_tensors(program, window.name):
        if name in content.tensors:
            raise refuse("pickle.damaged", window.subject(name), "one tensor of a name", "two")
        content.tensors[name] = _check_geometry(call, window.subject(name), storages)
    if check_values:
        content.findings += _not_finite(content.tensors, storages, window)
    return content


def _read_zip(window: Window, entries: dict[str, Entry]) -> tuple[Program, dict[str, Window]]:
    roots = [name.removesuffix("data.pkl") for name in entries if name.endswith("/data.pkl") and name.count("/") == 1]
    if len(roots) != 1:
        raise refuse("archive.missing-member", window.name, "one data.pkl", len(roots))
    root = roots[0]
    if f"{root}constants.pkl" in entries or any(name.startswith(f"{root}code/") for name in entries):
        raise refuse("format.unsupported", window.name, actual="TorchScript: a program, not only weights")
    storages = {}
    for name, entry in entries.items():
        if entry.packed:
            raise refuse(
                "format.unsupported", window.subject(name), "a stored record, as torch writes it", "a packed one"
            )
        content = unpack(window, entry)
        check_bytes(content, entry)
        if name.startswith(f"{root}data/"):
            storages[name.removeprefix(f"{root}data/")] = content
    order = entries.get(f"{root}byteorder")
    if order is not None and unpack(window, order).read(0, min(order.size_bytes, 16)) != b"little":
        raise refuse("format.unsupported", window.name, "little endian numbers", "another byte order")
    return _program(unpack(window, entries[f"{root}data.pkl"])), storages


def _program(window: Window) -> Program:
    if window.size > limits.MAX_PICKLE_BYTES:
        raise refuse("format.too-large", window.name, f"at most {limits.MAX_PICKLE_BYTES} bytes", window.size)
    program = Program(window.read(0, window.size), window.name)
    if program.end != window.size:
        raise refuse("pickle.damaged", window.name, "an end at STOP", f"{window.size - program.end} bytes behind it")
    return program


def _read_legacy(window: Window) -> tuple[Program, dict[str, Window]]:
    """Read magic number, protocol, system, the object, the storages' keys, then each storage: count and numbers."""
    try:
        programs = _legacy_programs(window, min(window.size, limits.MIB))
    except RefusedError:
        if window.size <= limits.MIB:
            raise
        programs = _legacy_programs(window, min(window.size, limits.MAX_PICKLE_BYTES))
    magic, protocol, system, _, keys = (program.value for program in programs)
    if magic != _LEGACY_MAGIC or protocol != _LEGACY_PROTOCOL or not isinstance(system, dict):
        raise refuse("pickle.damaged", window.name, "torch's magic number and protocol", "others")
    if system.get("little_endian") is not True:
        raise refuse("format.unsupported", window.name, "little endian numbers", "another byte order")
    if not isinstance(keys, list) or any(item.calls or item.globals for item in (*programs[:3], programs[4])):
        raise refuse("pickle.damaged", window.name, "a list of storage keys", "something else")
    widths = _legacy_widths(programs[3], window.name)
    if not all(isinstance(key, str) for key in keys) or sorted(widths) != sorted(keys):
        raise refuse("pickle.damaged", window.name, f"{len(widths)} storages", f"{len(keys)} keys")
    storages = {}
    position = programs[4].end
    for key in keys:
        count = int.from_bytes(window.read(position, 8), "little")
        storages[key] = window.part(position + 8, count * widths[key], f"{window.name}: storage {key}")
        position += 8 + count * widths[key]
    if position != window.size:
        raise refuse("pickle.damaged", window.name, f"an end at {position}", f"{window.size} bytes")
    return programs[3], storages


def _legacy_programs(window: Window, size: int) -> list[Program]:
    head = window.read(0, size)
    programs: list[Program] = []
    for _ in range(5):
        programs.append(Program(head, window.name, programs[-1].end if programs else 0))
    return programs


def _legacy_widths(program: Program, subject: str) -> dict[str, int]:
    widths: dict[str, int] = {}
    for stored in program.stored:
        key, _dtype, width, _count = _storage(stored, subject)
        if widths.setdefault(key, width) != width:
            raise refuse("tensor.geometry", subject, "one type for a storage", "two")
    return widths


def _storage(stored: Any, subject: str) -> tuple[str, str, int, int]:
    """Return key, dtype, bytes of one element and number of elements of a storage that a pickle names."""
    pid = stored.pid if isinstance(stored, Stored) else None
    # ("storage", class, key, location, count), in the old format with a sixth: the view, which torch writes as None
    if isinstance(pid, tuple) and len(pid) == 6 and pid[5] is None:
        pid = pid[:5]
    if not isinstance(pid, tuple) or len(pid) != 5 or pid[0] != "storage" or not isinstance(pid[1], Global):
        raise refuse("pickle.damaged", subject, "a storage", "another persistent id")
    kind, key, count = pid[1], pid[2], pid[4]
    dtype = _STORAGES.get(kind.name)
    if kind.module not in ("torch", "torch.cuda") or dtype is None:
        raise refuse("format.unsupported", subject, "a known storage type", kind.path)
    if not isinstance(key, str) or type(count) is not int or count < 0:
        raise refuse("pickle.damaged", subject, "a storage's key and size", "something else")
    return key, *dtype, count


def _named_tensors(program: Program, subject: str) -> list[tuple[str, Made]]:
    """Return each tensor with its name, in order; parameters count as the tensors in them.

    Raises:
        RefusedError: when a tensor lies elsewhere than in dictionaries and lists, for then nobody would look at it.
    """
    pending: list[tuple[str, Any]] = [("", program.value)]
    found = []
    for _ in range(limits.MAX_STATE_CONTAINERS):
        if not pending:
            break
        name, value = pending.pop()
        if isinstance(value, Made):
            if value.path == "torch._utils._rebuild_parameter" and value.args and isinstance(value.args[0], Made):
                value = value.args[0]
            if value.path == _REBUILD:
                found.append((name, value))
            value = value.entries
        if isinstance(value, dict):
            inside = [(str(key), item) for key, item in value.items()]
        elif isinstance(value, list | tuple):
            inside = [(str(index), item) for index, item in enumerate(value)]
        else:
            continue
        inside = [(key, item) for key, item in inside if isinstance(item, Made | dict | list | tuple)]
        pending += [(f"{name}.{key}" if name else key, item) for key, item in reversed(inside)]
    else:
        raise refuse("pickle.bomb", subject, f"at most {limits.MAX_STATE_CONTAINERS} tensors and lists", "more")
    reached = {id(call) for _, call in found}
    if any(call.path == _REBUILD and id(call) not in reached for call in program.calls):
        raise refuse("format.unsupported", subject, "tensors in dictionaries and lists", "one elsewhere")
    return found


def _check_geometry(call: Made, subject: str, storages: dict[str, Window]) -> Tensor:
    """Return a tensor whose every element lies in its storage; refuse views that are larger than it."""
    if not 6 <= len(call.args) <= 7:
        raise refuse("pickle.damaged", subject, "a tensor", "other arguments")
    key, dtype, width, count = _storage(call.args[0], subject)
    offset, shape, stride = call.args[1:4]
    if isinstance(shape, Made) and shape.path == "torch.Size" and len(shape.args) == 1:
        shape = shape.args[0]
    if not isinstance(shape, tuple) or not isinstance(stride, tuple):
        raise refuse("tensor.geometry", subject, "sizes and strides", "something else")
    for number in (offset, *shape, *stride):
        if type(number) is not int or not 0 <= number < 2**62:
            raise refuse("tensor.geometry", subject, "sizes, strides and an offset", "something else")
    if len(shape) != len(stride) or len(shape) > limits.MAX_DIMENSIONS:
        raise refuse("tensor.geometry", subject, f"{len(shape)} strides", len(stride))
    storage = storages.get(key)
    if storage is None:
        raise refuse("archive.missing-member", subject, f"storage {key}", "none")
    if storage.size != count * width:
        raise refuse("tensor.geometry", subject, f"{count * width} bytes in storage {key}", storage.size)
    elements = 1
    last = offset
    for size, step in zip(shape, stride, strict=True):
        elements *= size
        last += (size - 1) * step
    if elements == 0:
        return Tensor(TensorSpec(shape, dtype), key, width, offset, offset - 1)
    if elements > count or last >= count:
        raise refuse("tensor.geometry", subject, f"at most {count} elements", f"{elements}, the last at {last}")
    return Tensor(TensorSpec(shape, dtype), key, width, offset, last)


def _not_finite(tensors: dict[str, Tensor], storages: dict[str, Window], window: Window) -> list[Finding]:
    """Name the tensors that hold NaN or infinity; those that share numbers are read once."""
    known: dict[tuple[str, int, int], str | None] = {}
    findings = []
    for name, tensor in tensors.items():
        if not is_float(tensor.spec.dtype):
            continue
        place = (tensor.storage, tensor.first, tensor.last)
        if place not in known:
            offset, size = tensor.first * tensor.item_bytes, (tensor.last - tensor.first + 1) * tensor.item_bytes
            known[place] = not_finite(storages[tensor.storage], offset, size, tensor.spec.dtype)
        if known[place] is not None:
            hint = "training diverged before this was saved: go back to an older checkpoint, lower the learning rate"
            found = known[place]
            # a mask in a file of somebody's own making may be infinite on purpose; SB3 has none
            report = warning if window.whole and found == MASKED else blocker
            findings.append(report("tensor.not-finite", window.subject(name), "finite numbers", found, hint))
    return findings
