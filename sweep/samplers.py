"""Optuna's samplers as one: every proposal is a function of the seed, the trial's number and what has been told.

Three things are added to what Optuna's own samplers do:

- A sampler is made anew for each trial, seeded by (seed, number). So a sweep that was killed and resumed proposes what
  an undisturbed one would have proposed; Optuna keeps its random state in memory alone.
- Conditional knobs: first the knobs that are always asked are sampled together, then, level by level, those that the
  sampled values call for.
- A point that the sweep has had is not taken, for training is deterministic: the same point has the same score. Nor is
  a point close to one that had no score at all (`sweep.feasible`). TPE takes the best of its candidates that may
  be taken; the others are asked again.
"""

from __future__ import annotations

import itertools
import json
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler

from sweep.spec.space import active, distributions

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial, TrialState

    from sweep.spec.sweep_spec import SweepSpec

_UNCONDITIONAL = ("gp", "cmaes", "nsga2")
_TRIES = 10
_GP_TRIES = 2
"""A Gaussian process is costly to ask, and has one best point."""
_RANDOM_TRIES = 100
"""Then the points that are left are listed; where there is none, one comes twice."""

Point = Mapping[str, Any]


def point_key(point: Point) -> str:
    """A text that is equal for equal points."""
    return json.dumps(point, sort_keys=True)


class PointSampler(BaseSampler):
    """Samples whole points of a spec's search space, with the sampler that the spec names.

    Args:
        spec: search space, sampler, seed.
        seen: `point_key` of every point that the sweep has had; the caller adds to it.
        is_feasible: whether a point may have a score; asked while there are others to try.
    """

    def __init__(self, spec: SweepSpec, seen: set[str], is_feasible: Callable[[Point], bool]) -> None:
        warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)  # of the QMC sampler
        self._spec, self._seen, self._is_feasible = spec, seen, is_feasible
        self._all = distributions(spec)
        self._space = {name: each for name, each in self._all.items() if not each.single()}

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """The whole space: it is known from the spec. Optuna would look through all trials for it, at every trial."""
        return self._space

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """A point that the sweep has not had: every knob that is active at it, and no other.

        After some tries with the sampler, a point that may have no score is taken too: at random, for it may be one.
        """
        seed = int(np.random.SeedSequence([self._spec.sampler.seed, trial.number]).generate_state(1)[0])
        model, chance = _inner(self._spec, seed), optuna.samplers.RandomSampler(seed=seed)
        point: dict[str, Any] = {}
        tries = _GP_TRIES if self._spec.sampler.name == "gp" else _TRIES
        for attempt in range(tries + _RANDOM_TRIES):
            point = self._draw(study, trial, model if attempt < tries else chance)
            if point_key(point) not in self._seen and (attempt >= tries or self._is_feasible(point)):
                break
        else:
            fixed = trial.system_attrs.get("fixed_params", {})
            rest = [each for each in self._every_point(fixed) if point_key(each) not in self._seen]
            point = rest[seed % len(rest)] if rest else point
        return {name: value for name, value in point.items() if name in self._space}

    def _every_point(self, known: Point) -> Iterator[dict[str, Any]]:
        """All points with these values. To be asked when so many draws gave none that is new: they are few, then."""
        point = {name: known[name] for name in active(self._spec, known) if name in known}
        block = [name for name in active(self._spec, point) if name not in point]
        if not block:
            yield point
        for values in itertools.product(*(_values(self._all[name]) for name in block)) if block else ():
            yield from self._every_point({**known, **dict(zip(block, values, strict=True))})

    def _may_be_taken(self, known: Point, candidate: Mapping[str, float]) -> bool:
        """Whether a candidate of TPE, in Optuna's internal representation, makes a new point that may have a score."""
        values = {name: self._space[name].to_external_repr(value) for name, value in candidate.items()}
        point = {**known, **{name: _on_step(self._space[name], value) for name, value in values.items()}}
        return point_key(point) not in self._seen and self._is_feasible(point)

    def _draw(self, study: Study, trial: FrozenTrial, sampler: BaseSampler) -> dict[str, Any]:
        fixed = trial.system_attrs.get("fixed_params", {})
        point: dict[str, Any] = {}
        drawn: dict[str, Any] = {}
        while block := [name for name in active(self._spec, point) if name not in point]:
            is_first = not point
            free = {name: self._space[name] for name in block if name in self._space and name not in fixed}
            point |= {name: fixed.get(name, _only_value(self._all[name])) for name in block if name not in free}
            if isinstance(sampler, _ChoosyTPE):
                sampler.may_be_taken = partial(self._may_be_taken, dict(point))
            drawn |= sampler.sample_relative(study, trial, self._modelled(free, fixed, is_first=is_first))
            for name in free:
                if name not in drawn:
                    drawn[name] = sampler.sample_independent(study, trial, name, free[name])
            point |= {name: _on_step(free[name], drawn[name]) for name in free}
        return point

    def _modelled(
        self, block: dict[str, BaseDistribution], fixed: Point, *, is_first: bool
    ) -> dict[str, BaseDistribution]:
        """What the sampler models jointly of a block; the rest is drawn knob by knob.

        GP, CMA-ES and NSGA-II model what every past trial has, so no conditional knob; CMA-ES knows numbers only. QMC
        draws all knobs at once, also those that turn out not to be asked: a sequence of its own for every block would
        repeat the coordinates of the first, and the points lie on a diagonal.
        """
        name = self._spec.sampler.name
        if name in (*_UNCONDITIONAL, "qmc") and not is_first:
            return {}
        if name == "qmc":
            return {name: each for name, each in self._space.items() if name not in fixed}
        if name != "cmaes":
            return block
        return {name: each for name, each in block.items() if not isinstance(each, CategoricalDistribution)}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        raise AssertionError(f"{param_name} is asked and was not sampled: it is not active at this point")

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Any) -> None:
        """Nothing: constraints are set by the bridge."""


class _ChoosyTPE(optuna.samplers.TPESampler):
    """TPE that takes the best candidate that may be taken, of the 24 it draws and ranks for every proposal.

    To ask it again instead would repeat all the rest of its work, which grows with the trials: at 5,000 trials beside
    a region without memory that was three times the work of one proposal.
    """

    may_be_taken: Callable[[dict[str, float]], bool]

    def _compute_acquisition_func(self, samples: dict[str, np.ndarray], mpe_below: Any, mpe_above: Any) -> np.ndarray:
        ranked: np.ndarray = super()._compute_acquisition_func(samples, mpe_below, mpe_above)
        for place in np.argsort(-ranked, kind="stable"):
            if self.may_be_taken({name: values[place].item() for name, values in samples.items()}):
                break
            ranked[place] = -np.inf
        return ranked


def _values(distribution: BaseDistribution) -> Sequence[Any]:
    """All values; of a continuous one none, for it is never exhausted."""
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    if distribution.step is None:
        return ()
    count = round((distribution.high - distribution.low) / distribution.step) + 1
    return [_on_step(distribution, distribution.low + place * distribution.step) for place in range(count)]


def _on_step(distribution: BaseDistribution, value: Any) -> Any:
    """A value of a stepped knob as one would write it: 0.15, where Optuna computes 0.15000000000000002.

    Two spellings would be two points to all who compare them, and training the same.
    """
    if not isinstance(distribution, FloatDistribution) or distribution.step is None:
        return value
    low, step = Fraction(str(distribution.low)), Fraction(str(distribution.step))
    return float(low + round((Fraction(value) - low) / step) * step)


def _only_value(distribution: BaseDistribution) -> Any:
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[0]
    return distribution.low  # type: ignore[attr-defined]


def _inner(spec: SweepSpec, seed: int) -> BaseSampler:
    name, startup = spec.sampler.name, spec.sampler.startup_trials
    if name == "tpe":
        return _ChoosyTPE(n_startup_trials=startup, seed=seed)
    if name == "gp":
        return optuna.samplers.GPSampler(n_startup_trials=startup, seed=seed, warn_independent_sampling=False)
    if name == "cmaes":
        return optuna.samplers.CmaEsSampler(n_startup_trials=startup, seed=seed, warn_independent_sampling=False)
    if name == "nsga2":
        return optuna.samplers.NSGAIISampler(seed=seed)
    if name == "qmc":  # one sequence over all trials: scrambled by the sweep's seed alone
        return optuna.samplers.QMCSampler(seed=spec.sampler.seed, scramble=True, warn_independent_sampling=False)
    return optuna.samplers.RandomSampler(seed=seed)  # also under `grid`, whose points are all enqueued
