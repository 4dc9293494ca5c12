"""The simulated clock against examples worked out by hand, with Ray's own scheduler."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytest
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler
from ray.tune.search import Searcher

from sweep.simulation.clock import Clock, simulate
from sweep.simulation.worlds import Curve, Domain
from sweep.trial_record import FLOOR


class Listed(Searcher):
    """Proposes the given names in order, and notes every call."""

    def __init__(self, names: str) -> None:
        super().__init__(metric="score", mode="max")
        self.names = list(names)
        self.ids: dict[str, str] = {}
        self.calls: list[str] = []

    def suggest(self, trial_id: str) -> Any:
        if not self.names:
            return Searcher.FINISHED
        self.ids[trial_id] = self.names.pop(0)
        self.calls.append(f"ask {self.ids[trial_id]}")
        return {"name": self.ids[trial_id]}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        self.calls.append(f"{self.ids[trial_id]} {result['score']:g}")

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        self.calls.append(f"{'error' if error else 'end'} {self.ids[trial_id]}")


class Table:
    """A world of curves by name, scored at 100 and 200 sentences."""

    rungs = (100, 200)
    domains: Mapping[str, Domain] = {}

    def __init__(self, **curves: Curve) -> None:
        self.curves = curves

    def run(self, knobs: Mapping[str, Any], seed: int) -> Curve:
        return self.curves[knobs["name"]]


THREE = Table(
    a=Curve((50.0, 60.0), (10.0, 20.0)), b=Curve((70.0, 80.0), (5.0, 30.0)), c=Curve((40.0, 90.0), (4.0, 8.0))
)


def asha() -> ASHAScheduler:
    return ASHAScheduler(time_attr="rung", metric="score", mode="max", grace_period=100, max_t=200, reduction_factor=2)


def test_three_trials_on_two_slots_as_worked_out_by_hand():
    # 5 s: b is first at its rung and goes on. 10 s: a's 50 is below the median of {70}: stopped, c starts.
    # 14 s: c's 40 is below the median of {70, 50}: stopped. 30 s: b reaches the top.
    searcher = Listed("abc")
    outcome = simulate(searcher, asha(), THREE, slots=2, seed=0)
    found = [(trial.knobs["name"], trial.state, trial.scores, trial.start, trial.end) for trial in outcome.trials]
    assert found == [
        ("a", "stopped", (50.0,), 0.0, 10.0),
        ("b", "completed", (70.0, 80.0), 0.0, 30.0),
        ("c", "stopped", (40.0,), 10.0, 14.0),
    ]
    assert searcher.calls == ["ask a", "ask b", "b 70", "end a", "ask c", "end c", "end b"]
    assert outcome.sentences == 100 + 200 + 100
    assert outcome.wall_seconds == 30.0
    assert outcome.busy_share == pytest.approx((10 + 30 + 4) / (2 * 30))
    assert outcome.history == ((400, 80.0),)


def test_on_one_slot_trials_follow_each_other_and_the_history_grows_with_the_best():
    outcome = simulate(Listed("abc"), FIFOScheduler(), THREE, slots=1, seed=0)
    assert [(trial.start, trial.end) for trial in outcome.trials] == [(0, 20), (20, 50), (50, 58)]
    assert outcome.busy_share == 1.0
    assert outcome.history == ((200, 60.0), (400, 80.0), (600, 90.0))
    assert [outcome.sentences_to(score) for score in (60.0, 60.1, 90.0, 90.1)] == [200, 400, 600, math.inf]


def test_no_more_trials_are_asked_than_wanted():
    searcher = Listed("abc")
    assert len(simulate(searcher, FIFOScheduler(), THREE, slots=2, seed=0, trials=2).trials) == 2
    assert searcher.names == ["c"]


FAILING = Table(a=Curve((50.0,), (10.0, 12.0), "diverged", 30), b=Curve((), (1.0,), "infeasible"))


def test_a_failure_is_reported_as_the_floor_at_the_next_rung():
    searcher = Listed("ab")
    outcome = simulate(searcher, FIFOScheduler(), FAILING, slots=1, seed=0)
    found = [(trial.state, trial.scores, trial.sentences, trial.end) for trial in outcome.trials]
    assert found == [("diverged", (50.0, FLOOR), 130, 12.0), ("infeasible", (FLOOR,), 0, 13.0)]
    assert outcome.best is None
    assert searcher.calls == ["ask a", "a 50", f"a {FLOOR:g}", "end a", "ask b", f"b {FLOOR:g}", "end b"]


def test_where_failures_raise_the_searcher_hears_of_an_error_and_of_no_score():
    searcher = Listed("ab")
    outcome = simulate(searcher, FIFOScheduler(), FAILING, slots=1, seed=0, raises=True)
    assert searcher.calls == ["ask a", "a 50", "error a", "ask b", "error b"]
    assert [trial.state for trial in outcome.trials] == ["diverged", "infeasible"]


def test_a_closing_sweep_asks_for_nothing_more_and_interrupts_what_runs():
    searcher, clock = Listed("abc"), Clock()
    outcome = simulate(
        searcher, FIFOScheduler(), THREE, slots=2, seed=0, clock=clock, closing=lambda: clock.now >= 20.0
    )
    # 20 s: a has reached the top; b, 10 s before its own, is interrupted; c is not asked.
    assert [(trial.state, trial.end) for trial in outcome.trials] == [("completed", 20.0), ("interrupted", 20.0)]
    assert searcher.names == ["c"]
