"""Every limit of the readers in one place: what is larger is refused, so that no file costs more than this.

The figures are far above what real checkpoints need (the largest pickle among a hundred SB3 files has
some 30 KB) and far below what hurts a small machine.
"""

from __future__ import annotations

MIB = 1024 * 1024

CHUNK_BYTES = MIB  # files are read in pieces of this size
PASSING_BYTES = MIB // 4  # what is only looked at comes in pieces that stay in the processor's cache
IN_MEMORY_BYTES = 16 * MIB  # smaller files and unpacked members are kept in memory, larger ones stay on the disk

MAX_PICKLE_BYTES = 64 * MIB
MAX_PICKLE_STEPS = 2_000_000  # some 60,000 tensors
MAX_PICKLE_INTEGER_BYTES = 1024
MAX_STATE_CONTAINERS = 100_000  # tensors, dictionaries and lists in one torch file
MAX_CODE_NODES = 100_000

MAX_JSON_BYTES = 64 * MIB
MAX_INFO_BYTES = 64 * 1024
MAX_SAFETENSORS_HEADER_BYTES = 100_000_000

MAX_MEMBERS = 100_000
MAX_DIRECTORY_BYTES = 16 * MIB
MAX_NAME_BYTES = 255
MAX_RATIO = 200  # unpacked size / packed size of one member
RATIO_FREE_BYTES = MIB  # small members may compress as well as they like
MAX_TOTAL_RATIO = 10  # the same for all deflated members together and the whole file
TOTAL_RATIO_FREE_BYTES = 64 * MIB

MAX_DIMENSIONS = 64
MAX_NUM_TIMESTEPS = 2**63 - 1
MAX_SPACE_ELEMENTS = 10_000
MAX_SPACE_DEPTH = 16
