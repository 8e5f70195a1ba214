"""Pickles that would run code or cost too much, in every place where an SB3 file has one."""

from __future__ import annotations

import os
import pickle
import struct
from collections.abc import Callable

import pytest
from support.hostile import (
    Pickle,
    blockers,
    call,
    code_object,
    function,
    legacy_torch_file,
    named,
    sb3_file,
    sb3_parts,
    torch_file,
    verdict,
    zeros,
)

from ckptsync.core.findings import Severity, Verdict
from ckptsync.core.readers import ModelReport, limits
from ckptsync.core.readers.pickle_program import Program
from ckptsync.core.readers.window import RefusedError

Read = Callable[..., ModelReport]


def refusal(data: bytes) -> str:
    with pytest.raises(RefusedError) as caught:
        Program(data, "test")
    return caught.value.finding.code


RUNNING = {
    "os.system": call("os", "system", "touch marker"),
    "posix.system": call("posix", "system", "touch marker"),
    "builtins.eval": call("builtins", "eval", "1"),
    "builtins.exec": call("builtins", "exec", "1"),
    "builtins.getattr": call("builtins", "getattr", named("os", "path"), "join"),
    "subprocess.Popen": call("subprocess", "Popen", ["touch", "marker"]),
    "copyreg._reconstructor": call("copyreg", "_reconstructor", named("os", "_wrap_close")),
    "pickle.loads": call("pickle", "loads", b"x"),
    "cloudpickle.loads": call("cloudpickle", "loads", b"x"),
    "stable_baselines3.common.save_util.load_from_pkl": call(
        "stable_baselines3.common.save_util", "load_from_pkl", "/tmp/evil.pkl"
    ),
    "stable_baselines3.common.policies.ActorCriticPolicy.load": call(
        "stable_baselines3.common.policies", "ActorCriticPolicy.load", "/tmp/evil.pkl"
    ),
    "numpy.load": call("numpy", "load", "/tmp/evil.npy"),
    "torch.load": call("torch", "load", "/tmp/evil.pt"),
    "torch.hub.load": call("torch.hub", "load", "evil/evil"),
    "pkgutil.resolve_name": call("pkgutil", "resolve_name", "os:system"),
    "stable_baselines3.common.logger.CSVOutputFormat": call("stable_baselines3.common.logger", "CSVOutputFormat", "f"),
    "builtins.bytearray": call("builtins", "bytearray", 10**12),
}


@pytest.mark.parametrize("name", RUNNING)
@pytest.mark.parametrize("own", [False, True])
def test_code_in_a_field_is_named(read: Read, name: str, own: bool) -> None:
    if own and name.rpartition(".")[2][0].isupper() and not name.startswith(("subprocess", "builtins")):
        pytest.skip("a class outside the standard library may be the user's own")
    report = read(sb3_file(replay_buffer_kwargs=RUNNING[name]), own=own)
    assert verdict(report) is Verdict.UNSAFE
    found = [finding for finding in report.findings if finding.code == "pickle.foreign-global"]
    assert name in [finding.actual for finding in found]
    assert {finding.subject for finding in found} == {"data: replay_buffer_kwargs"}


@pytest.mark.parametrize("name", RUNNING)
@pytest.mark.parametrize("member", ["policy.pth", "policy.optimizer.pth", "pytorch_variables.pth"])
def test_code_in_a_torch_member_is_named(read: Read, name: str, member: str) -> None:
    parts = sb3_parts()
    parts.members[member] = torch_file({}, Pickle().value({"weight": RUNNING[name]}).done())
    report = read(parts.pack())
    found = [finding for finding in report.findings if finding.code == "pickle.foreign-global"]
    assert name in [finding.actual for finding in found]
    assert {finding.subject for finding in found} == {member}


def test_code_in_the_old_torch_format_is_named(read: Read) -> None:
    data = legacy_torch_file({"weight": zeros(2)})
    evil = data.replace(b"ctorch._utils\n_rebuild_tensor_v2\n", b"cposix\nsystem\n")
    assert ("pickle.foreign-global", "model.zip") in blockers(read(evil))


def test_code_whose_result_is_thrown_away_is_named(read: Read) -> None:
    program = Pickle().value(RUNNING["os.system"]).raw(b"0").value({"a": 1})
    assert ("pickle.foreign-global", "data: extra") in blockers(read(sb3_file(extra=program)))


def test_code_nested_in_a_storage_loader_is_named(read: Read) -> None:
    loader = call("torch.storage", "_load_from_bytes", torch_file({}, RUNNING["os.system"].done()))
    assert ("pickle.foreign-global", "data: weights") in blockers(read(sb3_file(weights=loader)))
    sound = call("torch.storage", "_load_from_bytes", torch_file({"weight": zeros(2)}))
    assert blockers(read(sb3_file(weights=sound))) == []
    broken = call("torch.storage", "_load_from_bytes", b"cos\nsystem\n(X\x01\0\0\0xtR.")
    assert blockers(read(sb3_file(weights=broken))) == [("pickle.foreign-global", "data: weights")]
    unknown = call("torch.storage", "_load_from_bytes", b"neither zip nor pickle")
    assert blockers(read(sb3_file(weights=unknown))) == [("format.unknown", "data: weights")]


class _Runs:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("true",)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("value", [_Runs(), {"nested": [1, "abcd", _Runs()]}], ids=["alone", "nested"])
def test_what_a_real_pickle_would_run_is_named_wherever_it_lies(read: Read, protocol: int, value: object) -> None:
    evil = pickle.dumps(value, protocol)
    files = [sb3_file(lr_schedule=evil)]
    # In protocol 0 nothing tells a pickle from any text before it names something
    told_apart = protocol > 0 or isinstance(value, _Runs)
    if told_apart:
        files.append(evil)
    for member in ("policy.pth", "policy.optimizer.pth", "pytorch_variables.pth"):
        for data in (torch_file({}, evil), *([evil] if told_apart else [])):
            parts = sb3_parts()
            parts.members[member] = data
            files.append(parts.pack())
    for data in files:
        report = read(data)
        assert verdict(report) is Verdict.UNSAFE
        assert "posix.system" in " ".join(str(finding.actual) for finding in report.findings)


def test_an_old_way_to_call_is_named(read: Read) -> None:
    [finding] = read(sb3_file(lr_schedule=b"(S'abcdef'\np1\nios\nsystem\n.")).findings
    assert (finding.code, finding.actual) == (
        "pickle.forbidden-opcode",
        "opcode 0x53 ('S'), in a pickle that names os.system",
    )


def test_a_function_must_not_be_left_as_a_value(read: Read) -> None:
    # SB3 would call features_extractor_class(observation_space, **kwargs) with arguments from the file
    for module, name in [("torch.storage", "_load_from_bytes"), ("cloudpickle.cloudpickle", "_make_function")]:
        report = read(sb3_file(policy_kwargs=Pickle().value({"features_extractor_class": named(module, name)})))
        assert blockers(report) == [("pickle.foreign-global", "data: policy_kwargs")]
        assert report.findings[0].actual == f"{module}.{name}"


def test_calling_what_the_pickle_made_is_refused(read: Read) -> None:
    made = function(code_object(bytes.fromhex("9501970089015300"), "func"))
    program = Pickle().value(made).value((1.0,)).raw(b"R")
    assert ("pickle.foreign-global", "data: clip_range") in blockers(read(sb3_file(clip_range=program)))


def test_types_that_are_no_plain_name_are_refused(read: Read) -> None:
    for name in ([], {}, ("CodeType",), b"CodeType", None, "ModuleType"):
        maker = call("cloudpickle.cloudpickle", "_builtin_type", name)
        program = Pickle().value(maker).value((1,)).raw(b"R")
        assert set(blockers(read(sb3_file(x=program)))) == {("pickle.foreign-global", "data: x")}


def test_changing_a_class_or_a_tensor_is_refused(read: Read) -> None:
    on_class = Pickle().named("stable_baselines3.common.policies", "ActorCriticPolicy").value({"__init__": 1}).raw(b"b")
    assert blockers(read(sb3_file(policy_class=on_class))) == [("pickle.forbidden-opcode", "data: policy_class")]
    into_bytes = Pickle().value(b"x").value(0).value(1).raw(b"s")
    assert blockers(read(sb3_file(x=into_bytes))) == [("pickle.forbidden-opcode", "data: x")]


@pytest.mark.parametrize(
    "program",
    [
        b"\x80\x02(cos\nsystem\nX\x01\0\0\0xo.",  # OBJ
        b"\x80\x02(X\x01\0\0\0xios\nsystem\n.",  # INST
        b"\x80\x02\x82\x01.",  # EXT1
        b"\x80\x02\x83\x01\x00.",  # EXT2
        b"\x80\x02\x84\x01\0\0\0.",  # EXT4
        b"\x80\x04\x8c\x02os\x8c\x06system\x93)}\x92.",  # NEWOBJ_EX
        b"\x80\x02Pid\n.",  # PERSID
        b"\x80\x05\x97.",  # NEXT_BUFFER
        b"S'os'\n.",  # STRING
        b"\x80\xc8N.",  # protocol 200
    ],
)
def test_instructions_that_no_checkpoint_needs_are_refused(program: bytes) -> None:
    assert refusal(program) == "pickle.forbidden-opcode"


@pytest.mark.parametrize(
    "program",
    [
        *(b"", b"\x80", b"\x80\x02", b"\x80\x02N", b"\x80\x02.", b"\x80\x02NN.", b"\x80\x02(N.", b"\x80\x02R."),
        *(
            b"\x80\x02X",
            b"\x80\x02X\xff\xff\xff\x7fa.",
            b"\x80\x02X\x01\0\0\0\xff.",
            b"\x80\x02\x93.",
            b"\x80\x02h\x05.",
        ),
        *(b"\x80\x02\x86.", b"\x80\x02}K\x01s.", b"\x80\x02}(K\x01u.", b"\x80\x02cos", b"\x80\x04K\x01K\x02\x93."),
        b"\x80\x02tN.",
    ],
)
def test_pickles_that_make_no_sense_are_damaged(program: bytes) -> None:
    assert refusal(program) == "pickle.damaged"


def test_duplicate_keys_and_bytes_behind_stop_are_refused(read: Read) -> None:
    twice = Pickle().raw(b"}(").value("a").value(1).value("a").value(2).raw(b"u")
    assert blockers(read(sb3_file(x=twice))) == [("pickle.damaged", "data: x")]
    assert blockers(read(sb3_file(x=Pickle().value(1).done() + b"cos\nsystem\n"))) == [("pickle.damaged", "data: x")]
    parts = sb3_parts()
    parts.members["policy.pth"] = torch_file({}, Pickle().value({}).done() + b"more")
    assert blockers(read(parts.pack())) == [("pickle.damaged", "policy.pth: archive/data.pkl")]


def shared(make: bytes, levels: int) -> Pickle:
    """Return instructions for `levels` values, each holding the one below twice; only the last is left."""
    program = Pickle().raw(b"Nq\x00")
    for level in range(levels):
        program.raw(b"0" + (b"](" if make == b"e" else b"("))
        program.raw(b"h" + bytes([level]) + b"h" + bytes([level]) + make + b"q" + bytes([level + 1]))
    return program


def test_memo_bombs_are_walked_once(read: Read) -> None:
    for make in (b"t", b"e"):  # 2**60 values for whoever follows each
        bomb = shared(make, 60)
        assert blockers(read(sb3_file(x=bomb))) == []
        parts = sb3_parts()
        parts.members["policy.pth"] = torch_file({}, bomb.done())
        assert blockers(read(parts.pack())) == [("pickle.bomb", "policy.pth")]


def test_key_that_takes_forever_to_hash_is_refused() -> None:
    assert refusal(Pickle().raw(b"}").value(shared(b"t", 60)).value(1).raw(b"s").done()) == "pickle.forbidden-opcode"


def test_huge_integer_is_refused() -> None:
    assert refusal(b"\x80\x02\x8b\xff\xff\xff\x7f.") == "pickle.bomb"


def test_code_whose_constants_share_their_parts_is_refused(read: Read) -> None:
    code = code_object(b"S\0", constants=(shared(b"t", 40),))
    assert blockers(read(sb3_file(lr_schedule=code))) == [("pickle.bomb", "data: lr_schedule")]


def test_too_many_instructions_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_PICKLE_STEPS", 1000)
    assert refusal(b"\x80\x02" + b"N0" * 600 + b"N.") == "format.too-large"


def test_too_large_pickle_is_refused(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_PICKLE_BYTES", 200)
    assert ("format.too-large", "policy.pth: archive/data.pkl") in blockers(read(sb3_file()))


def test_deep_nesting_is_no_problem_or_refused(read: Read) -> None:
    deep = Pickle().raw(b"]" * 50_000 + b"a" * 49_999)
    assert blockers(read(sb3_file(x=deep))) == []
    parts = sb3_parts()
    parts.members["policy.pth"] = torch_file({}, deep.done())
    assert blockers(read(parts.pack())) == []


@pytest.mark.parametrize("text", ["!!!", "gAJ9cQAu\n", "gAJ9cQAu=", 7, None, ["gAJ9cQAu"]])
def test_serialized_text_must_be_strict_base64(read: Read, text: object) -> None:
    report = read(sb3_file(x={":type:": "x", ":serialized:": text}))
    assert blockers(report) == [("json.damaged", "data: x")]


def test_users_own_classes_are_notes_in_own_files_only(read: Read) -> None:
    policy = named("my_project.networks", "BigPolicy")
    data = sb3_file(policy_class=policy)
    assert blockers(read(data)) == [("pickle.foreign-global", "data: policy_class")]
    own = read(data, own=True)
    assert blockers(own) == []
    assert [(finding.severity, finding.actual) for finding in own.findings] == [
        (Severity.NOTE, "my_project.networks.BigPolicy")
    ]
    assert own.signature.policy == "BigPolicy"
    trusted = read(data, trusted=[own.digest])
    assert blockers(trusted) == []


def test_numpy_arrays_that_would_be_allocated_on_loading_are_refused(read: Read) -> None:
    array = call("numpy.core.multiarray", "_reconstruct", named("numpy", "ndarray"), (10**12,), b"b")
    assert blockers(read(sb3_file(_last_obs=array))) == [("pickle.foreign-global", "data: _last_obs")]


def test_integer_keys_and_python_2_strings_are_read() -> None:
    program = Pickle().value({0: {"step": 1.0}, "name": (1, 2)}).done()
    assert Program(program, "test").value == {0: {"step": 1.0}, "name": (1, 2)}
    assert Program(b"\x80\x02U\x03abcT" + struct.pack("<I", 2) + b"de\x86.", "test").value == (b"abc", b"de")
