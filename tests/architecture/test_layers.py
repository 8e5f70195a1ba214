"""The layers of the package, read from its source: who may import whom, who may change files, what nobody does.

core <- training
core <- project, store, runners <- sync <- cli
dashboard reads project and store; testing serves tests and may use all but cli and dashboard
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

import ckptsync

PACKAGE = Path(ckptsync.__file__).parent
MAX_LINES = 400

ALLOWED = {
    "core": {"core"},
    "training": {"core", "training"},
    "project": {"core", "project"},
    "store": {"core", "store"},
    "runners": {"core", "runners"},
    "sync": {"core", "project", "store", "runners", "sync"},
    "cli": {"core", "project", "store", "runners", "sync", "cli", "dashboard"},
    "dashboard": {"core", "project", "store", "dashboard"},
    "testing": {"core", "training", "project", "store", "runners", "sync", "testing"},
}
# The top of the package resolves its public names on use, so it may name every layer
TOP = ("__init__", "__main__", "_version")
HEAVY = (
    "torch",
    "numpy",
    "stable_baselines3",
    "gymnasium",
    "gym",
    "sb3_contrib",
    "transformers",
    "pandas",
    "cloudpickle",
)
# Names of functions of os, shutil and pathlib.Path that change files
CHANGING_OS = {
    *(
        "rename",
        "renames",
        "replace",
        "unlink",
        "remove",
        "removedirs",
        "rmdir",
        "mkdir",
        "makedirs",
        "link",
        "symlink",
    ),
    *(
        "truncate",
        "ftruncate",
        "write",
        "pwrite",
        "writev",
        "utime",
        "chmod",
        "chown",
        "mkfifo",
        "mknod",
        "copy_file_range",
    ),
    *("sendfile", "fsync", "fdatasync", "fchmod"),
}
CHANGING_PATH = {
    *("write_bytes", "write_text", "touch", "unlink", "rmdir", "mkdir", "rename", "symlink_to", "hardlink_to", "chmod"),
}
GUARDED = ("core", "project", "sync", "store", "cli", "dashboard")


@cache
def modules() -> list[tuple[str, Path, ast.Module]]:
    """(name without the package, path, tree) of every module; templates are the users' scripts, not the package."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        relative = path.relative_to(PACKAGE)
        if relative.parts[0] != "templates":
            name = ".".join(relative.with_suffix("").parts)
            found.append((name, path, ast.parse(path.read_text(encoding="utf-8"), str(path))))
    return found


def against(rule: Callable[[str, ast.Module], list[str]]) -> dict[str, list[str]]:
    """What every module does against a rule, by its name: empty where all keep it."""
    return {name: found for name, _path, tree in modules() if (found := rule(name, tree))}


def layer_of(name: str) -> str:
    """The layer of a module's name."""
    return name.split(".")[0]


def imports(name: str, tree: ast.Module) -> Iterator[tuple[int, str]]:
    """(line, absolute name) of everything that a module imports, also inside functions."""
    package = ["ckptsync", *name.split(".")]
    package = package[:-1]  # the module's own name, or __init__
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            origin = ".".join([*base, *([node.module] if node.module else [])])
            yield from ((node.lineno, f"{origin}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Call) and _called(node) in ("import_module", "__import__"):
            argument = node.args[0] if node.args else None
            if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                yield node.lineno, argument.value


def _called(node: ast.Call) -> str:
    function = node.func
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def violations(name: str, tree: ast.Module) -> list[str]:
    """What a module imports against the rules."""
    found = []
    layer = layer_of(name)
    for line, imported in imports(name, tree):
        root, _, rest = imported.partition(".")
        if root == "ckptsync":
            target = rest.split(".")[0]
            if layer not in TOP and target in ALLOWED and target not in ALLOWED[layer]:
                found.append(f"line {line}: {layer} may not import {imported}")
        elif layer == "core" and root not in sys.stdlib_module_names:
            found.append(f"line {line}: core may import the standard library alone, not {imported}")
        elif layer not in ("training", "testing", "core") and root in HEAVY:
            found.append(f"line {line}: nothing on the side of the command line imports {imported}")
    return found


def test_every_layer_is_known() -> None:
    layers = {layer_of(name) for name, _path, _tree in modules()}
    assert {"core", "training", "cli"} <= layers <= {*ALLOWED, *TOP}


def test_imports_go_one_way() -> None:
    assert against(violations) == {}


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("core.x", "import ckptsync.training"),
        ("core.x", "from ..training import session"),
        ("core.x", "from .. import sync"),
        ("core.x", "import numpy"),
        ("training.x", "from ..sync import fetch"),
        ("training.x", "from ckptsync.project.config import load_project"),
        ("project.x", "from ..runners import base"),
        ("runners.kaggle.x", "from ...project import config"),
        ("store.x", "from ..project import config"),
        ("sync.x", "def f():\n    import torch"),
        ("sync.x", "def f():\n    from ..training import session"),
        ("sync.x", "import importlib\nimportlib.import_module('torch.nn')"),
        ("cli.x", "from stable_baselines3.common import utils"),
        ("sync.x", "from ..cli import app"),
        ("dashboard.x", "from ..sync import verify"),
    ],
)
def test_the_rule_sees_what_it_forbids(name: str, source: str) -> None:
    assert violations(name, ast.parse(source))


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("core.x", "from . import names\nimport json"),
        ("core.readers.x", "from ..errors import CorruptError"),
        ("training.x", "import torch\nfrom ..core import fsio"),
        ("runners.kaggle.x", "from ..base import Runner\nfrom ...core import fsio"),
        ("cli.x", "from ..sync import fetch"),
    ],
)
def test_the_rule_lets_pass_what_it_allows(name: str, source: str) -> None:
    assert violations(name, ast.parse(source)) == []


def changes(tree: ast.Module) -> list[str]:
    """What a module does to files by itself."""
    found = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        function = node.func
        if isinstance(function, ast.Attribute):
            owner = function.value.id if isinstance(function.value, ast.Name) else ""
            if owner == "os" and function.attr in CHANGING_OS:
                found.append(f"line {node.lineno}: os.{function.attr}")
            elif owner == "os" and function.attr == "open" and _creates(node):
                found.append(f"line {node.lineno}: os.open that creates or writes")
            elif owner in ("shutil", "tempfile") and function.attr not in (
                "which",
                "get_terminal_size",
                "disk_usage",
                "TemporaryFile",
                "SpooledTemporaryFile",
            ):
                found.append(f"line {node.lineno}: {owner}.{function.attr}")
            elif function.attr in CHANGING_PATH and owner not in ("os", "fsio") and not _is_plain_text(node):
                found.append(f"line {node.lineno}: .{function.attr}()")
            elif function.attr == "open" and owner not in ("os", "io") and _writes(node, position=0):
                found.append(f"line {node.lineno}: .open() for writing")
            elif function.attr == "open" and owner == "io" and _writes(node, position=1):
                found.append(f"line {node.lineno}: io.open() for writing")
        elif isinstance(function, ast.Name) and function.id == "open" and _writes(node, position=1):
            found.append(f"line {node.lineno}: open() for writing")
    return found


def _is_plain_text(node: ast.Call) -> bool:
    return isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Constant)


def _creates(node: ast.Call) -> bool:
    if ast.unparse(node.args[0]) == "os.devnull":
        return False
    names = {part.attr for argument in node.args[1:] for part in ast.walk(argument) if isinstance(part, ast.Attribute)}
    return bool(names & {"O_CREAT", "O_WRONLY", "O_RDWR", "O_TRUNC", "O_APPEND"})


def _writes(node: ast.Call, *, position: int) -> bool:
    mode = next((keyword.value for keyword in node.keywords if keyword.arg == "mode"), None)
    if mode is None and len(node.args) > position:
        mode = node.args[position]
    return isinstance(mode, ast.Constant) and isinstance(mode.value, str) and bool(set(mode.value) & set("wax+"))


def test_only_fsio_changes_files() -> None:
    changed = against(lambda name, tree: changes(tree) if layer_of(name) in GUARDED else [])
    assert "core.fsio" in changed
    assert changed.keys() <= {"core.fsio", "core.fssync"}


@pytest.mark.parametrize(
    "source",
    [
        "open('a', 'w')",
        "open('a', mode='ab')",
        "path.open('x')",
        "path.write_text('a')",
        "Path('a').unlink()",
        "os.rename(a, b)",
        "os.open(a, os.O_RDWR | os.O_CREAT)",
        "shutil.copy(a, b)",
        "tempfile.mkdtemp()",
    ],
)
def test_the_rule_sees_changes(source: str) -> None:
    assert changes(ast.parse(source))


@pytest.mark.parametrize(
    "source", ["open('a')", "open('a', 'rb')", "path.open('rb')", "fsio.rename(a, b)", "os.open(a, os.O_RDONLY)"]
)
def test_the_rule_lets_reading_pass(source: str) -> None:
    assert changes(ast.parse(source)) == []


def test_no_asserts() -> None:
    """`python -O` drops asserts: the package raises errors of ckptsync.core.errors. Its contract suites are tests."""

    def asserts(name: str, tree: ast.Module) -> list[str]:
        return [f"line {node.lineno}" for node in ast.walk(tree) if isinstance(node, ast.Assert)]

    assert {layer_of(name) for name in against(asserts)} == {"testing"}


def test_no_prints() -> None:
    """Only the command line, `boot` and `progress` talk to people."""

    def prints(name: str, tree: ast.Module) -> list[str]:
        calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call))
        return [f"line {node.lineno}" for node in calls if _called(node) == "print"]

    talking = {"training.boot", "training.progress"}
    assert {name for name in against(prints) if layer_of(name) != "cli"} <= talking


def test_modules_stay_readable() -> None:
    lengths = {name: len(path.read_text(encoding="utf-8").splitlines()) for name, path, _tree in modules()}
    assert {name: lines for name, lines in lengths.items() if lines > MAX_LINES} == {}


def test_every_module_says_what_it_is_for() -> None:
    assert [name for name, _path, tree in modules() if len(tree.body) > 1 and not ast.get_docstring(tree)] == []


def test_annotations_are_postponed() -> None:
    def evaluated(name: str, tree: ast.Module) -> list[str]:
        first = next((node for node in tree.body if isinstance(node, ast.ImportFrom)), None)
        postponed = first is not None and first.module == "__future__"
        return [] if postponed or len(tree.body) < 2 else ["no `from __future__ import annotations`"]  # a docstring

    assert against(evaluated) == {}
