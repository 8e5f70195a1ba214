"""`python -m ckptsync.testing.kaggle [--port N] [--folder DIR] [--set NAME=VALUE]`: the service until Ctrl-C."""

from __future__ import annotations

import argparse
import ast
import signal
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

from .service import KaggleService
from .settings import Settings


def main(arguments: list[str] | None = None) -> int:
    """Run the service, print how to reach it, and stop it on SIGINT or SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m ckptsync.testing.kaggle", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="on 127.0.0.1; by default a free one")
    parser.add_argument("--folder", type=Path, help="where runs and datasets are kept; by default a temporary one")
    parser.add_argument("--user", default="tester", help="the name of its first account")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", type=_setting, help="one of its settings"
    )
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="kaggle-") as temporary:
        folder = options.folder or Path(temporary)
        try:
            service = KaggleService(folder, port=options.port, user=options.user, **dict(options.set))
        except OSError as error:
            parser.error(f"port {options.port}, folder {folder}: {error}")
        stopped = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: stopped.set())
        with service:
            lines = [f"export {name}={value}\n" for name, value in service.environment().items()]
            sys.stdout.write("".join(lines))
            sys.stdout.flush()
            stopped.wait()
    return 0


def _setting(text: str) -> tuple[str, Any]:
    name, _, value = text.partition("=")
    if name not in Settings.__dataclass_fields__:
        raise argparse.ArgumentTypeError(f"{name} is no setting")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return name, value  # a word


if __name__ == "__main__":
    sys.exit(main())
