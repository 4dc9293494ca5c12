"""Conditional knobs: `when: {PARENT: VALUES}` asks a knob only where its parents have one of these values.

Elsewhere the knob is as in `train`. A parent that is not asked itself makes its children not asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Any

from sweep.errors import nearest
from sweep.spec.distribution import Choices, Distribution, Grid, Value, When
from sweep.spec.fields import Findings, dotted, show
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
    settled: Grid,
) -> Grid:
    """`grid` with its conditions, each checked; all mistakes are noted.

    Args:
        grid: The distributions that were read, without conditions.
        given: Knob → its `when` as plain data.
        at: Where the mapping hangs in the file.
        named: Every knob that the mapping names, those with a mistake and those that `--set` took out too.
        fixed: Knob → value, for the knobs that `--set` took out of the search. A condition on one is settled: the
            child is asked always, or leaves the search too, with a note.
        settled: What the file searches of those, by which a condition on one is checked all the same.
    """
    found = dict(grid)
    waiting: Conditions = {}
    for knob, raw in given.items():
        if raw is not None:
            waiting[knob] = _parse(knob, raw, grid | settled, findings, (*at, knob, "when"), named=named, fixed=fixed)
    _refuse_circles(waiting, findings, at)
    if not findings.intact(at):
        return found
    gone = _never_asked(waiting, fixed)
    for knob, why in gone.items():
        del found[knob]
        findings.notes.append(f"{dotted((*at, knob))} is left out: {why}")
    for knob in found:
        when = {parent: values for parent, values in waiting.get(knob, {}).items() if parent not in fixed}
        found[knob] = found[knob].model_copy(update={"when": when or None})
    for knob in found:
        for parent, values in requirements(found, knob).items():
            if not values:
                message = f"never asked: its conditions, and those of its parents, leave no value of {parent}"
                findings.add((*at, knob, "when"), message)
    return found


def _never_asked(waiting: Conditions, fixed: Mapping[str, Any]) -> dict[str, str]:
    """The knobs whose condition a fixed knob does not meet, and all that wait for them; why each is never asked."""
    gone: dict[str, str] = {}
    for knob in TopologicalSorter(waiting).static_order():
        for parent, values in waiting.get(knob, {}).items():
            if parent in gone:
                gone[knob] = f"it waits for {parent}, which is left out too"
            elif parent in fixed and fixed[parent] not in values:
                needed = " or ".join(map(show, values))
                gone[knob] = f"it waits for {parent} {needed}, and --set fixed that at {show(fixed[parent])}"
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
        elif parent not in named:
            findings.add(path, "not searched here, so it is the same in every trial; search it too")
        elif parent in grid or parent in fixed:
            found[parent] = _values(parent, grid.get(parent), values, findings, path)
        else:
            found[parent] = ()  # its own mistake is told; the condition may still be part of a circle
    return found


def _values(parent: str, given: Distribution | None, raw: Any, findings: Findings, path: KeyPath) -> tuple[Value, ...]:
    """The values of a condition; `given` is None where `--set` mends what the file searches: any of the knob's then."""
    if given is not None and not isinstance(given, Choices):
        findings.add(path, f"needs choices: {parent} is a range; give it {{choices: […]}}, or take the condition out")
        return ()
    if raw == []:
        findings.add(path, f"an empty list; give at least one value of {parent}")
    found: list[Value] = []
    for place, item in enumerate(raw if isinstance(raw, list) else [raw]):
        here = (*path, place) if isinstance(raw, list) else path
        try:
            value = value_of(parent, item)
        except ValueError as error:
            if given is None:
                findings.add(here, str(error))
                continue
            value, occurs = item, False  # `true` is no 1, though Python takes them for equal
        else:
            occurs = given is None or value in given.choices
        if given is not None and not occurs:
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
