"""Print for a person who may have gone: a closed pipe or terminal ends no sweep and changes no exit code.

No password is printed: what a job prints is in its cluster's logs and on its dashboard.
"""

from __future__ import annotations

import os
import sys
from typing import TextIO

from sweep.passwords import without_passwords


def say(text: str, stream: TextIO | None = None) -> None:
    """A line on `stream`, standard output unless given; on nothing when nobody reads it any more."""
    stream = stream or sys.stdout
    try:
        print(without_passwords(text), file=stream, flush=True)
    except OSError:
        # What is left in its buffer would fail again at the interpreter's end, which then exits with 120.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
