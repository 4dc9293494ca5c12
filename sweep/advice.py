"""What a person should know of a sampler with this space and this scheduler, and is no mistake.

Read in the source of Optuna 5.0 (optuna/samplers: `_cmaes.py`, `_gp/sampler.py`, `nsgaii/_sampler.py`,
`_ga/_base.py`): CMA-ES models numbers only; CMA-ES, GP and NSGA-II model knobs that every trial has, and read the
scores of complete trials alone. TPE learns from stopped trials too; the quasi-random sequence learns nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from sweep.forecast import said_count
from sweep.spec.conditions import active_knobs, parents_first
from sweep.spec.distribution import Choices, Distribution, Grid, ends
from sweep.spec.knobs import is_whole

if TYPE_CHECKING:
    from sweep.spec.sweep_spec import SweepSpec

_COMPLETE_ONLY = ("gp", "cmaes", "nsga2")
_STARTUP = ("tpe", "gp", "cmaes")
_GENERATION = 50
"""Trials of NSGA-II's first generation, which is random; Optuna's default."""


def advice(spec: SweepSpec, trials: int, finishing: float | None) -> Iterator[str]:
    """Notes on the sampler, each one sentence.

    Args:
        spec: Sampler, scheduler and search are read.
        trials: Of the sweep.
        finishing: Trials expected to reach the end of the budget; None when that depends on the scores.
    """
    yield from _repeated(spec, trials)
    yield from _unmodelled(spec)
    yield from _unlearnt(spec, trials, finishing)


def _repeated(spec: SweepSpec, trials: int) -> Iterator[str]:
    if spec.sampler.name == "grid":
        return
    count = _count_points(spec.grids[0])
    if count is not None and count < trials:
        yield f"trials, {trials}, are more than the points of the search, {count}: some come again (grid: each once)"


def _count_points(search: Grid) -> int | None:
    """How many points the search has; None when they are not finite.

    Only the knobs that others wait for are tried value by value: at each, the numbers of values of the rest multiply.
    """
    sizes = {knob: size for knob, given in search.items() if (size := _size(knob, given)) is not None}
    if len(sizes) < len(search):
        return None
    parents = {parent for given in search.values() for parent in given.when or ()}
    points: list[dict[str, Any]] = [{}]
    for knob in parents_first(search):
        if knob in parents:
            asked = ((point, knob in active_knobs(search, point)) for point in points)
            points = [
                point | each
                for point, is_asked in asked
                for each in ([{knob: value} for _, value in ends(search[knob])] if is_asked else [{}])
            ]
    return sum(
        math.prod(sizes[knob] for knob in active_knobs(search, point) if knob not in parents) for point in points
    )


def _size(knob: str, given: Distribution) -> int | None:
    """How many values a knob has; None when they are not finite."""
    if isinstance(given, Choices):
        return len(given.choices)
    if given.step is None and not is_whole(knob):
        return None
    return round((given.high - given.low) / (given.step or 1)) + 1


def _unmodelled(spec: SweepSpec) -> Iterator[str]:
    name, searched = spec.sampler.name, spec.grids[0]
    if name == "cmaes" and (chosen := [knob for knob, given in searched.items() if isinstance(given, Choices)]):
        yield f"cmaes models numbers only: {', '.join(chosen)} {_are(chosen)} drawn at random (tpe models choices too)"
    if name in _COMPLETE_ONLY and (asked := [knob for knob, given in searched.items() if given.when]):
        yield f"{name} models no knob with `when`: {', '.join(asked)} {_are(asked)} drawn at random (tpe models them)"


def _unlearnt(spec: SweepSpec, trials: int, finishing: float | None) -> Iterator[str]:
    name, startup = spec.sampler.name, spec.sampler.startup_trials
    stops = spec.scheduler.name != "none"
    if name in _COMPLETE_ONLY and stops:
        count = "" if finishing is None else f", about {said_count(finishing)} of {trials:,}"
        yield f"{name} learns nothing from trials that {spec.scheduler.name} stops: only those that finish count{count}"
    counted = finishing if stops and name in _COMPLETE_ONLY else trials
    first = startup if name in _STARTUP else _GENERATION if name == "nsga2" else 0
    if first and counted is not None and counted <= first and not spec.sampler.warm_start:
        why = "sampler.startup_trials" if name in _STARTUP else "nsga2's first generation"
        count = f"about {said_count(counted)} count here"
        yield f"{name} learns from {first} trials on ({why}) and {count}: all are random draws"


def _are(knobs: list[str]) -> str:
    return "is" if len(knobs) == 1 else "are"
