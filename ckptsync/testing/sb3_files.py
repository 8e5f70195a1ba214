"""Makers of small checkpoints for tests, in milliseconds and without torch."""

from __future__ import annotations

from ..training.sb3_files import Parameter, mlp_parameters, mlp_signature, torch_file, write_sb3_zip

__all__ = ["Parameter", "mlp_parameters", "mlp_signature", "torch_file", "write_sb3_zip"]
