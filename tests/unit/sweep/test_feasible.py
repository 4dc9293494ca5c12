"""A point beside one that had no score is not feasible; the oracle is a loop over all points."""

from __future__ import annotations

import math
import random

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from sweep.feasible import Feasible

SPACE = {
    "lr": FloatDistribution(1e-5, 1e-1, log=True),
    "batch": IntDistribution(16, 256),
    "pooling": CategoricalDistribution(("cls", "avg", None)),
}


def near(point: dict) -> float:
    """Half of what two random points are apart, squared: 1/6 a number that is asked."""
    return sum(knob in point for knob in ("lr", "batch")) / 12


def apart(one: dict, other: dict) -> float:
    total = 0.0
    for knob in SPACE:
        if (knob in one) != (knob in other):
            total += 1
        elif knob not in one:
            continue
        elif knob == "pooling":
            total += one[knob] != other[knob]
        elif knob == "lr":
            total += ((math.log10(one[knob]) - math.log10(other[knob])) / 4) ** 2
        else:
            total += ((one[knob] - other[knob]) / 240) ** 2
    return total


def some_point(draw: random.Random) -> dict:
    point = {"lr": 10 ** draw.uniform(-5, -1), "pooling": draw.choice(["cls", "avg", None])}
    if draw.random() < 0.7:
        point["batch"] = draw.randint(16, 256)
    return point


@pytest.mark.parametrize("seed", range(3))
def test_it_says_what_the_nearest_neighbour_says(seed):
    draw = random.Random(seed)
    feasible, known = Feasible(SPACE, fewest=10), []
    for _ in range(200):
        point = some_point(draw)
        if len(known) >= 10:
            distance, has_score = min((apart(point, other), has_score) for other, has_score in known)
            assert feasible(point) == (has_score or distance > near(point))
        has_score = point.get("batch", 0) < 150
        feasible.add(point, has_score=has_score)
        known.append((point, has_score))
    assert {has_score for _, has_score in known} == {True, False}


def test_a_failure_far_off_says_nothing_of_a_region_that_nobody_has_tried():
    feasible = Feasible(SPACE, fewest=2)
    for batch in (200, 250):
        feasible.add({"lr": 1e-3, "batch": batch, "pooling": "avg"}, has_score=False)
    feasible.add({"lr": 1e-3, "batch": 30, "pooling": "cls"}, has_score=True)
    assert not feasible({"lr": 1e-3, "batch": 240, "pooling": "avg"})
    assert feasible({"lr": 1e-3, "batch": 30, "pooling": "avg"})


def test_a_failure_is_near_in_the_numbers_that_are_asked_there():
    """Of eight numbers one: near is what is closer than √(1/12) = 0.289 of its range."""
    space = SPACE | {f"other{place}": FloatDistribution(0, 1) for place in range(6)}
    one = Feasible(space, fewest=1)
    one.add({"lr": 1e-3, "pooling": "cls"}, has_score=False)
    assert not one({"lr": 10 ** (-3 + 4 * 0.28), "pooling": "cls"})
    assert one({"lr": 10 ** (-3 + 4 * 0.30), "pooling": "cls"})


def test_before_so_many_trials_everything_is_feasible():
    feasible = Feasible(SPACE, fewest=3)
    point = {"lr": 1e-3, "pooling": "cls"}
    feasible.add(point, has_score=False)
    feasible.add(point, has_score=False)
    assert feasible(point)
    feasible.add(point, has_score=False)
    assert not feasible(point)


def test_a_point_that_had_a_score_once_stays_feasible():
    feasible = Feasible(SPACE, fewest=2)
    point = {"lr": 1e-3, "pooling": "cls"}
    feasible.add(point, has_score=True)
    feasible.add(point, has_score=False)
    assert feasible(point)
