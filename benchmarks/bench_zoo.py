"""Compare what the readers say with what torch says, for every SB3 file of a folder.

    python benchmarks/bench_zoo.py FOLDER

Torch loads each `.pth` member with `weights_only=True`. Compared are the names and their order, shapes and dtypes of
`policy.pth`, the number of tensors in the other members, and `num_timesteps` (with `data`, and with `index.json` where
the folder has one). Ends with 1 when a file differs or is refused.
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


def count_tensors(value: Any) -> int:
    """Return how many tensors lie in nested dictionaries and lists."""
    import torch

    if isinstance(value, torch.Tensor):
        return 1
    if isinstance(value, dict):
        return sum(count_tensors(item) for item in value.values())
    return sum(count_tensors(item) for item in value) if isinstance(value, list | tuple) else 0


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
            value = torch.load(io.BytesIO(archive.read(member)), map_location="cpu", weights_only=True)
            tensors += count_tensors(value)
            if member == "policy.pth":
                theirs = [(name, tuple(tensor.shape), str(tensor.dtype)) for name, tensor in value.items()]
                ours = [(name, spec.shape, f"torch.{spec.dtype}") for name, spec in report.signature.parameters.items()]
                found += [f"{a} is {b} to torch" for a, b in zip(ours, theirs, strict=False) if a != b]
                found += [f"{len(ours)} tensors, {len(theirs)} to torch"] if len(ours) != len(theirs) else []
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
