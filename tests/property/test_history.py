"""Any chain of sessions that are killed anywhere gives the curve of what was not lost."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ckptsync.core.history import join
from ckptsync.core.manifest import Origin
from ckptsync.core.metrics import Row, Stretch, parse_metrics, row_line, start_line

# Of each session: how many rows it wrote, behind which of them it was sealed last, and whether it is known by its id
SESSIONS = st.lists(st.tuples(st.integers(1, 8), st.floats(0, 1), st.booleans()), min_size=1, max_size=12)


@given(SESSIONS, st.booleans())
def test_the_curve_is_what_was_not_lost(sessions: list[tuple[int, float, bool]], torn: bool) -> None:
    data, kept = b"", {}
    begun, parent = 0, None
    for number, (count, share, named) in enumerate(sessions, start=1):
        session = f"r/s{number:04d}" if named else None
        data += start_line(Stretch("a", begun, session, "l1", number, 100, parent))
        steps = [begun + 10 * index for index in range(1, count + 1)]
        data += b"".join(row_line("a", Row(n, {"y": float(number)})) for n in steps)
        data += b'{"torn' + b"\n" if torn else b""
        kept = {n: y for n, y in kept.items() if n <= begun} | {n: float(number) for n in steps}
        begun = begun + 10 * round(share * count)
        parent = Origin(session, begun, "sha256:" + f"{number:064x}")
    stretches, senseless = parse_metrics(data)
    assert senseless == (len(sessions) if torn else 0)
    points = join(stretches, stretches[-1]).points("y")
    assert points == sorted(kept.items())


@given(st.binary(max_size=400))
def test_no_bytes_break_the_reader(data: bytes) -> None:
    for stretch in parse_metrics(data)[0]:
        steps = [row.num_timesteps for row in stretch.rows]
        assert steps == sorted(set(steps))
