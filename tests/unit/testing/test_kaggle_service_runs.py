"""The Kaggle service: runs from QUEUED to their end, what they leave, their log, their inputs."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from support.kaggle_raw import RawClient

from ckptsync.testing.kaggle import KaggleService, Outputs, Run, RunStatus, StoredFile

pytestmark = pytest.mark.slow

WRITES = "open('kept.txt', 'w').write('partial')\n"
ENDLESS = WRITES + "import time\nprint('on', flush=True)\nwhile True:\n    time.sleep(0.02)\n"
PRINTS_ITS_NAME = "import os; print(os.environ['KAGGLE_CONTAINER_NAME'].split('_')[1])\n"


def wait_for_log(run: Run, text: str = "on") -> None:
    """Wait until a run has printed something."""
    deadline = time.monotonic() + 10
    while text not in run.log.text():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_what_survives_of_outputs(client: RawClient) -> None:
    client.finish(
        "import os\nos.makedirs('deep/er'); os.makedirs('empty')\nopen('deep/er/a.bin', 'wb').write(b'x' * 3000)\n"
        "open('b.sh', 'w').write('b'); os.chmod('b.sh', 0o755)\nos.symlink('b.sh', 'link'); os.symlink('deep', 'folder')\n"
    )
    assert client.outputs() == {"b.sh": b"b", "deep/er/a.bin": b"x" * 3000}
    listed = client.of("ListKernelFiles")["files"]
    assert [(file["name"], file["size"]) for file in listed] == [("b.sh", 1), ("deep/er/a.bin", 3000)]


def test_outputs_come_in_pages(client: RawClient) -> None:
    client.finish("for i in range(45): open(f'{i:02}', 'w').write(str(i))")
    assert client.outputs(pageSize=20) == {f"{i:02}": str(i).encode() for i in range(45)}
    page = client.of("ListKernelSessionOutput", pageSize=20)
    assert (len(page["files"]), bool(page["nextPageToken"])) == (20, True)


@pytest.mark.parametrize(
    ("script", "status", "message"),
    [
        ("", "complete", ""),
        ("raise SystemExit(3)", "error", ""),
        ("1/0", "error", ""),
        (
            "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
            *("error", "Your notebook tried to allocate more memory than is available."),
        ),
    ],
)
def test_ends_by_themselves(client: RawClient, script: str, status: str, message: str) -> None:
    client.finish(WRITES + script)
    answer = client.of("GetKernelSessionStatus")
    assert answer == {
        "status": status,
        "failureMessage": message,
        "failureMessageNullable": message,
        "hasFailureMessage": bool(message),
    }
    assert client.outputs() == {"kept.txt": b"partial"}


def test_a_crash_that_says_complete(client: RawClient, service: KaggleService) -> None:
    service.settings.crash_says_complete = True
    client.finish("1/0")
    assert client.status() == "complete"
    assert "ZeroDivisionError" in client.of("ListKernelSessionOutput")["log"]


@pytest.mark.parametrize("kept", [True, False])
def test_the_limit_kills_without_a_warning(client: RawClient, service: KaggleService, kept: bool) -> None:
    service.settings.time_scale = 100_000
    service.settings.limit_keeps_outputs = kept
    deaf = "import signal\nfor n in (15, 2): signal.signal(n, lambda *_: print('asked', flush=True))\n"
    run = client.finish(deaf + ENDLESS, sessionTimeoutSeconds=36_000)
    assert run.status == (RunStatus.CANCEL_ACKNOWLEDGED, client.of("GetKernelSessionStatus")["failureMessage"])
    assert run.status[1] == "Your notebook was stopped because it exceeded the max allowed execution duration."
    assert "asked" not in run.log.text()
    assert client.outputs() == ({"kept.txt": b"partial"} if kept else {})
    assert bool(client.of("ListKernelSessionOutput")["log"]) is kept


def test_the_service_s_own_limit_is_the_highest(client: RawClient, service: KaggleService) -> None:
    service.settings.session_limit_seconds = 0.3
    run = client.finish(ENDLESS, sessionTimeoutSeconds=36_000)
    assert run.status[0] is RunStatus.CANCEL_ACKNOWLEDGED


@pytest.mark.parametrize("kept", [True, False])
def test_cancelling_by_the_id_that_the_script_prints(client: RawClient, service: KaggleService, kept: bool) -> None:
    service.settings.cancel_keeps_outputs = kept
    client.push(PRINTS_ITS_NAME + ENDLESS)
    run = service.run("tester/a-kernel")
    wait_for_log(run)
    number = int(json.loads(run.log.text())[0]["data"])
    assert client.status() == "running"
    assert client.call("CancelKernelSession", kernelSessionId=number)["errorMessage"] == ""
    assert client.status() in ("cancelRequested", "cancelAcknowledged")
    assert run.wait(10)
    assert run.status == (RunStatus.CANCEL_ACKNOWLEDGED, "")
    assert client.outputs() == ({"kept.txt": b"partial"} if kept else {})
    assert client.call("CancelKernelSession", kernelSessionId=number)["errorMessage"]  # it has ended


def test_cancelling_what_is_not_ours(client: RawClient, service: KaggleService) -> None:
    client.push(ENDLESS)
    other = RawClient(service, service.add_account("other"))
    number = service.run("tester/a-kernel").number
    assert other.post("CancelKernelSession", kernelSessionId=number).status_code == 403
    assert client.post("CancelKernelSession", kernelSessionId=1).status_code == 403


def test_a_cancelled_script_may_seal_what_it_has(client: RawClient, service: KaggleService) -> None:
    client.push(
        "import signal, sys, time\n"
        "def stop(*_):\n    open('sealed', 'w').write('yes'); sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, stop); print('on', flush=True); time.sleep(60)"
    )
    run = service.run("tester/a-kernel")
    wait_for_log(run)
    run.cancel()
    assert run.wait(10)
    assert run.status == (RunStatus.CANCEL_ACKNOWLEDGED, "")
    assert client.outputs() == {"sealed": b"yes"}


def test_a_cancelled_script_that_is_deaf_is_killed(client: RawClient, service: KaggleService) -> None:
    service.settings.cancel_grace_seconds = 0.1
    client.push("import signal; signal.signal(15, signal.SIG_IGN)\n" + ENDLESS)
    run = service.run("tester/a-kernel")
    wait_for_log(run)
    run.cancel()
    assert run.wait(10)


def test_queued_then_cancelled_never_runs(client: RawClient, service: KaggleService) -> None:
    service.settings.queued_seconds = 60
    client.push(ENDLESS)
    assert client.status() == "queued"
    run = service.run("tester/a-kernel")
    run.cancel()
    assert run.wait(10)
    assert (run.status[0], client.outputs()) == (RunStatus.CANCEL_ACKNOWLEDGED, {})


def test_while_outputs_are_saved_the_run_goes_on(client: RawClient, service: KaggleService) -> None:
    service.settings.saving_seconds = 60
    client.push(WRITES + "print('on', flush=True)")
    run = service.run("tester/a-kernel")
    wait_for_log(run)
    assert client.status() == "running"
    assert client.of("ListKernelSessionOutput") == {"files": [], "log": "", "nextPageToken": ""}


def test_the_listing_of_a_cancelled_run_grows(client: RawClient, service: KaggleService) -> None:
    service.settings.saving_seconds = 60
    client.push("for i in range(2000): open(f'{i:04}', 'w').close()\n" + ENDLESS)
    run = service.run("tester/a-kernel")
    wait_for_log(run)
    run.cancel()
    seen: set[int] = set()
    while len(seen) < 3:
        seen.add(len(client.of("ListKernelFiles", pageSize=200)["files"]))
    assert client.status() == "cancelRequested"
    assert 2001 not in seen


def test_a_listing_may_be_late(client: RawClient, service: KaggleService) -> None:
    service.settings.listing_seconds = 600
    run = client.finish("for i in range(1000): open(f'{i:03}', 'w').close()")
    assert client.status() == "complete"
    assert len(run.files()) < 1000
    service.settings.listing_seconds = 0
    assert len(run.files()) == 1000


def test_right_after_a_push_the_status_is_that_of_the_run_before(client: RawClient, service: KaggleService) -> None:
    client.finish("")
    service.settings.status_lag_seconds = 60
    client.push(ENDLESS)
    assert client.status() == "complete"
    assert client.status(versionLabel="v2") in ("queued", "running")
    service.settings.status_lag_seconds = 0
    assert client.status() in ("queued", "running")


def test_a_new_version_may_not_be_known_at_once(client: RawClient, service: KaggleService) -> None:
    service.settings.version_lag_seconds = 60
    client.push("")
    answer = client.post("GetKernelSessionStatus", userName="tester", kernelSlug="a-kernel", versionLabel="v1")
    assert answer.status_code == 404


def test_a_word_that_nobody_knows(client: RawClient, service: KaggleService) -> None:
    client.push("")
    service.settings.status_word = "hibernating"
    assert client.status() == "hibernating"


def test_a_script_sees_nothing_of_our_environment(
    client: RawClient, service: KaggleService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAGGLE_KEY", "our-secret")
    monkeypatch.setenv("SOME_TOKEN", "our-secret")
    client.finish("import json, os; json.dump(dict(os.environ), open('e', 'w'))")
    environment = json.loads(client.outputs()["e"])
    assert "our-secret" not in environment.values()
    assert environment["KAGGLE_KERNEL_RUN_TYPE"] == "Batch"
    assert str(service.run("tester/a-kernel").number) == environment["KAGGLE_CONTAINER_NAME"].split("_")[1]


def test_the_log_is_an_array_with_a_record_a_line(client: RawClient) -> None:
    client.finish(
        "import sys\nprint('one')\nsys.stdout.write('no end')\nsys.stdout.flush()\nsys.stderr.write('bad\\n')"
    )
    log = client.of("ListKernelSessionOutput")["log"]
    assert log.splitlines()[0].startswith('[{"stream_name"')
    assert all(line.startswith((",", "]")) for line in log.splitlines()[1:])
    records = json.loads(log)
    texts = {
        name: "".join(each["data"] for each in records if each["stream_name"] == name) for name in ("stdout", "stderr")
    }
    assert texts == {"stdout": "one\nno end", "stderr": "bad\n"}
    assert all(each["time"] > 0 for each in records)


@pytest.mark.parametrize(("setting", "expected"), [("replaced", "\ufffd!\n".encode()), ("raw", b"\xff!\n")])
def test_bytes_that_are_no_utf_8(client: RawClient, service: KaggleService, setting: str, expected: bytes) -> None:
    service.settings.log_bytes = setting  # type: ignore[assignment]
    client.finish("import sys; sys.stdout.buffer.write(b'\\xff!\\n')")
    answer = client.post("ListKernelSessionOutput", userName="tester", kernelSlug="a-kernel")
    log = json.loads(answer.content.decode("utf-8", "surrogateescape"))["log"]
    assert json.loads(log)[0]["data"].encode("utf-8", "surrogateescape") == expected


def test_the_live_log(client: RawClient, service: KaggleService) -> None:
    url = f"{service.url}/api/v1/kernels/logs/stream/tester/a-kernel"
    client.push("import time\nprint('first', flush=True)\nwhile True: time.sleep(0.01)")
    with client.http.get(url, stream=True, timeout=10) as answer:
        assert answer.headers["Content-Type"] == "text/event-stream"
        lines = (line.decode() for line in answer.iter_lines(chunk_size=1) if line)
        assert json.loads(next(lines).removeprefix("data: "))["data"] == "first\n"
        service.run("tester/a-kernel").cancel()
        assert list(lines)[-1] == "data: END_OF_LOG"
    assert service.run("tester/a-kernel").wait(10)
    client.push("print('second')")
    number = service.run("tester/a-kernel", 1).number
    for stored in (
        client.http.get(url, params={"versionLabel": "v1"}, timeout=10),
        client.post("GetKernelSessionLogsStream", kernelSessionId=number),
    ):
        assert stored.headers["Content-Type"] == "application/json"
        assert stored.json()[0]["data"] == "first\n"


@pytest.mark.parametrize(
    ("layout", "folders"),
    [
        ("new", ["competitions/titanic", "datasets/tester/a-dataset", "notebooks/tester/source-kernel"]),
        ("old", ["a-dataset", "source-kernel", "titanic"]),
    ],
)
def test_both_layouts_of_inputs(client: RawClient, service: KaggleService, layout: str, folders: list[str]) -> None:
    service.settings.mount_layout = layout  # type: ignore[assignment]
    client.create_dataset({"a.csv": b"1"})
    client.finish("open('left.txt', 'w').write('x')", "source-kernel")
    sources = {"kernelDataSources": ["tester/source-kernel"], "competitionDataSources": ["titanic"]}
    found = json.loads(client.finish(_SHOW, datasetDataSources=["tester/a-dataset/3"], **sources).log.text())[0]["data"]
    assert json.loads(found) == {
        folders[0]: ["a.csv"] if layout == "old" else [],
        folders[1]: ["a.csv"] if layout == "new" else _KERNEL_FILES,
        folders[2]: _KERNEL_FILES if layout == "new" else [],
    }


_KERNEL_FILES = ["__output__.json", "__results__.html", "__script__.ipynb", "__script__.py", "custom.css", "left.txt"]
_SHOW = (
    "import json, os\nroot = os.environ['CKPTSYNC_INPUT_DIR']\n"
    "print(json.dumps({os.path.relpath(p, root): sorted(f) for p, d, f in os.walk(root) if not d}, sort_keys=True))"
)


@pytest.mark.parametrize(
    ("mount", "files"),
    [
        ("files", _KERNEL_FILES),
        ("zip", [*_KERNEL_FILES[:-1], "_output_.zip"]),
        ("code", ["__script__.py"]),
    ],
)
def test_ways_of_mounting_a_kernel(client: RawClient, service: KaggleService, mount: str, files: list[str]) -> None:
    service.settings.kernel_mount = mount  # type: ignore[assignment]
    client.finish("open('left.txt', 'w').write('x')", "source-kernel")
    found = json.loads(client.finish(_SHOW, kernelDataSources=["tester/source-kernel"]).log.text())[0]["data"]
    assert json.loads(found) == {"notebooks/tester/source-kernel": sorted(files)}


def test_a_kernel_source_is_the_last_complete_run(client: RawClient) -> None:
    client.finish("open('left.txt', 'w').write('complete')")
    client.finish("open('left.txt', 'w').write('failed'); 1/0")
    assert client.outputs() == {"left.txt": b"failed"}  # while the API gives the last one that ran
    shows = "import glob, os; print(open(glob.glob(os.environ['CKPTSYNC_INPUT_DIR'] + '/**/left.txt', recursive=True)[0]).read())"
    run = client.finish(shows, kernelDataSources=["tester/a-kernel"])
    assert json.loads(run.log.text())[0]["data"] == "complete\n"


def test_a_notebook_runs_its_code(client: RawClient) -> None:
    cells = [{"cell_type": "markdown", "source": "# no"}, {"cell_type": "code", "source": ["x = 1\n", "print(x)"]}]
    run = client.finish(json.dumps({"cells": cells}), kernelType="notebook")
    assert json.loads(run.log.text())[0]["data"] == "1\n"


def test_what_is_no_notebook(client: RawClient) -> None:
    for text in ("print(1)", "[]", '{"cells": [{}]}'):
        answer = client.post(
            "SaveKernel", slug="tester/a-kernel", newTitle="a kernel", text=text, kernelType="notebook"
        )
        assert answer.status_code == 400
    assert client.call("ListKernels", group="PROFILE")["kernels"] == []


def test_a_machine_that_fails_is_no_run_without_an_end(client: RawClient, service: KaggleService) -> None:
    service.settings.python = "/no/such/python"
    client.finish("")
    assert client.status() == "error"
    assert "/no/such/python" in service.failures.pop()


def test_made_up_outputs(client: RawClient, service: KaggleService) -> None:
    client.finish("open('real', 'w').write('x')")
    hostile = ["../escape", "/absolute", "a\nb", "twice", "twice", "..", "c\x00d", "ü" * 300]
    files = tuple(StoredFile(name, content=name.encode()) for name in hostile)
    service.replace_outputs("tester/a-kernel", Outputs(files))
    page = client.of("ListKernelSessionOutput")
    assert [file["fileName"] for file in page["files"]] == hostile
    assert [client.download(file["url"]).content for file in page["files"]] == [name.encode() for name in hostile]

    service.replace_outputs("tester/a-kernel", Outputs(tuple(StoredFile(f"{i}") for i in range(100_000))))
    assert len(client.of("ListKernelSessionOutput", pageSize=500)["files"]) == 200


def test_a_made_up_log_is_as_long_as_wanted(client: RawClient, service: KaggleService) -> None:
    client.finish("")
    service.replace_outputs("tester/a-kernel", Outputs(log_bytes=3_000_000))
    log = client.of("ListKernelSessionOutput")["log"]
    assert abs(len(log) - 3_000_000) < 100_000
    assert all(record["data"].startswith("x") for record in json.loads(log))
    url = f"{service.url}/api/v1/kernels/logs/stream/tester/a-kernel"
    assert client.http.get(url, timeout=10).json() == json.loads(log)


def test_stopping_ends_every_process(tmp_path: Path) -> None:
    """Also one that has left the script's process group."""
    with KaggleService(tmp_path / "service") as service:
        client = RawClient(service)
        client.push(
            "import os, subprocess, sys, time\n"
            "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], start_new_session=True)\n"
            "print(os.getpid(), child.pid, 'on', flush=True); time.sleep(600)"
        )
        run = service.run("tester/a-kernel")
        wait_for_log(run)
        numbers = json.loads(run.log.text())[0]["data"].split()[:2]
        assert all(_alive(number) for number in numbers)
    assert not any(_alive(number) for number in numbers)


def _alive(number: str) -> bool:
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_what_a_script_leaves_behind_ends_with_it(client: RawClient) -> None:
    run = client.finish(
        "import subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], start_new_session=True)\n"
        "print(child.pid)"
    )
    assert not _alive(json.loads(run.log.text())[0]["data"].strip())
