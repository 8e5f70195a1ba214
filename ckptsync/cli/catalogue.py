"""Every command of ckptsync with its help, examples and arguments."""

from __future__ import annotations

from ..core.errors import ExitCode
from .command import Argument, Catalogue, Command, argument
from .values import amount_of_bytes, parameter, positive, scenario_mapping, whole

KERNELS = ("cartpole_ppo", "pendulum_sac", "classic_callback", "toy")
SHELLS = ("bash", "zsh", "fish")
_RUNNERS_HELP = "where it runs; without it what ckptsync.toml says"


def _run(help: str = "the run; may be left out where there is one") -> Argument:
    return argument("run", nargs="?", metavar="RUN", help=help)


def _session(help: str = "the session, as cartpole_ppo/s0003, or a run for its newest session") -> Argument:
    return argument("session", nargs="?", metavar="RUN|SESSION", help=help)


_DRY_RUN = argument("--dry-run", action="store_true", help="say what would be done, and do nothing")
_JUDGED = (ExitCode.CORRUPT, ExitCode.INCOMPATIBLE, ExitCode.NOTHING_FOUND)

_OVERVIEW = Command(
    name="",
    help="where things stand, and the next sensible command",
    group="",
    run="status_commands:overview",
    schema="ckptsync.overview/1",
)

_BEGIN = (
    Command(
        name="init",
        help="make a project that can be launched as it is",
        group="Begin",
        run="project_commands:init",
        schema="ckptsync.init/1",
        description="Writes ckptsync.toml, a kernel to copy from, and lines for .gitignore. Replaces no file.",
        examples=(
            ("ckptsync init", "a project in this folder, with PPO on CartPole"),
            ("ckptsync init walker --kernel pendulum_sac", "another kernel, in a new folder"),
        ),
        arguments=(
            argument("folder", nargs="?", metavar="DIR", completes="directory", help="where; without it here"),
            argument("--kernel", choices=KERNELS, default=KERNELS[0], help="which example to begin with"),
            _DRY_RUN,
        ),
        see_also=("doctor", "launch"),
    ),
    Command(
        name="adopt",
        help="take a tree of plain SB3 checkpoints into a run",
        group="Begin",
        run="project_commands:adopt",
        schema="ckptsync.adopt/1",
        description=(
            "Seals the checkpoints that plain stable-baselines3 wrote and makes the newest the head, so that the next "
            "session resumes there. Without a folder it seals what lies in the run's own training tree. Adopting is your "
            "word that the files are yours: functions pickled in them will be used when training loads them."
        ),
        examples=(
            ("ckptsync adopt --dry-run", "what would be sealed in the training tree"),
            ("ckptsync adopt cartpole_ppo ~/old/models", "copy another folder's checkpoints in"),
        ),
        arguments=(
            argument(
                "words",
                nargs="*",
                metavar="RUN|DIR",
                completes="directory",
                help="the run (where there are several) and the folder (where it is another)",
            ),
            argument(
                "--scenario",
                action="append",
                default=[],
                type=scenario_mapping,
                metavar="PREFIX=NAME",
                help="files named PREFIX_... belong to this scenario; may be given several times",
            ),
            _DRY_RUN,
        ),
        exit_codes=(*_JUDGED, ExitCode.LOCKED),
        see_also=("verify", "ls"),
    ),
    Command(
        name="doctor",
        help="check that everything is in place",
        group="Begin",
        run="project_commands:doctor",
        schema="ckptsync.doctor/1",
        description="One line for each check, with what to do where something is wrong.",
        examples=(("ckptsync doctor", "check this machine and this project"),),
        see_also=("init",),
    ),
)

_TRAIN = (
    Command(
        name="launch",
        help="train one session and bring home what it made",
        group="Train",
        run="session_commands:launch",
        schema="ckptsync.launch/1",
        description=(
            "Starts a session with the newest good checkpoint, waits for it, fetches what it left, verifies that "
            "without executing it and restores it, so that the next session resumes there. A session that was left "
            "unfinished is carried on instead of starting another."
        ),
        examples=(
            ("ckptsync launch --quick", "a short session, to see that all works"),
            ("ckptsync launch cartpole_ppo --steps 50000", "at most 50,000 steps more in each scenario"),
            ("ckptsync launch --set learning_rate=1e-4", "reaches the script as session.params"),
            ("ckptsync launch --detach", "return at once; 'ckptsync wait' goes on"),
            ("ckptsync launch --fresh --dry-run", "what beginning from zero would do"),
        ),
        arguments=(
            _run(),
            argument(
                "--quick", action="store_true", help="a short session of the same run (quick_steps in its config)"
            ),
            argument("--on", dest="runner", metavar="RUNNER", help=_RUNNERS_HELP),
            argument(
                "--steps", type=positive, metavar="N", help="end after N steps in this session, for each scenario"
            ),
            argument(
                "--set",
                action="append",
                default=[],
                type=parameter,
                metavar="KEY=VALUE",
                help="a parameter for the script (a JSON value, else text); may be given several times",
            ),
            argument("--seed", type=whole, metavar="N", help="for environments and models"),
            argument("--detach", action="store_true", help="return as soon as the session has started"),
            argument(
                "--fresh",
                action="store_true",
                help="begin from zero; the old checkpoints move to the attic, nothing is deleted",
            ),
            _DRY_RUN,
        ),
        exit_codes=(
            ExitCode.PARTIAL,
            *_JUDGED,
            ExitCode.SESSION_FAILED,
            ExitCode.LIMIT,
            ExitCode.LOCKED,
            ExitCode.NO_PROGRESS,
        ),
        see_also=("wait", "status", "logs", "cancel"),
    ),
    Command(
        name="wait",
        help="go on with a session: wait, fetch, verify, restore",
        group="Train",
        run="session_commands:wait",
        schema="ckptsync.launch/1",
        description="Does what 'launch' does after the start. It may be stopped and run again at any moment.",
        examples=(("ckptsync wait", "after --detach or Ctrl-C"),),
        arguments=(_run(),),
        exit_codes=(
            ExitCode.PARTIAL,
            *_JUDGED,
            ExitCode.SESSION_FAILED,
            ExitCode.LIMIT,
            ExitCode.LOCKED,
            ExitCode.NO_PROGRESS,
        ),
        see_also=("launch", "status"),
    ),
    Command(
        name="status",
        help="runs, their progress and their sessions",
        group="Train",
        run="status_commands:status",
        schema="ckptsync.status/1",
        examples=(("ckptsync status", "all runs"), ("ckptsync status --json", "the same for a program")),
        arguments=(_run("only this run"),),
        exit_codes=(ExitCode.NOTHING_FOUND,),
        see_also=("logs", "ls"),
    ),
    Command(
        name="logs",
        help="what a session printed",
        group="Train",
        run="session_commands:logs",
        schema="ckptsync.logs/1",
        examples=(("ckptsync logs", "the newest session"), ("ckptsync logs -f", "follow it until it ends")),
        arguments=(
            _session(),
            argument("-f", "--follow", action="store_true", help="go on until the session ends"),
        ),
        exit_codes=(ExitCode.NOTHING_FOUND,),
        see_also=("status",),
    ),
    Command(
        name="cancel",
        help="ask a session to seal what it has and stop",
        group="Train",
        run="session_commands:cancel",
        schema="ckptsync.cancel/1",
        examples=(("ckptsync cancel", "the session that is running"),),
        arguments=(_session(), _DRY_RUN),
        exit_codes=(ExitCode.NOTHING_FOUND, ExitCode.LOCKED),
        see_also=("wait", "fetch"),
    ),
)

_BRING_HOME = (
    Command(
        name="fetch",
        help="download what a session left",
        group="Bring home",
        run="session_commands:fetch",
        schema="ckptsync.fetch/1",
        description="Files that are there already are skipped, broken downloads are taken up where they stopped.",
        examples=(("ckptsync fetch", "of the newest session"), ("ckptsync fetch cartpole_ppo/s0003", "of this one")),
        arguments=(_session(), _DRY_RUN),
        exit_codes=(ExitCode.CORRUPT, ExitCode.NOTHING_FOUND, ExitCode.LOCKED),
        see_also=("verify", "restore"),
    ),
    Command(
        name="verify",
        help="judge checkpoints without executing them",
        group="Bring home",
        run="files_commands:verify",
        schema="ckptsync.verify/1",
        description=(
            "Reads every byte of a file, a set, a training tree or a session's outputs; loads nothing, needs no torch, "
            "works outside a project too. A path that exists counts before a run of the same name."
        ),
        examples=(
            ("ckptsync verify", "the training tree of the only run"),
            ("ckptsync verify model.zip", "any file"),
            ("ckptsync verify new.zip --against old.zip", "would it fit where the other one does?"),
            ("ckptsync verify cartpole_ppo/s0003", "what a session left"),
        ),
        arguments=(
            argument("target", nargs="?", metavar="PATH|RUN|SESSION", completes="file", help="what to judge"),
            argument("--against", metavar="PATH", completes="file", help="a checkpoint that it must fit"),
            argument("--newest", action="store_true", help="only the newest checkpoint of each scenario"),
        ),
        exit_codes=_JUDGED,
        see_also=("show", "diff", "restore"),
        lists_checkpoints=True,
    ),
    Command(
        name="restore",
        help="put a session's good checkpoints into the training tree",
        group="Bring home",
        run="session_commands:restore",
        schema="ckptsync.restore/1",
        description=(
            "Adds the sets, then moves the head: whole or not at all. What is refused goes to the quarantine with the "
            "reason, what gives way goes to the attic. A set of the tree that is damaged is replaced by the session's "
            "sound copy. Never goes behind something newer unless --session names it."
        ),
        examples=(
            ("ckptsync restore --dry-run", "the plan"),
            ("ckptsync restore --session cartpole_ppo/s0002", "from an older session, on purpose"),
            ("ckptsync restore --undo", "put back what the last restore changed"),
        ),
        arguments=(
            _run(),
            argument("--session", metavar="SESSION", help="from this session; without it the newest fetched one"),
            argument("--undo", action="store_true", help="take the last restore back"),
            _DRY_RUN,
        ),
        exit_codes=(ExitCode.PARTIAL, *_JUDGED, ExitCode.LOCKED),
        see_also=("verify", "ls"),
    ),
)

_LOOK = (
    Command(
        name="ls",
        help="list checkpoints",
        group="Look",
        run="files_commands:ls",
        schema="ckptsync.ls/1",
        description="Reads seals only, so it is fast; a verdict is shown where a full check still holds.",
        examples=(("ckptsync ls", "of the only run"), ("ckptsync ls data/models", "of any folder")),
        arguments=(
            argument("target", nargs="?", metavar="PATH|RUN", completes="directory", help="a run, or a folder"),
        ),
        exit_codes=(ExitCode.NOTHING_FOUND,),
        see_also=("show", "verify"),
        lists_checkpoints=True,
    ),
    Command(
        name="show",
        help="everything about one checkpoint",
        group="Look",
        run="files_commands:show",
        schema="ckptsync.show/1",
        examples=(("ckptsync show model.zip", "what it holds"), ("ckptsync show model.zip --all", "every parameter")),
        arguments=(
            argument("target", metavar="PATH", completes="file", help="a checkpoint"),
            argument("--against", metavar="PATH", completes="file", help="a checkpoint that it must fit"),
            argument("--all", action="store_true", help="every parameter, however many"),
        ),
        exit_codes=_JUDGED,
        see_also=("diff", "verify"),
        lists_checkpoints=True,
    ),
    Command(
        name="diff",
        help="how two checkpoints differ in architecture",
        group="Look",
        run="files_commands:diff",
        schema="ckptsync.diff/1",
        description="Lines with - are of the first, lines with + of the second.",
        examples=(("ckptsync diff old.zip new.zip", "exit 0 when one fits where the other does, else 5"),),
        arguments=(
            argument("left", metavar="A", completes="file", help="a checkpoint"),
            argument("right", metavar="B", completes="file", help="another one"),
        ),
        exit_codes=_JUDGED,
        see_also=("show", "verify"),
    ),
)

_KEEP = (
    Command(
        name="clean",
        help="make room: old files of attic, quarantine and results",
        group="Keep house",
        run="project_commands:clean",
        schema="ckptsync.clean/1",
        description="Deletes for good what is older than some days, then the oldest until the rest fits into a size.",
        examples=(
            ("ckptsync clean --dry-run", "what would go"),
            ("ckptsync clean --older-than 7 --keep 2GB", "harder"),
        ),
        arguments=(
            argument("--older-than", type=whole, default=30, metavar="DAYS", help="age of what goes (30)"),
            argument("--keep", type=amount_of_bytes, metavar="SIZE", help="at most so much stays, as 500MB or 2GB"),
            _DRY_RUN,
        ),
        exit_codes=(ExitCode.LOCKED,),
        see_also=("status",),
    ),
    Command(
        name="completion",
        help="print a completion script for a shell",
        group="Keep house",
        run="project_commands:completion",
        schema="ckptsync.completion/1",
        examples=(
            ('eval "$(ckptsync completion bash)"', "in ~/.bashrc"),
            ("ckptsync completion zsh > ~/.zfunc/_ckptsync", "in a folder of $fpath"),
            ("ckptsync completion fish > ~/.config/fish/completions/ckptsync.fish", "for fish"),
        ),
        arguments=(argument("shell", choices=SHELLS, help="which shell"),),
    ),
)

CATALOGUE = Catalogue(_OVERVIEW, (*_BEGIN, *_TRAIN, *_BRING_HOME, *_LOOK, *_KEEP))
