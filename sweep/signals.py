"""What Ctrl-C and SIGTERM do to a running sweep.

First: no new trials, running ones save a checkpoint and end, the record is whole. Again, or after the grace: at once.
Tune's own handler is turned off: it knows SIGINT alone, and ends the trials without asking them to save.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Self

from sweep.errors import Exit
from sweep.say import say

GRACE_VARIABLE = "STSWEEP_GRACE_S"
_GRACE_S = 25.0
"""From SIGTERM to the end: Kubernetes kills after 30 s."""
JOB_GRACE_VARIABLE = "RAY_JOB_STOP_WAIT_TIME_S"
"""From `ray job stop`'s signal to its kill, 3 s unless this is set for the head."""
_SHUTDOWN_S = 10.0
"""To end Ray and the record; whoever keeps Ctrl-C pressed would leave processes behind."""


class Signals:
    """The first SIGINT or SIGTERM closes the sweep; a second one, or the end of the grace, ends it at once.

    A context manager, for the main thread alone, where Python runs signal handlers.

    At once is by KeyboardInterrupt, for Ray's waiting loop lets no other exception of a handler through, and raises a
    new one in its place (`check_signals` of ray/_raylet.pyx).

    What comes is counted by `signal.set_wakeup_fd`: Python calls a handler once for all signals of one number that came
    while its main thread waited in Ray, so that two quick Ctrl-C would be one.

    Attributes:
        exit: the exit code that was asked for; None without a signal.
        close: called with a reason at the first signal. None: there is nothing to save, so it ends at once.
    """

    def __init__(self) -> None:
        self.exit: Exit | None = None
        self.close: Callable[[str], None] | None = None
        self._timer: threading.Timer | None = None
        self._is_concluding = False
        self._ends_at_once_since: float | None = None
        self._before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        self._arrived, self._arrival = os.pipe()
        for end in (self._arrived, self._arrival):
            os.set_blocking(end, False)

    def __enter__(self) -> Self:
        self._arrival_before = signal.set_wakeup_fd(self._arrival)
        self.install()
        return self

    def install(self) -> None:
        """Take the signals; again after `ray.init`, which puts a handler of its own in."""
        for number in self._before:
            signal.signal(number, self._handle)

    def __exit__(self, *error: object) -> None:
        if self._timer is not None:
            self._timer.cancel()
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._arrival_before)
        os.close(self._arrived)
        os.close(self._arrival)

    def conclude(self) -> None:
        """Ray is down and the record whole: from now on a signal is only noted, and a second one ends the process."""
        self._is_concluding = True
        if self._timer is not None:
            self._timer.cancel()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        for each in self._new():
            self._take(each)

    def _new(self) -> list[int]:
        """Signals that came and were not taken yet, in their order; none when an earlier call took them all."""
        try:
            arrived = os.read(self._arrived, 4096)
        except BlockingIOError:
            return []
        return [number for number in arrived if number in self._before]

    def _take(self, number: int) -> None:
        if self._ends_at_once_since is not None and time.monotonic() - self._ends_at_once_since < _SHUTDOWN_S:
            return
        again = self.exit is not None
        self.exit = self.exit or (Exit.INTERRUPTED if number == signal.SIGINT else Exit.TERMINATED)
        if self._is_concluding:
            if again:
                os._exit(self.exit)
            return
        if again or self.close is None:
            self._ends_at_once_since = time.monotonic()
            raise KeyboardInterrupt
        if number == signal.SIGTERM:
            self._timer = threading.Timer(_grace_s(), os.kill, (os.getpid(), signal.SIGTERM))
            self._timer.daemon = True
            self._timer.start()
        self.close("interrupted" if number == signal.SIGINT else "terminated")
        say(_SAYS[self.exit], sys.stderr)


_SAYS = {
    Exit.INTERRUPTED: "closing: no new trials, running ones save a checkpoint; Ctrl-C again ends at once",
    Exit.TERMINATED: "terminated: no new trials, running ones save a checkpoint",
}


def _grace_s() -> float:
    given = os.environ.get(GRACE_VARIABLE) or os.environ.get(JOB_GRACE_VARIABLE)
    try:
        return max(0.5, float(given) - 1) if given else _GRACE_S
    except ValueError:
        return _GRACE_S
