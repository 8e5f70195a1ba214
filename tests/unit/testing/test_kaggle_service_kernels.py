"""The Kaggle service: pushes, versions, refusals, what is told of kernels."""

from __future__ import annotations

import pytest
import requests
from support.kaggle_raw import RawClient

from ckptsync.testing.kaggle import KaggleService

pytestmark = pytest.mark.slow

# Ends when it is cancelled or killed
ENDLESS = "import time\nprint('on', flush=True)\nwhile True:\n    time.sleep(0.05)\n"


def test_a_push_makes_a_version_and_runs_it(client: RawClient) -> None:
    first = client.push("print('one')")
    second = client.push("print('two')")
    assert (first["ref"], first["versionNumber"], second["versionNumber"]) == ("/code/tester/a-kernel v1", 1, 2)
    assert first["kernelId"] == second["kernelId"]
    assert client.of("GetKernel")["blob"]["source"] == "print('two')"
    older = client.of("GetKernel", versionLabel="v1")
    assert older["blob"]["source"] == "print('one')"
    assert older["metadata"]["currentVersionNumber"] == 2
    assert [kernel["ref"] for kernel in client.call("ListKernels", group="PROFILE")["kernels"]] == ["tester/a-kernel"]


def test_a_version_is_known_by_its_label_alone(client: RawClient) -> None:
    client.finish("print('one')")
    assert client.status(versionLabel="v1") == "complete"
    for label in ("1", "v2", "latest"):
        answer = client.post("GetKernelSessionStatus", userName="tester", kernelSlug="a-kernel", versionLabel=label)
        assert (answer.status_code, answer.json()["code"]) == (404, 404)


def test_the_title_decides_the_slug_of_a_new_kernel(client: RawClient) -> None:
    answer = client.call("SaveKernel", slug="tester/asked-for", newTitle="Something Else!", text="")
    assert answer["ref"] == "/code/tester/something-else v1"
    assert client.post("GetKernel", userName="tester", kernelSlug="asked-for").status_code == 403


def test_a_kernel_can_be_pushed_by_its_number(client: RawClient) -> None:
    number = client.push()["kernelId"]
    assert client.call("SaveKernel", id=number, text="")["versionNumber"] == 2


def test_a_quick_save_runs_nothing(client: RawClient, service: KaggleService) -> None:
    client.push("print('x')", kernelExecutionType="QUICK_SAVE")
    assert service.runs() == []
    answer = client.post("GetKernelSessionStatus", userName="tester", kernelSlug="a-kernel")
    assert (answer.status_code, answer.json()["message"]) == (404, "No runs found")


@pytest.mark.parametrize(("size", "status"), [(999_999, 200), (1_000_000, 400)])
def test_a_source_has_to_be_under_a_megabyte(client: RawClient, size: int, status: int) -> None:
    answer = client.post(
        *("SaveKernel",), slug="tester/a-kernel", newTitle="a kernel", text="#" * size, kernelExecutionType="QUICK_SAVE"
    )
    assert answer.status_code == status


def test_a_kernel_of_somebody_else(client: RawClient, service: KaggleService) -> None:
    other = RawClient(service, service.add_account("other"))
    other.push("", "their-kernel")
    for slug in ("other/their-kernel", "other/no-kernel"):
        refused = client.call("SaveKernel", slug=slug, newTitle="their kernel", text="")
        assert (refused["error"], refused["versionNumber"]) == ("Notebook not found", 0)
    assert client.post("GetKernel", userName="other", kernelSlug="their-kernel").status_code == 403
    service.settings.foreign_kernel = "denied"
    assert client.post("SaveKernel", slug="other/their-kernel", newTitle="x", text="").status_code == 403


def test_a_public_kernel_may_be_read_by_everybody(client: RawClient, service: KaggleService) -> None:
    other = RawClient(service, service.add_account("other"))
    other.finish("print(1)", "their-kernel", isPrivate=False)
    answer = client.call("GetKernelSessionStatus", userName="other", kernelSlug="their-kernel")
    assert answer["status"] == "complete"
    assert [kernel["ref"] for kernel in client.call("ListKernels", user="other")["kernels"]] == ["other/their-kernel"]


def test_a_slug_that_a_dataset_has_is_a_conflict(client: RawClient) -> None:
    client.create_dataset({"a.csv": b"1"}, "same-name")
    assert client.post("SaveKernel", slug="tester/same-name", newTitle="same name", text="").status_code == 409


def test_invalid_sources_are_only_listed_and_the_run_starts(client: RawClient, service: KaggleService) -> None:
    client.create_dataset({"a.csv": b"1"})
    answer = client.push(
        "print('ran')",
        datasetDataSources=["tester/a-dataset", "tester/none", "datasets/tester/a-dataset"],
        kernelDataSources=["tester/a-kernel"],
        competitionDataSources=["titanic", "nothing"],
        modelDataSources=["a/b/c/d/1"],
    )
    assert answer["invalidDatasetSources"] == ["tester/none", "datasets/tester/a-dataset"]
    assert answer["invalidKernelSources"] == ["tester/a-kernel"]  # it is not there before its first push
    assert answer["invalidCompetitionSources"] == ["nothing"]
    assert answer["invalidModelSources"] == ["a/b/c/d/1"]
    assert service.run("tester/a-kernel").wait(10)
    assert client.of("GetKernel")["metadata"]["datasetDataSources"] == ["tester/a-dataset"]


@pytest.mark.parametrize(
    ("limit", "more", "words"),
    [
        ("cpu_sessions", {}, "Maximum batch CPU session count of 1 reached."),
        ("gpu_sessions", {"enableGpu": True}, "Maximum batch GPU session count of 1 reached."),
    ],
)
def test_the_sessions_at_once_are_counted(
    client: RawClient, service: KaggleService, limit: str, more: dict[str, bool], words: str
) -> None:
    setattr(service.settings, limit, 1)
    client.push(ENDLESS, **more)
    refused = client.push(ENDLESS, "another-kernel", **more)
    assert (refused["error"], refused["ref"], refused["versionNumber"]) == (words, "", 0)
    service.run("tester/a-kernel").kill()
    service.settings.slot_release_seconds = 60
    assert client.push("", "another-kernel", **more)["error"] == words  # an ended run counts for a while
    service.settings.slot_release_seconds = 0
    assert not client.push("", "another-kernel", **more)["error"]


def test_the_quota_is_used_up_in_the_service_s_time(client: RawClient, service: KaggleService) -> None:
    service.settings.time_scale = 3600 * 1000
    service.settings.session_limit_seconds = 3600 * 100_000
    service.settings.gpu_hours = 1
    client.finish("import time; time.sleep(0.01)", enableGpu=True)
    assert client.push("", enableGpu=True)["error"] == "Maximum weekly GPU quota of 1.00 hours reached."
    assert not client.push("")["error"]  # a CPU costs nothing
    quota = client.call("GetAcceleratorQuotaStatistics")
    assert quota["gpuQuota"]["totalTimeAllowed"] == "3600s"
    assert int(quota["gpuQuota"]["timeUsed"].rstrip("s")) > 3600
    assert quota["tpuQuota"]["timeUsed"] == "0s"
    assert quota["quotaRefreshTime"].endswith("T00:00:00.000Z")


def test_an_account_without_a_verified_phone(service: KaggleService) -> None:
    client = RawClient(service, service.add_account("newcomer", verified=False))
    for more in ({"enableGpu": True}, {"enableInternet": True}):
        answer = client.post("SaveKernel", slug="newcomer/a-kernel", newTitle="a kernel", text="", **more)
        assert (answer.status_code, "Phone" in answer.json()["message"]) == (403, True)
    assert not client.push()["error"]


def test_a_push_beside_a_running_one(client: RawClient, service: KaggleService) -> None:
    client.push(ENDLESS)
    assert client.push("")["versionNumber"] == 2
    service.settings.running_push = "conflict"
    assert client.post("SaveKernel", slug="tester/a-kernel", newTitle="a kernel", text="").status_code == 409


def test_deleting_a_running_kernel_stops_it(client: RawClient, service: KaggleService) -> None:
    client.push(ENDLESS)
    run = service.run("tester/a-kernel")
    service.settings.cancel_grace_seconds = 0.1
    assert client.of("DeleteKernel")["errorMessage"] == ""
    assert run.wait(10)
    assert client.post("GetKernel", userName="tester", kernelSlug="a-kernel").status_code == 403


def test_sign_in(client: RawClient, service: KaggleService) -> None:
    url = f"{service.url}/api/v1/kernels.KernelsApiService/ListKernels"

    def status(**more: object) -> int:
        with requests.Session() as session:
            session.trust_env = False
            return session.post(url, json={}, timeout=5, **more).status_code  # type: ignore[arg-type]

    def bearer(token: str) -> dict[str, dict[str, str]]:
        return {"headers": {"Authorization": f"Bearer {token}"}}

    account = service.account
    assert status() == 401
    assert status(auth=(account.name, "wrong")) == 401
    assert status(auth=(account.name, account.key)) == 200
    assert status(**bearer(account.token)) == 200
    assert status(**bearer("KGAT_wrong")) == 401
    service.accounts.revoke(account.token)
    assert status(**bearer(account.token)) == 401
    revoked = service.add_account("revoked")
    assert status(auth=(revoked.name, revoked.key)) == 200
    service.accounts.revoke(revoked.key)
    assert status(auth=(revoked.name, revoked.key)) == 401

    fresh = client.call("GenerateAccessToken", "users.AccountService", refreshToken=account.refresh_token)
    assert status(**bearer(fresh["token"])) == 200
    assert client.call("IntrospectToken", "security.OAuthService", token=fresh["token"])["username"] == account.name
    assert client.call("IntrospectToken", "security.OAuthService", token="none") == {"active": False}
    service.settings.token_seconds = 0
    expired = client.call("GenerateAccessToken", "users.AccountService", refreshToken=account.refresh_token)
    assert status(**bearer(expired["token"])) == 401


def test_what_is_no_request_of_the_protocol(client: RawClient, service: KaggleService) -> None:
    assert client.post("NoSuchMethod").status_code == 404
    assert client.http.get(f"{service.url}/elsewhere", timeout=5).status_code == 404
    url = f"{service.url}/api/v1/kernels.KernelsApiService/ListKernels"
    assert client.http.post(url, data=b"[1]", timeout=5).status_code == 400
    assert client.post("ListKernels", pageToken="@@@").status_code == 400


def test_two_accounts_do_not_see_each_other(client: RawClient, service: KaggleService) -> None:
    other = RawClient(service, service.add_account("other"))
    client.push("")
    other.push("")
    assert [kernel["ref"] for kernel in other.call("ListKernels", group="PROFILE")["kernels"]] == ["other/a-kernel"]
    assert [call.user for call in service.requests] == ["tester", "other", "other"]


def test_an_owner_with_odd_characters(service: KaggleService) -> None:
    client = RawClient(service, service.add_account("Odd.Owner_1 +x"))
    client.finish("open('a', 'w').write('x')")
    assert client.outputs() == {"a": b"x"}
    client.create_dataset({"b.csv": b"1"})
    url = f"{service.url}/api/v1/kernels/logs/stream/Odd.Owner_1%20+x/a-kernel"
    assert client.http.get(url, timeout=5).status_code == 200
