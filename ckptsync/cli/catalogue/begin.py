"""Commands to begin with."""

from __future__ import annotations

from ...core.errors import ExitCode
from ..command import Command, argument
from ..values import positive, scenario_mapping, time_span
from .parts import DRY_RUN, JUDGED, KERNELS, ON, SET, run_name

BEGIN = (
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
            DRY_RUN,
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
            DRY_RUN,
        ),
        exit_codes=(*JUDGED, ExitCode.LOCKED),
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
    Command(
        name="drill",
        help="try the whole trip on a throw-away lineage",
        group="Begin",
        run="drill_commands:drill",
        schema="ckptsync.drill/1",
        description=(
            "A small session with a stop in its middle, the way home, one more session; then what was measured, what "
            "would be lost at worst, and what is wrong with the script. Training tree, ledger and results stay as they "
            "are. Exit code 3: it works, with warnings; 7: it does not."
        ),
        examples=(
            ("ckptsync drill", "the only run, where its sessions run"),
            ("ckptsync drill walker --steps 20000", "larger sessions, as large as it takes to save a few times"),
            ("ckptsync drill --keep", "leave the sessions in .ckptsync/drill, to be looked at"),
        ),
        arguments=(
            run_name(),
            ON,
            argument("--steps", type=positive, metavar="N", help="steps of a session, for each scenario (quick_steps)"),
            argument(
                "--limit", type=time_span, default=600.0, metavar="TIME", help="a session is killed after this (10m)"
            ),
            SET,
            argument("--keep", action="store_true", help="keep the sessions until the next drill"),
            DRY_RUN,
        ),
        exit_codes=(ExitCode.PARTIAL, ExitCode.SESSION_FAILED, ExitCode.LOCKED),
        see_also=("doctor", "launch"),
    ),
    Command(
        name="ci",
        help="write a workflow that goes on with a run from CI, with no machine held",
        group="Begin",
        run="ci_commands:ci",
        schema="ckptsync.ci/1",
        description=(
            "'ckptsync ci init' writes .github/workflows/ckptsync.yml into the repository that the project lies in. On a "
            "schedule it brings home what has ended ('collect') and starts the next session ('dispatch'). A workflow that "
            "was changed is replaced with --force alone."
        ),
        examples=(
            ("ckptsync ci init", "for every run that a service trains, every two hours"),
            ("ckptsync ci init --run walker", "for this run alone"),
            ("ckptsync ci init --dry-run", "what would be written, or how it differs from what is there"),
        ),
        arguments=(
            argument("action", choices=("init",), help="write the workflow"),
            argument(
                "--run",
                dest="runs",
                action="append",
                default=[],
                metavar="NAME",
                help="only this run; may be given several times",
            ),
            argument(
                "--schedule",
                default="17 */2 * * *",
                metavar="CRON",
                help="when it looks, five fields of cron in UTC (17 */2 * * *)",
            ),
            argument("--force", action="store_true", help="replace a workflow that was changed"),
            DRY_RUN,
        ),
        see_also=("dispatch", "collect", "status"),
    ),
)
