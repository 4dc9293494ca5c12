"""`Stopwatch`: how long a trial has been busy, over all its attempts."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sweep.trial_record import Row


class Stopwatch:
    """Busy time of a trial: from its start to now, without what was spent inside `wait` or between two attempts."""

    def __init__(self, written: Sequence[Row], before: float) -> None:
        """Go on from earlier attempts, which wrote these rows and ran so many seconds."""
        self.started = written[0].started if written else time.time()
        self._before = before
        self._begin = time.perf_counter()
        self._waited = 0.0

    def busy(self) -> float:
        return self._before + time.perf_counter() - self._begin - self._waited

    def wait(self, action: Callable[[], None]) -> None:
        """Run `action` off the clock, also when it raises (Tune ends a stopped trial by an exception)."""
        begin = time.perf_counter()
        try:
            action()
        finally:
            self._waited += time.perf_counter() - begin
