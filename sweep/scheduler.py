"""The scheduler: which trials go on at a rung. Ray's own rules decide; what surrounds them is made truthful here.

Ray 2.60 keeps no rungs over a restart, draws HyperBand's brackets from the global `np.random`, goes on without a word
when the axis is misspelt, and knows a trial by an identifier that changes at every launch. Here a trial is known by its
number, brackets are a function of (seed, number) and recorded, rungs are rebuilt by replaying the rows, a rung that is
reported twice (by a trial that was continued from an older checkpoint) counts once, and a report without its axis is an
error.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np
from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, MedianStoppingRule, TrialScheduler

from sweep.spec.sweep_spec import milestones, rungs

if TYPE_CHECKING:
    from sweep.spec.sweep_spec import SweepSpec
    from sweep.trial_record import Trial

METRIC = "score"
TIME_AXIS = "rung"


@dataclass(frozen=True)
class _Known:
    """A trial as Ray's rules see it: the same over every restart."""

    trial_id: str
    bracket: int


def bracket_of(spec: SweepSpec, number: int) -> int:
    """The HyperBand bracket of a trial: a seeded draw with Ray's probabilities, ∝ e^(rungs of the bracket); else 0."""
    if spec.scheduler.name != "hyperband":
        return 0
    weights = np.exp(-np.arange(spec.scheduler.brackets, dtype=float))
    return int(np.random.default_rng([spec.sampler.seed, number]).choice(len(weights), p=weights / weights.sum()))


class _Brackets(AsyncHyperBandScheduler):
    """Ray's asynchronous successive halving, told each trial's bracket instead of drawing it."""

    _trial_info: dict[str, Any]

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        self._trial_info[trial.trial_id] = self._brackets[trial.bracket]

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        self._trial_info.pop(trial.trial_id)


class _Median(MedianStoppingRule):
    """Ray's median rule; with too few trials to compare, a trial goes on instead of yielding its place to another."""

    def _on_insufficient_samples(self, tune_controller: Any, trial: Any, time: float) -> str:
        return TrialScheduler.CONTINUE


def _rule(spec: SweepSpec) -> Any:
    scheduler = spec.scheduler
    if scheduler.name == "none":
        return FIFOScheduler()  # type: ignore[no-untyped-call]
    said: dict[str, Any] = {"time_attr": TIME_AXIS, "metric": METRIC, "mode": "max", "grace_period": scheduler.grace}
    if scheduler.name == "median":
        return _Median(**said)
    return _Brackets(
        **said,
        # Ray stops what reaches it; the last milestone of seconds is a comparison like the others.
        max_t=math.ceil(milestones(spec)[-1]) + 1 if scheduler.axis == "seconds" else rungs(spec)[-1],
        reduction_factor=scheduler.reduction_factor,
        brackets=scheduler.brackets if scheduler.name == "hyperband" else 1,
    )


class RungScheduler(FIFOScheduler):
    """Decides on every report, by Ray's rule for the spec, over trials known by their number.

    `stopped` holds the numbers of the trials that it has stopped.
    """

    def __init__(self, spec: SweepSpec) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._spec = spec
        self._rule = _rule(spec)
        self._known: dict[int, _Known] = {}
        self._decided: dict[int, int] = {}
        self.stopped: set[int] = set()

    def replay(self, trials: Iterable[Trial]) -> None:
        """Decide again on every row of the record, in the order in which they were written."""
        trials = list(trials)
        for trial in trials:
            self._add(trial.number)
        rows = [
            (written, trial.number, trial, row)
            for trial in trials
            # Of one trial in their own order, also where a clock was set back in between.
            for row, written in zip(trial.rows, accumulate((each.time for each in trial.rows), max), strict=True)
        ]
        for _, number, trial, row in sorted(rows, key=lambda each: each[:2]):
            self.decide(number, row.rung, row.rung_index, row.score, row.failure, is_end=row.is_end)
            # It trained on after this row: so the driver, which heard in another order, let it go on.
            if row is not trial.rows[-1] or trial.busy_seconds > row.busy_seconds:
                self._let_go_on(number)
        for trial in trials:
            if trial.ended is not None:
                self._forget(trial.number)
                self.stopped.discard(trial.number)

    def decide(self, number: int, rung: float, index: int, score: float, failure: str | None, *, is_end: bool) -> str:
        """CONTINUE or STOP for one row.

        A late report of a rung that was decided is not counted again. What has no memory is not compared: it cost
        nothing, so it must not make room for another. The end of the budget stops nothing; the trial ends by itself.
        """
        action: str = TrialScheduler.CONTINUE
        if index < self._decided.get(number, 0):
            return action
        self._decided[number] = index + 1
        if failure != "infeasible" and not is_end:
            action = self._rule.on_trial_result(None, self._known[number], {TIME_AXIS: rung, METRIC: score})
        if action == TrialScheduler.STOP:
            self.stopped.add(number)
        return action

    def _let_go_on(self, number: int) -> None:
        self.stopped.discard(number)
        if isinstance(self._rule, _Median):
            self._rule._stopped_trials.discard(self._known[number])

    def _add(self, number: int) -> None:
        if number not in self._known:
            self._known[number] = _Known(f"{number:04d}", bracket_of(self._spec, number))
            self._rule.on_trial_add(None, self._known[number])

    def _forget(self, number: int) -> None:
        known = self._known.pop(number, None)
        if known is not None and isinstance(self._rule, _Brackets):
            self._rule.on_trial_remove(None, known)

    # What Tune calls:

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        self._add(trial.config["number"])

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        missing = {TIME_AXIS, METRIC, "rung_index", "failure", "is_end"} - result.keys()
        if missing:
            raise KeyError(f"a report without {', '.join(sorted(missing))}: the scheduler could stop nothing")
        return self.decide(
            trial.config["number"],
            result[TIME_AXIS],
            result["rung_index"],
            result[METRIC],
            result["failure"],
            is_end=result["is_end"],
        )

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        self._forget(trial.config["number"])

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        self._forget(trial.config["number"])

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        self._forget(trial.config["number"])

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the rows are the truth, Ray's snapshot of the scheduler is not."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing, as `save`."""
