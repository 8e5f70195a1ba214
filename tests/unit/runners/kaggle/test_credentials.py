"""Credentials: found where the official client finds them, shown to nobody, sent to nobody else."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
from support.kaggle import CONTAINER, PATIENCE, submission

from ckptsync.core.errors import ConfigError, CredentialsError, ServiceError
from ckptsync.runners.base import SessionState
from ckptsync.runners.kaggle.client import KaggleClient
from ckptsync.runners.kaggle.credentials import Credentials, find, find_all
from ckptsync.runners.kaggle.endpoint import api_base, is_safe
from ckptsync.runners.kaggle.looking import looks
from ckptsync.runners.kaggle.runner import KaggleRunner
from ckptsync.runners.kaggle.web import Web
from ckptsync.testing.kaggle import KaggleService

SECRET = "KGAT_0123456789abcdef"


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o600)
    return path


def key_file(name: str = "filed", key: str = "filed-key") -> str:
    return json.dumps({"username": name, "key": key})


def test_the_order_is_that_of_the_official_client(tmp_path: Path) -> None:
    folder = tmp_path / ".kaggle"
    write(folder / "access_token", f"{SECRET}1\n")
    write(folder / "access_token.txt", f"{SECRET}2\n")
    write(folder / "kaggle.json", key_file())
    write(folder / "credentials.json", json.dumps({"refresh_token": "r", "access_token": "a", "username": "login"}))
    environ = {"KAGGLE_API_TOKEN": f"{SECRET}0", "KAGGLE_USERNAME": "varied", "KAGGLE_KEY": "varied-key"}
    found = list(find_all(environ, tmp_path))
    assert [c.token or c.key for c in found] == [f"{SECRET}0", f"{SECRET}1", f"{SECRET}2", "varied-key", "a"]
    assert [c.username for c in found] == [None, None, None, "varied", "login"]
    assert [c.username for c in find_all({}, tmp_path)] == [None, None, "filed", "login"]


def test_a_token_may_be_the_path_of_a_file(tmp_path: Path) -> None:
    path = write(tmp_path / "mine", f"  {SECRET}\n")
    assert find({"KAGGLE_API_TOKEN": str(path)}, tmp_path / "nobody").token == SECRET


def test_where_kaggle_json_is_looked_for(tmp_path: Path) -> None:
    home = tmp_path / "home"
    write(tmp_path / "given" / "kaggle.json", key_file("given"))
    write(home / ".config" / "kaggle" / "kaggle.json", key_file("config"))
    write(tmp_path / "xdg" / "kaggle" / "kaggle.json", key_file("xdg"))
    assert find({"KAGGLE_CONFIG_DIR": str(tmp_path / "given")}, home).username == "given"
    assert find({"XDG_CONFIG_HOME": str(tmp_path / "xdg")}, home).username == "xdg"
    assert find({}, home).username == "config"
    write(home / ".kaggle" / "kaggle.json", key_file("classic"))
    assert find({"XDG_CONFIG_HOME": str(tmp_path / "xdg")}, home).username == "classic"


def test_there_are_none(tmp_path: Path) -> None:
    with pytest.raises(CredentialsError, match="no credentials") as refused:
        find({}, tmp_path)
    assert "ckptsync doctor" in (refused.value.hint or "")


@pytest.mark.parametrize("text", ["{", "[1]", '{"username": "x"}', '{"user": "x", "key": "hunter2"}', '"hunter2"'])
def test_a_file_that_is_damaged(tmp_path: Path, text: str) -> None:
    write(tmp_path / ".kaggle" / "kaggle.json", text)
    with pytest.raises(CredentialsError) as refused:
        find({}, tmp_path)
    assert "hunter2" not in str(refused.value) and "kaggle.json" in refused.value.message


def test_nothing_shows_a_secret() -> None:
    found = Credentials("somewhere", "me", token="hunter1", key="hunter2", refresh_token="hunter3")
    assert "hunter" not in repr(found) + str(found)
    assert found.redact("a hunter1 b hunter2 c hunter3") == "a *** b *** c ***"


def test_a_file_that_others_can_read(tmp_path: Path) -> None:
    path = write(tmp_path / ".kaggle" / "kaggle.json", key_file())
    assert not find({}, tmp_path).readable_by_others
    path.chmod(0o644)
    assert find({}, tmp_path).readable_by_others


# --- where they are sent


@pytest.mark.parametrize(
    ("url", "safe"),
    [
        ("https://api.kaggle.com", True),
        ("http://127.0.0.1:8000", True),
        ("http://localhost:7777", True),
        ("http://[::1]:80", True),
        ("http://api.kaggle.com", False),
        ("http://127.0.0.1.example.com", False),
        ("http://localhost.example.com", False),
        ("https://user:word@127.0.0.1", False),
        ("ftp://127.0.0.1", False),
        ("127.0.0.1:80", False),
        ("http://127.0.0.1:port", False),
        ("http://", False),
        ("", False),
    ],
)
def test_secrets_go_by_https_or_stay_here(url: str, safe: bool) -> None:
    assert is_safe(url) is safe
    if url and not safe:
        with pytest.raises(ConfigError):
            api_base({"CKPTSYNC_KAGGLE_URL": url})


def test_the_endpoint_is_that_of_the_sdk() -> None:
    assert api_base({}) == api_base({"KAGGLE_API_ENVIRONMENT": "PROD"}) == "https://api.kaggle.com"
    assert api_base({"KAGGLE_API_ENVIRONMENT": "LOCALHOST"}) == "http://localhost/api"
    assert api_base({"KAGGLE_API_ENVIRONMENT": "TEST"}) == "http://localhost:7777/api"
    assert api_base({"CKPTSYNC_KAGGLE_URL": "http://127.0.0.1:9/"}) == "http://127.0.0.1:9/api"
    with pytest.raises(ConfigError, match="expected one of PROD"):
        api_base({"KAGGLE_API_ENVIRONMENT": "STAGING"})


def test_nothing_is_sent_to_a_stranger() -> None:
    web = Web(1.0)
    with pytest.raises(ConfigError, match="refused"), web.open("GET", "http://example.com/x?secret=1", what="a file"):
        pass


# --- at the service


def client(service: KaggleService, home: Path, **environ: str) -> KaggleClient:
    return KaggleClient({"CKPTSYNC_KAGGLE_URL": service.url, **environ}, home, timeout=5.0, patience=PATIENCE)


def test_a_token_is_asked_whose_it_is(service: KaggleService, home: Path) -> None:
    assert client(service, home, KAGGLE_API_TOKEN=service.account.token).username == "tester"
    assert [call.name for call in service.requests] == ["IntrospectToken"]
    assert not service.requests[0].authorized


def test_a_token_that_is_not_known_gives_way_to_a_key(service: KaggleService, home: Path) -> None:
    write(home / ".kaggle" / "kaggle.json", key_file("tester", service.account.key))
    found = client(service, home, KAGGLE_API_TOKEN="KGAT_expired")
    assert found.username == "tester" and found.own_kernels("x") == []


def test_a_token_that_is_not_known(service: KaggleService, home: Path) -> None:
    with pytest.raises(CredentialsError, match="the token in KAGGLE_API_TOKEN") as refused:
        _ = client(service, home, KAGGLE_API_TOKEN=SECRET).username
    assert SECRET not in str(refused.value)


def test_a_key_that_is_wrong(service: KaggleService, home: Path) -> None:
    wrong = client(service, home, KAGGLE_USERNAME="tester", KAGGLE_KEY="hunter2")
    with pytest.raises(CredentialsError, match="does not accept our credentials") as refused:
        wrong.own_kernels("x")
    assert not refused.value.transient and "hunter2" not in str(refused.value)
    # and not as "there is no such kernel", which the service says in nearly the same way
    with pytest.raises(CredentialsError):
        KaggleRunner(client=wrong).find(submission("toy/s0001"))


@pytest.mark.parametrize("status", [401, 403])
def test_a_login_is_renewed_in_the_middle_of_a_wait(service: KaggleService, home: Path, status: int) -> None:
    service.settings.token_seconds, service.settings.expired_token_status = 0.2, status
    login = {"refresh_token": service.account.refresh_token, "username": "tester"}
    path = write(home / ".kaggle" / "credentials.json", json.dumps(login))
    runner = KaggleRunner(client=client(service, home))
    handle = runner.start(submission("toy/s0001"))
    assert service.run("tester/ckptsync-toy").wait(10)
    for _ in looks(PATIENCE):
        assert runner.status(handle).state is SessionState.COMPLETE
        if [call.name for call in service.requests].count("GenerateAccessToken") > 1:
            break
    assert status in [call.status for call in service.requests]
    assert json.loads(path.read_text()) == login  # the file stays the official client's


def test_a_login_that_is_over(service: KaggleService, home: Path) -> None:
    write(home / ".kaggle" / "credentials.json", json.dumps({"refresh_token": "KGRT_hunter2", "username": "x"}))
    with pytest.raises(CredentialsError, match="is over") as refused:
        _ = client(service, home).username
    assert "hunter2" not in str(refused.value) and refused.value.hint == "kaggle auth login"


@pytest.mark.slow
def test_no_secret_is_in_a_script_an_error_or_a_log(
    service: KaggleService, home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    runner = KaggleRunner(client=client(service, home, KAGGLE_API_TOKEN=service.account.token))
    handle = runner.start(submission("toy/s0001", does="raise SystemExit(1)\n"))
    service.faults.add("drop-in", times=3)
    runner.status(handle)
    service.faults.add("500", times=1000)
    with pytest.raises(ServiceError) as failed:
        KaggleRunner(client=client(service, home, KAGGLE_API_TOKEN=service.account.token)).status(handle)
    secret = service.account.token
    assert secret not in str(failed.value) and secret not in repr(failed.value.__dict__)
    assert secret not in caplog.text
    assert secret not in service.version("tester/ckptsync-toy").text
    assert secret not in json.dumps(handle.to_json()) and CONTAINER in service.version("tester/ckptsync-toy").text
