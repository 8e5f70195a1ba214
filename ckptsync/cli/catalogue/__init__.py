"""Every command of ckptsync with its help, examples and arguments, one module for each group."""

from __future__ import annotations

from ..command import Catalogue, Command
from .begin import BEGIN
from .bring_home import BRING_HOME
from .keep import KEEP
from .look import LOOK
from .parts import KERNELS
from .store import STORE
from .train import TRAIN
from .versions import VERSIONS

__all__ = ["CATALOGUE", "KERNELS"]

_OVERVIEW = Command(
    name="",
    help="where things stand, and the next sensible command",
    group="",
    run="status_commands:overview",
    schema="ckptsync.overview/1",
)

CATALOGUE = Catalogue(_OVERVIEW, (*BEGIN, *TRAIN, *BRING_HOME, *LOOK, *STORE, *VERSIONS, *KEEP))
