"""init, adopt, doctor, completion."""

from __future__ import annotations

from argparse import Namespace

from .output import Answer, Output


def completion(arguments: Namespace, output: Output) -> Answer:
    """Make the completion script of a shell."""
    import shtab

    from .parser import full_parser

    parser = full_parser({"file": shtab.FILE, "directory": shtab.DIRECTORY})
    script = shtab.complete(parser, arguments.shell)
    value = {"schema": "ckptsync.completion/1", "shell": arguments.shell, "script": script}
    return Answer(value, lambda: script.rstrip("\n").split("\n"))
