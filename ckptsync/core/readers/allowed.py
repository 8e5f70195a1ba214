"""Which globals a checkpoint's pickles may name, and what to say about the others.

An allow list, never a deny list: what is not on it is foreign. Functions may only be *called* by the pickle itself,
with inert arguments; they must not be left as a value, for SB3 calls some of the values that it loads
(`features_extractor_class(**kwargs)`, `lr_schedule(progress)`).
"""

from __future__ import annotations

import re
import sys
from collections.abc import Collection
from dataclasses import dataclass

from ..findings import Finding, Severity
from .code import BUILTIN_TYPE, MAKERS, code_by_value, makes
from .pickle_program import Global, Made, Program, walk
from .report import CodeByValue


@dataclass(frozen=True, slots=True)
class Approval:
    """How far a file is trusted.

    Args:
        own: it comes from this run's own lineage, or the whole file was approved by digest.
        trusted: digests of functions by value that the user approved.
    """

    own: bool = False
    trusted: Collection[str] = ()


@dataclass(frozen=True, slots=True)
class Rules:
    """What one kind of pickle may name.

    Args:
        functions: may be called, and must not be left as a value.
        makers: classes that may be instantiated and left as a value.
        classes: pattern of further classes that may only be left as a value.
        code: whether functions by value have a place.
    """

    functions: frozenset[str]
    makers: re.Pattern[str]
    classes: re.Pattern[str]
    code: bool


_NUMPY_FUNCTIONS = frozenset(
    {
        "_codecs.encode",
        *(f"numpy.{core}.multiarray._reconstruct" for core in ("core", "_core")),
        *(f"numpy.{core}.multiarray.scalar" for core in ("core", "_core")),
        *(f"numpy.{core}.numeric._frombuffer" for core in ("core", "_core")),
    }
)
_TENSOR_FUNCTIONS = frozenset({"torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_parameter"})
_NUMPY_CLASSES = r"numpy\.(ndarray|dtype|bool_?|u?int(8|16|32|64)|float(16|32|64))"
_TORCH_CLASSES = (
    r"torch\.(float|double|half|bfloat16|u?int(8|16|32|64)|float(16|32|64)|long|int|short|bool"
    r"|(Float|Double|Half|BFloat16|Long|Int|Short|Char|Byte|Bool)(Storage|Tensor)|Tensor|nn\.parameter\.Parameter)"
)

TENSORS = Rules(
    functions=_NUMPY_FUNCTIONS | _TENSOR_FUNCTIONS,
    makers=re.compile(r"collections\.OrderedDict|torch\.Size|torch\.device|numpy\.dtype"),
    classes=re.compile(rf"{_NUMPY_CLASSES}|{_TORCH_CLASSES}|torch\.storage\.(Untyped|Typed)Storage"),
    code=False,
)

_CLOUDPICKLE_FUNCTIONS = frozenset(
    f"cloudpickle.{module}.{name}"
    for module in ("cloudpickle", "cloudpickle_fast")
    for name in (
        *("_builtin_type", "_make_function", "_make_skel_func", "_fill_function", "_function_setstate"),
        *("_make_cell", "_make_empty_cell", "_class_setstate"),
        *("_make_skeleton_class", "_make_skeleton_enum", "_make_skel_class", "_rehydrate_skeleton_class"),
    )
)
_SUBIMPORT = frozenset({"cloudpickle.cloudpickle.subimport", "cloudpickle.cloudpickle_fast.subimport"})
_RANDOM_FUNCTIONS = frozenset(
    {
        "numpy.random._pickle.__randomstate_ctor",
        "numpy.random._pickle.__generator_ctor",
        "numpy.random._pickle.__bit_generator_ctor",
        "numpy.random.bit_generator.__pyx_unpickle_SeedSequence",
    }
)

FIELDS = Rules(
    functions=_NUMPY_FUNCTIONS
    | _TENSOR_FUNCTIONS
    | _CLOUDPICKLE_FUNCTIONS
    | _RANDOM_FUNCTIONS
    | _SUBIMPORT
    | {
        "operator.getitem",  # `Optional[float]` in the annotations of a function
        "torch.storage._load_from_bytes",  # what it loads is read as a torch file of its own
    },
    makers=re.compile(
        r"collections\.(OrderedDict|deque|defaultdict)|functools\.partial|torch\.(Size|device)|numpy\.dtype"
        r"|pathlib(\._local)?\.(Pure)?(Posix|Windows)?Path"
        r"|(gym|gymnasium)\.spaces\.[a-z_]+\.(Box|Discrete|MultiDiscrete|MultiBinary|Dict|Tuple|Text|Sequence|Graph|OneOf)"
        r"|numpy\.random\.bit_generator\.SeedSequence"
        r"|(stable_baselines3|sb3_contrib)(\.[a-z_0-9]+)+\.[A-Za-z]*(Noise|Schedule|TrainFreq|TrainFrequencyUnit)"
        r"|stable_baselines3\.her\.goal_selection_strategy\.GoalSelectionStrategy"
        r"|rl_zoo3\.[a-z_]+\.SimpleLinearSchedule"
    ),
    classes=re.compile(
        rf"{_NUMPY_CLASSES}|{_TORCH_CLASSES}|numpy\.random\._[a-z0-9]+\.(PCG64(DXSM)?|MT19937|Philox|SFC64)"
        r"|numpy\.random\._pickle\.__bit_generator_ctor"  # numpy before 1.26 hands it to another function
        r"|math\.[a-z0-9]+|typing\.[A-Z][A-Za-z]*|builtins\.(float|int|bool|str|bytes|list|tuple|dict|set|frozenset|object|type|complex)|abc\.(ABCMeta|ABC)"
        r"|(stable_baselines3|sb3_contrib)(\.[a-z_0-9]+)+\.[A-Za-z0-9]*(Policy|Extractor|CNN|Buffer|RMSpropTFLike)"
        r"|torch\.nn\.modules\.[a-z]+\.[A-Z][A-Za-z0-9]*|torch\.optim\.[a-z_]+\.[A-Z][A-Za-z0-9]*"
    ),
    code=True,
)

_HINT = "do not load this file with SB3 or torch unless you know who wrote it"
_HINT_FUNCTION = "loading runs this code; if you wrote it, add its digest to 'trusted' in ckptsync.toml: {digest}"


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
    called = {call.callee for call in program.calls if isinstance(call.callee, Global)}
    run = {call.callee for call in program.calls if isinstance(call.callee, Global) and not call.new}
    left = {value for value in walk([program.value, program.calls], subject) if isinstance(value, Global)}
    findings = []
    for named in program.globals:
        if not _allowed(named, named in called, named in left, rules):
            severity = _severity(named, named in run, approval)
            findings.append(Finding("pickle.foreign-global", severity, subject, None, named.path, _HINT))
    functions = code_by_value(program.calls, subject)
    approved = approval.own or all(function.known or function.digest in approval.trusted for function in functions)
    for call in program.calls:
        misuse = _misuse(call, rules)
        if misuse:
            findings.append(Finding("pickle.foreign-global", Severity.BLOCKER, subject, None, misuse, _HINT))
        if call.path in _SUBIMPORT and not _harmless_import(call):
            severity = Severity.NOTE if approved else Severity.BLOCKER
            module = call.args[0] if len(call.args) == 1 and isinstance(call.args[0], str) else "?"
            findings.append(Finding("pickle.foreign-global", severity, subject, None, f"import {module}", _HINT))
    for function in functions:
        if not function.known:
            trusted = approval.own or function.digest in approval.trusted
            severity = Severity.NOTE if trusted else Severity.BLOCKER
            hint = "" if trusted else _HINT_FUNCTION.format(digest=function.digest)
            actual = {"name": function.name, "digest": function.digest}
            findings.append(Finding("pickle.function-by-value", severity, subject, None, actual, hint))
    return findings, functions


def _allowed(named: Global, called: bool, left: bool, rules: Rules) -> bool:
    path = named.path
    if path in rules.functions:
        return not left or rules.classes.fullmatch(path) is not None
    if rules.code and named.module == "types" and named.name in MAKERS:
        return not left
    if rules.makers.fullmatch(path):
        return True
    return not called and rules.classes.fullmatch(path) is not None


def _severity(named: Global, called: bool, approval: Approval) -> Severity:
    """A user's own class or function is a note in the run's own files; the standard library never is."""
    top = named.module.partition(".")[0]
    foreign = top in sys.stdlib_module_names or "." in named.name or (called and not named.name[:1].isupper())
    return Severity.NOTE if approval.own and not foreign else Severity.BLOCKER


def _harmless_import(call: Made) -> bool:
    """Whether a function by value needs a module that SB3 imports anyway."""
    return call.args in (("numpy",), ("math",), ("torch",), ("gymnasium",), ("gym",), ("stable_baselines3",))


def _misuse(call: Made, rules: Rules) -> str:
    """Say what is wrong with a call of something allowed, or return an empty text."""
    if not isinstance(call.callee, Global):
        return "" if rules.code and makes(call) else "a call of something that the pickle itself makes"
    if call.path in BUILTIN_TYPE and (len(call.args) != 1 or call.args[0] not in MAKERS):
        return f"{call.path} of another type"
    if call.path == "operator.getitem" and not (
        call.args and isinstance(call.args[0], Global) and call.args[0].module == "typing"
    ):
        return f"{call.path} of what is no annotation"
    if call.path.endswith(".multiarray._reconstruct") and (len(call.args) != 3 or call.args[1] != (0,)):
        return f"{call.path} of an array that is not empty"
    return ""
