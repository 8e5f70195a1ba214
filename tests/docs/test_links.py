"""Every link leads somewhere, every page can be reached, no page names a machine."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support import pages

KNOWN_HOSTS = {"minio.example.org", "semver.org", "github.com", "pytorch.org"}
MACHINE_PATH = re.compile(r"(?<![\w.~])/(?:home|root|work|tmp|users|mnt|srv|opt|usr|private|var)/", re.IGNORECASE)


def _id(page: Path) -> str:
    return str(page.relative_to(pages.ROOT))


@pytest.mark.parametrize("page", pages.pages(), ids=_id)
def test_links_lead_somewhere(page: Path) -> None:
    for target in pages.links(page):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), f"{_id(page)} links to {target}, which is not there"
        if anchor:
            assert anchor in pages.anchors(there), f"{_id(page)} links to {target}: no such heading"


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached: set[Path] = set()
    waiting = [pages.ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in reached:
            continue
        reached.add(page)
        for target in pages.links(page):
            there = (page.parent / target.partition("#")[0]).resolve()
            if there.suffix == ".md" and there.exists():
                waiting.append(there)
    assert not [_id(page) for page in pages.pages() if page not in reached]


@pytest.mark.parametrize("page", pages.pages(), ids=_id)
def test_no_machine_and_no_unknown_host_is_named(page: Path) -> None:
    text = pages.read(page)
    assert not MACHINE_PATH.findall(text)
    hosts = set(re.findall(r'https?://([^/\s)>`:"]+)', text))
    assert hosts <= KNOWN_HOSTS


def test_the_checks_can_fail(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# A `b` c!\n[x](#a-b-c) [y](gone.md)\n```sh\n# no heading\n[z](no-link)\n```\n## A b c\n")
    assert pages.anchors(page) == {"a-b-c", "a-b-c-1"}
    assert pages.links(page) == ["#a-b-c", "gone.md"]
    assert MACHINE_PATH.search("see /" + "home/me/x") and not MACHINE_PATH.search("see ~/x and /kaggle/input")
