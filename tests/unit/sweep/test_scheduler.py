"""The scheduler's decisions, with Ray's own rules as the oracle, and what it must add to them."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from ray.tune.schedulers import AsyncHyperBandScheduler, MedianStoppingRule

from sweep.scheduler import RungScheduler, bracket_of
from sweep.trial_record import FLOOR, Trial
from tests.unit.sweep.specs import RUNGS, load, row

SPEC = """\
name: s
train: {optim: {batch_size: 16}, budget: {sentences: 256}}
search:
  optim.learning_rate: {low: 1e-5, high: 1e-2, log: true}
scheduler: {name: asha, grace: 64, reduction_factor: 2}
objective: {task: demo, split: dev}
trials: 4
"""


@dataclass(frozen=True)
class RayTrial:
    trial_id: str
    config: dict[str, Any] = field(compare=False)


def scheduler(tmp_path, *changes: str) -> RungScheduler:
    return RungScheduler(load(tmp_path, SPEC, *changes))


def report(ours: RungScheduler, number: int, index: int, score: float, failure: str | None = None) -> str:
    result = {"rung": RUNGS[index], "rung_index": index, "score": score, "failure": failure, "is_end": index == 2}
    return ours.on_trial_result(None, RayTrial(f"ray{number}", {"number": number}), result)


def add(ours: RungScheduler, *numbers: int) -> None:
    for number in numbers:
        ours.on_trial_add(None, RayTrial(f"ray{number}", {"number": number}))


def stream(seed: int, trials: int = 40) -> list[tuple[int, int, float]]:
    """Reports of trials in a random order, each trial's rungs ascending; scores with ties."""
    draw = random.Random(seed)
    waiting = [(number, 0) for number in range(trials)]
    found = []
    while waiting:
        number, index = waiting.pop(draw.randrange(min(4, len(waiting))))
        found.append((number, index, float(draw.randint(0, 12))))
        if index < 2:
            waiting.insert(0, (number, index + 1))
    return found


@pytest.mark.parametrize("seed", range(5))
def test_it_stops_what_rays_asha_stops(tmp_path, seed):
    ours = scheduler(tmp_path)
    rays = AsyncHyperBandScheduler(
        time_attr="rung", metric="score", mode="max", grace_period=64, reduction_factor=2, max_t=256
    )
    stopped: set[int] = set()
    for number, index, score in stream(seed):
        if number in stopped:
            continue
        trial = RayTrial(str(number), {"number": number})
        if index == 0:
            add(ours, number)
            rays.on_trial_add(None, trial)
        theirs = rays.on_trial_result(None, trial, {"rung": RUNGS[index], "score": score})
        if index == 2:
            assert theirs == "STOP", "Ray's word for the end, which a trial of ours reaches by itself"
            assert report(ours, number, index, score) == "CONTINUE"
            continue
        assert report(ours, number, index, score) == theirs
        if theirs == "STOP":
            stopped.add(number)
    assert stopped == ours.stopped
    assert 5 < len(stopped) < 40


@pytest.mark.parametrize("seed", range(3))
def test_it_stops_what_rays_median_rule_stops(tmp_path, seed):
    ours = scheduler(tmp_path, "scheduler.name=median")
    rays = MedianStoppingRule(time_attr="rung", metric="score", mode="max", grace_period=64)
    nobody_waits = type("Controller", (), {"get_live_trials": lambda self: []})()
    stopped: set[int] = set()
    for number, index, score in stream(seed):
        if number in stopped or index == 2:
            continue
        if index == 0:
            add(ours, number)
        trial = RayTrial(str(number), {"number": number})
        theirs = rays.on_trial_result(nobody_waits, trial, {"rung": RUNGS[index], "score": score})
        assert report(ours, number, index, score) == theirs
        if theirs == "STOP":
            stopped.add(number)
    assert stopped


def test_none_stops_nothing(tmp_path):
    ours = scheduler(tmp_path, "scheduler.name=none")
    for number, index, score in stream(0):
        if index == 0:
            add(ours, number)
        assert report(ours, number, index, score) == "CONTINUE"


@pytest.mark.parametrize("name", ["asha", "hyperband", "median"])
@pytest.mark.parametrize("cut", [10, 37, 60])
def test_replaying_the_rows_gives_the_decisions_that_would_have_come(tmp_path, name, cut):
    changes = (f"scheduler.name={name}", "scheduler.brackets=2")
    undisturbed = scheduler(tmp_path, *changes)
    reports = stream(1)
    rows: dict[int, list] = {}
    decided = []
    for time, (number, index, score) in enumerate(reports):
        add(undisturbed, number)
        if number in undisturbed.stopped:
            continue
        decided.append((time, number, index, score, report(undisturbed, number, index, score)))
    for time, number, index, score, _ in decided[:cut]:
        rows.setdefault(number, []).append(row(index, score, time=1000.0 + time))
    again = scheduler(tmp_path, *changes)
    trials = [Trial(number, {}, {}, tuple(each), "interrupted") for number, each in rows.items()]
    again.replay(trials)
    assert again.stopped == {number for _, number, _, _, decision in decided[:cut] if decision == "STOP"}
    for _, number, index, score, decision in decided[cut:]:
        add(again, number)
        assert report(again, number, index, score) == decision


def test_a_clock_that_was_set_back_loses_no_rung(tmp_path):
    """By their times alone each trial's second row would be replayed first, and its first be a late report."""
    scores = {0: (50.0, 60.0), 1: (51.0, 61.0), 2: (52.0, 62.0)}
    trials = [
        Trial(
            number, {}, {}, (row(0, first, time=5000.0 + number), row(1, second, time=1000.0 + number)), "interrupted"
        )
        for number, (first, second) in scores.items()
    ]
    again = scheduler(tmp_path)
    again.replay(trials)
    add(again, 3)
    assert report(again, 3, 0, 40.0) == "STOP", "three better ones were there"


@pytest.mark.parametrize("name", ["asha", "median"])
def test_a_trial_that_trained_on_after_its_last_row_was_let_go_on_whatever_a_replay_says(tmp_path, name):
    """Two rows wait together, the later one is heard first: to the driver it was the first of its rung."""
    again = {}
    for busy in (10.0, 60.0):
        first = Trial(0, {}, {}, (row(0, 60.0, time=1000.0),), "interrupted", busy_seconds=10.0)
        later = Trial(1, {}, {}, (row(0, 50.0, time=1000.1, busy_seconds=10.0),), "interrupted", busy_seconds=busy)
        others = [Trial(n, {}, {}, (row(0, 70.0, time=900.0),), "interrupted", busy_seconds=10.0) for n in (2, 3, 4)]
        again[busy] = scheduler(tmp_path, f"scheduler.name={name}")
        again[busy].replay([first, later, *others])
    assert 1 in again[10.0].stopped, "nothing says that it went on"
    assert 1 not in again[60.0].stopped, "it has written a checkpoint since"


def test_a_rung_that_is_reported_again_counts_once(tmp_path):
    ours = scheduler(tmp_path)
    add(ours, 0, 1, 2)
    report(ours, 0, 0, 50.0)
    for _ in range(5):  # its worker died and it continued from an older checkpoint
        assert report(ours, 0, 0, 50.0) == "CONTINUE"
    ours.on_trial_error(None, RayTrial("ray0", {"number": 0}))
    add(ours, 0)
    report(ours, 0, 0, 50.0)
    report(ours, 1, 0, 60.0)
    assert report(ours, 2, 0, 54.0) == "STOP", "below 55, the median of 50 and 60"


def test_a_tie_with_the_cutoff_goes_on(tmp_path):
    ours = scheduler(tmp_path)
    add(ours, *range(6))
    assert {report(ours, number, 0, 50.0) for number in range(6)} == {"CONTINUE"}


def test_what_had_no_memory_makes_no_room_for_another_but_what_diverged_counts(tmp_path):
    ours = scheduler(tmp_path)
    add(ours, *range(8))
    report(ours, 0, 0, 50.0)
    for number in range(1, 5):
        report(ours, number, 0, FLOOR, failure="infeasible")
    assert report(ours, 5, 0, 40.0) == "STOP"
    report(ours, 6, 0, FLOOR, failure="diverged")
    assert report(ours, 7, 0, 40.0) == "CONTINUE", "the median of 50, 40 and −100"


def test_a_report_without_its_axis_is_an_error_where_ray_would_go_on_for_ever(tmp_path):
    ours = scheduler(tmp_path)
    add(ours, 0)
    with pytest.raises(KeyError, match="rung"):
        ours.on_trial_result(None, RayTrial("ray0", {"number": 0}), {"rungs": 64, "score": 1.0})


def test_brackets_are_drawn_by_seed_and_number_with_rays_probabilities(tmp_path):
    spec = load(tmp_path, SPEC, "scheduler.name=hyperband", "scheduler.brackets=2", "sampler.seed=5")
    drawn = [bracket_of(spec, number) for number in range(3000)]
    assert drawn == [bracket_of(spec, number) for number in range(3000)]
    rays = AsyncHyperBandScheduler(
        time_attr="rung", metric="score", mode="max", grace_period=64, reduction_factor=2, max_t=256, brackets=2
    )
    sizes = np.array([len(bracket._rungs) for bracket in rays._brackets])
    expected = np.exp(sizes) / np.exp(sizes).sum()
    found = np.bincount(drawn, minlength=2) / 3000
    assert np.abs(found - expected).max() < 4 * np.sqrt(0.25 / 3000)


def test_a_later_bracket_lets_a_trial_past_the_first_rungs(tmp_path):
    changes = ("scheduler.name=hyperband", "scheduler.brackets=2")
    ours = scheduler(tmp_path, *changes)
    spec = load(tmp_path, SPEC, *changes)
    late = [number for number in range(40) if bracket_of(spec, number) == 1][:3]
    early = [number for number in range(40) if bracket_of(spec, number) == 0][:2]
    add(ours, *late, *early)
    assert [report(ours, number, 0, score) for number, score in zip(late, (9.0, 5.0, 1.0), strict=True)] == [
        "CONTINUE"
    ] * 3
    assert [report(ours, number, 1, score) for number, score in zip(late, (9.0, 5.0, 1.0), strict=True)] == [
        "CONTINUE",
        "STOP",
        "STOP",
    ]
    assert [report(ours, number, 0, score) for number, score in zip(early, (9.0, 5.0), strict=True)] == [
        "CONTINUE",
        "STOP",
    ]
