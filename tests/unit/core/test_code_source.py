"""Where a session may take its code from: one whole hash, and a URL that tells nobody anything."""

from __future__ import annotations

import pytest

from ckptsync.core.code_source import CodeSource
from ckptsync.core.session import ScenarioSpec, SessionSpec

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    "url",
    ["https://github.com/o/r", "https://example.org:8443/a/b.git", "file:///srv/r.git", "http://127.0.0.1:8000/r.git"],
)
def test_what_may_be_cloned(url: str) -> None:
    value = {"git": url, "commit": COMMIT, "subfolder": "kernels/x"}
    assert CodeSource.parse(value) == CodeSource(url, COMMIT, "kernels/x")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "github.com/o/r",
        "git@github.com:o/r.git",
        "ssh://git@github.com/o/r",
        "http://github.com/o/r",
        "https://hunter2@github.com/o/r",
        "https://me:hunter2@github.com/o/r",
        "https://github.com/o/r?token=hunter2",
        "https://github.com/o/r#hunter2",
        "https:///o/r",
        "file://host/r",
        "--upload-pack=hunter2",
        "ext::sh -c hunter2",
        "https://github.com/o/r\nhunter2",
    ],
)
def test_what_may_not(url: str) -> None:
    with pytest.raises(ValueError, match="git: ") as caught:
        CodeSource.parse({"git": url, "commit": COMMIT})
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("commit", ["", "main", "0123456", COMMIT.upper(), COMMIT + "\n", "-" + COMMIT[1:]])
def test_a_commit_is_named_whole(commit: str) -> None:
    with pytest.raises(ValueError, match="full hash"):
        CodeSource.parse({"git": "https://github.com/o/r", "commit": commit})


@pytest.mark.parametrize("more", [{"subfolder": "../x"}, {"subfolder": "/x"}, {"branch": "main"}, {"subfolder": 1}])
def test_other_keys_and_values_are_refused(more: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"subfolder|branch|table"):
        CodeSource.parse({"git": "https://github.com/o/r", "commit": COMMIT, **more})


def test_it_travels_in_the_specification() -> None:
    source = CodeSource("https://github.com/o/r", COMMIT, "x")
    spec = SessionSpec("r", "r/s0001", "l1", 1, (ScenarioSpec("x", 1),), code=source)
    assert SessionSpec.from_json(spec.to_json()) == spec
