"""The `points:` section: configurations that are tried first, each checked against the search."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from fractions import Fraction
from typing import Any

from pydantic import ValidationError

from model.config import TrainConfig
from sweep.errors import nearest
from sweep.spec.conditions import active_knobs
from sweep.spec.distribution import Choices, Distribution, Grid, Value
from sweep.spec.fields import Findings, dotted, show
from sweep.spec.knobs import KNOBS, value_of
from sweep.spec.yaml_file import KeyPath

Point = dict[str, Value]


def parse_points(
    raw: Any,
    grids: Sequence[Grid],
    train: TrainConfig,
    findings: Findings,
    *,
    grid: bool | None,
    taken: Collection[str],
) -> tuple[Point, ...]:
    """The points of the section, in the order of the file.

    Args:
        raw: The section as plain data.
        grids: The search.
        train: What the search varies.
        findings: Told every mistake.
        grid: As in `parse_search`.
        taken: Knobs that the file searches and `grids` does not: those that `--set` took out, and those with a mistake.
            They leave the points too, and a point that then says nothing new is dropped; a note says either.
    """
    if not isinstance(raw, list):
        findings.add(("points",), f"{show(raw)} is not allowed; give a list of mappings knob → value")
        return ()
    if grid and raw:
        findings.add(("points",), "a grid runs each of its points once, in order; leave points out, or take a sampler")
    if grid or grid is None:
        return ()
    search = grids[0] if grids else {}
    found: dict[tuple[tuple[str, Value], ...], Point] = {}
    for place, item in enumerate(raw):
        at: KeyPath = ("points", place)
        if not isinstance(item, Mapping) or not item:
            findings.add(at, f"{show(item)} is not a point; give a mapping knob → value with at least one knob")
            continue
        free = {knob: value for knob, value in item.items() if knob not in taken}
        point = _values(free, search, train, findings, at)
        key = tuple(sorted(point.items()))
        if not findings.intact(at, ("search",)):
            continue
        if lost := [knob for knob in item if knob in taken]:
            fate = "not tried: it says nothing new" if not point or key in found else "tried"
            findings.notes.append(f"{dotted(at)} is {fate} without {', '.join(lost)}, not searched any more")
            if not point or key in found:
                continue
        elif key in found:
            findings.add(at, "the same as a point before it; each point once")
        found.setdefault(key, point)
        _check_conditions(point, search, findings, at)
        _check_rules(point, search, train, findings, at)
    return tuple(found.values())


def _values(given: Mapping[str, Any], grid: Grid, train: TrainConfig, findings: Findings, at: KeyPath) -> Point:
    point: Point = {}
    for knob, value in given.items():
        path = (*at, knob)
        if knob not in KNOBS:
            searched = f"; searched: {', '.join(grid)}" if grid else ""
            findings.add(path, f"no such knob{nearest(knob, grid or KNOBS) or searched}")
        elif knob in grid:
            try:
                point[knob] = value_of(knob, value)
            except ValueError as error:
                findings.add(path, str(error))
                continue
            if fault := _outside(grid[knob], point[knob]):
                findings.add(path, f"{show(value)} {fault}")
        elif ("search",) not in findings.broken:
            usual = show(train.flatten()[knob])
            findings.add(path, f"not searched: it is {usual} in every trial; take it out of the point, or search it")
    return point


def _outside(given: Distribution, value: Any) -> str | None:
    """Why a value is not one that the search can give the knob; None when it is."""
    if isinstance(given, Choices):
        if value in given.choices:
            return None
        close = (
            nearest(value, [text for text in given.choices if isinstance(text, str)]) if isinstance(value, str) else ""
        )
        return f"is not among the choices of the search, {', '.join(map(show, given.choices))}{close}"
    if value is None or not given.low <= value <= given.high:
        return f"lies outside the search, {given.low} to {given.high}"
    if given.step is not None:
        start, stride = Fraction(str(given.low)), Fraction(str(given.step))
        whole, rest = divmod(Fraction(str(value)) - start, stride)
        if rest:
            below = start + whole * stride
            return f"lies between two steps of the search, {float(below):g} and {float(below + stride):g}"
    return None


def _check_conditions(point: Point, grid: Grid, findings: Findings, at: KeyPath) -> None:
    """A knob that is not asked at the point may not be given: Optuna would pass it over without a word."""
    asked = active_knobs(grid, point)
    for knob in point:
        if knob in asked:
            continue
        waits = (grid[knob].when or {}).items()
        missed = {parent: values for parent, values in waits if parent not in point or point[parent] not in values}
        if missed:
            needs = " and ".join(f"{parent} is {' or '.join(map(show, values))}" for parent, values in missed.items())
            findings.add((*at, knob), f"asked only where {needs}; give that too, or leave {knob} out")


def _check_rules(point: Point, grid: Grid, train: TrainConfig, findings: Findings, at: KeyPath) -> None:
    """Rules over several knobs, where the point says all of them: what is left out may still save it."""
    if not findings.intact(at) or any(knob not in point for knob in active_knobs(grid, point)):
        return
    try:
        train.replace(point)
    except ValidationError as error:
        findings.add(at, str(error.errors()[0].get("ctx", {}).get("error", "no configuration")))
