"""SB3's model files: a zip of `data` (JSON with pickles in base64), torch files and two texts.

SB3 loads tensors safely but unpickles every field of `data` that says `:serialized:`. So each of these is interpreted
here as an inert program and judged; policy class and spaces are read from what the pickles say, for that is what SB3
gets, not from the descriptions beside them.

Source: stable_baselines3/common/save_util.py (`save_to_zip_file`, `data_to_json`) and base_class.py.
"""

from __future__ import annotations

import binascii
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..findings import Finding, blocker
from ..signature import Signature, Space, TensorSpec
from . import limits
from .allowed import FIELDS, Approval, judge
from .archive import Entry, check_bytes, unpack
from .code import class_name
from .inference import algorithm, expected_optimizers, net_arch
from .pickle_program import Global, Program
from .report import CodeByValue
from .spaces import read_space
from .strict_json import parse_object
from .torch_file import TorchContent, read_torch
from .window import RefusedError, Window, refuse

DATA = "data"
POLICY = "policy.pth"
_VARIABLES = ("pytorch_variables.pth", "tensors.pth")  # the second is the name of before 1.0
_TENSORS = ".pth"
_VERSION = "_stable_baselines3_version"
_INFO = "system_info.txt"
_SERIALIZED = ":serialized:"

_INFO_KEYS = {
    "Python": "python",
    "Stable-Baselines3": "stable_baselines3",
    "PyTorch": "torch",
    "Numpy": "numpy",
    "Cloudpickle": "cloudpickle",
    "Gymnasium": "gymnasium",
    "Gym": "gym",
    "OpenAI Gym": "gym",
}


@dataclass
class Sb3Content:
    """What an SB3 file holds; see ModelReport for the meanings."""

    signature: Signature = field(default_factory=Signature)
    num_timesteps: int | None = None
    versions: dict[str, str] = field(default_factory=dict)
    functions: list[CodeByValue] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    not_checked: list[str] = field(default_factory=list)
    content: str = ""


# What a member's torch file holds, and why it was refused
_Inside = tuple[TorchContent, tuple[Finding, ...]]


def is_sb3(entries: Mapping[str, Entry]) -> bool:
    """Whether an archive is SB3's, also when one of its two main members is missing."""
    return DATA in entries or POLICY in entries


def read_sb3(
    window: Window, entries: Mapping[str, Entry], approval: Approval, *, check_values: bool, with_content: bool = True
) -> Sb3Content:
    """Read an SB3 file whose archive is sound.

    Args:
        window: the whole file.
        entries: its members.
        approval: how far the file is trusted.
        check_values: look for NaN and infinity too.
        with_content: take the digest of the members that hold tensors.

    Returns:
        The content; damage is in its findings.
    """
    content = Sb3Content()
    early: dict[str, _Inside] = {}
    if window.size <= limits.IN_MEMORY_BYTES:
        sound = _check_members(window, entries, content, with_content)
    else:  # to check all bytes takes as long as to read what they mean, which counts only where they are sound
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(1) as pool:
            checking = pool.submit(_check_members, window, entries, content, with_content)
            for member, entry in entries.items():
                if member.endswith(_TENSORS):
                    early[member] = _read_inside(window, entry, approval, check_values)
            sound = checking.result()
    fields: dict[str, Any] = {}
    policy: Global | None = None
    spaces: dict[str, Space] = {}
    if DATA in sound:
        read = _collect(content, _read_data, unpack(window, entries[DATA]), approval, content)
        fields, policy, spaces = read or ({}, None, {})
    name = algorithm(policy.module if policy else "", fields)
    _check_missing(window, entries, (DATA, POLICY, *expected_optimizers(name, fields)), content)
    parameters: dict[str, TensorSpec] = {}
    for member in sound:
        if not member.endswith(_TENSORS):
            continue
        inside, refused = early.get(member) or _read_inside(window, entries[member], approval, check_values)
        content.findings += [*refused, *inside.findings]
        content.functions += inside.functions
        if member == POLICY:
            parameters = inside.parameters
    content.signature = Signature(
        algorithm=name,
        policy=policy.name if policy else None,
        observation_space=spaces.get("observation_space"),
        action_space=spaces.get("action_space"),
        parameters=parameters,
        net_arch=net_arch(parameters),
    )
    _read_versions(window, {name: entries[name] for name in (_INFO, _VERSION) if name in sound}, content)
    known = {DATA, _VERSION, _INFO}
    content.not_checked += [
        f"meaning of {name}" for name in entries if name not in known and not name.endswith(_TENSORS)
    ]
    return content


def _collect(content: Sb3Content, read: Any, *args: Any, **options: Any) -> Any:
    """Call a reader; a refusal becomes a finding, so that the other members are read too."""
    try:
        return read(*args, **options)
    except RefusedError as error:
        content.findings.append(error.finding)
        return None


def _read_inside(window: Window, entry: Entry, approval: Approval, check_values: bool) -> _Inside:
    """Read a member that is a torch file."""
    try:
        return read_torch(unpack(window, entry), approval, check_values=check_values), ()
    except RefusedError as error:
        return TorchContent(), (error.finding,)


def _check_members(window: Window, entries: Mapping[str, Entry], content: Sb3Content, with_content: bool) -> list[str]:
    """Check every member's bytes and take the digest of the tensor members; return the names of the sound ones."""
    sound = []
    digests = []
    for name, entry in entries.items():
        digest = hashlib.sha256() if with_content and name.endswith(_TENSORS) else None
        try:
            check_bytes(unpack(window, entry), entry, digest.update if digest else None)
            sound.append(name)
        except RefusedError as error:
            content.findings.append(error.finding)
        if digest:
            digests.append(f"{name}\n{entry.size_bytes}\n{digest.hexdigest()}\n")
    if with_content:
        content.content = "sha256:" + hashlib.sha256("".join(sorted(digests)).encode()).hexdigest()
    return sound


def _check_missing(
    window: Window, entries: Mapping[str, Entry], expected: tuple[str, ...], content: Sb3Content
) -> None:
    missing = [name for name in expected if name not in entries]
    if not any(name in entries for name in _VARIABLES):
        missing.append(_VARIABLES[0])
    content.findings += [
        blocker("archive.missing-member", name, f"{name} in {window.name}", "none") for name in missing
    ]


def _read_data(
    window: Window, approval: Approval, content: Sb3Content
) -> tuple[dict[str, Any], Global | None, dict[str, Space]]:
    """Parse `data` and judge its pickles; return all fields, the policy class and the spaces."""
    if window.size > limits.MAX_JSON_BYTES:
        raise refuse("format.too-large", window.name, f"at most {limits.MAX_JSON_BYTES} bytes", window.size)
    fields = parse_object(window.read(0, window.size), window.name)
    steps = fields.get("num_timesteps")
    if type(steps) is not int or not 0 <= steps <= limits.MAX_NUM_TIMESTEPS:
        subject = window.subject("num_timesteps")
        content.findings.append(blocker("json.damaged", subject, "a number of steps", _short(steps)))
    else:
        content.num_timesteps = steps
    policy = None
    spaces = {}
    for name, value in fields.items():
        if not isinstance(value, dict) or _SERIALIZED not in value:
            continue
        subject = window.subject(name)
        program = _collect(content, _judge_field, value[_SERIALIZED], subject, approval, content)
        if program is None:
            continue
        if name == "policy_class":
            made = class_name(program.value)
            policy = program.value if isinstance(program.value, Global) else Global("", made) if made else None
        elif name in ("observation_space", "action_space"):
            spaces[name] = read_space(program.value)
    return fields, policy, spaces


def _judge_field(text: Any, subject: str, approval: Approval, content: Sb3Content) -> Program:
    if not isinstance(text, str):
        raise refuse("json.damaged", subject, "a pickle in base64", type(text).__name__)
    try:
        encoded = text.encode("ascii")
        data = binascii.a2b_base64(encoded, strict_mode=True)
    except ValueError:
        raise refuse("json.damaged", subject, "a pickle in base64", "other text") from None
    if binascii.b2a_base64(data, newline=False) != encoded:
        raise refuse("json.damaged", subject, "base64 in its one form", "another form of it")
    program = Program(data, subject)
    if program.end != len(data):
        raise refuse("pickle.damaged", subject, "an end at STOP", f"{len(data) - program.end} bytes behind it")
    findings, functions = judge(program, subject, FIELDS, approval)
    content.findings += findings
    content.functions += functions
    for call in program.calls:
        if call.path == "torch.storage._load_from_bytes":
            inner = call.args[0] if len(call.args) == 1 else None
            if not isinstance(inner, bytes):
                raise refuse("pickle.damaged", subject, "a storage in bytes", "something else")
            nested = read_torch(Window(inner, 0, len(inner), subject), approval, check_values=False)
            content.findings += nested.findings
    return program


def _short(value: Any) -> Any:
    """Return a JSON value as it may stand in a finding."""
    return value if isinstance(value, int | float | None) and len(str(value)) < 40 else type(value).__name__


def _read_versions(window: Window, texts: Mapping[str, Entry], content: Sb3Content) -> None:
    """Read `system_info.txt` (since 1.2) and the version; they say who wrote the file and decide nothing."""
    for member, entry in texts.items():
        if entry.size_bytes > limits.MAX_INFO_BYTES:
            content.not_checked.append(f"text of {member}")
            continue
        text = unpack(window, entry).read(0, entry.size_bytes).decode("utf-8", "replace")
        if member == _VERSION:
            content.versions["stable_baselines3"] = text.strip()[:80]
            continue
        for line in text.splitlines():
            key, _, value = line.removeprefix("- ").partition(":")
            if key in _INFO_KEYS:
                content.versions.setdefault(_INFO_KEYS[key], value.strip()[:80])
