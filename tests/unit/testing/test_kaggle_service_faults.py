"""The Kaggle service: faults on demand, as a client on the wire meets them; downloads and their URLs."""

from __future__ import annotations

import base64
import hashlib
import json
import socket
import threading
import time
from collections import Counter
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest
import requests
from support.kaggle_raw import RawClient

from ckptsync.testing.kaggle import Fault, KaggleService

pytestmark = pytest.mark.slow

DROPPED = (requests.ConnectionError, requests.exceptions.ChunkedEncodingError)


def listing(client: RawClient) -> requests.Response:
    """Ask for something that changes nothing."""
    return client.post("ListKernels")


def file_url(client: RawClient, content: str = "x" * 5000) -> str:
    """Make a run leave one file and return its signed URL."""
    client.finish(f"open('file.bin', 'w').write({content!r})")
    return str(client.of("ListKernelSessionOutput")["files"][0]["url"])


@pytest.mark.parametrize("fault", ["500", "502", "503"])
def test_errors_of_the_server(client: RawClient, service: KaggleService, fault: str) -> None:
    service.faults.add(fault, "ListKernels")
    answer = listing(client)
    assert (answer.status_code, answer.json()["code"]) == (int(fault), int(fault))
    assert listing(client).status_code == 200


def test_too_many_requests(client: RawClient, service: KaggleService) -> None:
    service.settings.retry_after_seconds = 7
    for fault in ("429", "429-date", "429-bare"):
        service.faults.add(fault)
    seconds, date, bare = (listing(client) for _ in range(3))
    assert {answer.status_code for answer in (seconds, date, bare)} == {429}
    assert seconds.headers["Retry-After"] == "7"
    assert (
        parsedate_to_datetime(date.headers["Retry-After"]) - parsedate_to_datetime(date.headers["Date"])
    ).seconds in (6, 7)
    assert "Retry-After" not in bare.headers


def test_a_page_for_people_with_status_200(client: RawClient, service: KaggleService) -> None:
    service.faults.add("html")
    answer = listing(client)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert answer.text.startswith("<!DOCTYPE html>")


@pytest.mark.parametrize(
    ("fault", "versions"), [("drop-before", 0), ("503", 0), ("html", 0), ("drop-after", 1), ("drop-in", 1)]
)
def test_a_push_that_fails_before_or_after_it_was_handled(
    client: RawClient, service: KaggleService, fault: str, versions: int
) -> None:
    service.faults.add(fault, "SaveKernel")
    try:
        client.push("").get("error")
    except (AssertionError, requests.RequestException, json.JSONDecodeError):
        pass
    else:
        pytest.fail("the client has seen no failure")
    assert len(service.runs()) == versions
    assert service.faults.fired == Counter({Fault(fault): 1})


@pytest.mark.parametrize("fault", ["drop-before", "drop-after", "drop-in", "stall"])
def test_dropped_connections_are_seen_as_such(client: RawClient, service: KaggleService, fault: str) -> None:
    service.settings.stall_seconds = 0.05
    service.faults.add(fault, "ListKernels")
    with pytest.raises(DROPPED):
        listing(client)
    assert listing(client).status_code == 200


@pytest.mark.parametrize("fault", ["drop-before", "drop-after"])
def test_a_drop_is_a_reset_and_no_orderly_end(service: KaggleService, fault: str) -> None:
    service.faults.add(fault)
    with socket.create_connection(("127.0.0.1", service.port), timeout=5) as connection:
        connection.sendall(b"GET /storage/none HTTP/1.1\r\nHost: localhost\r\n\r\n")
        with pytest.raises(ConnectionResetError):
            connection.recv(1)


def test_a_stalled_answer_outlasts_a_timeout(client: RawClient, service: KaggleService) -> None:
    service.faults.add("stall", "ListKernels")
    url = f"{service.url}/api/v1/kernels.KernelsApiService/ListKernels"
    with pytest.raises(requests.ReadTimeout):
        client.http.post(url, json={}, timeout=0.05)


def test_slow_and_late(client: RawClient, service: KaggleService) -> None:
    url = f"{service.url}/api/v1/kernels.KernelsApiService/ListKernels"
    service.settings.slow_seconds = 30
    service.faults.add("slow", "ListKernels")
    with pytest.raises(requests.ReadTimeout):
        client.http.post(url, json={}, timeout=0.05)
    service.settings.latency_seconds = 30
    with pytest.raises(requests.ReadTimeout):
        client.http.post(url, json={}, timeout=0.05)


def test_truncated_answers(client: RawClient, service: KaggleService) -> None:
    url = file_url(client)
    service.faults.add("truncated", "download")
    with pytest.raises(DROPPED):
        client.download(url)
    service.faults.add("truncated-bare", "download")
    short = client.download(url)
    assert (short.status_code, len(short.content), "Content-Length" in short.headers) == (200, 2500, False)
    service.faults.add("drop-in", "download")
    with pytest.raises(DROPPED):
        client.download(url)
    assert len(client.download(url).content) == 5000


def test_a_broken_log_stream(client: RawClient, service: KaggleService) -> None:
    client.push("import time\nprint('one\\ntwo', flush=True)\nwhile True: time.sleep(0.01)")
    url = f"{service.url}/api/v1/kernels/logs/stream/tester/a-kernel"
    service.faults.add("truncated", "stream")
    with client.http.get(url, stream=True, timeout=5) as answer:
        lines = [line for line in answer.iter_lines() if line]
    assert len(lines) == 1
    assert b"one" in lines[0]


@pytest.mark.parametrize(("fault", "status"), [("upload-403", 403), ("upload-500", 500)])
def test_refused_uploads(client: RawClient, service: KaggleService, fault: str, status: int) -> None:
    start = client.call("StartBlobUpload", "blobs.BlobApiService", type="DATASET", name="a", contentLength=1)
    service.faults.add(fault, "upload")
    assert client.bare.put(start["createUrl"], data=b"x", timeout=5).status_code == status
    assert client.bare.put(start["createUrl"], data=b"x", timeout=5).status_code == 200


def test_an_upload_that_breaks_off_goes_on(client: RawClient, service: KaggleService) -> None:
    url = client.call("StartBlobUpload", "blobs.BlobApiService", type="DATASET", name="a", contentLength=100)[
        "createUrl"
    ]
    service.faults.add("upload-cut", "upload")
    assert client.bare.put(url, data=b"x" * 100, timeout=5).status_code == 503
    asked = client.bare.put(url, headers={"Content-Range": "bytes */100"}, timeout=5)
    assert (asked.status_code, asked.headers["Range"]) == (308, "bytes=0-49")
    rest = client.bare.put(url, data=b"x" * 50, headers={"Content-Range": "bytes 50-99/100"}, timeout=5)
    assert rest.status_code == 200


def test_an_expired_upload_has_to_start_anew(client: RawClient, service: KaggleService) -> None:
    url = client.call("StartBlobUpload", "blobs.BlobApiService", type="DATASET", name="a", contentLength=1)["createUrl"]
    service.faults.add("upload-404", "upload")
    assert client.bare.put(url, data=b"x", timeout=5).status_code == 404
    assert client.bare.put(url, data=b"x", timeout=5).status_code == 404
    assert client.upload(b"x")


def test_expired_urls(client: RawClient, service: KaggleService) -> None:
    url = file_url(client)
    for fault, status in (("url-400", 400), ("url-403", 403), ("url-200", 200)):
        service.faults.add(fault, "download")
        answer = client.download(url)
        assert (answer.status_code, b"<Code>ExpiredToken</Code>" in answer.content) == (status, True)
    assert client.download(url).status_code == 200
    service.settings.url_seconds = -1
    late = client.of("ListKernelSessionOutput")["files"][0]["url"]
    assert client.download(late).status_code == 400
    service.settings.expired_status = 403
    assert client.download(late).status_code == 403
    assert (
        client.download(url.replace("file.bin", "other.bin")).status_code == 403
    )  # the signature is of the whole path


def test_listings_in_disorder(client: RawClient, service: KaggleService) -> None:
    client.finish("for i in range(30): open(f'{i:02}', 'w').close()")
    names = [f"{i:02}" for i in range(30)]

    def listed() -> list[str]:
        return [file["fileName"] for file in client.of("ListKernelSessionOutput", pageSize=200)["files"]]

    assert listed() == names
    service.faults.add("listed-twice", "ListKernelSessionOutput")
    assert Counter(listed()).most_common(1)[0][1] == 2
    service.faults.add("listed-shuffled", "ListKernelSessionOutput")
    mixed = listed()
    assert (sorted(mixed), mixed == names) == (names, False)


def test_status_lag(client: RawClient, service: KaggleService) -> None:
    client.finish("1/0")
    client.finish("")
    service.faults.add("status-lag", times=2)
    assert client.status() == "error"
    assert client.status(versionLabel="v2") == "running"
    assert (client.status(), client.status(versionLabel="v2")) == ("complete", "complete")


def test_planned_faults_are_met_in_order(client: RawClient, service: KaggleService) -> None:
    service.faults.add("503", "ListKernels", skip=1, times=2)
    assert [listing(client).status_code for _ in range(5)] == [200, 503, 503, 200, 200]
    service.faults.add("500", times=3)
    service.faults.clear()
    assert listing(client).status_code == 200
    with pytest.raises(ValueError, match="cannot happen"):
        service.faults.add("upload-403", "ListKernels")


def test_faults_at_a_rate_are_the_same_with_the_same_seed(client: RawClient, service: KaggleService) -> None:
    def statuses(seed: int) -> list[int]:
        service.faults.clear()
        service.faults.rate(0.3, seed=seed, kinds=["500", "502", "503"])
        return [listing(client).status_code for _ in range(60)]

    first, again, other = statuses(1), statuses(1), statuses(2)
    assert first == again != other
    assert 5 < sum(status >= 500 for status in first) < 35


def test_a_rate_for_some_requests_alone(client: RawClient, service: KaggleService) -> None:
    service.faults.rate(1.0, seed=1, kinds=["500"], names=["GetKernel"])
    assert listing(client).status_code == 200
    assert client.post("GetKernel").status_code == 500


def test_ranges(client: RawClient) -> None:
    content = "".join(map(str, range(1000)))
    url = file_url(client, content)
    whole = client.download(url)
    assert whole.text == content
    assert whole.headers["x-goog-hash"] == f"md5={base64.b64encode(hashlib.md5(content.encode()).digest()).decode()}"
    part = client.download(url, Range="bytes=100-199")
    assert (part.status_code, part.text) == (206, content[100:200])
    assert part.headers["Content-Range"] == f"bytes 100-199/{len(content)}"
    assert client.download(url, Range="bytes=2000-").text == content[2000:]
    assert client.download(url, Range="bytes=-10").text == content[-10:]
    assert client.download(url, Range=f"bytes={len(content)}-").status_code == 416
    same = {"Range": "bytes=5-", "If-Range": whole.headers["ETag"]}
    assert client.download(url, **same).status_code == 206
    assert client.download(url, **(same | {"If-Range": '"another"'})).status_code == 200


def test_the_log_of_requests(client: RawClient, service: KaggleService) -> None:
    url = file_url(client)
    client.download(url)
    client.http.get(url, timeout=5)
    calls = service.requests
    assert [call.name for call in calls] == ["SaveKernel", "ListKernelSessionOutput", "download", "download"]
    assert [call.authorized for call in calls] == [True, True, False, True]
    assert [call.sent for call in calls[2:]] == [5000, 5000]
    assert {call.status for call in calls} == {200}


def test_the_service_s_clock(client: RawClient, service: KaggleService) -> None:
    service.settings.clock_offset_seconds = 86_400
    client.push("")
    told = parsedate_to_datetime(listing(client).headers["Date"]).timestamp()
    assert abs(told - time.time() - 86_400) < 60
    assert client.of("GetKernel")["metadata"]["lastRunTime"].endswith("Z")


def test_limited_bandwidth(client: RawClient, service: KaggleService) -> None:
    url = file_url(client)
    service.settings.bytes_per_second = 50_000
    assert len(client.download(url).content) == 5000


def test_requests_after_an_early_answer_are_understood(client: RawClient, service: KaggleService) -> None:
    """A fault that answers before the body is read leaves the connection usable."""
    service.faults.add("503", "SaveKernel")
    with requests.Session() as http:
        http.trust_env = False
        http.auth = client.http.auth
        url = f"{service.url}/api/v1/kernels.KernelsApiService/"
        body = {"slug": "tester/a-kernel", "newTitle": "a kernel", "text": "#" * 400_000}
        assert http.post(f"{url}SaveKernel", json=body, timeout=5).status_code == 503
        assert http.post(f"{url}ListKernels", json={}, timeout=5).status_code == 200


def test_nothing_is_left_when_it_stops(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    with KaggleService(tmp_path) as service:
        service.settings.latency_seconds = 60
        clients = [RawClient(service) for _ in range(3)]
        threads = [threading.Thread(target=_swallow, args=(client,)) for client in clients]
        for thread in threads:
            thread.start()
        while len(service.requests) < len(threads):
            time.sleep(0.005)
        assert len(set(threading.enumerate()) - before) > len(threads)
    for thread in threads:
        thread.join()
    assert set(threading.enumerate()) - before == set()
    with pytest.raises(requests.ConnectionError):
        listing(clients[0])


def test_all_faults_at_once_leave_the_service_sound(client: RawClient, service: KaggleService) -> None:
    service.settings.stall_seconds = service.settings.slow_seconds = 0.01
    url = file_url(client)
    service.faults.rate(0.6, seed=5)
    started = threading.Barrier(4)

    def work() -> None:
        mine = RawClient(service)
        started.wait()
        for number in range(40):
            for ask in (mine.status, lambda: mine.download(url), lambda: mine.upload(b"x" * number), mine.outputs):
                try:
                    ask()
                except (AssertionError, KeyError, TypeError, ValueError, requests.RequestException):
                    pass  # what a client makes of a fault is its own affair

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(service.faults.fired) > len(Fault) // 2
    service.faults.clear()
    assert client.outputs() == {"file.bin": b"x" * 5000}
    assert client.upload(b"x")
    assert service.failures == []


def _swallow(client: RawClient) -> None:
    with pytest.raises(requests.RequestException):
        listing(client)
