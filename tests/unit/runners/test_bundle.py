"""The bundle: one script with everything in it, the same bytes for the same input, and nothing that must not travel."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from ckptsync.core.errors import ConfigError, LimitError, NothingFoundError
from ckptsync.core.pack import is_pack
from ckptsync.core.session import ScenarioSpec, SessionSpec
from ckptsync.runners.bundle import MAX_SCRIPT_BYTES, Bundle, build_bundle, read_spec
from ckptsync.runners.kernel_folder import MAX_KERNEL_BYTES
from ckptsync.runners.packages import load_package

pytestmark = pytest.mark.slow  # xz over all of SB3, many times

SPEC = SessionSpec(
    run="probe",
    session="probe/s0007",
    lineage="l1",
    generation=7,
    scenarios=(ScenarioSpec("probe", 100),),
)


@pytest.fixture
def kernel(tmp_path: Path) -> Path:
    folder = tmp_path / "kernel"
    folder.mkdir()
    (folder / "train.py").write_text("import helper\nprint('trained with', helper.WORD)\n")
    (folder / "helper.py").write_text("WORD = 'a helper'\n")
    return folder


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def make_wheel(folder: Path, name: str, version: str, files: dict[str, str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        for path, text in files.items():
            wheel.writestr(path, text)
        wheel.writestr(f"{name}-{version}.dist-info/METADATA", f"Name: {name}\nVersion: {version}\n")
        wheel.writestr(f"{name}-{version}.dist-info/RECORD", "")
        wheel.writestr(f"{name}-{version}.dist-info/licenses/LICENSE", "free")


def run(script: bytes, folder: Path) -> subprocess.CompletedProcess[str]:
    folder.mkdir(exist_ok=True)
    (folder / "kernel.py").write_bytes(script)
    working = folder / "working"
    working.mkdir(exist_ok=True)
    environment = {**os.environ, "CKPTSYNC_INPUT_DIR": str(folder), "TMPDIR": str(folder)}
    command = [sys.executable, "../kernel.py"]
    return subprocess.run(command, cwd=working, env=environment, capture_output=True, text=True, timeout=60)


def test_the_script_says_which_session_it_is(kernel: Path, cache: Path) -> None:
    script = build_bundle(kernel, SPEC, cache=cache).script
    assert read_spec(script) == SPEC
    assert script.startswith(b"# ckptsync-session: ")


@pytest.mark.parametrize("other", [b"", b"print(1)\n", b"# ckptsync-session: {}\n", b"# ckptsync-session: {", b"\xff"])
def test_other_scripts_are_no_bundles(other: bytes) -> None:
    assert read_spec(other) is None


def test_equal_input_gives_equal_bytes(kernel: Path, cache: Path, tmp_path: Path) -> None:
    first = build_bundle(kernel, SPEC, wheels=["tqdm"], cache=cache).script
    for path in kernel.iterdir():
        os.utime(path, (1, 1))
    assert build_bundle(kernel, SPEC, wheels=["tqdm", "tqdm"], cache=tmp_path / "another cache").script == first
    assert build_bundle(kernel, SPEC, wheels=["tqdm"], cache=cache).script == first


def test_it_runs_and_cleans_up(kernel: Path, cache: Path, tmp_path: Path) -> None:
    result = run(build_bundle(kernel, SPEC, cache=cache).script, tmp_path / "machine")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "trained with a helper" in result.stdout
    assert not list((tmp_path / "machine").glob("ckptsync-*"))


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
def test_no_parameter_breaks_the_script(kernel: Path, cache: Path, tmp_path: Path, line_end: bytes) -> None:
    params = {
        "text": 'a\nb\r\n\x0c\u2028\x85 """ \\ é 日本 😀',
        "encoding": "-*- coding: nonsense -*- coding=rot13",
        "é": [None, True, 1.5, {"coding": "coding:"}],
    }
    (kernel / "train.py").write_text(
        "import json, os\nprint('got', json.dumps(json.load(open(os.environ['CKPTSYNC_SESSION']))['params']))\n"
    )
    spec = replace(SPEC, params=params)
    script = build_bundle(kernel, spec, cache=cache).script.replace(b"\n", line_end)
    assert script.isascii()
    assert read_spec(script) == spec
    result = run(script, tmp_path / "machine")
    assert result.returncode == 0, result.stderr
    got = next(line for line in result.stdout.splitlines() if line.startswith("got "))
    assert json.loads(got.removeprefix("got ")) == params


class TestLargeCode:
    """Code that a script cannot hold travels as a pack among the inputs."""

    @pytest.fixture
    def bundle(self, kernel: Path, cache: Path) -> Bundle:
        (kernel / "data.bin").write_bytes(os.urandom(MAX_SCRIPT_BYTES))
        (kernel / "train.py").write_text(
            "import os\nprint('data', os.path.getsize(os.path.join(os.path.dirname(__file__), 'data.bin')))\n"
        )
        return build_bundle(kernel, SPEC, wheels=["tqdm"], cache=cache)

    def test_it_runs_from_the_pack_in_every_layout(self, bundle: Bundle, tmp_path: Path) -> None:
        ((name, pack),) = bundle.inputs.items()
        assert len(bundle.script) < 50_000
        assert is_pack(pack)
        assert read_spec(bundle.script) == SPEC
        for number, place in enumerate(("", "slug", "datasets/owner/slug")):
            machine = tmp_path / f"machine{number}"
            (machine / place).mkdir(parents=True)
            shutil.copy(pack, machine / place / name)
            result = run(bundle.script, machine)
            assert result.returncode == 0, result.stdout + result.stderr
            assert f"data {MAX_SCRIPT_BYTES}" in result.stdout
            assert not [path for path in machine.glob("ckptsync-*") if path.is_dir()]

    def test_without_the_pack_it_does_not_begin(self, bundle: Bundle, tmp_path: Path) -> None:
        ((name, pack),) = bundle.inputs.items()
        result = run(bundle.script, tmp_path / "machine")
        assert result.returncode == 1
        assert f"{name} with sha256" in result.stderr
        assert "is not among the inputs" in result.stderr
        changed = bytearray(pack.read_bytes())
        changed[5_000] ^= 1
        (tmp_path / "machine" / name).write_bytes(changed)
        result = run(bundle.script, tmp_path / "machine")
        assert result.returncode == 1
        assert "with other bytes" in result.stderr
        assert "data" not in result.stdout

    def test_another_session_needs_the_same_pack(self, bundle: Bundle, kernel: Path, cache: Path) -> None:
        before = {name: path.read_bytes() for name, path in bundle.inputs.items()}
        other = build_bundle(kernel, replace(SPEC, session="probe/s0008", generation=8), wheels=["tqdm"], cache=cache)
        assert {name: path.read_bytes() for name, path in other.inputs.items()} == before
        assert other.script != bundle.script


def test_a_changed_script_does_not_begin(kernel: Path, cache: Path, tmp_path: Path) -> None:
    script = build_bundle(kernel, SPEC, cache=cache).script
    position = script.index(b'run(\n    """\n') + 5000
    changed = script[:position] + (b"1" if script[position : position + 1] != b"1" else b"2") + script[position + 1 :]
    result = run(changed, tmp_path / "machine")
    assert result.returncode == 1
    assert "changed or cut off" in result.stderr
    assert "trained" not in result.stdout
    result = run(script[:-400], tmp_path / "machine")
    assert result.returncode == 1
    assert "trained" not in result.stdout


def test_a_damaged_cache_is_made_again(kernel: Path, cache: Path) -> None:
    script = build_bundle(kernel, SPEC, wheels=["tqdm"], cache=cache).script
    for path in (cache / "bundle").iterdir():
        path.write_bytes(path.read_bytes()[:-9] + b"damaged!!")
    assert build_bundle(kernel, SPEC, wheels=["tqdm"], cache=cache).script == script


def test_what_belongs_to_tools_does_not_travel(kernel: Path, cache: Path) -> None:
    before = build_bundle(kernel, SPEC, cache=cache).script
    for name in ("__pycache__", ".git", ".ipynb_checkpoints"):
        (kernel / name).mkdir()
        (kernel / name / "x").write_text("x")
    assert build_bundle(kernel, SPEC, cache=cache).script == before


@pytest.mark.parametrize(
    "name",
    [
        "kaggle.json",
        "Kaggle.JSON",
        "server.pem",
        "id_rsa",
        "id_ed25519.pub",
        ".env",
        ".env.local",
        ".netrc",
        "credentials",
        "key.p12",
        "key.pfx",
        ".git-credentials",
    ],
)
@pytest.mark.parametrize("folder", [".", "deep/er"])
def test_secrets_do_not_travel(kernel: Path, cache: Path, name: str, folder: str) -> None:
    (kernel / folder).mkdir(parents=True, exist_ok=True)
    (kernel / folder / name).write_text("hunter2")
    with pytest.raises(ConfigError, match=re.escape(name)) as caught:
        build_bundle(kernel, SPEC, cache=cache)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ('{"type": "service_account", "private_key": "' + "x" * 40 + '"}', "service account"),
        ("-----BEGIN RSA PRIVATE KEY-----\nabc", "a private key"),
        ("token = 'KGAT_" + "0a" * 16 + "'", "a Kaggle token"),
        ('{"username":"me","key":"' + "0a" * 16 + '"}', "a Kaggle key"),
        ("[default]\naws_secret_access_key = " + "aB3/" * 10 + "\n", "AWS"),
        ("login('hf_" + "aB" * 17 + "')", "Hugging Face"),
        ("ghp_" + "a1" * 18, "GitHub"),
    ],
)
def test_what_looks_like_a_secret_does_not_travel(kernel: Path, cache: Path, text: str, what: str) -> None:
    (kernel / "settings.txt").write_text("# settings\n" + text)
    with pytest.raises(ConfigError, match=rf"settings\.txt holds what looks like .*{what}") as caught:
        build_bundle(kernel, SPEC, cache=cache)
    assert text not in caught.value.message


@pytest.mark.parametrize(
    "text",
    [
        "boto3.client('s3', aws_secret_access_key=os.environ['AWS_SECRET_ACCESS_KEY'])",
        "token = 'KGAT_...'",
        "# paste the private_key here",
    ],
)
def test_code_that_speaks_of_secrets_travels(kernel: Path, cache: Path, text: str) -> None:
    (kernel / "settings.txt").write_text(text)
    assert build_bundle(kernel, SPEC, cache=cache).script


@pytest.mark.parametrize(
    "params", [{"WANDB_API_KEY": "hunter2"}, {"deep": {"password": "hunter2"}}, {"note": "KGAT_hunter2" + "0" * 20}]
)
def test_a_parameter_that_is_a_secret_does_not_travel(kernel: Path, cache: Path, params: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="parameter") as caught:
        build_bundle(kernel, replace(SPEC, params=params), cache=cache)
    assert "hunter2" not in caught.value.message


def test_a_parameter_that_is_no_json_is_told(kernel: Path, cache: Path) -> None:
    for value in (float("nan"), "\ud800", object()):
        with pytest.raises(ConfigError, match="JSON"):
            build_bundle(kernel, replace(SPEC, params={"x": value}), cache=cache)


def test_links_do_not_travel(kernel: Path, cache: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").write_text("secret")
    (kernel / "inside").symlink_to(tmp_path / "outside")
    with pytest.raises(ConfigError, match="inside is a link"):
        build_bundle(kernel, SPEC, cache=cache)


def test_pipes_do_not_travel(kernel: Path, cache: Path) -> None:
    os.mkfifo(kernel / "pipe")
    with pytest.raises(ConfigError, match="no regular file"):
        build_bundle(kernel, SPEC, cache=cache)


@pytest.mark.parametrize("name", ["ckptsync.py", "ckptsync"])
def test_nothing_may_hide_ckptsync(kernel: Path, cache: Path, name: str) -> None:
    (kernel / name).write_text("")
    with pytest.raises(ConfigError, match="hide"):
        build_bundle(kernel, SPEC, cache=cache)


def test_a_missing_script_is_named(kernel: Path, cache: Path, tmp_path: Path) -> None:
    (kernel / "train.py").unlink()
    with pytest.raises(NothingFoundError, match=r"train\.py"):
        build_bundle(kernel, SPEC, cache=cache)
    with pytest.raises(NothingFoundError, match="nowhere"):
        build_bundle(tmp_path / "nowhere", SPEC, cache=cache)


def test_what_makes_it_too_large_is_named(kernel: Path, cache: Path) -> None:
    with (kernel / "data.bin").open("wb") as file:
        file.truncate(MAX_KERNEL_BYTES + 1)
    with pytest.raises(LimitError, match=r"data\.bin"):
        build_bundle(kernel, SPEC, cache=cache)


def test_a_package_comes_from_a_cached_wheel(kernel: Path, cache: Path) -> None:
    make_wheel(cache / "wheels", "Tiny_Thing", "1.2", {"tiny_thing/__init__.py": "WORD = 'tiny'\n"})
    package = load_package("tiny-thing", cache)
    assert (package.name, package.version) == ("tiny_thing", "1.2")
    assert sorted(package.files) == [
        "Tiny_Thing-1.2.dist-info/METADATA",
        "Tiny_Thing-1.2.dist-info/licenses/LICENSE",
        "tiny_thing/__init__.py",
    ]


def test_an_installed_package_brings_its_modules_and_licence(cache: Path) -> None:
    package = load_package("tqdm", cache)
    assert "tqdm/std.py" in package.files
    assert any("LICENCE" in path for path in package.files)
    assert not any("__pycache__" in path or path.endswith("RECORD") or path.startswith("..") for path in package.files)


def test_a_package_that_is_nowhere_is_named(cache: Path) -> None:
    with pytest.raises(NothingFoundError, match="no_such_thing") as caught:
        load_package("no-such-thing", cache)
    assert caught.value.hint is not None
    assert "pip download" in caught.value.hint


def test_compiled_code_does_not_travel(cache: Path) -> None:
    with pytest.raises(ConfigError, match="compiled"):
        load_package("numpy", cache)
    make_wheel(cache / "wheels", "fast", "1", {"fast/__init__.py": "", "fast/core.so": ""})
    with pytest.raises(ConfigError, match="compiled"):
        load_package("fast", cache)


def test_two_wheels_of_one_package_are_one_too_many(cache: Path) -> None:
    make_wheel(cache / "wheels", "tiny", "1", {"tiny.py": ""})
    make_wheel(cache / "wheels", "tiny", "2", {"tiny.py": ""})
    with pytest.raises(ConfigError, match="several wheels"):
        load_package("tiny", cache)


def test_a_wheel_with_a_path_that_leaves_is_refused(cache: Path) -> None:
    make_wheel(cache / "wheels", "evil", "1", {"evil/__init__.py": "", "/etc/cron.d/evil": ""})
    with pytest.raises(Exception, match="absolute"):
        load_package("evil", cache)


def test_a_wheel_that_is_not_installed_is_imported_from_the_bundle(kernel: Path, cache: Path, tmp_path: Path) -> None:
    make_wheel(cache / "wheels", "tiny_thing", "1", {"tiny_thing/__init__.py": "", "tiny_thing/data.txt": "data"})
    (kernel / "train.py").write_text(
        "import tiny_thing, tqdm, ckptsync, pathlib, sys, os\n"
        "print('tiny', (pathlib.Path(tiny_thing.__file__).parent / 'data.txt').read_text())\n"
        "print('tqdm', tqdm.__file__)\n"
        "print('ckptsync', ckptsync.__file__)\n"
        "print('script', __name__, os.path.basename(__file__), sys.argv[1:], os.path.basename(os.getcwd()))\n"
    )
    result = run(build_bundle(kernel, SPEC, wheels=["tiny_thing", "tqdm"], cache=cache).script, tmp_path / "machine")
    assert result.returncode == 0, result.stdout + result.stderr
    said = dict(line.split(" ", 1) for line in result.stdout.splitlines() if not line.startswith("["))
    assert said["tiny"] == "data"
    assert "site-packages" in said["tqdm"]
    assert said["ckptsync"].startswith(str(tmp_path / "machine" / "ckptsync-"))
    assert said["script"] == "__main__ train.py [] working"
