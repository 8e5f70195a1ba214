"""Reading checkpoints without executing them: nothing here imports torch, unpickles, or trusts a name or a size.

`read_model` reads one file of any format; see `archive`, `pickle_program`, `allowed` and `torch_file` for the rules.
"""

from __future__ import annotations

from .model import read_model
from .report import CodeByValue, MemberInfo, ModelReport

__all__ = ["CodeByValue", "MemberInfo", "ModelReport", "read_model"]
