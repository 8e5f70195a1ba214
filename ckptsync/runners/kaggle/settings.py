"""What is configured of the runner `kaggle`, and the names that follow from it."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Final

from ...core import names

CARRIERS: Final = ("auto", "dataset", "output")
# Words for what people mean most; every other word is passed on as the service's own name of a machine
ACCELERATORS: Final = ("none", "gpu", "tpu")
GPU_SHAPES: Final = ("Nvidia",)
TPU_SHAPES: Final = ("Tpu",)
MIN_SLUG = 5
MAX_SLUG = 50
_INPUTS = "-inputs"
# What the service allows, by kind of machine; it says so nowhere
SESSION_SECONDS = {"cpu": 12 * 3600.0, "gpu": 12 * 3600.0, "tpu": 9 * 3600.0}
OUTPUT_BYTES = 20 * 10**9
_OWNER = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,62}[A-Za-z0-9])?", re.ASCII)
_SLUG = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*", re.ASCII)
_REFERENCE = re.compile(r"[A-Za-z0-9_-]+(?:/[A-Za-z0-9_.-]+)+", re.ASCII)
_SHAPE = re.compile(r"[A-Za-z0-9]+", re.ASCII)


@dataclass(frozen=True)
class KaggleSettings:
    """How sessions are started on Kaggle.

    Args:
        owner: whose kernels; None: of the user that the credentials are for.
        kernel: the kernel's slug; None: made from the run's name.
        accelerator: `none`, `gpu`, `tpu`, or the service's name of a machine such as `NvidiaTeslaT4`.
        internet: whether sessions reach the internet.
        private: whether the kernel is private.
        docker_image: the image that sessions are pinned to; None: the service's newest.
        competitions: slugs of competitions whose data is mounted.
        datasets: `owner/slug` of further datasets.
        kernels: `owner/slug` of kernels whose output is mounted.
        models: `owner/model/framework/variation/version` of models.
        carrier: how checkpoints get there: `dataset`, `output` (of the session before), or `auto`.
        budget_seconds: time limit of sessions that have none of their own; None: the service's.
        timeout_seconds: how long one answer may take.
        patience_seconds: how long a call is tried again, and how long a session is looked for whose start was
            not answered.
        dataset_seconds: how long a dataset may take until it is ready.

    Raises:
        ValueError: a name is none that the service takes.
    """

    owner: str | None = None
    kernel: str | None = None
    accelerator: str = "none"
    internet: bool = False
    private: bool = True
    docker_image: str | None = None
    competitions: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()
    kernels: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    carrier: str = "auto"
    budget_seconds: float | None = None
    timeout_seconds: float = 60.0
    patience_seconds: float = 60.0
    dataset_seconds: float = 1800.0

    def __post_init__(self) -> None:
        if self.owner is not None:
            check_owner(self.owner)
        if self.kernel is not None:
            check_slug(self.kernel)
        if self.carrier not in CARRIERS:
            raise ValueError(f"carrier is {self.carrier!r}, expected one of {', '.join(CARRIERS)}")
        if self.accelerator not in ACCELERATORS and not _SHAPE.fullmatch(self.accelerator):
            raise ValueError(f"accelerator is {self.accelerator!r}, expected none, gpu, tpu or the name of a machine")
        for slug in self.competitions:
            if not _SLUG.fullmatch(slug):
                raise ValueError(f"{slug!r} is no competition; expected its slug, such as titanic")
        for reference in (*self.datasets, *self.kernels, *self.models):
            if not _REFERENCE.fullmatch(reference) or reference.startswith(("datasets/", "code/", "models/")):
                raise ValueError(f"{reference!r} is no reference; expected owner/slug, as in its address")

    @property
    def machine(self) -> str:
        """What sessions run on: `cpu`, `gpu` or `tpu`."""
        if self.accelerator == "gpu" or self.accelerator.startswith(GPU_SHAPES):
            return "gpu"
        return "tpu" if self.accelerator == "tpu" or self.accelerator.startswith(TPU_SHAPES) else "cpu"

    @property
    def session_seconds(self) -> float:
        """The longest that a session may run: what the service allows, or less where that is configured."""
        longest = SESSION_SECONDS[self.machine]
        return min(longest, self.budget_seconds or longest)

    @property
    def machine_shape(self) -> str | None:
        """The service's own name of the machine, where one is configured."""
        return self.accelerator if self.accelerator not in ACCELERATORS else None

    def kernel_slug(self, run: str) -> str:
        """Return the slug of a run's kernel."""
        return self.kernel or default_slug(run)


def check_owner(owner: str) -> str:
    """Return a user's name unchanged if it may stand in a reference.

    Raises:
        ValueError: it may not.
    """
    if not _OWNER.fullmatch(owner):
        raise ValueError(f"{names.printable(owner)} is no owner; expected the name in kaggle.com/<name>")
    return owner


def check_slug(slug: str) -> str:
    """Return a kernel's slug unchanged if a title gives just this one, and its dataset has room behind it.

    Raises:
        ValueError: it is none.
    """
    longest = MAX_SLUG - len(_INPUTS)
    if not _SLUG.fullmatch(slug) or not MIN_SLUG <= len(slug) <= longest:
        raise ValueError(
            f"kernel is {names.printable(slug)}, expected {MIN_SLUG} to {longest} small letters, digits and single '-'"
        )
    return slug


def default_slug(run: str) -> str:
    """Return the slug of a run's kernel where none is configured; two runs never share one."""
    words = re.sub(r"[^a-z0-9]+", "-", run.lower()).strip("-")
    longest = MAX_SLUG - len(_INPUTS) - len("ckptsync-")
    # Characters that fold into one, or are cut off, must not make two runs one
    if words.replace("-", "_") != run or len(words) > longest:
        mark = hashlib.sha256(run.encode()).hexdigest()[:6]
        words = f"{words[: longest - 7].strip('-')}-{mark}".lstrip("-")
    return f"ckptsync-{words}"


def title_of(slug: str) -> str:
    """Return the title that gives a slug: the service makes a kernel's slug from its title, whatever we ask for."""
    return slug.replace("-", " ")


def inputs_slug(slug: str) -> str:
    """Return the slug of the dataset that carries a kernel's inputs."""
    return slug + _INPUTS
