"""Collects what the sweeps count; `make prove` prints it as a table."""

from __future__ import annotations

_ROWS: list[tuple[str, dict[str, int]]] = []


def record(name: str, **counts: int) -> None:
    """Note one row: what was swept, and its counts by column."""
    _ROWS.append((name, counts))


def table() -> list[str]:
    """Return the rows as text, with a sum at the end for each kind of row (its columns)."""
    lines: list[str] = []
    for columns in dict.fromkeys(tuple(counts) for _name, counts in _ROWS):
        rows = [(name, counts) for name, counts in _ROWS if tuple(counts) == columns]
        total = {column: sum(counts[column] for _name, counts in rows) for column in columns}
        width = max(len(name) for name, _counts in [*rows, ("total", total)])
        lines += ["", " ".join([" " * width, *(f"{column:>12}" for column in columns)])]
        for name, counts in [*rows, ("total", total)]:
            lines.append(" ".join([f"{name:<{width}}", *(f"{counts[column]:>12,}" for column in columns)]))
    return lines
