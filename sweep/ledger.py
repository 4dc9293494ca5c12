"""The ledger: what a sweep has used, what is left of it, and why it ends before its trials are all run.

It lives in the driver, hears of every start, report and end, and is rebuilt by telling it the record again. No call
takes longer the more trials have ended.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sweep.resources import ask_of

if TYPE_CHECKING:
    from sweep.record import Record
    from sweep.spec.sweep_spec import SweepSpec
    from sweep.trial_record import TrialState

_HOUR_S = 3600.0


@dataclass(frozen=True)
class Used:
    """What a sweep has used: driven hours, hours of its workers, and their cost (None without a price)."""

    wall_hours: float
    worker_hours: float
    cost: float | None


class Ledger:
    """Counts one sweep's use and watches its stops.

    Args:
        spec: its `stop` section, and the price of an hour of a worker.
        wall_seconds: driven by earlier sessions of the sweep.
        clock: seconds; a simulation gives its own.
    """

    def __init__(self, spec: SweepSpec, *, wall_seconds: float = 0.0, clock: Callable[[], float] = time.time) -> None:
        self._stop, self._price = spec.stop, spec.resources.cost_per_hour
        self._clock = clock
        self._begin = clock() - wall_seconds
        self._busy: dict[int, float] = {}
        self._running: dict[int, tuple[float, int]] = {}
        """Since when a trial's time is not counted yet, and of how many workers."""
        self._worker_seconds = 0.0
        self._best: float | None = None
        self._since_gain = 0

    def add_start(self, number: int, workers: int = 1) -> None:
        """A trial runs in so many workers; told again and again."""
        if number not in self._running:
            self._running[number] = self._clock(), workers

    def add_pause(self, number: int) -> None:
        """A trial runs no more; it has ended or its worker died."""
        self._running.pop(number, None)

    def add_busy(self, number: int, seconds: float, workers: int = 1) -> None:
        """Count a trial's busy time since its start, of each of its workers."""
        if number in self._running:
            self._running[number] = self._clock(), workers
        before = self._busy.get(number, 0.0)
        self._busy[number] = max(before, seconds)
        self._worker_seconds += (self._busy[number] - before) * workers

    def add_end(self, number: int, state: TrialState, score: float | None) -> None:
        """Count a trial that ended: does it improve on the best that reached the top rung? A fault says nothing."""
        self._busy.pop(number, None)
        if state == "errored":
            return
        if state == "completed" and score is not None and (self._best is None or self._is_gain(score)):
            self._best = score
            self._since_gain = 0
        elif self._best is not None:
            self._since_gain += 1

    def _is_gain(self, score: float) -> bool:
        assert self._best is not None
        # A gain too small to end the plateau still raises what the next one is measured against.
        if score > self._best + self._stop.plateau_gain:
            return True
        self._best = max(self._best, score)
        return False

    def used(self) -> Used:
        """What has been used until now: by each trial until its last row, and since then by those that run."""
        now = self._clock()
        hours = (
            self._worker_seconds + sum((now - since) * workers for since, workers in self._running.values())
        ) / _HOUR_S
        cost = None if self._price is None else hours * self._price
        return Used((now - self._begin) / _HOUR_S, hours, cost)

    def reason_to_close(self) -> str | None:
        """Why the sweep should end now; None while it may go on."""
        stop, used = self._stop, self.used()
        for key, limit, value in (
            ("wall_hours", stop.wall_hours, used.wall_hours),
            ("worker_hours", stop.worker_hours, used.worker_hours),
            ("cost", stop.cost, used.cost),
        ):
            if limit is not None and value is not None and value >= limit:
                return f"stop.{key} = {limit:g} is used up"
        if stop.target is not None and self._best is not None and self._best >= stop.target:
            return f"stop.target = {stop.target:g} is reached by {self._best:.2f}"
        if stop.plateau_trials is not None and self._since_gain >= stop.plateau_trials:
            return f"stop.plateau_trials = {stop.plateau_trials}: no gain above {stop.plateau_gain:g} in so many trials"
        return None

    def left_text(self) -> str | None:
        """What is left of the limits, for a person; None when there is no limit."""
        stop, used = self._stop, self.used()
        parts = [
            f"{max(0.0, limit - value):.3g} of {limit:g} {name}"
            for name, limit, value in (
                ("wall hours", stop.wall_hours, used.wall_hours),
                ("worker hours", stop.worker_hours, used.worker_hours),
                ("cost", stop.cost, used.cost),
            )
            if limit is not None and value is not None
        ]
        return "left: " + ", ".join(parts) if parts else None


def driven_seconds(record: Record, *, with_last: bool = False) -> float:
    """How long the earlier drivers drove a sweep; one that was killed, until the last row or end of its time.

    Args:
        record: the sweep.
        with_last: count the newest driver too, which may be this process.
    """
    sessions = record.sessions()
    following = [session["started"] for session in sessions[1:]] + [math.inf]
    trials = record.trials()
    events = [row.time for trial in trials for row in trial.rows]
    events += [trial.ended for trial in trials if trial.ended is not None]
    total = 0.0
    for session, until in list(zip(sessions, following, strict=True))[: None if with_last else -1]:
        start = session["started"]
        last = max((event for event in events if start <= event < until), default=start)
        total += max(0.0, session.get("ended", last) - start)  # a clock may have been set back
    return total


def closed_seconds(record: Record) -> float:
    """How long nobody drove a sweep between its first driver's start and its last one's end."""
    sessions = record.sessions()
    if len(sessions) < 2:
        return 0.0
    span: float = sessions[-1].get("ended", time.time()) - sessions[0]["started"]
    return max(0.0, span - driven_seconds(record, with_last=True))


def ledger_of(spec: SweepSpec, record: Record, *, clock: Callable[[], float] = time.time) -> Ledger:
    """The ledger of a driver that begins on a record as it stands."""
    # Ray's start and what is prepared once are driven time too; a simulation has neither.
    begun = clock() - record.sessions()[-1]["started"] if clock is time.time else 0.0
    return _told(Ledger(spec, wall_seconds=driven_seconds(record) + begun, clock=clock), spec, record)


def ledger_until_now(spec: SweepSpec, record: Record) -> Ledger:
    """The ledger of a reader: until the last row or end of the record."""
    return _told(Ledger(spec, wall_seconds=driven_seconds(record, with_last=True), clock=lambda: 0.0), spec, record)


def _told(ledger: Ledger, spec: SweepSpec, record: Record) -> Ledger:
    trials = record.trials()
    for trial in trials:
        ledger.add_busy(trial.number, trial.busy_seconds, ask_of(spec.resources, trial.config).workers)
    for trial in sorted((trial for trial in trials if trial.ended is not None), key=lambda each: each.ended or 0.0):
        ledger.add_end(trial.number, trial.state, trial.score)
    return ledger
