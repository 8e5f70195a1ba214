"""Run every benchmark and print one report: python benchmarks/run.py [NAME ...]."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from timing import machine

_ALL = (
    "bench_cli",
    "bench_tree",
    "bench_roundtrip",
    "bench_replay",
    "bench_resume",
    "bench_saves",
    "bench_fetch",
    "bench_kaggle",
    "bench_store",
    "bench_store_many",
    "bench_store_live",
)


def main(names: list[str]) -> int:
    """Run the named benchmarks, or all."""
    print(machine())
    sys.stdout.flush()
    folder = Path(__file__).parent
    return max(
        subprocess.run([sys.executable, folder / f"{name}.py"], check=False).returncode for name in names or _ALL
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
