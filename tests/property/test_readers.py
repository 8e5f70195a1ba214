"""Mutated files: no exception, no guess, and nothing foreign in what is called good."""

from __future__ import annotations

import base64
import json
import pickletools
import random
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest
from support import figures
from support.hostile import (
    POLICY,
    code_object,
    function,
    legacy_torch_file,
    optimizer_program,
    pack_zip,
    safetensors_file,
    sb3_data,
    sb3_parts,
    serialized,
    state_dict_program,
    torch_file,
    verdict,
    zeros,
)

from ckptsync.core.readers import ModelReport, read_model

EXPECTED_MODULES = {"torch", "collections", "numpy", "stable_baselines3", "sb3_contrib", "gym", "gymnasium", "_codecs"}
OPCODES = bytes(ord(opcode.code) for opcode in pickletools.opcodes)


def mutate(data: bytes, rng: random.Random) -> bytes:
    """Change bytes in one of the ways in which files go bad or are made bad."""
    body = bytearray(data)
    for _ in range(rng.choice([1, 1, 1, 2, 5])):
        if not body:
            break
        at = rng.randrange(len(body))
        match rng.randrange(7):
            case 0:
                body[at] ^= 1 << rng.randrange(8)
            case 1:
                body[at] = rng.randrange(256)
            case 2:
                body[at] = rng.choice(OPCODES)
            case 3:
                del body[at : at + rng.randrange(1, 40)]
            case 4:
                body[at:at] = body[rng.randrange(len(body)) :][: rng.randrange(1, 40)]
            case 5:
                body[at : at + 4] = rng.choice([b"\xff" * 4, bytes(4), b"\x7f\xff\xff\xff", b"\0\0\0\x80"])
            case _:
                del body[at:]
    return bytes(body)


Change = Callable[[bytes], bytes]


def whole_file(change: Change, _rng: random.Random) -> bytes:
    return change(sb3_parts().pack())


def member(change: Change, rng: random.Random) -> bytes:
    """Change a member and give it a right checksum: the reader must look inside."""
    parts = sb3_parts()
    name = rng.choice(list(parts.members))
    parts.members[name] = change(parts.members[name])
    return parts.pack(rng.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]))


def inner_pickle(change: Change, rng: random.Random) -> bytes:
    """Change the pickle in a torch member, all checksums right."""
    parts = sb3_parts()
    if rng.random() < 0.5:
        parts.members["policy.pth"] = torch_file(POLICY, change(state_dict_program(POLICY).done()))
    else:
        tensors = {"step": zeros(1), "exp_avg": zeros(8, 4)}
        parts.members["policy.optimizer.pth"] = torch_file(tensors, change(optimizer_program()))
    return parts.pack()


def field(change: Change, rng: random.Random) -> bytes:
    """Change the pickle in a field of `data`, its base64 right."""
    fields = sb3_data(lr_schedule=function(code_object(bytes.fromhex("9501970089015300"))))
    name = rng.choice([name for name, value in fields.items() if isinstance(value, dict)])
    fields[name] = serialized(change(base64.b64decode(fields[name][":serialized:"])))
    parts = sb3_parts()
    parts.members["data"] = json.dumps(fields).encode()
    return parts.pack()


def old_torch(change: Change, _rng: random.Random) -> bytes:
    return change(legacy_torch_file(POLICY))


def safetensors(change: Change, _rng: random.Random) -> bytes:
    header = {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}
    return change(safetensors_file(header, bytes(8)))


KINDS: list[Callable[[Change, random.Random], bytes]] = [
    *(whole_file, member, inner_pickle, field, old_torch, safetensors),
]


def globals_in(data: bytes) -> set[str]:
    """Return the modules that a pickle names, by Python's own reading of it."""
    modules: set[str] = set()
    texts: list[str] = []
    try:
        for opcode, argument, _ in pickletools.genops(data):
            if opcode.name == "GLOBAL":
                modules.add(str(argument).split(" ")[0])
            elif opcode.name == "STACK_GLOBAL":
                modules.update(texts[-2:-1])
            elif isinstance(argument, str):
                texts.append(argument)
    except Exception:
        return modules
    return modules


def check_good(data: bytes, report: ModelReport) -> None:
    """A file that is called good names nothing foreign, and Python's zip reader finds it sound too."""
    pickles = [data]
    if report.format in ("sb3", "torch"):
        with zipfile.ZipFile(BytesIO(data)) as archive:
            assert archive.testzip() is None
            for name in archive.namelist():
                if name.endswith(".pth"):
                    with zipfile.ZipFile(BytesIO(archive.read(name))) as inner:
                        pickles.append(inner.read("archive/data.pkl"))
    for program in pickles:
        for module in globals_in(program):
            assert module.split(".")[0] in EXPECTED_MODULES, module


def sweep(folder: Path, count: int, seed: int) -> dict[str, int]:
    path = folder / "mutated"
    verdicts: dict[str, int] = {}
    for index in range(count):
        rng = random.Random(f"{seed}-{index}")
        data = KINDS[index % len(KINDS)](lambda good, rng=rng: mutate(good, rng), rng)  # type: ignore[misc]
        path.write_bytes(data)
        report = read_model(path)
        judged = verdict(report)
        if judged.good:
            check_good(data, report)
        verdicts[judged.value] = verdicts.get(judged.value, 0) + 1
        report.signature.to_json()
        for finding in report.findings:
            finding.to_json()
    return verdicts


def test_mutated_files(tmp_path: Path) -> None:
    verdicts = sweep(tmp_path, 150, seed=1)
    assert sum(verdicts.values()) == 150
    assert verdicts["corrupt"] > 50
    assert verdicts["unsafe"] > 2


@pytest.mark.prove
@pytest.mark.timeout(3_600)
@pytest.mark.filterwarnings("ignore:invalid escape sequence")  # from pickletools, about a mutated text
def test_many_mutated_files(tmp_path: Path) -> None:
    verdicts = sweep(tmp_path, 30_000, seed=2)
    figures.record("mutated checkpoint files read", files=30_000, good=verdicts.get("valid", 0), exceptions=0)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_starts_from_a_good_file(tmp_path: Path, kind: Callable[[Change, random.Random], bytes]) -> None:
    for seed in range(8):
        path = tmp_path / "model"
        path.write_bytes(kind(lambda good: good, random.Random(seed)))
        assert verdict(read_model(path)).good


def test_packing_again_keeps_the_content(tmp_path: Path) -> None:
    parts = sb3_parts()
    path = tmp_path / "model.zip"
    path.write_bytes(pack_zip(dict(reversed(parts.members.items()))))
    backwards = read_model(path)
    path.write_bytes(parts.pack())
    assert backwards.content == read_model(path).content
