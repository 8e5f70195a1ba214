"""Torch files: geometry, numbers that are not finite, the old format, refused formats."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable

import pytest
from support.hostile import (
    DOUBLE,
    FLOAT,
    HALF,
    LONG,
    POLICY,
    FakeTensor,
    Pickle,
    blockers,
    call,
    legacy_torch_file,
    named,
    sb3_file,
    sb3_parts,
    state_dict_program,
    storage_bytes,
    tensor_program,
    torch_archive,
    torch_file,
    verdict,
    zeros,
)

from ckptsync.core.findings import Severity, Verdict
from ckptsync.core.readers import ModelReport
from ckptsync.core.signature import TensorSpec

Read = Callable[..., ModelReport]


def one(tensor: FakeTensor) -> bytes:
    return torch_file({"weight": tensor})


def test_names_shapes_and_dtypes_in_order(read: Read) -> None:
    tensors = {"b": zeros(2, 3), "a": zeros(4, kind=LONG), "scalar": zeros(kind=DOUBLE), "empty": zeros(0, 3)}
    report = read(torch_file(tensors))
    assert report.findings == ()
    assert report.format == "torch"
    assert list(report.signature.parameters.items()) == [
        ("b", TensorSpec((2, 3), "float32")),
        ("a", TensorSpec((4,), "int64")),
        ("scalar", TensorSpec((), "float64")),
        ("empty", TensorSpec((0, 3), "float32")),
    ]
    assert report.content == report.digest


def test_nested_dictionaries_and_lists_are_joined_by_dots(read: Read) -> None:
    inner = {"layer.weight": tensor_program(zeros(2), "0")}
    program = Pickle().value({"epoch": 3, "model": inner, "list": [1, tensor_program(zeros(3), "1")]})
    report = read(torch_file({"a": zeros(2), "b": zeros(3)}, program.done()))
    assert report.findings == ()
    assert list(report.signature.parameters) == ["model.layer.weight", "list.1"]


def test_names_that_collide_are_refused(read: Read) -> None:
    inner = Pickle().value({"b": tensor_program(zeros(2), "0")})
    program = Pickle().value({"a": inner, "a.b": tensor_program(zeros(2), "0")})
    assert blockers(read(torch_file({"x": zeros(2)}, program.done()))) == [("pickle.damaged", "a.b")]


def test_parameters_shared_storages_and_sizes_are_read(read: Read) -> None:
    shared = FakeTensor((2, 2), [1, 2, 3, 4], key="0")
    view = FakeTensor((2,), [1, 2, 3, 4], key="0", offset=1, stride=(2,))
    program = state_dict_program({"whole": shared, "view": view})
    wrapped = call(
        "torch._utils", "_rebuild_parameter", tensor_program(shared, "0"), True, call("collections", "OrderedDict")
    )
    report = read(torch_file({"whole": shared}, program.text("parameter").value(wrapped).raw(b"s").done()))
    assert report.findings == ()
    assert list(report.signature.parameters) == ["whole", "view", "parameter"]


def test_tensor_outside_dictionaries_is_refused(read: Read) -> None:
    hidden = call("collections", "OrderedDict", [("a", tensor_program(zeros(2), "0"))])
    report = read(torch_file({"x": zeros(2)}, Pickle().value({"a": hidden}).done()))
    assert blockers(report) == [("format.unsupported", "model.zip")]


@pytest.mark.parametrize(
    "tensor",
    [
        FakeTensor((2**40,), [1.0], stride=(0,)),
        FakeTensor((4,), [1.0] * 4, offset=1),
        FakeTensor((2, 2), [1.0] * 4, stride=(3, 1)),
        FakeTensor((2, 2), [1.0] * 4, stride=(-1, 1)),
        FakeTensor((2, 2), [1.0] * 4, stride=(1,)),
        FakeTensor((2,), [1.0] * 2, count=1000),
        FakeTensor((1000,), [1.0] * 2, count=1000),
        FakeTensor((2,), [1.0] * 4, count=2),
        FakeTensor((2,), [1.0] * 2, count=2**60),
        FakeTensor((1,) * 70, [1.0], stride=(1,) * 70),
        FakeTensor((2**61, 2**61), [1.0] * 2, stride=(1, 1)),
    ],
)
def test_geometry_that_does_not_fit_is_refused(read: Read, tensor: FakeTensor) -> None:
    assert blockers(read(one(tensor))) == [("tensor.geometry", "weight")]


def test_missing_storage_is_named(read: Read) -> None:
    report = read(torch_file({}, state_dict_program({"weight": zeros(2)}).done()))
    assert blockers(report) == [("archive.missing-member", "weight")]


def test_persistent_ids_that_are_no_storage_are_refused(read: Read) -> None:
    for pid in [("module", 1), ("storage", "FloatStorage", "0", "cpu", 2), "storage", ("storage",)]:
        storage = Pickle().value(pid).raw(b"Q")
        hooks = call("collections", "OrderedDict")
        tensor = call("torch._utils", "_rebuild_tensor_v2", storage, 0, (2,), (1,), False, hooks)
        report = read(torch_file({"a": zeros(2)}, Pickle().value({"weight": tensor}).done()))
        assert blockers(report) == [("pickle.damaged", "weight")]
    quantized = Pickle().value(("storage", named("torch", "QInt8Storage"), "0", "cpu", 2)).raw(b"Q")
    report = read(torch_file({"a": zeros(2)}, Pickle().value({"weight": quantized}).done()))
    assert blockers(report) == [("pickle.foreign-global", "model.zip")]


@pytest.mark.parametrize(("bad", "word"), [(math.nan, "NaN"), (math.inf, "infinite"), (-math.inf, "minus infinity")])
@pytest.mark.parametrize("kind", [FLOAT, DOUBLE, HALF])
def test_numbers_that_are_not_finite_name_the_parameter(
    read: Read, bad: float, word: str, kind: tuple[str, str, int]
) -> None:
    numbers = [0.0, -1.5, 2.25, 6e4] * 50
    spoilt = [*numbers[:-1], bad]
    tensors = {"good": FakeTensor((200,), numbers, kind), "bad": FakeTensor((200,), spoilt, kind)}
    report = read(torch_file(tensors))
    assert [(finding.subject, finding.actual) for finding in report.findings] == [("bad", word)]
    in_sb3 = read(sb3_file({**POLICY, **tensors}))
    assert blockers(in_sb3) == [("tensor.not-finite", "policy.pth: bad")]
    assert verdict(in_sb3) is Verdict.CORRUPT
    assert read(sb3_file({**POLICY, **tensors}), check_values=False).findings == ()


def test_masks_may_be_infinite_outside_sb3(read: Read) -> None:
    report = read(one(FakeTensor((2,), [0.0, -math.inf])))
    assert [(finding.code, finding.severity) for finding in report.findings] == [
        ("tensor.not-finite", Severity.WARNING)
    ]
    assert verdict(report) is Verdict.VALID
    assert blockers(read(one(FakeTensor((3,), [-math.inf, math.inf, 0.0])))) == [("tensor.not-finite", "weight")]


def test_largest_finite_numbers_are_good(read: Read) -> None:
    largest = struct.unpack("<f", b"\xff\xff\x7f\x7f")[0]
    report = read(one(FakeTensor((3,), [largest, -largest, 1e-45])))
    assert report.findings == ()


def test_numbers_outside_a_view_do_not_matter(read: Read) -> None:
    view = FakeTensor((2,), [1.0, 2.0, math.nan], count=3)
    assert read(one(view)).findings == ()


def test_old_format_is_read_like_the_new(read: Read) -> None:
    old = read(legacy_torch_file(POLICY))
    assert old.findings == ()
    assert old.format == "torch-legacy"
    assert old.signature == read(torch_file(POLICY)).signature
    parts = sb3_parts()
    parts.members["policy.pth"] = legacy_torch_file(POLICY)
    assert read(parts.pack()).signature == read(sb3_file()).signature


def test_old_format_that_is_cut_or_longer_is_damaged(read: Read) -> None:
    data = legacy_torch_file({"weight": zeros(4)})
    for size in range(20, len(data), 7):
        assert not verdict(read(data[:size])).good, size
    assert blockers(read(data + b"x")) == [("pickle.damaged", "model.zip")]


def test_old_format_with_nan_names_the_parameter(read: Read) -> None:
    data = legacy_torch_file({"good": zeros(4), "bad": FakeTensor((2,), [1.0, math.nan])})
    assert blockers(read(data)) == [("tensor.not-finite", "bad")]


def test_old_format_with_large_pickles_is_read(read: Read) -> None:
    tensors = {f"layer{number}.{'x' * 400}": zeros(1) for number in range(2000)}
    data = legacy_torch_file(tensors)
    assert len(data) > 2**20
    assert len(read(data).signature.parameters) == 2000


def test_torchscript_tar_and_big_endian_are_refused(read: Read) -> None:
    script = torch_archive({"data.pkl": Pickle().value({}).done(), "constants.pkl": b"", "version": b"3\n"})
    assert blockers(read(script)) == [("format.unsupported", "model.zip")]
    tar = bytearray(1024)
    tar[257:262] = b"ustar"
    assert blockers(read(bytes(tar))) == [("format.unsupported", "model.zip")]
    big = torch_file({"weight": zeros(1)}, extra={"byteorder": b"big"})
    assert blockers(read(big)) == [("format.unsupported", "model.zip")]


def test_storage_bytes_are_as_torch_has_them() -> None:
    assert storage_bytes(FakeTensor((2,), [1.0, -2.0])) == struct.pack("<2f", 1.0, -2.0)
