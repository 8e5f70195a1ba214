"""The command line as whole processes, and verifying in a warm process, beside what stable-baselines3 takes to load."""

from __future__ import annotations

import os
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
PPO("MlpPolicy", "CartPole-v1", n_steps=64, device="cpu").learn(256).save(sys.argv[1])
"""
_LOAD = "import sys; from stable_baselines3 import PPO; PPO.load(sys.argv[1], device='cpu')"
_TIMED = """
import statistics, sys, time
from pathlib import Path
path = Path(sys.argv[1])
def timed(thing):
    thing()
    values = []
    for _ in range(30):
        started = time.perf_counter(); thing(); values.append(time.perf_counter() - started)
    print(statistics.median(values))
"""
# In processes of their own: nobody who verifies has torch in memory
_WARM_LOAD = (
    _TIMED
    + """
from stable_baselines3 import PPO
timed(lambda: PPO.load(path, device="cpu"))
"""
)
_WARM_READ = (
    _TIMED
    + """
from ckptsync.core.readers import read_model
timed(lambda: read_model(path))
"""
)


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "cartpole_checkpoint_256_steps.zip"
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

        heading("Warm, the same file again and again")
        read = warm(_WARM_READ, model)
        row("read_model", f"{read * 1000:.1f} ms")
        for threads in (None, 1):
            name = "PPO.load, " + ("torch's own choice of threads" if threads is None else "one thread")
            load = warm(_WARM_LOAD, model, threads)
            row(name, f"{load * 1000:.1f} ms")
            ratio("  / read_model", load / read, "at least 10")

        heading("Memory: verify a model of 1 GB")
        big = Path(folder) / "big_checkpoint_1_steps.zip"
        make_big(big, 1 << 30)
        row("size", f"{big.stat().st_size:,} bytes")
        row("peak", f"{peak_memory([_CKPTSYNC, 'verify', big]) / 1e6:.0f} MB", "goal: under 100 MB")


def warm(script: str, model: Path, threads: int | None = None) -> float:
    """Return the median seconds of what a script times."""
    environment = {**os.environ, **({"OMP_NUM_THREADS": str(threads)} if threads else {})}
    done = subprocess.run(
        [sys.executable, "-c", script, model], check=True, capture_output=True, text=True, env=environment
    )
    return float(done.stdout)


def make_big(path: Path, size_bytes: int) -> None:
    """Write an SB3 file with a linear layer of about the given size."""
    columns = 1024
    rows = size_bytes // 4 // columns
    values = array("f", [0.5]) * (rows * columns)
    write_sb3_zip(path, {"policy_net.weight": ((rows, columns), values)}, num_timesteps=1, hidden=[columns])


if __name__ == "__main__":
    main()
