"""What a session runs on: enough to explain speed and last bits, nothing that tells whose machine it is."""

from __future__ import annotations

import getpass
import json
import platform
from pathlib import Path

from ckptsync.training.host import current_host, processor


def test_it_tells_of_processor_and_cores() -> None:
    host = current_host()
    assert set(host) == {"system", "machine", "cpu", "cores", "usable_cores", "torch_threads", "gpus"}
    assert 1 <= host["usable_cores"] <= host["cores"]
    assert host["cpu"] == processor()


def test_it_tells_nothing_private() -> None:
    told = json.dumps(current_host())
    for private in (platform.node(), str(Path.home()), str(Path.cwd())):
        assert len(private) < 3 or private not in told
    assert getpass.getuser() not in json.loads(told).values()
