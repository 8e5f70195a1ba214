"""Commands that train."""

from __future__ import annotations

from ...core.errors import ExitCode
from ..command import Command, argument
from ..values import parameter, positive, time_span, whole
from .parts import DRY_RUN, JUDGED, RUNNERS_HELP, SET, run_name, session_name

TRAIN = (
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
            ("ckptsync launch --save every_time=auto --dry-run", "what would be saved, kept, and needed on the disk"),
            ("ckptsync launch --detach", "return at once; 'ckptsync wait' goes on"),
            ("ckptsync launch --fresh --dry-run", "what beginning from zero would do"),
        ),
        arguments=(
            run_name(),
            argument(
                "--quick", action="store_true", help="a short session of the same run (quick_steps in its config)"
            ),
            argument("--on", dest="runner", metavar="RUNNER", help=RUNNERS_HELP),
            argument(
                "--steps", type=positive, metavar="N", help="end after N steps in this session, for each scenario"
            ),
            SET,
            argument(
                "--save",
                action="append",
                default=[],
                type=parameter,
                metavar="KEY=VALUE",
                help="when to save and what to keep in this session: a key of [runs.NAME.save]; may be given several times",
            ),
            argument("--seed", type=whole, metavar="N", help="for environments and models"),
            argument("--detach", action="store_true", help="return as soon as the session has started"),
            argument(
                "--fresh",
                action="store_true",
                help="begin from zero; the old checkpoints move to the attic, nothing is deleted",
            ),
            DRY_RUN,
        ),
        exit_codes=(
            ExitCode.PARTIAL,
            *JUDGED,
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
        arguments=(run_name(),),
        exit_codes=(
            ExitCode.PARTIAL,
            *JUDGED,
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
        arguments=(run_name("only this run"),),
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
            session_name(),
            argument("-f", "--follow", action="store_true", help="go on until the session ends"),
        ),
        exit_codes=(ExitCode.NOTHING_FOUND,),
        see_also=("status",),
    ),
    Command(
        name="save",
        help="ask a running session for a save now",
        group="Train",
        run="session_commands:save",
        schema="ckptsync.save/1",
        description=(
            "Waits until the save is sealed; the session trains on. For sessions on this machine whose script uses "
            "TrainingSession."
        ),
        examples=(
            ("ckptsync save", "the newest session of the only run"),
            ("ckptsync save walker --timeout 10m", "where a rollout takes long"),
        ),
        arguments=(
            session_name(),
            argument(
                "--timeout", type=time_span, default=60.0, metavar="TIME", help="how long to wait, as 90s or 10m (60s)"
            ),
            DRY_RUN,
        ),
        exit_codes=(ExitCode.NOTHING_FOUND,),
        see_also=("cancel", "fetch", "logs"),
    ),
    Command(
        name="cancel",
        help="ask a session to seal what it has and stop",
        group="Train",
        run="session_commands:cancel",
        schema="ckptsync.cancel/1",
        examples=(("ckptsync cancel", "the session that is running"),),
        arguments=(session_name(), DRY_RUN),
        exit_codes=(ExitCode.NOTHING_FOUND, ExitCode.LOCKED),
        see_also=("wait", "fetch"),
    ),
)
