"""What all tests share: the fast folder, the profiles of hypothesis, the table of figures at the end."""

from __future__ import annotations

import gc
import os
import re
import shutil
import signal
import tempfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import is_hypothesis_test, settings
from support import figures, weed

_MEMORY = Path("/dev/shm")
_HERE = Path(__file__).parent
_WHOLE_TRIPS = _HERE / "e2e"
# What takes seconds a test; sweeps before all else, for a fork costs several times as much once torch is in the process
_FIRST = (_HERE / "crash", _WHOLE_TRIPS, _HERE / "docs" / "test_console.py")
_ALL_SLOW = re.compile(r"^pytestmark = pytest\.mark\.slow$", re.MULTILINE)

settings.register_profile("quick", max_examples=15, deadline=None)
settings.register_profile("large", max_examples=2_000, deadline=None)


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--figures`: run property tests at their full counts as well, and print the table at the end."""
    parser.addoption("--figures", action="store_true", help="full counts, and the table of figures at the end")


def pytest_configure(config: pytest.Config) -> None:
    """Choose how many examples hypothesis makes, let the fast tests wait for no disk, and let Ctrl-C be felt."""
    settings.load_profile("large" if config.getoption("--figures") else "quick")
    if "not slow" in config.option.markexpr and _fits_in_memory():
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(_MEMORY))
    # A shell's background job begins with SIGINT ignored, and so would all that is started from here
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _fits_in_memory() -> bool:
    return os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free > 4 << 30


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Do not import modules of slow tests alone where no slow test is wanted: every worker would."""
    if collection_path.suffix != ".py" or "not slow" not in config.option.markexpr:
        return None
    only_slow = _WHOLE_TRIPS in collection_path.parents or _ALL_SLOW.search(collection_path.read_text("utf-8"))
    return True if only_slow else None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Call whole trips slow; let `-m prove --figures` select every property test, with the large profile."""
    for item in items:
        if _WHOLE_TRIPS in item.path.parents:
            item.add_marker("slow")
    if config.getoption("--figures"):
        for item in items:
            if is_hypothesis_test(getattr(item, "obj", None)):
                item.add_marker("prove")
                item.add_marker(pytest.mark.timeout(1_800))
    workers = getattr(config, "workerinput", {}).get("workercount", 1)
    items[:] = _long_ones_first(items, workers)


def _long_ones_first(items: list[pytest.Item], workers: int) -> list[pytest.Item]:
    """Let every worker begin with its share of what takes long, so that none is left alone with it at the end.

    A worker of `--dist worksteal` gets one piece of the list, all pieces of one length, and ends with what it has
    taken from others.
    """
    long = [item for first in _FIRST for item in items if first in (item.path, *item.path.parents)]
    known = set(long)
    short = iter([item for item in items if item not in known])
    ordered: list[pytest.Item] = []
    for worker in range(workers):
        share = long[worker::workers]
        length = (len(items) - len(ordered)) // (workers - worker)
        ordered += [*share, *islice(short, max(0, length - len(share)))]
    return [*ordered, *short]


def pytest_collection_finish() -> None:
    """Leave what was collected, thousands of objects that all stay, out of every later search for garbage."""
    gc.freeze()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what the sweeps have counted."""
    if terminalreporter.config.getoption("--figures"):
        for line in figures.table():
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[weed.Server]:
    """A real S3 server for all tests of a process; each test has a prefix of its own in the bucket."""
    with weed.serving(tmp_path_factory.mktemp("weed"), weed.RIGHTS) as running:
        yield running


@pytest.fixture
def fast_folder() -> Iterator[Path]:
    """A folder in memory where there is one: sweeps write tens of thousands of files that nobody keeps."""
    usable = os.access(_MEMORY, os.W_OK)
    with tempfile.TemporaryDirectory(prefix="ckptsync-test-", dir=_MEMORY if usable else None) as folder:
        yield Path(folder)
