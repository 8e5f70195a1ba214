"""The kernel `toy`, trained at the service: what stands of it in a project's configuration."""

from __future__ import annotations

TOY_RUN = """
[runs.toy]
kernel = "toy"
runner = "kaggle"
packages = []
total_timesteps = 1_000_000

[runs.toy.save]
every_steps = {every_steps}
"""
