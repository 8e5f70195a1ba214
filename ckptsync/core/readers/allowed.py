"""Which globals a checkpoint's pickles may name, and what to say about the others.

An allow list, never a deny list: what is not on it is foreign. Functions may only be *called* by the pickle itself,
with inert arguments; they must not be left as a value, for SB3 calls some of the values that it loads
(`features_extractor_class(**kwargs)`, `lr_schedule(progress)`).
"""

from __future__ import annotations

import sys
from collections.abc import Collection
from contextlib import suppress
from typing import NamedTuple

from ..findings import Finding, Severity
from . import limits
from .code import BUILTIN_TYPE, CODE_SOURCES, MAKERS, code_by_value, makes, type_name
from .pickle_names import names_text
from .pickle_program import Global, Made, Program
from .report import CodeByValue
from .window import RefusedError, Window


class Approval(NamedTuple):
    """How far a file is trusted.

    Args:
        own: it comes from this run's own lineage, or the whole file was approved by digest.
        trusted: digests of functions by value that the user approved.
    """

    own: bool = False
    trusted: Collection[str] = ()


# (beginning of the module, endings of the class's name): a family of classes
_Family = tuple[str, tuple[str, ...]]


class _Names(NamedTuple):
    """A set of globals: single ones, and families of classes."""

    paths: frozenset[str]
    families: tuple[_Family, ...] = ()

    def has(self, named: Global) -> bool:
        """Whether a global is one of them."""
        return named.path in self.paths or any(
            named.module.startswith(start)
            and named.name.endswith(endings)
            and named.name.isidentifier()
            and named.name[0].isupper()
            for start, endings in self.families
        )


class Rules(NamedTuple):
    """What one kind of pickle may name.

    Args:
        functions: may be called, and must not be left as a value.
        makers: classes that may be instantiated and left as a value.
        classes: may only be left as a value.
        code: whether functions by value have a place.
    """

    functions: frozenset[str]
    makers: _Names
    classes: _Names
    code: bool


def _paths(**modules: str) -> frozenset[str]:
    """Return `module.name` for each name; `__` in a module stands for a dot."""
    return frozenset(
        f"{module.replace('__', '.')}.{name}" for module, names in modules.items() for name in names.split()
    )


_NUMPY_FUNCTIONS = frozenset({"_codecs.encode"}) | _paths(
    numpy__core__multiarray="_reconstruct scalar",
    numpy___core__multiarray="_reconstruct scalar",
    numpy__core__numeric="_frombuffer",
    numpy___core__numeric="_frombuffer",
)
_RECONSTRUCT = _paths(numpy__core__multiarray="_reconstruct", numpy___core__multiarray="_reconstruct")
_TENSOR_FUNCTIONS = _paths(torch___utils="_rebuild_tensor_v2 _rebuild_parameter")
_NUMBER_TYPES = "int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64"
_NUMBERS = _paths(
    numpy=f"ndarray dtype bool bool_ {_NUMBER_TYPES}",
    torch=f"float double half bfloat16 long int short bool Tensor {_NUMBER_TYPES} "
    + " ".join(
        f"{kind}Storage {kind}Tensor"
        for kind in ("Float", "Double", "Half", "BFloat16", "Long", "Int", "Short", "Char", "Byte", "Bool")
    ),
    torch__nn__parameter="Parameter",
    torch__storage="UntypedStorage TypedStorage",
)

TENSORS = Rules(
    functions=_NUMPY_FUNCTIONS | _TENSOR_FUNCTIONS,
    makers=_Names(_paths(collections="OrderedDict", torch="Size device", numpy="dtype")),
    classes=_Names(_NUMBERS | _paths(torch="ComplexFloatStorage ComplexDoubleStorage")),
    code=False,
)

_CLASS_MAKERS = "_make_skeleton_class _make_skeleton_enum _make_skel_class _rehydrate_skeleton_class"
_CODE_FUNCTIONS = (
    "_builtin_type _make_function _make_skel_func _fill_function _function_setstate _make_cell _make_empty_cell "
    f"_class_setstate {_CLASS_MAKERS}"
)
_SUBIMPORT = _paths(cloudpickle__cloudpickle="subimport", cloudpickle__cloudpickle_fast="subimport")
_SPACES = ("Box", "Discrete", "MultiDiscrete", "MultiBinary", "Dict", "Tuple", "Text", "Sequence", "Graph", "OneOf")
_SB3_MAKERS = ("Noise", "Schedule", "TrainFreq", "TrainFrequencyUnit")
_SB3_CLASSES = ("Policy", "Extractor", "CNN", "Buffer", "RMSpropTFLike")

FIELDS = Rules(
    functions=_NUMPY_FUNCTIONS
    | _TENSOR_FUNCTIONS
    | _SUBIMPORT
    | _paths(
        cloudpickle__cloudpickle=_CODE_FUNCTIONS,
        cloudpickle__cloudpickle_fast=_CODE_FUNCTIONS,
        operator="getitem",  # `Optional[float]` in the annotations of a function
        torch__storage="_load_from_bytes",  # what it loads is read as a torch file of its own
    )
    | {f"numpy.random._pickle.__{name}_ctor" for name in ("randomstate", "generator", "bit_generator")}
    | {"numpy.random.bit_generator.__pyx_unpickle_SeedSequence"},
    makers=_Names(
        _paths(
            collections="OrderedDict deque defaultdict",
            functools="partial",
            torch="Size device",
            numpy="dtype",
            numpy__random__bit_generator="SeedSequence",
            pathlib="Path PurePath PosixPath PurePosixPath WindowsPath PureWindowsPath",
            pathlib___local="Path PurePath PosixPath PurePosixPath WindowsPath PureWindowsPath",
            stable_baselines3__her__goal_selection_strategy="GoalSelectionStrategy",
            rl_zoo3__utils="SimpleLinearSchedule",
        ),
        (
            ("gym.spaces.", _SPACES),
            ("gymnasium.spaces.", _SPACES),
            ("stable_baselines3.", _SB3_MAKERS),
            ("sb3_contrib.", _SB3_MAKERS),
        ),
    ),
    classes=_Names(
        _NUMBERS
        | _paths(
            builtins="float int bool str bytes list tuple dict set frozenset object type complex",
            abc="ABCMeta ABC",
            math="sin cos tan tanh exp log log2 log10 sqrt pow floor ceil pi e inf",
            typing="Any Callable Dict List Optional Tuple Union Type Sequence Mapping",
            numpy__random___pcg64="PCG64 PCG64DXSM",
            numpy__random___mt19937="MT19937",
            numpy__random___philox="Philox",
            numpy__random___sfc64="SFC64",
        )
        | {"numpy.random._pickle.__bit_generator_ctor"},  # numpy before 1.26 hands it to another function
        (
            ("stable_baselines3.", _SB3_CLASSES),
            ("sb3_contrib.", _SB3_CLASSES),
            ("torch.nn.modules.", ("",)),
            ("torch.optim.", ("",)),
        ),
    ),
    code=True,
)

# calls of these are allowed with some arguments only
_LOOKED_INTO = BUILTIN_TYPE | _SUBIMPORT | {"operator.getitem"} | _RECONSTRUCT

# parts of the standard library that users' own schedules and classes name, and that act on nothing outside
_QUIET_MODULES = frozenset(
    {"math", "cmath", "statistics", "typing", "collections", "enum", "dataclasses", "functools", "itertools", "numbers"}
)

_HARMLESS_IMPORTS = frozenset(
    {"numpy", "math", "torch", "torch.nn", "torch.nn.functional", "gymnasium", "gym", "stable_baselines3"}
)

HINT = "do not load this file with SB3 or torch unless you know who wrote it"
_HINT_FUNCTION = 'loading runs this code; if you wrote it, put below [trust] in ckptsync.toml: functions = ["{digest}"]'


def judge(program: Program, subject: str, rules: Rules, approval: Approval) -> tuple[list[Finding], list[CodeByValue]]:
    """Judge what a pickle names, calls and carries.

    Args:
        program: the interpreted pickle.
        subject: the member or field that findings name.
        rules: TENSORS or FIELDS.
        approval: how far the file is trusted.

    Returns:
        The findings (a blocker for each foreign global; a note where the file is this run's own and the global is no
        part of the standard library), and the code by value.
    """
    made: set[Global] = set()
    run: set[Global] = set()
    unusual: list[Made] = []
    for call in program.calls:
        if isinstance(call.callee, Global):
            (made if call.new else run).add(call.callee)
            if call.callee.path not in _LOOKED_INTO:
                continue
        unusual.append(call)
    findings = []
    for named, left in program.globals.items():
        if not _allowed(named, named in run or named in made, left > 0, rules):
            severity = _severity(named, named in run, approval)
            findings.append(Finding("pickle.foreign-global", severity, subject, None, named.path, HINT))
    has_code = any(named.path in CODE_SOURCES for named in program.globals)
    functions = code_by_value(program.calls, subject) if has_code else []
    approved = approval.own or all(function.known or function.digest in approval.trusted for function in functions)
    for call in unusual:
        misuse = _misuse(call, rules)
        if misuse:
            findings.append(Finding("pickle.foreign-global", Severity.BLOCKER, subject, None, misuse, HINT))
        if call.path in _SUBIMPORT and not _harmless_import(call):
            severity = Severity.NOTE if approved else Severity.BLOCKER
            module = call.args[0] if len(call.args) == 1 and isinstance(call.args[0], str) else "?"
            findings.append(Finding("pickle.foreign-global", severity, subject, None, f"import {module}", HINT))
    for function in functions:
        if not function.known:
            trusted = approval.own or function.digest in approval.trusted
            severity = Severity.NOTE if trusted else Severity.BLOCKER
            hint = "" if trusted else _HINT_FUNCTION.format(digest=function.digest)
            actual = {"name": function.name, "digest": function.digest}
            findings.append(Finding("pickle.function-by-value", severity, subject, None, actual, hint))
    return findings, functions


def bare_pickle(window: Window) -> str:
    """Say of a file that is no torch file which foreign names it has as a pickle; empty where it names nothing."""
    named: dict[Global, int] = {}
    with suppress(RefusedError):  # a part of a large one, or one of odd instructions, still names what it names
        Program(window.read(0, min(window.size, limits.MIB)), window.name, named=named)
    foreign = [item for item in named if not _allowed(item, called=False, left=False, rules=FIELDS)]
    return f"a pickle that names {names_text(item.path for item in foreign or named)}" if named else ""


def _allowed(named: Global, called: bool, left: bool, rules: Rules) -> bool:
    if named.path in rules.functions:
        return not left or rules.classes.has(named)
    if rules.code and named.module == "types" and named.name in MAKERS:
        return not left
    return rules.makers.has(named) or (not called and rules.classes.has(named))


def _severity(named: Global, called: bool, approval: Approval) -> Severity:
    """A user's own class or function is a note in the run's own files; most of the standard library never is."""
    top = named.module.partition(".")[0]
    unexpected = top in sys.stdlib_module_names and top not in _QUIET_MODULES
    foreign = unexpected or "." in named.name or (called and not named.name[:1].isupper())
    return Severity.NOTE if approval.own and not foreign else Severity.BLOCKER


def _harmless_import(call: Made) -> bool:
    """Whether a function by value needs a module that SB3 imports anyway."""
    return len(call.args) == 1 and isinstance(call.args[0], str) and call.args[0] in _HARMLESS_IMPORTS


def _misuse(call: Made, rules: Rules) -> str:
    """Say what is wrong with a call of something allowed, or return an empty text."""
    if not isinstance(call.callee, Global):
        return "" if rules.code and makes(call) else "a call of something that the pickle itself makes"
    if call.path in BUILTIN_TYPE and not type_name(call):
        return f"{call.path} of another type"
    if call.path == "operator.getitem" and not (
        call.args and isinstance(call.args[0], Global) and call.args[0].module == "typing"
    ):
        return f"{call.path} of what is no annotation"
    if call.path in _RECONSTRUCT and (len(call.args) != 3 or call.args[1] != (0,)):
        return f"{call.path} of an array that is not empty"
    return ""
