"""The `search:` section: a distribution for each searched knob, or, for a grid, a list of such mappings."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from model.config import TrainConfig
from sweep.errors import nearest
from sweep.spec.conditions import active_knobs, with_conditions
from sweep.spec.distribution import Choices, Distribution, Grid, Range
from sweep.spec.fields import Findings, settle, show, unknown
from sweep.spec.knobs import KNOBS, SEARCHABLE, is_number, is_whole, value_of, why_fixed
from sweep.spec.yaml_file import KeyPath

__all__ = ["Choices", "Range", "parse_search", "points"]


def parse_search(
    raw: Any, findings: Findings, *, grid: bool | None, fixed: Mapping[str, Any] | None = None
) -> tuple[Grid, ...]:
    """The distributions of the section, each checked on its own; one mapping, or several for a grid.

    Args:
        raw: The section as plain data, as the file has it.
        findings: Told every mistake.
        grid: Whether `sampler.name` is `grid`, which takes choices only, and several mappings. None: not known.
        fixed: Knob → value, for the knobs that `--set` takes out of the search; a mistake in one is mended by that.
    """
    fixed = fixed or {}
    if not isinstance(raw, list):
        return (_one_grid(raw, findings, ("search",), grid=grid, fixed=fixed),)
    if grid is False:
        findings.add(("search",), "a list needs `sampler: {name: grid}`; give one mapping knob → distribution")
    elif not raw:
        findings.add(("search",), "an empty list; give at least one mapping knob → {choices: […]}")
    return tuple(_one_grid(item, findings, ("search", place), grid=grid, fixed=fixed) for place, item in enumerate(raw))


def _one_grid(raw: Any, findings: Findings, at: KeyPath, *, grid: bool | None, fixed: Mapping[str, Any]) -> Grid:
    if not isinstance(raw, Mapping):
        findings.add(at, f"{show(raw)} is not allowed; give a mapping knob → {{low: …, high: …}} or {{choices: […]}}")
        return {}
    found: Grid = {}
    settled: Grid = {}
    conditions: dict[str, Any] = {}
    for knob, given in raw.items():
        path = (*at, knob)
        if knob in fixed:
            if (distribution := _as_in_file(knob, given, grid=grid)) is not None:
                settled[knob] = distribution
        elif knob not in KNOBS:
            findings.add(path, f"no such knob{nearest(knob, SEARCHABLE) or '; knobs: ' + ', '.join(SEARCHABLE)}")
        elif reason := why_fixed(knob):
            findings.add(path, f"may not be searched: {reason}")
        elif not isinstance(given, dict):
            give = f"{{choices: {given}}}" if isinstance(given, list) else "{low: …, high: …} or {choices: […]}"
            findings.add(path, f"{show(given)} is not a distribution; give {give}, or set a fixed value under `train:`")
        else:
            alone = dict(given)
            conditions[knob] = alone.pop("when", None)
            if (distribution := _distribution(knob, alone, findings, path, grid=grid)) is not None:
                found[knob] = distribution
    return with_conditions(found, conditions, findings, at, named=raw, fixed=fixed, settled=settled)


def _as_in_file(knob: str, given: Any, *, grid: bool | None) -> Distribution | None:
    """What the file searches of a knob that `--set` fixed, for the conditions on it; None where that is a mistake."""
    if not isinstance(given, dict):
        return None
    alone = {key: value for key, value in given.items() if key != "when"}
    return _distribution(knob, alone, Findings(places={}), (), grid=grid)


def _distribution(
    knob: str, given: dict[str, Any], findings: Findings, path: KeyPath, *, grid: bool | None
) -> Distribution | None:
    if "choices" in given:
        return _choices(knob, given, findings, path)
    if not is_number(knob):
        findings.add(path, f"{knob} is not a number; give {{choices: […]}}")
        return None
    if grid:
        findings.add(path, "a grid needs {choices: […]}; a range has no end of points")
        return None
    return _range(knob, given, findings, path)


def _choices(knob: str, given: dict[str, Any], findings: Findings, path: KeyPath) -> Choices | None:
    for key in given.keys() - {"choices"}:
        findings.add((*path, key), unknown(key, ["choices", "when"]) + "; a range has no choices")
    listed = given["choices"]
    if not isinstance(listed, list) or not listed:
        findings.add((*path, "choices"), f"{show(listed)} is not allowed; give a list of at least one value")
        return None
    values: list[Any] = []
    for place, item in enumerate(listed):
        here = (*path, "choices", place)
        try:
            value = value_of(knob, item)
        except ValueError as error:
            findings.add(here, str(error))
            continue
        if value in values:
            findings.add(here, f"{show(item)} is listed twice; each choice once")
        values.append(value)
    return Choices(choices=tuple(values)) if findings.intact(path) else None


def _range(knob: str, given: dict[str, Any], findings: Findings, path: KeyPath) -> Range | None:
    span = settle(Range, given, findings, path)
    if span is None:
        return None
    bounds = {"low": span.low, "high": span.high}
    for bound, value in bounds.items():
        try:
            bounds[bound] = value_of(knob, value)
        except ValueError as error:
            findings.add((*path, bound), f"{error} (what {knob} allows)")
    if not findings.intact((*path, "low"), (*path, "high")):
        return None
    low, high = bounds["low"], bounds["high"]
    if low >= high:
        how = "equal: nothing to search; set the value under `train:`" if low == high else "reversed; exchange them"
        findings.add((*path, "high"), f"low {low} and high {high} are {how}")
    if span.log and low <= 0:
        findings.add((*path, "log"), f"the logarithm of low = {low} does not exist; give low above 0, or leave log out")
    if span.log and span.step is not None:
        findings.add((*path, "step"), "step and log exclude each other; leave one out")
    elif span.step is not None and low < high:
        _check_step(knob, low, high, span.step, findings, (*path, "step"))
    if not findings.intact(path):
        return None
    step = int(span.step) if span.step is not None and is_whole(knob) else span.step
    return Range(low=low, high=high, log=span.log, step=step)


def _check_step(knob: str, low: float, high: float, step: float, findings: Findings, path: KeyPath) -> None:
    if is_whole(knob) and step != int(step):
        findings.add(path, f"{step} is not allowed; {knob} takes whole numbers, so give a whole step")
        return
    # Fractions of the written digits: in binary, 0.3 is no multiple of 0.1. Optuna would lower `high` with a warning.
    start, stride = Fraction(str(low)), Fraction(str(step))
    whole, rest = divmod(Fraction(str(high)) - start, stride)
    if not whole:
        findings.add(path, f"the step is more than the range from {low} to {high}; give at most {high - low:.15g}")
    elif rest:
        fitting = start + whole * stride
        higher = float(fitting + stride)
        message = f"steps of {step} from {low} do not meet high = {high}; lower high to {float(fitting):g} or raise"
        findings.add(path, f"{message} high to {higher:g}")


def points(grids: Sequence[Grid], train: TrainConfig) -> list[dict[str, Any]]:
    """Every point of the grids, each a value for all searched knobs: one that is not asked there is as in `train`.

    Grids of one factor each share their centre; it is one point, at the place where it came first.
    """
    names = list(dict.fromkeys(itertools.chain.from_iterable(grids)))
    flat = train.flatten()
    centre = {name: flat[name] for name in names}
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for grid in grids:
        listed = [given.choices if isinstance(given, Choices) else (given.low, given.high) for given in grid.values()]
        conditional = any(given.when for given in grid.values())
        for values in itertools.product(*listed):
            whole = dict(zip(grid, values, strict=True))
            point = centre | ({knob: whole[knob] for knob in active_knobs(grid, whole)} if conditional else whole)
            found.setdefault(tuple(point.values()), point)
    return list(found.values())
