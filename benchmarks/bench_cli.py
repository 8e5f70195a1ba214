"""The command line as whole processes, and verifying in a warm process, beside what stable-baselines3 takes to load."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from array import array
from pathlib import Path

from timing import heading, interleaved, peak_memory, process, ratio, row

from ckptsync.testing.sb3_files import write_sb3_zip

_CKPTSYNC = Path(sys.executable).with_name("ckptsync")
_MAKE = """
import sys
from stable_baselines3 import PPO
PPO("MlpPolicy", "CartPole-v1", device="cpu").save(sys.argv[1])
"""
_LOAD = "import sys; from stable_baselines3 import PPO; PPO.load(sys.argv[1], device='cpu')"
_WARM = """
import json, statistics, sys, time
from pathlib import Path
from stable_baselines3 import PPO
from ckptsync.core.readers import read_model
path = Path(sys.argv[1])
def timed(thing):
    values = []
    for _ in range(15):
        started = time.perf_counter(); thing(); values.append(time.perf_counter() - started)
    return statistics.median(values)
PPO.load(path, device="cpu"); read_model(path, own=True)
print(json.dumps([timed(lambda: PPO.load(path, device="cpu")), timed(lambda: read_model(path, own=True))]))
"""


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "cartpole_checkpoint_0_steps.zip"
        subprocess.run([sys.executable, "-c", _MAKE, model], check=True)

        heading(f"Whole processes: verify a PPO model of {model.stat().st_size:,} bytes")
        quick = interleaved(
            {
                "python -c pass": process([sys.executable, "-c", "pass"]),
                "ckptsync --version": process([_CKPTSYNC, "--version"]),
                "ckptsync verify FILE": process([_CKPTSYNC, "verify", model]),
            },
            repeats=15,
        )
        slow = interleaved({"PPO.load(FILE)": process([sys.executable, "-c", _LOAD, model])}, repeats=3)
        for name, timing in {**quick, **slow}.items():
            row(name, timing)
        ratio(
            "--version / python -c pass",
            quick["ckptsync --version"].median / quick["python -c pass"].median,
            "at most 5",
        )
        ratio(
            "PPO.load / ckptsync verify",
            slow["PPO.load(FILE)"].median / quick["ckptsync verify FILE"].median,
            "at least 50",
        )

        heading("Warm, in one process")
        done = subprocess.run([sys.executable, "-c", _WARM, model], check=True, capture_output=True, text=True)
        load, read = json.loads(done.stdout)
        row("PPO.load", f"{load * 1000:.1f} ms")
        row("read_model", f"{read * 1000:.1f} ms")
        ratio("PPO.load / read_model", load / read, "at least 10")

        heading("Memory: verify a model of 1 GB")
        big = Path(folder) / "big_checkpoint_1_steps.zip"
        make_big(big, 1 << 30)
        row("size", f"{big.stat().st_size:,} bytes")
        row("peak", f"{peak_memory([_CKPTSYNC, 'verify', big]) / 1e6:.0f} MB", "goal: under 100 MB")


def make_big(path: Path, size_bytes: int) -> None:
    """Write an SB3 file with a linear layer of about the given size."""
    columns = 1024
    rows = size_bytes // 4 // columns
    values = array("f", [0.5]) * (rows * columns)
    write_sb3_zip(path, {"policy_net.weight": ((rows, columns), values)}, num_timesteps=1, hidden=[columns])


if __name__ == "__main__":
    main()
