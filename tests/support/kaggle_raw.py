"""A client of the Kaggle service that knows nothing but HTTP, for tests of the service itself."""

from __future__ import annotations

from typing import Any

import requests

from ckptsync.testing.kaggle import Account, KaggleService, Run

KERNELS = "kernels.KernelsApiService"
DATASETS = "datasets.DatasetApiService"


class RawClient:
    """Sends requests as one account and gives back what came, whatever it is."""

    def __init__(self, service: KaggleService, account: Account | None = None) -> None:
        whose = account or service.account
        self.service = service
        self.name = whose.name
        self.http = requests.Session()
        self.http.trust_env = False
        self.http.auth = (whose.name, whose.key)
        self.bare = requests.Session()
        self.bare.trust_env = False

    def post(self, method: str, api: str = KERNELS, **body: Any) -> requests.Response:
        """Call a method."""
        return self.http.post(f"{self.service.url}/api/v1/{api}/{method}", json=body, timeout=10)

    def call(self, method: str, api: str = KERNELS, **body: Any) -> dict[str, Any]:
        """Call a method that has to succeed, and return its answer."""
        response = self.post(method, api, **body)
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        return answer

    def push(self, text: str = "", slug: str = "a-kernel", **more: Any) -> dict[str, Any]:
        """Push a script whose title makes this slug."""
        return self.call(
            "SaveKernel",
            **{"slug": f"{self.name}/{slug}", "newTitle": slug.replace("-", " "), "text": text},
            **{"language": "python", "kernelType": "script", "isPrivate": True, **more},
        )

    def finish(self, text: str = "", slug: str = "a-kernel", **more: Any) -> Run:
        """Push a script and wait for its end."""
        answer = self.push(text, slug, **more)
        assert not answer["error"], answer
        run = self.service.run(f"{self.name}/{slug}", answer["versionNumber"])
        assert run.wait(20)
        return run

    def of(self, method: str, slug: str = "a-kernel", **more: Any) -> dict[str, Any]:
        """Call a method about one of our kernels."""
        return self.call(method, userName=self.name, kernelSlug=slug, **more)

    def status(self, slug: str = "a-kernel", **more: Any) -> str:
        """Return a kernel's status."""
        return str(self.of("GetKernelSessionStatus", slug, **more)["status"])

    def outputs(self, slug: str = "a-kernel", **more: Any) -> dict[str, bytes]:
        """Download every file of a kernel's outputs, page by page."""
        found, token = {}, ""
        while True:
            page = self.of("ListKernelSessionOutput", slug, pageToken=token, **more)
            found |= {file["fileName"]: self.download(file["url"]).content for file in page["files"]}
            token = page["nextPageToken"]
            if not token:
                return found

    def download(self, url: str, **headers: str) -> requests.Response:
        """Get a signed URL, as anybody may."""
        return self.bare.get(url, headers=headers, timeout=10)

    def upload(self, content: bytes, name: str = "data.csv") -> str:
        """Upload a blob and return its token."""
        start = self.call(
            "StartBlobUpload", "blobs.BlobApiService", type="DATASET", name=name, contentLength=len(content)
        )
        assert self.bare.put(start["createUrl"], data=content, timeout=10).status_code == 200
        return str(start["token"])

    def create_dataset(self, files: dict[str, bytes], slug: str = "a-dataset") -> dict[str, Any]:
        """Create a private dataset of files at its top level."""
        tokens = [{"token": self.upload(content, name)} for name, content in files.items()]
        return self.call(
            *("CreateDataset", DATASETS), ownerSlug=self.name, slug=slug, title=slug, isPrivate=True, files=tokens
        )

    def add_version(self, files: dict[str, bytes], slug: str = "a-dataset") -> dict[str, Any]:
        """Add a version to a dataset."""
        tokens = [{"token": self.upload(content, name)} for name, content in files.items()]
        body = {"versionNotes": "again", "files": tokens}
        return self.call("CreateDatasetVersion", DATASETS, ownerSlug=self.name, datasetSlug=slug, body=body)

    def dataset(self, method: str, slug: str = "a-dataset", **more: Any) -> dict[str, Any]:
        """Call a method about one of our datasets."""
        return self.call(method, DATASETS, ownerSlug=self.name, datasetSlug=slug, **more)

    def dataset_files(self, slug: str = "a-dataset", **more: Any) -> dict[str, int]:
        """Return name and size of a dataset's files."""
        found = self.dataset("ListDatasetFiles", slug, pageSize=200, **more)["datasetFiles"]
        return {file["name"]: file["totalBytes"] for file in found}
