"""What several commands share: their common arguments and exit codes."""

from __future__ import annotations

from ...core.errors import ExitCode
from ..command import Argument, argument
from ..values import parameter

KERNELS = ("cartpole_ppo", "pendulum_sac", "classic_callback", "toy")
SHELLS = ("bash", "zsh", "fish")


def run_name(help: str = "the run; may be left out where there is one") -> Argument:
    """The argument that names a run."""
    return argument("run", nargs="?", metavar="RUN", help=help)


def session_name(help: str = "the session, as cartpole_ppo/s0003, or a run for its newest session") -> Argument:
    """The argument that names a session."""
    return argument("session", nargs="?", metavar="RUN|SESSION", help=help)


ON = argument("--on", dest="runner", metavar="RUNNER", help="where it runs; without it what ckptsync.toml says")
DRY_RUN = argument("--dry-run", action="store_true", help="say what would be done, and do nothing")
SET = argument(
    "--set",
    action="append",
    default=[],
    type=parameter,
    metavar="KEY=VALUE",
    help="a parameter for the script (a JSON value, else text); may be given several times",
)
JUDGED = (ExitCode.CORRUPT, ExitCode.INCOMPATIBLE, ExitCode.NOTHING_FOUND)
RUN = argument("--run", metavar="RUN", help="the run; may be left out where there is one")
SCENARIO = argument("--scenario", metavar="NAME", help="only this scenario")
VERSION_HELP = "head, best, a tag, steps, or the first digits of a digest"
FROM_STORE = argument("--store", action="store_true", help=f"a checkpoint of the run's store: {VERSION_HELP}")
