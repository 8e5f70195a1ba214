"""What of the service can be set: times, limits, and which of Kaggle's reported ways it shows.

Seconds are real ones, but for those of the service's own clock (run limits, quota, times in logs): these pass
`time_scale` times as fast, so that a run of twelve hours ends within a test.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import Literal


@dataclass
class Settings:
    """Settings of a KaggleService; each may be changed while it runs and holds from then on.

    Time and limits:
        time_scale: seconds of the service's clock in one real second.
        clock_offset_seconds: how far off the service's clock is from this machine's.
        session_limit_seconds: the longest run, in the service's seconds; what a push asks for is capped by it.
        queued_seconds: how long a run stays QUEUED.
        gpu_sessions, cpu_sessions: how many batch runs an account may have at once.
        slot_release_seconds: how long an ended run still counts among them.
        gpu_hours, tpu_hours: the weekly quota; `gpu_hours_used`: what everybody has used before.
        quota_renews_at: ISO 8601 UTC; empty: the next Saturday, 00:00.
        source_limit_bytes: a kernel's source must be smaller.
        latency_seconds: added to every request; bytes_per_second: of each download, None: no limit.

    Runs:
        python: the interpreter that runs scripts.
        mount_layout: `new` is datasets/<owner>/<slug>, `old` is <slug>.
        kernel_mount: what a kernel source gives: its last complete run's `files`, one `_output_.zip`, or its `code`.
        limit_keeps_outputs, cancel_keeps_outputs: whether a run that was stopped leaves what it had written.
        crash_says_complete: a script that fails ends as COMPLETE.
        cancel_signal: what a cancelled script is sent first, it alone and none of its children;
            cancel_grace_seconds: how long until all of them are killed.
        saving_seconds: how long an ended script is still RUNNING (or CANCEL_REQUESTED) while outputs are saved;
            its listing grows meanwhile only when it was cancelled.
        listing_seconds: how long the listing still grows after the run has its last status.
        status_lag_seconds: how long after a push the latest status is still that of the run before it.
        version_lag_seconds: how long after a push the new version is not known by its label.
        status_word: an answer in place of every status, for words that nobody knows yet; empty: the true one.
        log_bytes: `replaced` shows bytes that are no UTF-8 as U+FFFD, `raw` passes them on as they are.
        running_push: a push while a run of the same kernel goes on starts one beside it, or is a 409 `conflict`.
        foreign_kernel: a push to somebody else's kernel is an `error` in an answer of 200, or `denied` with 403.
        competitions: slugs that may be sources.

    Datasets:
        processing_seconds: from a version's creation until it is READY.
        dataset_outcome: `ready`, `failed`, or `never` ready; like the time, of versions made from then on.
        dataset_number_at_once: currentVersionNumber counts a version that is still being processed.
        dataset_status_lag_seconds: how long after a version's creation the status is still that of the one before.
        unpack: which archives are unpacked: all, known by their `content`; only those with a known `suffix`; `none`.
        unpack_nested: archives in archives too; unpack_torch: .pt and .pth too.
        single_archive_at_root: the only file of a version is unpacked without a folder of its name.
        top_level_files: how many a version may have.

    Downloads and sign-in:
        url_seconds: how long signed URLs hold; expired_status: what they answer after that, an XML page.
        content_hash: downloads carry x-goog-hash.
        token_seconds: how long access tokens of a refresh token hold; expired_token_status: 401 or 403.
        stall_seconds: how long a stalled answer takes; slow_seconds: how much a slow one is late.
        retry_after_seconds: what a 429 tells to wait.
    """

    time_scale: float = 1.0
    clock_offset_seconds: float = 0.0
    session_limit_seconds: float = 12 * 3600.0
    queued_seconds: float = 0.0
    gpu_sessions: int = 2
    cpu_sessions: int = 5
    slot_release_seconds: float = 0.0
    gpu_hours: float = 30.0
    tpu_hours: float = 20.0
    gpu_hours_used: float = 0.0
    quota_renews_at: str = ""
    source_limit_bytes: int = 1_000_000
    latency_seconds: float = 0.0
    bytes_per_second: float | None = None

    python: str = sys.executable
    mount_layout: Literal["new", "old"] = "new"
    kernel_mount: Literal["files", "zip", "code"] = "files"
    limit_keeps_outputs: bool = True
    cancel_keeps_outputs: bool = True
    crash_says_complete: bool = False
    cancel_signal: Literal["SIGTERM", "SIGINT", "SIGKILL"] = "SIGTERM"
    cancel_grace_seconds: float = 10.0
    saving_seconds: float = 0.0
    listing_seconds: float = 0.0
    status_lag_seconds: float = 0.0
    version_lag_seconds: float = 0.0
    status_word: str = ""
    log_bytes: Literal["replaced", "raw"] = "replaced"
    running_push: Literal["parallel", "conflict"] = "parallel"
    foreign_kernel: Literal["error", "denied"] = "error"
    competitions: tuple[str, ...] = field(default=("titanic",))

    processing_seconds: float = 0.0
    dataset_outcome: Literal["ready", "failed", "never"] = "ready"
    dataset_number_at_once: bool = False
    dataset_status_lag_seconds: float = 0.0
    unpack: Literal["content", "suffix", "none"] = "content"
    unpack_nested: bool = True
    unpack_torch: bool = True
    single_archive_at_root: bool = True
    top_level_files: int = 50

    url_seconds: float = 600.0
    expired_status: int = 400
    content_hash: bool = True
    token_seconds: float = 12 * 3600.0
    expired_token_status: int = 401
    stall_seconds: float = 30.0
    slow_seconds: float = 0.5
    retry_after_seconds: int = 1
