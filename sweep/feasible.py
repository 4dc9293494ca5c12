"""Where a search space gives no score: a point close to one that had none is proposed last.

TPE ranks a trial without a score below all others and still proposes its like: the best points often lie beside a
region without memory, and the density of the good ones reaches over its edge. Close means nearer than every point with
a score, and near at all: a failure far off says nothing of a region that nobody has tried (a rule by the nearest
neighbour alone locked a whole pooling out after two failures at large batches).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution


class Feasible:
    """The ended trials of a sweep as points with or without a score.

    Args:
        space: knob → distribution.
        fewest: ended trials before it says anything.
    """

    def __init__(self, space: Mapping[str, BaseDistribution], fewest: int) -> None:
        self._space, self._fewest = space, fewest
        self._is_choice = np.array([isinstance(each, CategoricalDistribution) for each in space.values()], dtype=bool)
        # Half the mean squared distance of two random points, 1/6 a number; points of other choices are never near.
        self._radius = np.count_nonzero(~self._is_choice) / 12
        self._points = {True: _Points(len(space)), False: _Points(len(space))}

    def add(self, point: Mapping[str, Any], *, has_score: bool) -> None:
        """An ended trial."""
        self._points[has_score].add(self._place(point))

    def __call__(self, point: Mapping[str, Any]) -> bool:
        """Whether no point without a score is near, and nearer than every point with one."""
        scored, failed = self._points[True], self._points[False]
        if len(scored) + len(failed) < self._fewest:
            return True
        place = self._place(point)
        nearest = failed.nearest(place, self._is_choice)
        return nearest > self._radius or nearest >= scored.nearest(place, self._is_choice)

    def _place(self, point: Mapping[str, Any]) -> np.ndarray:
        """[D]: a number's place between its bounds, 0 to 1, on its own scale; a choice's index; −1 where not asked."""
        return np.array([-1.0 if knob not in point else _unit(each, point[knob]) for knob, each in self._space.items()])


class _Points:
    """A growing [N, D] array."""

    def __init__(self, width: int) -> None:
        self._places = np.empty((64, width))
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, place: np.ndarray) -> None:
        if self._count == len(self._places):
            self._places = np.concatenate([self._places, np.empty_like(self._places)])
        self._places[self._count] = place
        self._count += 1

    def nearest(self, place: np.ndarray, is_choice: np.ndarray) -> float:
        """Least squared distance; knobs that differ in choice, or that only one point has, are 1 apart."""
        if not self._count:
            return math.inf
        others = self._places[: self._count]
        apart = np.where(is_choice | (others < 0) | (place < 0), others != place, (others - place) ** 2)
        return float(apart.sum(axis=1).min())


def _unit(distribution: BaseDistribution, value: Any) -> float:
    if isinstance(distribution, CategoricalDistribution):
        return distribution.to_internal_repr(value)
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    scale = math.log if distribution.log else float
    low, high = scale(distribution.low), scale(distribution.high)
    return (scale(value) - low) / (high - low) if high > low else 0.0
