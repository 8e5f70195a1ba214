"""Functions and classes that cloudpickle writes by value: which they are, by the structure of their code.

Every SB3 file up to 2.6 holds a few, for `lr_schedule`, `clip_range` and `exploration_schedule` are functions inside
functions, which no import can find. SB3's own are known by byte code, names and the constants in use, for each
version of Python; paths, line numbers and docstrings do not count, and neither do the names of local variables.
The set is finite on purpose: a decoder that understood "equal in meaning" could be misled by crafted byte code.

Source: the functions are those of stable_baselines3/common/utils.py (1.0 to 2.6) and of rl_zoo3/utils.py; the order of
a code object's arguments is that of `cloudpickle.cloudpickle._code_reduce`.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any, NamedTuple

from . import limits
from .pickle_program import Global, Made
from .report import CodeByValue
from .window import refuse

BUILTIN_TYPE = frozenset({"cloudpickle.cloudpickle._builtin_type", "cloudpickle.cloudpickle_fast._builtin_type"})
MAKERS = frozenset({"CodeType", "FunctionType", "LambdaType", "CellType"})
_CLASS_MAKERS = frozenset(
    f"cloudpickle.{module}.{name}"
    for module in ("cloudpickle", "cloudpickle_fast")
    for name in ("_make_skeleton_class", "_make_skeleton_enum", "_rehydrate_skeleton_class", "_make_skel_class")
)

CODE_SOURCES = BUILTIN_TYPE | _CLASS_MAKERS | {"types.CodeType"}
_TRACKER = re.compile(r"[0-9a-f]{32}")

# byte code -> (names that it uses, number of closed-over variables, stack size, constants that must be in place)
_OWN: dict[bytes, tuple[tuple[str, ...], int, int, dict[int, Any]]] = {}


def _own(names: tuple[str, ...], closed: int, constants: dict[int, Any], codes: dict[int, tuple[str, ...]]) -> None:
    for stack_size, texts in codes.items():
        for text in texts:
            _OWN[bytes.fromhex(text)] = (names, closed, stack_size, constants)


# constant_fn: def func(_): return val                                 Python 3.6 to 3.10, 3.11 and 3.12, 3.13
_own((), 1, {}, {1: ("88005300", "9501970089015300", "3e01950054012400")})
# get_schedule_fn: lambda progress_remaining: float(value_schedule(progress_remaining))    3.6 to 3.10, 3.11, 3.12, 3.13
_own(
    ("float",),
    1,
    {},
    {
        3: ("740088007c00830183015300",),
        5: (
            "95019700740100000000000000000000020089017c00a6010000ab010000000000000000a6010000ab0100000000000000005300",
            "9501970074010000000000000000020089017c00ab01000000000000ab010000000000005300",
            "3e0195005b010000000000000000540122005500350100000000000035010000000000002400",
        ),
    },
)
# get_linear_fn: def func(progress_remaining):                          3.6 to 3.9, 3.10, 3.11, 3.12, 3.13
#     if (1 - progress_remaining) > end_fraction: return end
#     else: return start + (1 - progress_remaining) * (end - start) / end_fraction
_own(
    (),
    3,
    {1: 1},
    {
        4: (
            "64017c00180088016b04721088005300880264017c001800880088021800140088011b001700530064005300",
            "64017c00180088016b04720888005300880264017c001800880088021800140088011b0017005300",
            "9503970064017c007a0a000089026b0400000000720289015300890364017c007a0a0000890189037a0a0000"
            "7a05000089027a0b00007a0000005300",
            "9503970064017c007a0a000089026b440000720289015300890364017c007a0a0000890189037a0a0000"
            "7a05000089027a0b00007a0000005300",
            "3e039500530155002d0a000054023a94000061020000540124005403530155002d0a0000540154032d0a0000"
            "2d05000054022d0b00002d0000002400",
        )
    },
)
# linear_schedule: def func(progress_remaining): return progress_remaining * initial_value       as constant_fn
_own((), 1, {}, {2: ("7c00880014005300", "950197007c0089017a0500005300", "3e019500550054012d0500002400")})

_NESTED_FUNCTION_FLAGS = 0x13  # optimized, new locals, nested
_DOCSTRING_FLAG = 0x4000000


class _Code(NamedTuple):
    """The arguments of a code object that decide what it does."""

    arguments: tuple[Any, ...]  # counts of positional, positional-only, keyword-only
    locals: Any
    stack_size: Any
    flags: Any
    code: Any
    constants: Any
    names: Any
    variables: Any
    name: Any
    exceptions: Any
    free: Any
    cells: Any


def _parse(args: tuple[Any, ...]) -> _Code | None:
    """Name the arguments of a code object; their number tells the range of Python versions."""
    if len(args) == 15:  # 3.6, 3.7: no positional-only count
        args = (args[0], 0, *args[1:])
    if len(args) == 16:  # 3.8 to 3.10
        first, tail, exceptions = args[:12], args[14:], b""
    elif len(args) == 18:  # 3.11 and newer: qualified name, exception table
        first, tail, exceptions = args[:12], args[16:], args[15]
    else:
        return None
    counts, (local, stack, flags, code, constants, names, variables, _file, name) = first[:3], first[3:]
    return _Code(counts, local, stack, flags, code, constants, names, variables, name, exceptions, *tail)


def _is_own(code: _Code) -> bool:
    known = _OWN.get(code.code) if isinstance(code.code, bytes) else None
    if known is None or not isinstance(code.constants, tuple) or not isinstance(code.free, tuple):
        return False
    names, closed, stack_size, constants = known
    return (
        code.arguments == (1, 0, 0)
        and code.locals == 1
        and code.stack_size == stack_size
        and isinstance(code.flags, int)
        and code.flags & ~_DOCSTRING_FLAG == _NESTED_FUNCTION_FLAGS
        and code.names == names
        and len(code.free) == closed
        and (code.cells, code.exceptions) == ((), b"")
        and all(
            len(code.constants) > index and type(code.constants[index]) is int and code.constants[index] == value
            for index, value in constants.items()
        )
    )


def is_code(call: Made) -> bool:
    """Whether a call makes a code object."""
    return makes(call) == "CodeType"


def makes(call: Made) -> str:
    """Return which of Python's internal types a call makes an object of (`CodeType` ...), or an empty text."""
    callee = call.callee
    if isinstance(callee, Made) and callee.path in BUILTIN_TYPE:
        return type_name(callee)
    if isinstance(callee, Global) and callee.module == "types" and callee.name in MAKERS:
        return callee.name
    return ""


def type_name(call: Made) -> str:
    """Return the internal type that a call of cloudpickle's `_builtin_type` gives, or an empty text."""
    name = call.args[0] if len(call.args) == 1 else None
    return name if isinstance(name, str) and name in MAKERS else ""


def class_name(value: Any) -> str | None:
    """Return the name of a class by value, or None for anything else."""
    if isinstance(value, Made) and value.path in _CLASS_MAKERS:
        return next((part for part in value.args if isinstance(part, str)), None)
    return None


def code_by_value(calls: list[Made], field: str) -> list[CodeByValue]:
    """List the functions and classes that a pickle carries by value.

    Args:
        calls: all calls of its program.
        field: what holds the pickle.

    Returns:
        One entry for each code object that lies in no other, and for each class; equal ones once.

    Raises:
        RefusedError: `pickle.bomb` for code that is nested or shared beyond measure.
    """
    nested = {
        id(constant)
        for call in calls
        if is_code(call) and (code := _parse(call.args)) is not None and isinstance(code.constants, tuple)
        for constant in code.constants
        if isinstance(constant, Made)
    }
    found: dict[CodeByValue, None] = {}
    budget = _Budget(field)
    for call in calls:
        if is_code(call) and id(call) not in nested:
            code = _parse(call.args)
            name = code.name if code is not None and isinstance(code.name, str) else "?"
            found[CodeByValue(field, name, _digest(call, budget), code is not None and _is_own(code))] = None
        elif call.path in _CLASS_MAKERS:
            found[CodeByValue(field, class_name(call) or "?", _digest(call, budget), False)] = None
    return list(found)


class _Budget:
    """What all digests of one pickle may cost together: shared parts are counted each time they are met."""

    def __init__(self, subject: str) -> None:
        self._left = limits.MAX_CODE_NODES
        self._subject = subject

    def spend(self, size: int) -> None:
        self._left -= 1 + size // 256
        if self._left < 0:
            raise refuse("pickle.bomb", self._subject, f"at most {limits.MAX_CODE_NODES} parts in functions", "more")


def _digest(call: Made, budget: _Budget) -> str:
    """Return the digest of what a code object or class is made of, without paths and line numbers."""
    digest = hashlib.sha256()
    pending: list[Any] = [call]
    while pending:
        node = pending.pop()
        text, parts = _describe(node)
        budget.spend(len(text))
        digest.update(f"{type(node).__name__}:{len(text)}:{len(parts)};".encode() + text)
        pending.extend(reversed(parts))
    return "sha256:" + digest.hexdigest()


def _describe(node: Any) -> tuple[bytes, list[Any]]:
    """Return a value's own text and its parts."""
    if isinstance(node, Made) and is_code(node) and (code := _parse(node.args)) is not None:
        return b"", [
            *(code.arguments, code.locals, code.stack_size, code.flags, code.code, code.constants, code.names),
            *(code.variables, code.name, code.exceptions, code.free, code.cells),
        ]
    if isinstance(node, bytes):
        return node, []
    if isinstance(node, tuple | list):
        return b"", list(node)
    if isinstance(node, dict):
        return b"", [part for pair in node.items() for part in pair]
    if isinstance(node, set | frozenset):
        return "".join(sorted(map(repr, node))).encode("utf-8", "surrogatepass"), []
    if isinstance(node, Made):
        args = node.args
        if node.path in _CLASS_MAKERS:  # cloudpickle numbers classes anew in each process
            args = tuple(arg for arg in args if not (isinstance(arg, str) and _TRACKER.fullmatch(arg)))
        return node.path.encode("utf-8", "surrogatepass"), [args]
    text = node.path if isinstance(node, Global) else repr(node)
    return text.encode("utf-8", "surrogatepass"), []
