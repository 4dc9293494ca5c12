"""What one knob of `search:` may be: a range or a few choices, always or only where other knobs have certain values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any

from pydantic import Field

from model.config import Section
from sweep.spec.yaml_file import KeyPath

Value = int | float | str | None
"""What a knob may be in a spec; a list is one comma-joined text."""
When = dict[str, tuple[Value, ...]]
"""Knob → those of its values at which another knob is asked."""


class Range(Section):
    """Every number between two bounds, both included; whole numbers when the knob takes only those."""

    low: int | float
    """Lower bound, a value that the knob allows."""
    high: int | float
    """Upper bound, above `low`."""
    log: bool = False
    """Draw the logarithm evenly. Needs bounds above 0."""
    step: Annotated[int, Field(gt=0)] | Annotated[float, Field(gt=0)] | None = None
    """Only `low`, `low + step`, … up to `high`, which must be one of them. Not together with `log`. None: no grid."""
    when: When | None = None
    """Other knobs → values: asked only where each has one of these, else as in `train`. None: always asked."""


class Choices(Section):
    """A few values, no order between them."""

    choices: tuple[Value, ...] = Field(
        min_length=1, json_schema_extra={"items": {"type": ["number", "string", "null", "array"]}}
    )
    """Distinct values that the knob allows; a list (`[0, 5]`) is kept as comma-joined text (`"0,5"`)."""
    when: When | None = None
    """Other knobs → values: asked only where each has one of these, else as in `train`. None: always asked."""


Distribution = Range | Choices
Grid = dict[str, Distribution]


def ends(given: Distribution) -> list[tuple[KeyPath, Any]]:
    """(Key path below the knob, value) of both bounds, or of every choice."""
    if isinstance(given, Range):
        return [(("low",), given.low), (("high",), given.high)]
    return [(("choices", place), value) for place, value in enumerate(given.choices)]


def each_value(grids: Sequence[Grid], knob: str, default: Any) -> Iterator[Any]:
    """The values that a knob takes in the sweep: its choices or its two bounds, and `default` where none asks it."""
    found: dict[Any, None] = {}
    for grid in grids or ({},):
        if knob in grid:
            found |= dict.fromkeys(value for _, value in ends(grid[knob]))
        if knob not in grid or grid[knob].when:
            found[default] = None
    return iter(found)
