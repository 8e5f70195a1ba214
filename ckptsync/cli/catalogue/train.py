"""Commands that train."""

from __future__ import annotations

from ...core.errors import ExitCode
from ..command import Command, argument
from ..values import parameter, positive, time_span, whole
from .parts import DRY_RUN, JUDGED, ON, SET, run_name, session_name

_SAVE = argument(
    "--save",
    action="append",
    default=[],
    type=parameter,
    metavar="KEY=VALUE",
    help="when to save and what to keep in this session: a key of [runs.NAME.save]; may be given several times",
)
_SEED = argument("--seed", type=whole, metavar="N", help="for environments and models")
_FRESH = argument(
    "--fresh", action="store_true", help="begin from zero; the old checkpoints move to the attic, nothing is deleted"
)
_WHEN_POSSIBLE = argument(
    "--when-possible",
    action="store_true",
    help="where a quota or limit is only a matter of time, wait until the session can be started",
)
_SUMMARY = argument(
    "--summary",
    metavar="FILE",
    completes="file",
    help="append a summary in Markdown, - for stdout (without it to $GITHUB_STEP_SUMMARY, where that is set)",
)
_QUICK = argument("--quick", action="store_true", help="a short session of the same run (quick_steps in its config)")
_STEPS = argument("--steps", type=positive, metavar="N", help="end after N steps in this session, for each scenario")
# Which run, and what one session of it shall be
_ONE_SESSION = (run_name(), _QUICK, ON, _STEPS, SET, _SAVE, _SEED)
# How a session may end, besides well
_ENDS = (
    ExitCode.PARTIAL,
    *JUDGED,
    ExitCode.SESSION_FAILED,
    ExitCode.LIMIT,
    ExitCode.LOCKED,
    ExitCode.CREDENTIALS,
    ExitCode.NO_PROGRESS,
)

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
            *_ONE_SESSION,
            argument("--detach", action="store_true", help="return as soon as the session has started"),
            _WHEN_POSSIBLE,
            _FRESH,
            DRY_RUN,
        ),
        exit_codes=_ENDS,
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
        exit_codes=_ENDS,
        see_also=("launch", "status"),
    ),
    Command(
        name="run-until",
        help="train one session after the other until the steps are reached",
        group="Train",
        run="series_commands:run_until",
        schema="ckptsync.run-until/1",
        description=(
            "Launches, waits, fetches, verifies, restores, and launches again. It stops when every scenario has its "
            "steps; after crashes when no restart is left; when two sessions in a row add no steps; and at once when "
            "what a session left may not be used. Ctrl-C leaves all as it is; the same command goes on."
        ),
        examples=(
            ("ckptsync run-until cartpole_ppo --steps 2000000", "two million steps in all, in each scenario"),
            ("ckptsync run-until --on kaggle --when-possible", "to the target, waiting where hours are used up"),
        ),
        arguments=(
            run_name(),
            argument(
                "--steps", type=positive, metavar="N", help="in all, for each scenario; without it its total_timesteps"
            ),
            argument("--max-sessions", type=positive, metavar="K", help="at most K sessions"),
            argument(
                "--max-restarts", type=whole, default=2, metavar="R", help="so many attempts after crashes in a row (2)"
            ),
            ON,
            SET,
            _SAVE,
            _SEED,
            _WHEN_POSSIBLE,
            _FRESH,
            DRY_RUN,
        ),
        exit_codes=_ENDS,
        see_also=("launch", "status"),
    ),
    Command(
        name="dispatch",
        help="start the next session and leave, for a machine that is not there until it ends",
        group="Train",
        run="series_commands:dispatch",
        schema="ckptsync.dispatch/1",
        description=(
            "What of the run lies at a service is found there, so an empty clone will do. What an ended session left "
            "is collected first. With a session that still runs nothing is started: exit 9."
        ),
        examples=(
            ("ckptsync dispatch", "in a job of CI, behind 'ckptsync collect'"),
            ("ckptsync dispatch --steps 50000", "at most 50,000 steps more in each scenario"),
        ),
        arguments=(
            *_ONE_SESSION,
            _WHEN_POSSIBLE,
            _FRESH,
            _SUMMARY,
            DRY_RUN,
        ),
        exit_codes=_ENDS,
        see_also=("collect", "launch", "ci"),
    ),
    Command(
        name="collect",
        help="bring home what the newest session left, if it has ended",
        group="Train",
        run="series_commands:collect",
        schema="ckptsync.collect/1",
        description=(
            "Waits for nothing: a session that still runs is told and is no failure, exit 0. One that has ended is "
            "fetched, verified and restored, with the exit code that 'launch' has for it. An empty clone will do."
        ),
        examples=(("ckptsync collect", "in a job of CI, before 'ckptsync dispatch'"),),
        arguments=(run_name(), ON, _SUMMARY, DRY_RUN),
        exit_codes=_ENDS,
        see_also=("dispatch", "wait"),
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
