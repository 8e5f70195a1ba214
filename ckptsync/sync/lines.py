"""What a session prints, as lines: foreign bytes of any length, in pieces that end anywhere."""

from __future__ import annotations

import codecs

# A longer line is shown in pieces, so that a log without line breaks is never held whole
MAX_LINE = 1 << 16


def last_drawn(line: str) -> str:
    """Return what a terminal would show of a line that a progress bar drew over and over with carriage returns."""
    return line.rstrip("\r").rpartition("\r")[2]


class Lines:
    """Puts pieces together to lines; what is no UTF-8 is replaced, what was drawn over is left out."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._open = ""

    def feed(self, data: bytes) -> list[str]:
        """Return the lines that are whole now."""
        *lines, self._open = (self._open + self._decoder.decode(data)).split("\n")
        whole = [last_drawn(line) for line in lines]
        if len(self._open) > MAX_LINE:
            drawn = last_drawn(self._open)
            if len(drawn) > MAX_LINE:
                whole.append(drawn)
                drawn = ""
            self._open = drawn + ("\r" if drawn and self._open.endswith("\r") else "")
        return whole

    def end(self) -> list[str]:
        """Return the last line, where it has no end."""
        rest = self._open + self._decoder.decode(b"", final=True)
        self._open = ""
        return [last_drawn(rest)] if rest else []
