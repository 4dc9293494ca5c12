"""`Breaks`: when a trial's training is interrupted, to save a checkpoint or to end for now."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter

_LOOK_SECONDS = 1.0
"""Between two looks for the pause file: on a network disk each is a message."""


class Breaks:
    """Asked by a training between two steps: whether its sweep pauses, or its last checkpoint is old.

    The age of a checkpoint is in seconds of training: the clock starts with the first question, which comes after the
    first step, and stands from `hold` to `go_on`.
    """

    def __init__(self, pause: Path | None, checkpoint_seconds: float | None) -> None:
        """Nothing is due yet.

        Args:
            pause: a file that is there while the sweep pauses. None: it never does.
            checkpoint_seconds: age at which a checkpoint is to be replaced. None: there are none.
        """
        self._pause, self._checkpoint_seconds = pause, checkpoint_seconds
        self._next_look = 0.0
        self._is_paused = False
        self._age = 0.0
        self._running_since: float | None = None

    def are_due(self) -> bool:
        """Whether there is a reason to interrupt."""
        if self._running_since is None:
            self.go_on()
        return self.paused() or self.checkpoint_is_old()

    def paused(self, *, at_once: bool = False) -> bool:
        """Whether the sweep pauses; looked for once a second unless `at_once`, and once it does, it does."""
        if not self._is_paused and self._pause is not None and (at_once or perf_counter() >= self._next_look):
            self._is_paused = self._pause.exists()
            self._next_look = perf_counter() + _LOOK_SECONDS
        return self._is_paused

    def checkpoint_is_old(self) -> bool:
        return self._checkpoint_seconds is not None and self._trained() >= self._checkpoint_seconds

    def saved(self) -> None:
        """A checkpoint was written while the clock stood."""
        self._age = 0.0

    def hold(self) -> None:
        """The training stands still."""
        self._age, self._running_since = self._trained(), None

    def go_on(self) -> None:
        """The training goes on."""
        self._running_since = perf_counter()

    def _trained(self) -> float:
        return self._age + (0.0 if self._running_since is None else perf_counter() - self._running_since)
