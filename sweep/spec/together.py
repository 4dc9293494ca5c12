"""Rules over several knobs, looked at over the whole search before anything runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from model.config import TrainConfig
from sweep.spec.conditions import active_knobs, requirements
from sweep.spec.distribution import Grid, ends
from sweep.spec.fields import Findings, show
from sweep.spec.search import points
from sweep.spec.yaml_file import KeyPath

RELATED = ("loss.contrastive_weight", "loss.distillation_weight", "teacher.name")
"""The knobs that the rules of `TrainConfig` over several knobs read: points alike in these are judged alike."""


def check_together(grids: Sequence[Grid], train: TrainConfig, findings: Findings, *, grid: bool) -> None:
    """Rules over several knobs: every point of a grid must keep them, every value of a space somewhere in the space."""
    several = len(grids) > 1
    for place, searched in enumerate(grids):
        at: KeyPath = ("search", place) if several else ("search",)
        if grid:
            judged: dict[tuple[Any, ...], dict[str, Any]] = {}
            for point in points([searched], train):
                judged.setdefault(tuple(point.get(knob) for knob in RELATED), point)
            for point in judged.values():
                _tell(train, [point], findings, at, " at " + ", ".join(f"{key} = {show(point[key])}" for key in point))
            continue
        for knob, given in searched.items():
            for where, value in ends(given):
                corners = [_corner(searched, knob, value, end) for end in (0, -1)]
                _tell(train, [{knob: value}, *corners], findings, (*at, knob, *where), f" at {show(value)}")


def _corner(searched: Grid, knob: str, value: Any, end: int) -> dict[str, Any]:
    """A point with `knob` at `value`, its parents where they ask for it, and the others at one of their ends."""
    asked = {parent: values[end] for parent, values in requirements(searched, knob).items()}
    whole = {name: ends(other)[end][1] for name, other in searched.items()} | asked | {knob: value}
    return {name: whole[name] for name in active_knobs(searched, whole)}


def _tell(train: TrainConfig, tries: Sequence[Mapping[str, Any]], findings: Findings, at: KeyPath, where: str) -> None:
    """Note why none of `tries` is a configuration, unless one of them is."""
    said = ""
    for knobs in tries:
        try:
            train.replace(knobs)
        except ValidationError as error:
            first = error.errors()[0]
            said = said or str(first.get("ctx", {}).get("error", "no configuration"))
        else:
            return
    if findings.intact(at):
        findings.add(at, said + where)
