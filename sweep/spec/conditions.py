"""Conditional knobs: `when: {PARENT: VALUES}` asks a knob only where its parents have one of these values.

Elsewhere the knob is as in `train`. A parent that is not asked itself makes its children not asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Any

from sweep.errors import nearest
from sweep.spec.distribution import Choices, Distribution, Grid, Value, When
from sweep.spec.fields import Findings, show
from sweep.spec.knobs import KNOBS, value_of
from sweep.spec.yaml_file import KeyPath

Conditions = dict[str, When]
"""Knob → parent → values, for the knobs that have a condition."""


def conditions_of(grid: Grid) -> Conditions:
    """The conditions of one mapping of `search`."""
    return {knob: given.when for knob, given in grid.items() if given.when}


def parents_first(grid: Grid) -> tuple[str, ...]:
    """The knobs of a mapping in the order of the file, but each after its parents."""
    found: dict[str, None] = {}

    def visit(knob: str) -> None:
        for parent in grid[knob].when or ():
            visit(parent)
        found[knob] = None

    for knob in grid:
        visit(knob)
    return tuple(found)


def active_knobs(grid: Grid, values: Mapping[str, Any]) -> tuple[str, ...]:
    """The knobs that are asked at these values, parents first; a parent without a value asks none of its children."""
    found: dict[str, None] = {}
    for knob in parents_first(grid):
        when = grid[knob].when or {}
        if all(parent in found and parent in values and values[parent] in when[parent] for parent in when):
            found[knob] = None
    return tuple(found)


def requirements(grid: Grid, knob: str) -> When:
    """Ancestor → the values that it must have for `knob` to be asked: all conditions on the way up together."""
    found: When = {}
    for parent, values in (grid[knob].when or {}).items():
        for ancestor, needed in [(parent, values), *requirements(grid, parent).items()]:
            found[ancestor] = tuple(value for value in found.get(ancestor, needed) if value in needed)
    return found


def with_conditions(
    grid: Grid,
    given: Mapping[str, Any],
    findings: Findings,
    at: KeyPath,
    *,
    named: Mapping[str, Any],
    fixed: Mapping[str, Any],
) -> Grid:
    """`grid` with its conditions, each checked; all mistakes are noted.

    Args:
        grid: The distributions that were read, without conditions.
        given: Knob → its `when` as plain data.
        at: Where the mapping hangs in the file.
        named: Every knob that the mapping names, those with a mistake too.
        fixed: Knob → value, for the knobs that `--set` took out of the search. A condition on one is settled: the
            child is asked always, or leaves the search too.
    """
    found, fixed = dict(grid), dict(fixed)
    waiting: Conditions = {}
    for knob, raw in given.items():
        if raw is not None:
            waiting[knob] = _parse(knob, raw, grid, findings, (*at, knob, "when"), named=named, fixed=fixed)
    _refuse_circles(waiting, findings, at)
    if not findings.intact(at):
        return found
    gone = _never_asked(waiting, fixed)
    for knob in gone:
        found.pop(knob)
    for knob in found:
        when = {parent: values for parent, values in waiting.get(knob, {}).items() if parent not in fixed}
        found[knob] = found[knob].model_copy(update={"when": when or None})
    for knob in found:
        for parent, values in requirements(found, knob).items():
            if not values:
                message = f"never asked: its conditions, and those of its parents, leave no value of {parent}"
                findings.add((*at, knob, "when"), message)
    return found


def _never_asked(waiting: Conditions, fixed: Mapping[str, Any]) -> set[str]:
    """The knobs whose condition a fixed knob does not meet, and all that wait for them."""
    gone: set[str] = set()
    for knob in TopologicalSorter(waiting).static_order():
        if any(
            parent in gone or (parent in fixed and fixed[parent] not in values)
            for parent, values in waiting.get(knob, {}).items()
        ):
            gone.add(knob)
    return gone


def _parse(
    knob: str,
    raw: Any,
    grid: Grid,
    findings: Findings,
    at: KeyPath,
    *,
    named: Mapping[str, Any],
    fixed: Mapping[str, Any],
) -> When:
    if not isinstance(raw, Mapping) or not raw:
        findings.add(at, f"{show(raw)} is not a condition; give a mapping of another searched knob → its values")
        return {}
    found: When = {}
    for parent, values in raw.items():
        path = (*at, parent)
        if parent not in KNOBS:
            others = [name for name in named if name != knob]
            findings.add(path, f"no such knob{nearest(parent, others) or '; searched: ' + ', '.join(others)}")
        elif parent in fixed:
            found[parent] = _settled(parent, values)
        elif parent not in named:
            findings.add(path, "not searched here, so it is the same in every trial; search it too")
        elif parent in grid:
            found[parent] = _values(parent, grid[parent], values, findings, path)
        else:
            found[parent] = ()  # its own mistake is told; the condition may still be part of a circle
    return found


def _settled(parent: str, given: Any) -> tuple[Value, ...]:
    """The values of a condition on a knob that `--set` fixed; the choices that could be checked are gone."""
    found = []
    for value in given if isinstance(given, list) else [given]:
        try:
            found.append(value_of(parent, value))
        except ValueError:
            continue
    return tuple(found)


def _values(parent: str, given: Distribution, raw: Any, findings: Findings, path: KeyPath) -> tuple[Value, ...]:
    if not isinstance(given, Choices):
        findings.add(path, f"needs choices: {parent} is a range; give it {{choices: […]}}, or take the condition out")
        return ()
    if raw == []:
        findings.add(path, f"an empty list; give at least one value of {parent}")
    found: list[Value] = []
    for place, item in enumerate(raw if isinstance(raw, list) else [raw]):
        here = (*path, place) if isinstance(raw, list) else path
        try:
            value = value_of(parent, item)
        except ValueError:
            value, occurs = item, False  # `true` is no 1, though Python takes them for equal
        else:
            occurs = value in given.choices
        if not occurs:
            allowed = ", ".join(map(show, given.choices))
            close = (
                nearest(value, [text for text in given.choices if isinstance(text, str)])
                if isinstance(value, str)
                else ""
            )
            findings.add(here, f"{show(item)} cannot occur; {parent} has the choices {allowed}{close}")
        elif value in found:
            findings.add(here, f"{show(item)} is listed twice; each value once")
        else:
            found.append(value)
    return tuple(found)


def _refuse_circles(waiting: Conditions, findings: Findings, at: KeyPath) -> None:
    """Note every circle and open it, so that the next one is found."""
    while True:
        try:
            TopologicalSorter(waiting).prepare()
        except CycleError as error:
            circle: list[str] = error.args[1][::-1]  # from a knob to what it waits for
            findings.add((*at, circle[0], "when"), f"a circle: {' waits for '.join(circle)}; take one condition out")
            del waiting[circle[0]]
        else:
            return
