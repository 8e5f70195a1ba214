"""Commands that keep house."""

from __future__ import annotations

from ...core.errors import ExitCode
from ..command import Command, argument
from ..values import amount_of_bytes, whole
from .parts import DRY_RUN, FROM_STORE, RUN, SCENARIO, SHELLS

KEEP = (
    Command(
        name="export",
        help="plain files of a checkpoint, for tools without ckptsync",
        group="Keep house",
        run="export_commands:export",
        schema="ckptsync.export/1",
        description=(
            "Writes the model, VecNormalize's statistics and the replay buffer in stable-baselines3's own formats, as "
            "load, VecNormalize.load and load_replay_buffer read them. Of a run or a folder it takes the checkpoint of "
            "each scenario that the next session resumes from. Every file is compared with its seal. Only the replay "
            "buffer needs stable-baselines3 installed here."
        ),
        examples=(
            ("ckptsync export", "of the only run, into exports/"),
            ("ckptsync export --replay buffer.pkl", "the replay buffer alone"),
            ("ckptsync export data/models/checkpoints/walker_checkpoint_50000_steps.zip", "of an older checkpoint"),
            ("ckptsync export best --store", "of one that lies in the store"),
        ),
        arguments=(
            argument("target", nargs="?", metavar="PATH|RUN|SESSION|VERSION", completes="file", help="whose files"),
            FROM_STORE,
            RUN,
            argument("--output", metavar="DIR", completes="directory", help="where they go; without it exports/"),
            argument("--replay", metavar="FILE", completes="file", help="write only the replay buffer, into this file"),
            SCENARIO,
            argument("--force", action="store_true", help="replace files that are there"),
            DRY_RUN,
        ),
        exit_codes=(ExitCode.CORRUPT, ExitCode.NOTHING_FOUND),
        see_also=("show", "ls"),
    ),
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
            DRY_RUN,
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
