"""A world of recorded curves: a table with one row a cell and rung, and nothing between its cells unless asked."""

from __future__ import annotations

import itertools
import math
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweep.errors import Problem, Refused
from sweep.simulation.worlds import Curve, Domain, noise

if TYPE_CHECKING:
    import pandas as pd

STUDENT = Path(__file__).with_name("student_curves.csv")
"""The quickstart's student, every cell of search_spaces/student_grid.yaml run to the top (`make curves`)."""

MEASURED = ("sentences", "score", "seconds", "failure")
"""Columns of the table that are no knobs: nominal rung, score × 100, busy seconds since the trial's start, why it has
no score."""

SMOOTH = ("optim.learning_rate", "loss.temperature")
"""Knobs between whose values a curve may be interpolated, on their logarithm."""

Cell = tuple[Any, ...]


@dataclass(frozen=True)
class _Group:
    """The cells in which the same knobs matter: the temperature does nothing without a contrastive loss."""

    knobs: tuple[str, ...]
    cells: Mapping[Cell, Curve]

    def values(self, knob: str) -> tuple[Any, ...]:
        place = self.knobs.index(knob)
        found = dict.fromkeys(cell[place] for cell in self.cells)
        return tuple(sorted(found)) if knob in SMOOTH else tuple(found)


def read_curves(path: Path = STUDENT) -> pd.DataFrame:
    """A table that `sweep.simulation.export_curves` wrote."""
    import pandas as pd

    return pd.read_csv(path)


class RecordedWorld:
    """Curves as they were recorded, one a cell; an empty knob of a cell does not matter there.

    Args:
        curves: Columns: one a knob by its dotted name, and `MEASURED`.
        rungs: Those of the table's at which trials are scored; None: all. The last one is the table's last.
        continuous: Allow a learning rate and a temperature between the cells': the curve is then linear in their
            logarithm. Where a neighbour failed, the nearest cell's curve is taken.
        noise_sd: Standard deviation, in points, of what is added to the recorded scores.

    Raises:
        Refused: the table has no such rung.
    """

    def __init__(
        self,
        curves: pd.DataFrame,
        *,
        rungs: tuple[int, ...] | None = None,
        continuous: bool = False,
        noise_sd: float = 0.0,
    ) -> None:
        there = tuple(sorted(int(rung) for rung in curves["sentences"].unique()))
        self.rungs = there if rungs is None else rungs
        if set(self.rungs) - set(there) or self.rungs[-1] != there[-1]:
            wanted, known = (", ".join(f"{rung:,}" for rung in some) for some in (self.rungs, there))
            message = f"rungs {wanted}: the recorded curves were scored at {known}; give some, the budget the last"
            fitting = ("scheduler.reduction_factor=2", f"scheduler.grace={there[0]}", f"budget.sentences={there[-1]}")
            raise Refused(
                [Problem(message, key="scheduler.grace" if self.rungs[-1] == there[-1] else "budget.sentences")],
                next=f"stsweep simulate SPEC --set {' --set '.join(fitting)}",
            )
        self._continuous, self.noise_sd = continuous, noise_sd
        self._knobs = tuple(name for name in curves.columns if name not in MEASURED)
        self._groups = _groups(curves, self._knobs, there, self.rungs)
        self.domains = {knob: self._domain(knob) for knob in self._knobs}

    def _domain(self, knob: str) -> Domain:
        every = dict.fromkeys(value for group in self._groups if knob in group.knobs for value in group.values(knob))
        smooth = knob in SMOOTH
        return Domain(tuple(sorted(every) if smooth else every), between=self._continuous and smooth)

    @property
    def cells(self) -> tuple[dict[str, Any], ...]:
        """Every cell's knobs, in the order of the table."""
        return tuple(dict(zip(group.knobs, cell, strict=True)) for group in self._groups for cell in group.cells)

    def run(self, knobs: Mapping[str, Any], seed: int) -> Curve:
        """See `World`."""
        for group in self._groups:
            point = {knob: knobs.get(knob) for knob in group.knobs}
            corners = list(self._corners(group, point))
            if corners and all(cell in group.cells for cell, _ in corners):
                curve = _mixed([(group.cells[cell], share) for cell, share in corners])
                off = noise(seed, point, len(curve.scores), self.noise_sd)
                scores = tuple(score + each for score, each in zip(curve.scores, off, strict=True))
                return Curve(scores, curve.seconds, curve.failure, curve.lost)
        given = ", ".join(f"{knob} = {knobs.get(knob)}" for knob in self._knobs)
        known = "; ".join(f"{knob}: {domain}" for knob, domain in self.domains.items())
        raise Refused([Problem(f"no recorded curve has {given}; there are {known}")], next="stsweep simulate --help")

    def _corners(self, group: _Group, point: Mapping[str, Any]) -> Iterator[tuple[Cell, float]]:
        """The cells around a point with their shares, which add up to 1; the cell itself when it is one."""
        sides = []
        for knob in group.knobs:
            value, values = point[knob], group.values(knob)
            if value in values:
                sides.append([(value, 1.0)])
            elif self._continuous and knob in SMOOTH and value is not None and values[0] < value < values[-1]:
                sides.append(_between(values, value))
            else:
                return
        for corner in itertools.product(*sides):
            yield tuple(value for value, _ in corner), math.prod(share for _, share in corner)


def _between(values: Sequence[float], value: float) -> list[tuple[float, float]]:
    upper = bisect_right(values, value)
    low, high = values[upper - 1], values[upper]
    share = math.log(value / low) / math.log(high / low)
    return [(low, 1 - share), (high, share)]


def _mixed(parts: Sequence[tuple[Curve, float]]) -> Curve:
    if any(curve.failure for curve, _ in parts):
        return max(parts, key=lambda part: part[1])[0]

    def mean(columns: Iterator[tuple[float, ...]]) -> tuple[float, ...]:
        return tuple(sum(x * share for x, (_, share) in zip(column, parts, strict=True)) for column in columns)

    return Curve(
        mean(zip(*(curve.scores for curve, _ in parts), strict=True)),
        mean(zip(*(curve.seconds for curve, _ in parts), strict=True)),
    )


def _groups(
    curves: pd.DataFrame, knobs: tuple[str, ...], there: tuple[int, ...], rungs: tuple[int, ...]
) -> tuple[_Group, ...]:
    found: dict[tuple[str, ...], dict[Cell, Curve]] = {}
    for _, rows in curves.groupby(list(knobs), sort=False, dropna=False):
        first = rows.iloc[0]
        given = {knob: first[knob] for knob in knobs if first[knob] == first[knob]}  # an empty field is NaN
        cell = tuple(value.item() if hasattr(value, "item") else value for value in given.values())
        found.setdefault(tuple(given), {})[cell] = _curve(rows.sort_values("sentences"), there, rungs)
    return tuple(_Group(names, cells) for names, cells in found.items())


def _curve(rows: pd.DataFrame, there: tuple[int, ...], rungs: tuple[int, ...]) -> Curve:
    """One cell's rows as a curve at `rungs`; a failure between two of them comes before the upper one."""
    scores: list[float] = []
    seconds: list[float] = []
    for row in rows.itertuples(index=False):
        sentences, failure = int(row.sentences), row.failure
        if isinstance(failure, str):
            before = there[there.index(sentences) - 1] if sentences > there[0] else 0
            kept = max((rung for rung in rungs if rung <= before), default=0)
            return Curve(tuple(scores), (*seconds, float(row.seconds)), failure, before - kept)  # type: ignore[arg-type]
        if sentences in rungs:
            scores.append(float(row.score))
            seconds.append(float(row.seconds))
    return Curve(tuple(scores), tuple(seconds))
