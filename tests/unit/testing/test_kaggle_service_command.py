"""The Kaggle service as a command, and what is written about it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests
from support import pages

from ckptsync.testing.kaggle import Fault, KaggleService, Settings
from ckptsync.testing.kaggle.__main__ import main

pytestmark = pytest.mark.slow

PAGE = pages.REFERENCE / "kaggle-test-service.md"


@contextmanager
def command(*arguments: object) -> Iterator[tuple[subprocess.Popen[str], dict[str, str]]]:
    """Run the command and give what it exports."""
    process = subprocess.Popen(
        [sys.executable, "-m", "ckptsync.testing.kaggle", *map(str, arguments)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        lines = [process.stdout.readline().strip() for _ in range(3)]
        yield process, dict(line.removeprefix("export ").split("=", 1) for line in lines)
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_runs_until_it_is_asked_to_stop(tmp_path: Path, number: signal.Signals) -> None:
    with command("--folder", tmp_path, "--user", "me", "--set", "gpu_hours=1") as (process, exported):
        url = f"{exported['CKPTSYNC_KAGGLE_URL']}/api/v1/kernels.KernelsApiService/"
        with requests.Session() as http:
            http.trust_env = False
            http.auth = ("me", exported["KAGGLE_KEY"])
            quota = http.post(f"{url}GetAcceleratorQuotaStatistics", json={}, timeout=5).json()
            endless = {"slug": "me/a-kernel", "newTitle": "a kernel", "text": "import time; time.sleep(600)"}
            assert http.post(f"{url}SaveKernel", json=endless, timeout=5).status_code == 200
        assert quota["gpuQuota"]["totalTimeAllowed"] == "3600s"
        os.kill(process.pid, number)
        assert process.wait(10) == 0


def test_an_unknown_setting(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        main(["--set", "no_such=1"])
    assert "no_such is no setting" in capsys.readouterr().err
    with pytest.raises(TypeError, match="no_such"):
        KaggleService(tmp_path, no_such=1)


def test_a_port_that_is_taken(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with KaggleService(tmp_path) as service, pytest.raises(SystemExit):
        main(["--port", str(service.port)])
    assert f"port {service.port}" in capsys.readouterr().err


def test_every_setting_is_described() -> None:
    described = set(re.findall(r"\w+", Settings.__doc__ or ""))
    assert set(Settings.__dataclass_fields__) <= described


def test_the_page_names_faults_and_settings_that_exist() -> None:
    faults = {code for row in pages.rows(pages.section(PAGE, "Faults")) for code in pages.inline_code(row[0])} - {
        "fault"
    }
    assert faults == {fault.value for fault in Fault}
    settings = {code for row in pages.rows(pages.section(PAGE, "Settings")) for code in pages.inline_code(row[0])}
    assert settings <= set(Settings.__dataclass_fields__)
    names = {
        code.split("(")[0] for row in pages.rows(pages.section(PAGE, "In tests")) for code in pages.inline_code(row[0])
    }
    assert all(hasattr(KaggleService, name) or f"self.{name} = " in _source() for name in names)


def _source() -> str:
    return Path(sys.modules[KaggleService.__module__].__file__ or "").read_text("utf-8")
