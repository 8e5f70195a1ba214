"""A bundle needs nothing of this machine: the standard library, and what the training itself imports."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ckptsync.core.session import SavePolicy, ScenarioSpec, SessionSpec, read_session_info
from ckptsync.runners.bundle import build_bundle

KERNELS = Path(__file__).parents[2] / "kernels"
# Installed in every process of the session; it refuses by name, and ckptsync by the place that it comes from.
# What torch and SB3 import for themselves may come, but not before one of them asked for it.
HOOK = """
import sys

ALLOWED = {"torch", "numpy", "gymnasium", "stable_baselines3"}


class Refuse:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top == "ckptsync":
            from importlib.machinery import PathFinder
            spec = PathFinder.find_spec(name, path)
            if spec is None or "site-packages" in spec.origin or REPOSITORY in spec.origin:
                raise ImportError(f"HOOK: {name} is not in the bundle ({spec and spec.origin})")
            return spec
        if top in sys.stdlib_module_names or top in ALLOWED or ALLOWED & set(sys.modules):
            return None
        # Modules of the kernel and of the bundle lie in the session's own folders
        from importlib.machinery import PathFinder
        spec = PathFinder.find_spec(name, path)
        if spec is not None and "site-packages" in (spec.origin or ""):
            raise ImportError(f"HOOK: {name} is not allowed")
        return None


sys.meta_path.insert(0, Refuse())
print("HOOK installed in", sys.argv[0] if hasattr(sys, "argv") else "a process", flush=True)
"""
# -I leaves our environment and the current folder out; the hook comes in by hand there, and by sitecustomize in the
# script's own process, which `boot` starts with PYTHONPATH
OUTER = "import sys, runpy; exec(open(sys.argv[1]).read()); sys.argv = [sys.argv[2]]; runpy.run_path(sys.argv[0], run_name='__main__')"


def run_isolated(kernel: Path, folder: Path, *, params: dict[str, object] | None = None, steps: int = 40) -> Path:
    spec = SessionSpec(
        run="r",
        session="r/s0001",
        lineage="l1",
        generation=1,
        scenarios=(ScenarioSpec("x", steps),),
        save=SavePolicy(every_steps=steps, save_best=False),
        params=params or {},
    )
    (folder / "kernel.py").write_bytes(build_bundle(kernel, spec, cache=folder / "cache").script)
    (folder / "hook").mkdir()
    hook = folder / "hook" / "sitecustomize.py"
    hook.write_text(f"REPOSITORY = {str(KERNELS.parent / 'ckptsync')!r}\n" + HOOK)
    (folder / "working").mkdir()
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "CKPTSYNC_INPUT_DIR": str(folder),
        "PYTHONPATH": str(folder / "hook"),
    }
    command = [sys.executable, "-I", "-c", OUTER, str(hook), str(folder / "kernel.py")]
    done = subprocess.run(command, cwd=folder / "working", env=environment, capture_output=True, text=True, timeout=240)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert said.count("HOOK installed") >= 2, said
    return folder / "working"


@pytest.mark.slow
def test_the_toy_kernel_needs_the_standard_library_alone(tmp_path: Path) -> None:
    working = run_isolated(KERNELS / "toy", tmp_path)
    assert read_session_info(working / "session_info.json")["cause"] == "target"
    assert (working / "data/models/checkpoints/x_checkpoint_40_steps.manifest.json").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("module", ["pytest", "tqdm"])
def test_the_hook_would_notice(module: str, tmp_path: Path) -> None:
    kernel = tmp_path / "kernel"
    kernel.mkdir()
    (kernel / "train.py").write_text(f"import {module}\n")
    with pytest.raises(AssertionError, match=f"HOOK: {module} is not allowed"):
        run_isolated(kernel, tmp_path)


@pytest.mark.slow
def test_real_training_needs_no_more_than_its_own_libraries(tmp_path: Path) -> None:
    working = run_isolated(KERNELS / "cartpole_ppo", tmp_path, steps=512)
    assert read_session_info(working / "session_info.json")["cause"] == "target"
