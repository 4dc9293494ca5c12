"""Rules over who proposes, who stops and when the sweep ends: what does not go together is refused, not passed over."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

from sweep.spec.distribution import Range
from sweep.spec.fields import Findings, show
from sweep.spec.sections import NAME_PATTERN, Stop

if TYPE_CHECKING:
    from sweep.spec.sweep_spec import SweepSpec

MOST_MILESTONES = 20
"""Milestones on the axis of seconds, where nobody knows how long a trial takes: 4¹⁹ seconds are 8,700 years."""
_LONGEST_TRIAL_S = 24 * 3600
_BUDGET = ("train", "budget", "sentences")
_NAME, _AGAINST = ("sampler", "name"), ("objective", "against")
_LEARNING = ("tpe", "gp")
"""Samplers that learn from trials that they did not propose. NSGA-II breeds from trials that carry its own generation
number alone (optuna/samplers/_ga/_base.py), CMA-ES updates from its own populations (optuna/samplers/_cmaes.py)."""


def apply_strategy_rules(spec: SweepSpec, rungs_below: int | None, findings: Findings) -> None:
    """Add what is wrong to `findings`.

    Args:
        rungs_below: How many rungs lie below the budget; None where they are too many, which is told already.
    """
    _grace(spec, findings)
    _last_milestone(spec, findings)
    if rungs_below is not None:
        _brackets(spec, rungs_below, findings)
    _numbers(spec, findings)
    _warm_start(spec, findings)
    _two_objectives(spec, findings)
    _stop(spec, findings)


def _grace(spec: SweepSpec, findings: Findings) -> None:
    path = ("scheduler", "grace")
    if not findings.intact(("scheduler", "name"), ("scheduler", "axis"), path, _BUDGET):
        return
    scheduler, budget = spec.scheduler, spec.train.budget.sentences
    counted = scheduler.axis == "sentences"
    what = (
        f"sentences before the first rung, 1 to {budget - 1}"
        if counted
        else "seconds of training before the first rung"
    )
    if scheduler.grace is None:
        if scheduler.name != "none":
            findings.add(path, f"missing; give the {what}")
    elif counted and isinstance(scheduler.grace, float):
        findings.add(path, f"{scheduler.grace} is not allowed; give whole {what}")
    elif counted and scheduler.grace >= budget:
        findings.add(path, f"{scheduler.grace} is not below budget.sentences, {budget}; give 1 to {budget - 1}")


def _last_milestone(spec: SweepSpec, findings: Findings) -> None:
    """On the axis of seconds: the milestones must reach as far as a trial may last, which nobody knows."""
    scheduler = spec.scheduler
    if scheduler.axis != "seconds" or scheduler.grace is None or not findings.intact(("scheduler",)):
        return
    last = scheduler.grace * scheduler.reduction_factor ** (MOST_MILESTONES - 1)
    if last < _LONGEST_TRIAL_S:
        fitting = math.ceil(100 * (_LONGEST_TRIAL_S / scheduler.grace) ** (1 / (MOST_MILESTONES - 1))) / 100
        message = (
            f"{scheduler.reduction_factor:g} puts the last of {MOST_MILESTONES} milestones at {last:,.0f} s of training"
        )
        findings.add(
            ("scheduler", "reduction_factor"), f"{message}, and a trial may last a day; give {fitting:g} or more"
        )


def _brackets(spec: SweepSpec, rungs_below: int, findings: Findings) -> None:
    brackets = spec.scheduler.brackets
    if spec.scheduler.name == "hyperband" and brackets > rungs_below and findings.intact(("scheduler",), _BUDGET):
        are = "is" if rungs_below == 1 else "are"
        message = f"{brackets} brackets need as many rungs below the budget, and there {are} {rungs_below}"
        findings.add(("scheduler", "brackets"), f"{message}; give at most that, a lower grace or a smaller factor")


def _numbers(spec: SweepSpec, findings: Findings) -> None:
    if spec.sampler.name != "cmaes" or not findings.intact(_NAME, ("search",)):
        return
    if not any(isinstance(given, Range) for grid in spec.grids for given in grid.values()):
        message = "cmaes varies numbers in a range and search has none; give one {low: …, high: …}, or another sampler"
        findings.add(_NAME, message)


def _warm_start(spec: SweepSpec, findings: Findings) -> None:
    names, path = spec.sampler.warm_start, ("sampler", "warm_start")
    if not names or not findings.intact(path):
        return
    if findings.intact(_NAME) and spec.sampler.name not in _LEARNING:
        message = f"{spec.sampler.name} learns from no trial that it did not propose"
        findings.add(path, f"{message}; leave warm_start out, or take {' or '.join(_LEARNING)}")
    for place, name in enumerate(names):
        here = (*path, place)
        if not re.fullmatch(NAME_PATTERN, name):
            findings.add(here, f"{show(name)} is no name of a sweep; give one like {NAME_PATTERN.strip('^$')}")
        elif name in names[:place]:
            findings.add(here, f"{show(name)} is listed twice; each sweep once")


def _two_objectives(spec: SweepSpec, findings: Findings) -> None:
    if spec.objective.against is None or not findings.intact(_AGAINST):
        return
    if spec.sampler.name == "cmaes" and findings.intact(_NAME):
        findings.add(
            _NAME, "cmaes knows one objective; with objective.against take tpe, nsga2, gp, random, qmc or grid"
        )
    if spec.scheduler.name != "none" and findings.intact(("scheduler", "name")):
        # A trial that trails in one objective may lead in the other; optuna's Trial.report raises for such a study.
        message = f"{spec.scheduler.name} stops by one score, and there are two objectives"
        findings.add(("scheduler", "name"), f"{message}; give none, or leave objective.against out")
    if spec.stop.plateau_trials is not None and findings.intact(("stop", "plateau_trials")):
        message = "a plateau is of one score, and a trial below the best may be on the front"
        findings.add(("stop", "plateau_trials"), f"{message}; leave it out, or objective.against")
    if spec.sampler.warm_start and findings.intact(("sampler", "warm_start")):
        message = "earlier trials know one score, and there are two objectives"
        findings.add(("sampler", "warm_start"), f"{message}; leave it out, or objective.against")


def _stop(spec: SweepSpec, findings: Findings) -> None:
    stop, priced = spec.stop, ("resources", "cost_per_hour")
    unpriced = stop.cost is not None and spec.resources.cost_per_hour is None
    if unpriced and findings.intact(("stop", "cost"), priced):
        findings.add(("stop", "cost"), "needs resources.cost_per_hour, what an hour of one trial costs")
    usual = Stop.model_fields["plateau_gain"].default
    if stop.plateau_gain != usual and stop.plateau_trials is None and findings.intact(("stop",)):
        findings.add(
            ("stop", "plateau_gain"),
            f"needs stop.plateau_trials, the trials without such a gain; give that too, or {usual:g}, the default",
        )
