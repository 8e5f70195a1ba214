"""doctor: what is missing for sessions on Kaggle, and what to do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ckptsync.core.patience import Patience
from ckptsync.project.config import load_project
from ckptsync.runners.kaggle.checks import ServiceCheck, checks
from ckptsync.sync.doctor import doctor
from ckptsync.testing.kaggle import KaggleService


def found(environ: dict[str, str], home: Path, *folders: Path) -> dict[str, ServiceCheck]:
    return {check.name: check for check in checks(folders, environ, home)}


def test_all_is_well(service: KaggleService, home: Path) -> None:
    service.settings.gpu_hours_used = 12.5
    seen = found(service.environment(), home)
    assert all(check.ok and not check.fix for check in seen.values())
    assert seen["kaggle credentials"].found == "KAGGLE_USERNAME and KAGGLE_KEY"
    assert seen["kaggle account"].found.startswith("tester; 17.5 of 30 gpu hours left, renews at 20")
    assert service.account.key not in str(seen)


def test_no_credentials(home: Path) -> None:
    seen = found({}, home)
    assert not seen["kaggle credentials"].ok and "access_token" in seen["kaggle credentials"].fix
    assert "kaggle account" not in seen


def test_wrong_credentials(service: KaggleService, home: Path) -> None:
    check = found({**service.environment(), "KAGGLE_KEY": "wrong"}, home)["kaggle account"]
    assert not check.ok and "does not accept our credentials" in check.found and "create a token" in check.fix


def test_credentials_that_others_can_read(service: KaggleService, home: Path) -> None:
    path = home / ".kaggle" / "kaggle.json"
    path.parent.mkdir()
    path.write_text(json.dumps({"username": "tester", "key": service.account.key}))
    path.chmod(0o644)
    seen = found({"CKPTSYNC_KAGGLE_URL": service.url}, home)
    assert not seen["kaggle credentials"].ok and seen["kaggle credentials"].fix == f"chmod 600 {path}"
    assert seen["kaggle account"].ok
    path.chmod(0o600)
    assert found({"CKPTSYNC_KAGGLE_URL": service.url}, home)["kaggle credentials"].ok


def test_a_secret_beside_the_project(service: KaggleService, home: Path, tmp_path: Path) -> None:
    (tmp_path / "kaggle.json").write_text("{}")
    check = found(service.environment(), home, tmp_path)["kaggle secrets"]
    assert not check.ok and "chmod 600" in check.fix


def test_the_service_cannot_be_reached(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ckptsync.runners.kaggle.checks._PATIENCE", Patience(0.0))
    environ = {"CKPTSYNC_KAGGLE_URL": "http://127.0.0.1:1", "KAGGLE_USERNAME": "x", "KAGGLE_KEY": "hunter2"}
    check = found(environ, home)["kaggle account"]
    assert not check.ok and "127.0.0.1:1" in check.found and "network" in check.fix
    assert "hunter2" not in check.found


def test_an_address_that_secrets_are_not_sent_to(home: Path) -> None:
    environ = {"CKPTSYNC_KAGGLE_URL": "http://example.com", "KAGGLE_USERNAME": "x", "KAGGLE_KEY": "y"}
    assert "must be https" in found(environ, home)["kaggle account"].found


def test_doctor_looks_only_where_a_run_uses_it(
    service: KaggleService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in service.environment().items():
        monkeypatch.setenv(name, value)
    config = tmp_path / "ckptsync.toml"
    config.write_text("[runs.toy]\n")
    names = {check.name for check in doctor(load_project(tmp_path, environ={})).checks}
    assert not any(name.startswith("kaggle") for name in names) and service.requests == []
    config.write_text('[runs.toy]\nrunner = "kaggle"\n')
    report = doctor(load_project(tmp_path, environ={}))
    seen = {check.name: check.ok for check in report.checks}
    assert seen["kaggle account"] and seen["kaggle credentials"] and seen["kaggle package"]
