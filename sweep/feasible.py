"""Where a search space gives no score: a point close to one that had none is proposed last.

TPE ranks a trial without a score below all others and still proposes its like: the best points often lie beside a
region without memory, and the density of the good ones reaches over its edge. Close means nearer than every point with
a score, and near at all: a failure far off says nothing of a region that nobody has tried (a rule by the nearest
neighbour alone locked a whole pooling out after two failures at large batches).
"""

from __future__ import annotations

import math
from collections import defaultdict
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
        self._numbers = {name: each for name, each in space.items() if not isinstance(each, CategoricalDistribution)}
        self._count = 0
        self._scored: defaultdict[Any, _Places] = defaultdict(_Places)
        self._failed: defaultdict[Any, _Places] = defaultdict(_Places)

    def add(self, point: Mapping[str, Any], *, has_score: bool) -> None:
        """An ended trial."""
        self._count += 1
        (self._scored if has_score else self._failed)[self._kind(point)].add(self._place(point))

    def __call__(self, point: Mapping[str, Any]) -> bool:
        """Whether no point without a score is near, and nearer than every point with one."""
        kind = self._kind(point)
        if self._count < self._fewest or kind not in self._failed:
            return True
        place = self._place(point)
        nearest = self._failed[kind].nearest(place)
        # Half the mean squared distance of two random points, 1/6 a number; points of other choices are never near.
        return nearest > len(place) / 12 or nearest >= self._scored[kind].nearest(place)

    def _kind(self, point: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
        """Its choices, and the numbers that are asked."""
        return tuple((name, None if name in self._numbers else point[name]) for name in self._space if name in point)

    def _place(self, point: Mapping[str, Any]) -> np.ndarray:
        """[D]: where each number that is asked lies between its bounds, 0 to 1, on its own scale."""
        return np.array([_unit(each, point[name]) for name, each in self._numbers.items() if name in point])


class _Places:
    """A growing [N, D] array."""

    def __init__(self) -> None:
        self._places: np.ndarray | None = None
        self._count = 0

    def add(self, place: np.ndarray) -> None:
        if self._places is None:
            self._places = np.empty((16, len(place)))
        elif self._count == len(self._places):
            self._places = np.concatenate([self._places, np.empty_like(self._places)])
        self._places[self._count] = place
        self._count += 1

    def nearest(self, place: np.ndarray) -> float:
        """Least squared distance; infinite of none."""
        if self._places is None:
            return math.inf
        apart = self._places[: self._count] - place
        return float(np.einsum("nd,nd->n", apart, apart).min())


def _unit(distribution: BaseDistribution, value: Any) -> float:
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    scale = math.log if distribution.log else float
    low, high = scale(distribution.low), scale(distribution.high)
    return (scale(value) - low) / (high - low) if high > low else 0.0
