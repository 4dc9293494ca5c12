"""How many trials get how far: what the rule of each scheduler lets one expect before anything has run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sweep.spec.sweep_spec import SweepSpec


def reaching(spec: SweepSpec, trials: int, rungs: int) -> tuple[float | None, ...]:
    """Trials expected at each rung, the last of which is the budget's end.

    ASHA lets one trial in `reduction_factor` go on from each rung; HyperBand does so with those of bracket s from rung
    s on. They wait for no other trial of a rung, so the early ones pass more easily and the truth lies above. How many
    `median` stops depends on the scores: None.

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
    kept = (
        sum(share / scheduler.reduction_factor ** max(0, rung - first) for first, share in enumerate(shares))
        for rung in range(rungs)
    )
    return tuple(max(1.0, trials * share) for share in kept)  # the first trial at a rung always goes on


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
