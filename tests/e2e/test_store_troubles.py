"""Bad input from a real S3 server, and from one behind a proxy that says what others say: as a user meets it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest
from support import weed
from support.projects import CONFIG, make_project, seal_set, set_head

from ckptsync.cli.app import main
from ckptsync.testing.faulty_proxy import Fault, FaultyProxy

pytestmark = pytest.mark.slow

_NUMBERS = count()
CANARY = "canary-of-a-secret"

Rule = Callable[[str, str], Fault | None]


@dataclass
class Service:
    """A server behind a proxy that does what the test says.

    Args:
        proxy: the proxy.
        rule: (method, path) -> what happens to the request.
    """

    proxy: FaultyProxy
    rule: Rule | None = None

    def url(self, prefix: str, *, bucket: str = weed.BUCKET) -> str:
        """The URL of a store."""
        return f"s3://{bucket}/{prefix}?endpoint={self.proxy.url}&region=us-east-1"


@pytest.fixture(scope="module")
def behind(s3_server: weed.Server) -> Iterator[Service]:
    service: list[Service] = []

    def choose(method: str, path: str) -> Fault | None:
        rule = service[0].rule
        return rule(method, path) if rule is not None else None

    with FaultyProxy("127.0.0.1", s3_server.port, choose) as proxy:
        service.append(Service(proxy))
        yield service[0]


@pytest.fixture
def service(behind: Service) -> Iterator[Service]:
    behind.rule = None
    yield behind
    behind.rule = None


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    be(monkeypatch, weed.ACCESS_KEY)


def be(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Become one of the clients that the server knows."""
    for variable, value in weed.credentials(name).items():
        monkeypatch.setenv(variable, value)


def enter(folder: Path, url: str, monkeypatch: pytest.MonkeyPatch, *steps: int) -> Path:
    """Make a project with checkpoints and go there."""
    project = make_project(folder, f'{CONFIG}\n[store]\nurl = "{url}"\n')
    tree = project.tree(project.run("a"))
    for number in steps:
        set_head(tree, seal_set(tree.checkpoints, number))
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def project(tmp_path: Path, service: Service, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a store that has nothing yet of its two checkpoints."""
    folder = enter(tmp_path / "project", service.url(f"troubles-{next(_NUMBERS)}"), monkeypatch, 100, 200)
    assert main(["init-store"]) == 0
    return folder


def run(capsys: pytest.CaptureFixture[str], line: str) -> tuple[int, str]:
    """Run a command; return its exit code and all that it said."""
    capsys.readouterr()
    code = main(line.split())
    printed = capsys.readouterr()
    for word in ("Traceback", "unexpected", CANARY, weed.SECRET_KEY):
        assert word not in printed.out + printed.err
    if code not in (0, 4):
        assert "  next: " in printed.err
    return code, printed.out + printed.err


def on(method: str, fault: Fault, path: str = "/") -> Rule:
    """A rule for one method, and for paths that hold a word."""
    return lambda asked, at: fault if asked == method and path in at else None


def refusal(status: int, code: str) -> Fault:
    return Fault("status", status=status, code=code)


@pytest.mark.parametrize("line", ["init-store", "push", "pull", "scrub", "prune", "ls --store"])
def test_no_such_bucket(
    tmp_path: Path, service: Service, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], line: str
) -> None:
    """It is told, and not made: this server makes a bucket of any name that is written to."""
    enter(tmp_path / "project", service.url("x", bucket="no-such-bucket"), monkeypatch, 100)
    code, said = run(capsys, line)
    assert code == 6
    assert "s3://no-such-bucket/x/: there is no such bucket" in said


@pytest.mark.parametrize(
    ("client", "line", "what"),
    [
        ("reader", "push", "write claims/"),
        ("reader", "prune", "write claims/"),
        ("reader", "tag good", "write claims/"),
        ("reader", "rollback 100", "write claims/"),
        ("nolist", "push", "list "),
        ("nolist", "scrub", "list versions/"),
        ("nolist", "prune", "list "),
        ("nobody", "push", "read ckptsync-repository.json"),
        ("nobody", "pull", "read ckptsync-repository.json"),
        ("nobody", "init-store", "read ckptsync-repository.json"),
    ],
)
def test_rights_that_are_missing_are_named(
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    client: str,
    line: str,
    what: str,
) -> None:
    assert run(capsys, "push")[0] == 0
    enter(project, (project / "ckptsync.toml").read_text().rsplit('"', 2)[1], monkeypatch, 300)
    be(monkeypatch, client)
    code, said = run(capsys, line)
    assert code == 10
    assert f"cannot {what}" in said
    assert "read, list, write and delete" in said
    be(monkeypatch, weed.ACCESS_KEY)
    assert run(capsys, "scrub")[0] == 0


def test_no_right_to_remove(project: Path, service: Service, capsys: pytest.CaptureFixture[str]) -> None:
    service.rule = on("DELETE", refusal(403, "AccessDenied"))
    assert run(capsys, "push")[0] == 0  # a store that only grows takes checkpoints all the same
    code, said = run(capsys, "tag good --remove --scenario a")
    assert code == 6
    assert run(capsys, "tag good")[0] == 0
    code, said = run(capsys, "tag good --remove")
    assert (code, "cannot remove tags/a/a/good.json" in said) == (10, True)


@pytest.mark.parametrize("line", ["init-store", "push", "pull", "scrub", "ls --store"])
def test_wrong_keys_and_none(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], line: str
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", CANARY)
    code, said = run(capsys, line)
    assert (code, "SignatureDoesNotMatch" in said) == (10, True)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
    assert run(capsys, line)[0] == 10
    for variable in weed.credentials():
        monkeypatch.delenv(variable)
    code, said = run(capsys, line)
    assert (code, "no credentials were found" in said) == (10, True)
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    assert run(capsys, line)[0] == 12


def test_credentials_that_expire_in_the_middle_of_a_push(
    project: Path, service: Service, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was pushed before is there and whole; the same command sends the rest, and only that."""
    sent: list[str] = []

    def expire(method: str, path: str) -> Fault | None:
        sent.extend([path] if method == "PUT" else [])
        return refusal(400, "ExpiredToken") if sum("/objects/" in path for path in sent) > 1 else None

    service.rule = expire
    code, said = run(capsys, "push")
    assert code == 10
    assert "have expired" in said
    service.rule = None
    assert run(capsys, "scrub")[0] == 0
    before = len(service.proxy.requests)
    code, said = run(capsys, "push")
    assert code == 0
    assert "1 checkpoint there already" in said
    assert sum("PUT" in asked and "/objects/" in asked for asked in service.proxy.requests[before:]) == 1


@pytest.mark.parametrize(
    ("fault", "expected", "said"),
    [
        (refusal(301, "PermanentRedirect"), 12, "another region"),
        (refusal(400, "AuthorizationHeaderMalformed"), 12, "another region"),
        (refusal(403, "RequestTimeTooSkewed"), 1, "the clock here is wrong: here it is"),
        (refusal(403, "QuotaExceeded"), 8, "its room or quota is used up"),
        (refusal(400, "XMinioStorageFull"), 8, "its room or quota is used up"),
        (refusal(507, ""), 8, "its room or quota is used up"),
        (refusal(403, "ExpiredToken"), 10, "have expired"),
        (refusal(405, "MethodNotAllowed"), 1, "MethodNotAllowed"),
        (refusal(501, "NotImplemented"), 1, "NotImplemented"),
        (Fault("status", status=200), 1, "the answer is none of S3's"),
    ],
)
def test_what_servers_say_of_a_write(
    project: Path, service: Service, capsys: pytest.CaptureFixture[str], fault: Fault, expected: int, said: str
) -> None:
    service.rule = on("PUT", fault, "/objects/")
    code, answer = run(capsys, "push")
    assert code == expected
    assert said in answer
    service.rule = None
    assert run(capsys, "scrub")[0] == 0
    assert run(capsys, "ls --store")[1].startswith("0 versions")
    assert run(capsys, "push")[0] == 0


def test_something_else_than_s3_answers(project: Path, service: Service, capsys: pytest.CaptureFixture[str]) -> None:
    service.rule = lambda method, path: Fault("status", status=200)
    for line in ("push", "pull", "scrub", "prune", "init-store"):
        code, said = run(capsys, line)
        assert (code, "something else answers there" in said) == (1, True)


def test_a_server_that_lies_about_writing(project: Path, service: Service, capsys: pytest.CaptureFixture[str]) -> None:
    service.rule = on("PUT", Fault("lie"))
    for line in ("push", "prune"):
        code, said = run(capsys, line)
        assert (code, "it is not there" in said) == (1, True)
    service.rule = on("PUT", Fault("lie"), "/objects/")
    assert run(capsys, "push")[0] == 0
    service.rule = None
    code, said = run(capsys, "scrub")
    assert (code, "ckptsync repair" in said) == (4, True)
    assert run(capsys, "repair")[0] == 0
    assert run(capsys, "scrub")[0] == 0


def test_an_endpoint_without_tls(
    tmp_path: Path, s3_server: weed.Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    endpoint = f"https://127.0.0.1:{s3_server.port}"
    enter(tmp_path / "project", s3_server.url("x", endpoint=endpoint), monkeypatch, 100)
    code, said = run(capsys, "push")
    assert code == 12
    assert f"{endpoint} does not speak TLS" in said


def test_an_outage_is_no_damage(project: Path, service: Service, capsys: pytest.CaptureFixture[str]) -> None:
    """A scrub whose credentials end in the middle finds no damage, and a repair throws nothing away."""
    assert run(capsys, "push")[0] == 0
    for path in ("/versions/", "/heads/", "/objects/"):
        service.rule = on("GET", refusal(403, "ExpiredToken"), path)
        for line in ("scrub", "repair"):
            code, said = run(capsys, line)
            assert code == 10
            assert "damaged" not in said
    service.rule = None
    assert run(capsys, "scrub")[0] == 0


@pytest.mark.parametrize(("failures", "told"), [(2, 0), (5, 1)])
def test_a_server_that_goes_on_failing_is_told_of_once(
    project: Path, service: Service, capsys: pytest.CaptureFixture[str], failures: int, told: int
) -> None:
    assert run(capsys, "push")[0] == 0
    left = iter([refusal(503, "SlowDown")] * failures)
    service.rule = lambda method, path: next(left, None)
    code, said = run(capsys, "ls --store")
    assert code == 0
    assert said.count("it is busy or failing; it is tried again for 1 min 30 s at most") == told
    assert next(left, None) is None


def test_no_secret_is_left(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for line in ("push", "scrub", "tag good", "prune", "copy ../far", "status --json"):
        run(capsys, line)
    assert json.loads(run(capsys, "status --json")[1])["exit_code"] == 0
    assert not [path for path in project.rglob("*") if path.is_file() and weed.SECRET_KEY.encode() in path.read_bytes()]
