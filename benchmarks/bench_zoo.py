"""Compare what the readers say with what torch says, for every SB3 file of a folder.

    python benchmarks/bench_zoo.py FOLDER

Torch loads each `.pth` member with `weights_only=True`. Compared are names with their order, shapes and dtypes of all
tensors in every member (nested names joined by dots), and `num_timesteps` (with `data`, and with `index.json` where the
folder has one). Ends with 1 when a file differs or is refused.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

from ckptsync.core.findings import Severity
from ckptsync.core.readers import ModelReport, read_model
from ckptsync.core.readers.allowed import Approval
from ckptsync.core.readers.torch_file import read_torch
from ckptsync.core.readers.window import Window

Specs = list[tuple[str, tuple[int, ...], str]]


def tensors_of(value: Any, name: str = "") -> Specs:
    """Return name, shape and dtype of each tensor in nested dictionaries and lists."""
    import torch

    if isinstance(value, torch.Tensor):
        return [(name, tuple(value.shape), str(value.dtype).removeprefix("torch."))]
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list | tuple):
        items = list(enumerate(value))
    else:
        return []
    return [spec for key, item in items for spec in tensors_of(item, f"{name}.{key}" if name else str(key))]


def differences(path: Path, report: ModelReport, index: dict[str, dict[str, Any]]) -> tuple[list[str], int]:
    """Compare a report with torch; return the differences in words and the number of tensors compared."""
    import torch

    found = [f"refused: {finding}" for finding in report.findings if finding.severity is Severity.BLOCKER]
    tensors = 0
    with zipfile.ZipFile(path) as archive:
        steps = json.loads(archive.read("data"))["num_timesteps"]
        for member in archive.namelist():
            if not member.endswith(".pth"):
                continue
            data = archive.read(member)
            theirs = tensors_of(torch.load(io.BytesIO(data), map_location="cpu", weights_only=True))
            read = read_torch(Window(data, 0, len(data), member), Approval()).parameters
            ours = [(name, spec.shape, spec.dtype) for name, spec in read.items()]
            tensors += len(theirs)
            if ours != theirs:
                found.append(f"{member}: {ours} here, {theirs} to torch")
            if member == "policy.pth" and dict(report.signature.parameters) != dict(read):
                found.append("the report's parameters are not those of policy.pth")
    expected = index.get(path.name, {})
    if report.num_timesteps != steps or expected.get("num_timesteps", steps) != steps:
        found.append(f"num_timesteps {report.num_timesteps}, {steps} in data, {expected.get('num_timesteps')} in index")
    if "sha256" in expected and report.digest != "sha256:" + expected["sha256"]:
        found.append(f"digest {report.digest}")
    return found, tensors


def main() -> int:
    """Run the comparison and print its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder: Path = parser.parse_args().folder
    index_file = folder / "index.json"
    listed = json.loads(index_file.read_text())["files"] if index_file.exists() else []
    index = {item["file"]: item for item in listed}
    failed = tensors = 0
    times = []
    paths = sorted(folder.glob("*.zip"))
    for path in paths:
        begun = time.perf_counter()
        report = read_model(path)
        times.append((time.perf_counter() - begun) * 1000)
        found, compared = differences(path, report, index)
        tensors += compared
        failed += bool(found)
        print(f"{'differs' if found else 'equal':8}{times[-1]:7.1f} ms  {report.signature.algorithm!s:10} {path.name}")
        for line in found:
            print(f"    {line}")
    if not paths:
        print(f"no .zip files in {folder}", file=sys.stderr)
        return 1
    print(
        f"{len(paths)} files, {tensors} tensors, {failed} files differ; median {statistics.median(times):.1f} ms a file"
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
