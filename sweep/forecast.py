"""How many trials get how far: the scheduler's own rule, run on random scores before anything has run."""

from __future__ import annotations

import math
from bisect import insort
from collections.abc import Sequence
from random import Random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sweep.spec.sweep_spec import SweepSpec

_VISITS, _FEWEST_REPEATS = 20_000, 20
"""The sweep is repeated until its trials have come to so many rungs together, and at least so often."""
_MOST_VISITS = 25_000
"""Trials × rungs of one repeat at most. Of a longer sweep the beginning is run, and goes on as its second half went,
not as all of it: fewer pass from thousand to thousand, since a rung keeps the low scores of its first trials."""


def reaching(spec: SweepSpec, trials: int, rungs: int) -> tuple[float | None, ...]:
    """Trials expected at each rung, the last of which is the budget's end.

    The mean of repeated sweeps of random scores (`passing`). More trials pass where a sampler learns, whose scores
    rise. How many `median` stops depends on the scores: None.

    Args:
        spec: The scheduler is read.
        trials: Of the sweep.
        rungs: How many rungs, with the end.
    """
    scheduler = spec.scheduler
    if scheduler.name == "none" or rungs == 1:
        return (float(trials),) * rungs
    if scheduler.name == "median":
        return (float(trials), *(None,) * (rungs - 1))
    shares = bracket_shares(scheduler.brackets if scheduler.name == "hyperband" else 1)
    factor, each = scheduler.reduction_factor, max(1, min(trials, _MOST_VISITS // rungs))
    half = each // 2
    beyond = (trials - each) / (each - half)
    random, totals, visits, repeats = Random(0), [0.0] * rungs, 0, 0
    while repeats < _FEWEST_REPEATS or visits < _VISITS:
        scores = [random.random() for _ in range(each)]
        brackets = random.choices(range(len(shares)), shares, k=each)
        whole = passing(scores, brackets, factor, rungs)
        first = passing(scores[:half], brackets[:half], factor, rungs) if beyond else whole
        for rung in range(rungs):
            totals[rung] += whole[rung] + (whole[rung] - first[rung]) * beyond
        visits, repeats = visits + sum(whole), repeats + 1
    return tuple(total / repeats for total in totals)


def said_count(count: float) -> str:
    """An expected count, which may be a fraction, for a person: `2.31`, `25`, `1,000`."""
    return f"{count:,.0f}" if count >= 100 else f"{count:.3g}"


def passing(scores: Sequence[float], brackets: Sequence[int], factor: float, rungs: int) -> list[int]:
    """How many trials come to each rung, the last of which is the budget's end, when they run one after the other.

    At a rung a trial goes on when its score is not below the (1 - 1/factor) quantile of the scores that its bracket
    recorded there before; the first goes on (`_Bracket.on_result` of ray.tune.schedulers.async_hyperband). A trial has
    one score for all its rungs: halving supposes that early scores rank the trials as late ones do.

    Args:
        scores: Of each trial.
        brackets: Of each trial: how many of the first rungs it passes by unjudged.
        factor: The scheduler's `reduction_factor`.
        rungs: How many rungs, with the end.
    """
    recorded: dict[tuple[int, int], list[float]] = {}
    counts = [0] * rungs
    for score, bracket in zip(scores, brackets, strict=True):
        for rung in range(rungs):
            counts[rung] += 1
            if bracket <= rung < rungs - 1:
                before = recorded.setdefault((bracket, rung), [])
                goes_on = not before or score >= _quantile(before, 1 - 1 / factor)
                insort(before, score)
                if not goes_on:
                    break
    return counts


def _quantile(ascending: Sequence[float], share: float) -> float:
    """As `np.percentile`, which takes thirty times as long."""
    below, part = divmod(share * (len(ascending) - 1), 1)
    low, high = ascending[int(below)], ascending[min(int(below) + 1, len(ascending) - 1)]
    return low + part * (high - low)


def bracket_shares(brackets: int) -> tuple[float, ...]:
    """The share of the trials in each HyperBand bracket: ∝ e^(its rungs), each bracket having one less than the last.

    (`AsyncHyperBandScheduler.on_trial_add` of ray.tune.schedulers.async_hyperband.)
    """
    weights = [math.exp(-bracket) for bracket in range(brackets)]
    return tuple(weight / sum(weights) for weight in weights)


def expected_total(ends: Sequence[float], trials: Sequence[float | None]) -> float | None:
    """All that the trials pass together, in the unit of `ends`; None when not every count is known.

    Args:
        ends: Where the rungs are, ascending.
        trials: How many trials run up to each.
    """
    starts = (0, *ends[:-1])
    parts = [
        None if count is None else (end - start) * count for start, end, count in zip(starts, ends, trials, strict=True)
    ]
    known = [part for part in parts if part is not None]
    return sum(known) if len(known) == len(parts) else None
