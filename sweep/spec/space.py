"""A spec's search as Optuna distributions, as the points of a grid, and each trial's configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from model.config import TrainConfig
from sweep.spec.conditions import Conditions, active_knobs, conditions_of, parents_first
from sweep.spec.distribution import Choices, Distribution, each_value
from sweep.spec.knobs import is_whole
from sweep.spec.search import points
from sweep.spec.sections import Sampler, Stop

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

    from sweep.spec.sweep_spec import SweepSpec


def distributions(spec: SweepSpec) -> dict[str, BaseDistribution]:
    """Knob → Optuna distribution, under the same names and in the order of the file, but each after its parents.

    Under `grid` a knob's categories are the values that it has at the points, its value in `train` among them where a
    mapping leaves it alone.
    """
    from optuna.distributions import CategoricalDistribution

    if spec.sampler.name == "grid":
        found = grid_points(spec)
        return {
            knob: CategoricalDistribution(tuple(dict.fromkeys(point[knob] for point in found)))
            for knob in spec.searched
        }
    return {knob: _distribution(knob, spec.grids[0][knob]) for knob in parents_first(spec.grids[0])}


def _distribution(knob: str, given: Distribution) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(given, Choices):
        return CategoricalDistribution(given.choices)
    if is_whole(knob):
        step = 1 if given.step is None else int(given.step)
        return IntDistribution(int(given.low), int(given.high), log=given.log, step=step)
    return FloatDistribution(given.low, given.high, log=given.log, step=given.step)


def conditions(spec: SweepSpec) -> Conditions:
    """Knob → parent → the parent's values at which the knob is asked; only knobs with a condition.

    None under `grid`: its points have a value for every knob.
    """
    return {} if spec.sampler.name == "grid" else conditions_of(spec.grids[0])


def active(spec: SweepSpec, values: Mapping[str, Any]) -> tuple[str, ...]:
    """The searched knobs that are asked at these values, parents first.

    A parent that is not asked, or has no value yet, asks none of its children.
    """
    return spec.searched if spec.sampler.name == "grid" else active_knobs(spec.grids[0], values)


def start_points(spec: SweepSpec) -> list[dict[str, Any]]:
    """The points to try first, in the order of the file; `load_spec` has checked them against the search."""
    return [dict(point) for point in spec.points]


def grid_points(spec: SweepSpec) -> list[dict[str, Any]]:
    """Every point of a grid in the order of the file, each with a value for every searched knob, none twice."""
    return points(spec.grids, spec.train)


def trial_config(spec: SweepSpec, point: Mapping[str, Any]) -> TrainConfig:
    """The configuration of one trial: `train` with the point's values. The seed stays that of `train`.

    Raises:
        pydantic.ValidationError: the point breaks a rule over several knobs that no single value breaks.
    """
    return spec.train.replace(point)


def one_run(spec: SweepSpec, config: TrainConfig) -> SweepSpec:
    """A sweep of this one configuration: nothing is searched, so nothing of a search is left; it loads again."""
    alone = {"search": {}, "points": (), "sampler": Sampler(name="random"), "stop": Stop(), "trials": 1}
    return spec.model_copy(update={"train": config, **alone})


def first_config(spec: SweepSpec) -> TrainConfig:
    """`train` with the first choice, or the upper bound, of each searched knob: what the whole sweep prepares for.

    `encoder.name` itself may be searched, and its default in `train` need not be there. A searched weight is above 0.
    """
    first = {}
    for knob in spec.searched:
        values = list(each_value(spec.grids, knob, spec.train.flatten()[knob]))
        first[knob] = max(values) if knob.endswith("_weight") else values[0]
    try:
        return spec.train.replace(first)
    except ValidationError:  # the first values do not go together; some others do
        names = ("encoder.name", "teacher.name")
        return spec.train.replace({knob: value for knob, value in first.items() if knob in names})


def trial_count(spec: SweepSpec) -> int:
    """How many trials the sweep has."""
    if spec.sampler.name == "grid":
        return len(grid_points(spec))
    assert spec.trials is not None, "load_spec refuses a spec without trials unless it is a grid"
    return spec.trials
