"""Functions by value: SB3's own are known in every version of Python, others by their digest."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from support.hostile import Pickle, blockers, call, code_object, function, sb3_file

from ckptsync.core.findings import Severity
from ckptsync.core.readers import ModelReport

Read = Callable[..., ModelReport]

CONSTANT = bytes.fromhex("9501970089015300")

# the functions as SB3 and the RL zoo define them, printed as the arguments of code objects
SOURCES = '''
import json, sys

def constant_fn(val):
    def func(_):
        return val
    return func

def get_schedule_fn(value_schedule):
    return lambda progress_remaining: float(value_schedule(progress_remaining))

def get_linear_fn(start, end, end_fraction):
    def func(progress_remaining):
        if (1 - progress_remaining) > end_fraction:
            return end
        else:
            return start + (1 - progress_remaining) * (end - start) / end_fraction
    return func

def linear_schedule(initial_value):
    def func(progress_remaining):
        """Progress will decrease from 1 (beginning) to 0."""
        return progress_remaining * initial_value
    return func

def other(val):
    def func(_):
        return val + 1
    return func

out = []
for made in (constant_fn(1), get_schedule_fn(1), get_linear_fn(1, 2, 3), linear_schedule(1), other(1)):
    co = made.__code__
    args = [co.co_argcount]
    if sys.version_info >= (3, 8):
        args.append(co.co_posonlyargcount)
    args += [co.co_kwonlyargcount, co.co_nlocals, co.co_stacksize, co.co_flags, list(co.co_code), list(co.co_consts)]
    args += [list(co.co_names), list(co.co_varnames), co.co_filename, co.co_name]
    if sys.version_info >= (3, 11):
        args.append(co.co_qualname)
    args += [co.co_firstlineno, list(co.co_lnotab)]
    if sys.version_info >= (3, 11):
        args.append(list(co.co_exceptiontable))
    out.append(args + [list(co.co_freevars), list(co.co_cellvars)])
print(json.dumps(out))
'''


def other_pythons() -> list[str]:
    """Return every Python from 3.6 to 3.13 that happens to be on the path and runs."""
    found = []
    for minor in range(6, 14):
        path = shutil.which(f"python3.{minor}")
        if path is not None and subprocess.run([path, "-c", ""], capture_output=True).returncode == 0:
            found.append(path)
    return found


def as_code(args: list[Any]) -> Pickle:
    """Turn printed arguments back into what cloudpickle writes."""
    raw = {6, 14, 15} if len(args) == 18 else {5, 12} if len(args) == 15 else {6, 13}
    values = [
        bytes(value) if index in raw and isinstance(value, list) else tuple(value) if isinstance(value, list) else value
        for index, value in enumerate(args)
    ]
    return Pickle().value(call("cloudpickle.cloudpickle", "_builtin_type", "CodeType")).value(tuple(values)).raw(b"R")


@pytest.mark.parametrize("every", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_sb3s_own_functions_are_known_in_every_python_at_hand(read: Read, every: bool) -> None:
    for python in other_pythons() if every else [sys.executable]:
        run = subprocess.run([python, "-W", "ignore", "-c", SOURCES], capture_output=True, text=True, check=True)
        *own, other = [as_code(args) for args in json.loads(run.stdout)]
        for code in own:
            report = read(sb3_file(lr_schedule=function(code)))
            assert blockers(report) == [], python
            assert [item.known for item in report.functions] == [True], python
        report = read(sb3_file(lr_schedule=function(other)))
        assert blockers(report) == [("pickle.function-by-value", "data: lr_schedule")], python


def test_unknown_function_is_a_blocker_with_its_digest(read: Read) -> None:
    data = sb3_file(lr_schedule=function(code_object(b"\x97\0S\0", "my_schedule")))
    report = read(data)
    assert [(item.field, item.name, item.known) for item in report.functions] == [
        ("data: lr_schedule", "my_schedule", False)
    ]
    digest = report.functions[0].digest
    assert digest.startswith("sha256:") and len(digest) == 71
    assert blockers(report) == [("pickle.function-by-value", "data: lr_schedule")]
    assert digest in report.findings[0].hint
    for options in ({"own": True}, {"trusted": [digest]}, {"trusted": [report.digest]}):
        approved = read(data, **options)
        assert blockers(approved) == []
        assert [finding.severity for finding in approved.findings] == [Severity.NOTE]
    assert blockers(read(data, trusted=["sha256:" + "0" * 64])) != []


def one_digest(read: Read, code: Pickle) -> str:
    (item,) = read(sb3_file(lr_schedule=function(code))).functions
    return item.digest


def test_digest_is_of_the_code_not_of_its_place(read: Read) -> None:
    code = b"\x97\0d\0S\0"
    first = one_digest(read, code_object(code))
    assert one_digest(read, code_object(code, file="/elsewhere/x.py", line=9, lines=b"\x81", qualname="a.b")) == first
    for change in ({"constants": (1,)}, {"names": ("os",)}, {"stack": 2}, {"flags": 3}, {"exceptions": b"x"}):
        assert one_digest(read, code_object(code, **change)) != first
    assert one_digest(read, code_object(b"\x97\0S\0")) != first
    assert one_digest(read, code_object(code, constants=(1,))) != one_digest(read, code_object(code, constants=(True,)))
    assert one_digest(read, code_object(code, constants=("1",))) != one_digest(read, code_object(code, constants=(1,)))


def test_nested_code_counts_into_the_digest_and_is_not_listed_twice(read: Read) -> None:
    outer = [code_object(b"\x97\0", "outer", (code_object(inner, "inner"),)) for inner in (b"\x97\0", b"\x97\0S\0")]
    digests = [one_digest(read, code) for code in outer]
    assert digests[0] != digests[1]


@pytest.mark.parametrize(
    "change",
    [
        {"stack": 0},
        {"stack": 1000},
        {"flags": 0},
        {"locals": 0},
        {"argcount": 2},
        {"names": ("os",)},
        {"free": ()},
        {"cells": ("x",)},
        {"exceptions": b"\x80"},
        {"code": CONSTANT + b"\x09\0"},
    ],
)
def test_own_byte_code_in_another_frame_is_not_known(read: Read, change: dict[str, Any]) -> None:
    assert read(sb3_file(lr_schedule=function(code_object(CONSTANT)))).functions[0].known
    args: dict[str, Any] = {"code": CONSTANT, **change}
    assert not read(sb3_file(lr_schedule=function(code_object(**args)))).functions[0].known


def test_code_with_an_odd_number_of_arguments_is_unknown(read: Read) -> None:
    maker = call("cloudpickle.cloudpickle", "_builtin_type", "CodeType")
    report = read(sb3_file(lr_schedule=Pickle().value(maker).value((1, 2, 3)).raw(b"R")))
    assert [(item.name, item.known) for item in report.functions] == [("?", False)]


def made_class(name: str, tracker: str) -> Pickle:
    return call(
        *("cloudpickle.cloudpickle", "_make_skeleton_class", Pickle().named("builtins", "type"), name),
        *((), {"__module__": "__main__"}, tracker, None),
    )


def test_class_by_value_is_code_too(read: Read) -> None:
    kwargs = Pickle().value({"features_extractor_class": made_class("MyExtractor", "0" * 32)})
    report = read(sb3_file(policy_kwargs=kwargs))
    assert [(item.field, item.name, item.known) for item in report.functions] == [
        ("data: policy_kwargs", "MyExtractor", False)
    ]
    assert blockers(report) == [("pickle.function-by-value", "data: policy_kwargs")]
    assert blockers(read(sb3_file(policy_kwargs=kwargs), own=True)) == []


def test_digest_of_a_class_is_the_same_in_each_process(read: Read) -> None:
    one, other, renamed = (
        read(sb3_file(policy_class=made_class(name, tracker))).functions[0].digest
        for name, tracker in [("A", "0123456789abcdef" * 2), ("A", "f" * 32), ("B", "f" * 32)]
    )
    assert one == other != renamed


def test_policy_by_value_has_its_name(read: Read) -> None:
    report = read(sb3_file(policy_class=made_class("MyPolicy", "f" * 32)), own=True)
    assert (report.signature.policy, report.signature.algorithm) == ("MyPolicy", None)


def test_modules_that_a_function_needs(read: Read) -> None:
    def with_module(module: str) -> bytes:
        needs = call("cloudpickle.cloudpickle", "subimport", module)
        return sb3_file(lr_schedule=Pickle().value([function(code_object(b"S\0")), needs]))

    assert blockers(read(with_module("numpy"))) == [("pickle.function-by-value", "data: lr_schedule")]
    assert ("pickle.foreign-global", "data: lr_schedule") in blockers(read(with_module("os")))
    assert blockers(read(with_module("os"), own=True)) == []
