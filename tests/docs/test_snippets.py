"""What the pages show is right: JSON parses, TOML is a configuration, Python compiles and imports what exists."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from ruamel.yaml import YAML
from support import pages
from support.pages import Block

from ckptsync.core import jsonio
from ckptsync.core.manifest import Manifest
from ckptsync.core.signature import Signature
from ckptsync.project.config import load_project

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("block", pages.all_blocks("json"), ids=str)
def test_json_parses(block: Block) -> None:
    try:
        jsonio.parse(block.text.encode())
    except ValueError:
        for line in block.text.splitlines():  # several objects, one on each line
            jsonio.parse(line.encode())


@pytest.mark.parametrize("block", pages.all_blocks("yaml"), ids=str)
def test_yaml_parses(block: Block) -> None:
    assert YAML(typ="safe").load(block.text)


@pytest.mark.parametrize("block", pages.all_blocks("toml"), ids=str)
def test_toml_is_a_configuration(block: Block, tmp_path: Path) -> None:
    text = block.text if "runs" in tomllib.loads(block.text) else f"[runs.some]\n\n{block.text}"
    (tmp_path / "ckptsync.toml").write_text(text)
    assert load_project(tmp_path, environ={}).runs


@pytest.mark.parametrize("block", pages.all_blocks("python"), ids=str)
def test_python_compiles_and_imports_what_exists(block: Block) -> None:
    tree = ast.parse(block.text)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            assert all(importlib.util.find_spec(alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module is not None
            if node.module.partition(".")[0] == "ckptsync":
                module = importlib.import_module(node.module)
                assert all(hasattr(module, alias.name) for alias in node.names), str(block)
            else:  # importing torch to look for one name would take seconds
                assert importlib.util.find_spec(node.module.partition(".")[0])


def test_the_loop_of_ones_own_runs_and_resumes(tmp_path: Path) -> None:
    (block,) = pages.blocks(pages.DOCS / "how-to" / "own-loop.md", "python")
    first = _run(block, tmp_path)
    assert json.loads(first.splitlines()[-1]) == {"ended_at": 1000}
    again = _run(block, tmp_path)
    assert "going on from mine_checkpoint_1000_steps.zip" in again


def test_the_manifest_page_makes_the_right_digest(tmp_path: Path) -> None:
    (block,) = pages.blocks(pages.REFERENCE / "manifest.md", "python")
    _run(pages.blocks(pages.DOCS / "how-to" / "own-loop.md", "python")[0], tmp_path)
    (seal,) = (tmp_path / "data/models/checkpoints").glob("*_1000_steps.manifest.json")
    found: dict[str, object] = {}
    exec(compile(block.text, str(block), "exec"), found)
    digest_of = found["digest_of"]
    assert callable(digest_of)
    assert digest_of(json.loads(seal.read_bytes())) == Manifest.parse(seal.read_bytes()).digest


def test_the_spaces_of_the_manifest_page_are_signatures() -> None:
    text = pages.section(pages.REFERENCE / "manifest.md", "Signature")
    spaces = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    assert len(spaces) == 7
    for space in spaces:
        Signature.from_json({"observation_space": space, "parameters": {}})


def test_reading_from_python_works(tmp_path: Path) -> None:
    _run(pages.blocks(pages.DOCS / "how-to" / "own-loop.md", "python")[0], tmp_path)
    (tmp_path / "data/models/mine_final.zip").rename(tmp_path / "model.zip")
    block = pages.blocks(pages.REFERENCE / "training-api.md", "python")[-1]
    printed = _run(block, tmp_path)
    assert printed.startswith("True 0\n")
    assert "TensorSpec" in printed


def _run(block: Block, folder: Path) -> str:
    done = subprocess.run([sys.executable, "-c", block.text], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, f"{block}\n{done.stdout}{done.stderr}"
    return done.stdout
