"""Settings that do not fit one another: poolings and layers, lengths and positions, widths of student and teacher.

Layer counts, positions and widths are read from the models' `config.json`; no torch is loaded.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from model.config import POOLING_DEPTH
from model.source import architecture, hidden_width, layer_count, token_limit
from sweep.errors import Problem
from sweep.spec.conditions import requirements
from sweep.spec.distribution import each_value, ends
from sweep.spec.space import active, grid_points

if TYPE_CHECKING:
    from sweep.spec.sweep_spec import SweepSpec

Combination = Mapping[str, Any]
"""Knob → value, for the few knobs that a rule reads."""


@dataclass(frozen=True)
class Shape:
    """What `config.json` says of an encoder; None where the file is not on this disk, or does not say it."""

    layers: int | None
    width: int | None
    tokens: int | None = None


@dataclass(frozen=True)
class Misfit:
    """One thing that cannot run, and the knob to change."""

    knob: str
    message: str


def shapes_of(spec: SweepSpec) -> dict[str, Shape]:
    """The shape of every encoder and teacher of the sweep. Read once: a package's weights are hashed at each look."""
    names = dict.fromkeys([*values_of(spec, "encoder.name"), *values_of(spec, "teacher.name")])
    configs = {name: architecture(name) or {} for name in names if name is not None}
    return {
        name: Shape(layer_count(config), hidden_width(config), token_limit(config)) for name, config in configs.items()
    }


def misfits(spec: SweepSpec, shapes: Mapping[str, Shape], notes: list[str]) -> list[Problem]:
    """Settings that cannot run: problems where no combination saves them, otherwise a line in `notes`."""
    problems: list[Problem] = []
    tried = grid_points(spec) if spec.sampler.name == "grid" else None
    for knobs, rule in _RULES:
        combinations = _combinations(spec, knobs, tried)
        said = [rule(combination, shapes) for combination in combinations]
        problems += _judge(combinations, said, notes, grid=spec.sampler.name == "grid")
    return problems


def values_of(spec: SweepSpec, knob: str) -> list[Any]:
    """What a knob may be in the sweep: its choices, or its bounds, or its value in `train`."""
    return list(each_value(spec.grids, knob, spec.train.flatten()[knob]))


def _combinations(spec: SweepSpec, knobs: Sequence[str], tried: Sequence[Combination] | None) -> list[Combination]:
    """What these knobs are together: at a grid's points, `tried`, else in the product of their values or bounds.

    The parents of a conditional knob, and theirs, are varied with it: a knob that is not asked is as in `train`.
    """
    flat, searched = spec.train.flatten(), spec.grids[0] if spec.grids else {}
    if tried is None:
        varied = dict.fromkeys(
            name for knob in knobs if knob in searched for name in (*requirements(searched, knob), knob)
        )
        product = itertools.product(*([value for _, value in ends(searched[name])] for name in varied))
        whole = [dict(zip(varied, values, strict=True)) for values in product]
        tried = [{name: each[name] for name in active(spec, each) if name in each} for each in whole]
    found = dict.fromkeys(tuple(each.get(knob, flat[knob]) for knob in knobs) for each in tried)
    return [dict(zip(knobs, values, strict=True)) for values in found]


def _judge(
    combinations: Sequence[Combination], said: Sequence[Misfit | None], notes: list[str], *, grid: bool
) -> list[Problem]:
    """Problems of every combination of a grid, which all run; else of every value that no combination saves.

    A value that works with some others only is a note: its trials end infeasible, which the sampler learns from.
    """
    told: dict[Misfit, None] = {}
    for knob in combinations[0]:
        for value in dict.fromkeys(combination[knob] for combination in combinations):
            found = [misfit for each, misfit in zip(combinations, said, strict=True) if each[knob] == value]
            if grid or all(found):
                told |= dict.fromkeys(misfit for misfit in found if misfit)
    rest = [misfit for misfit in said if misfit and misfit not in told]
    if rest:
        notes.append(f"{len(rest)} of {len(said)} combinations cannot run and end infeasible; one: {rest[0].message}")
    return [Problem(misfit.message, key=misfit.knob) for misfit in told]


def _depth_rule(given: Combination, shapes: Mapping[str, Shape]) -> Misfit | None:
    name, pooling, there = given["encoder.name"], given["encoder.pooling"], shapes[given["encoder.name"]].layers
    if there is None:
        return None
    kept = list(range(there))
    if given["encoder.keep_layers"] is not None:
        kept = [int(layer) for layer in given["encoder.keep_layers"].split(",")]
        wanted = f"keep_layers {kept} of {name}, which has {there} layers"
        if any(not -there <= layer < there for layer in kept):
            return Misfit("encoder.keep_layers", f"{wanted}; give 0 to {there - 1}, or -{there} to -1 from the end")
        if len({layer % there for layer in kept}) < len(kept):
            return Misfit("encoder.keep_layers", f"{wanted}, names one layer twice; give each once")
    if len(kept) < POOLING_DEPTH[pooling]:
        fitting = ", ".join(other for other, depth in POOLING_DEPTH.items() if depth <= len(kept))
        needs = f"{pooling} needs {POOLING_DEPTH[pooling]} layers and the encoder has {len(kept)}"
        return Misfit("encoder.pooling", f"{needs}; give one of {fitting}")
    return None


def _length_rule(given: Combination, shapes: Mapping[str, Shape]) -> Misfit | None:
    name, length = given["encoder.name"], given["encoder.max_length"]
    limit = shapes[name].tokens
    if limit is None or length <= limit:
        return None
    return Misfit("encoder.max_length", f"{length} tokens is more than {name} takes, {limit}; give at most {limit}")


def _width_rule(given: Combination, shapes: Mapping[str, Shape]) -> Misfit | None:
    if given["loss.distillation"] != "cosine" or not given["loss.distillation_weight"] or not given["teacher.name"]:
        return None
    widths = []
    for side in ("encoder", "teacher"):
        width, pooling = shapes[given[f"{side}.name"]].width, given[f"{side}.pooling"]
        widths.append(width * 4 if width and pooling == "concat_last4" else width)
    student, teacher = widths
    if student is None or teacher is None or student == teacher:
        return None
    return Misfit(
        "loss.distillation",
        "cosine needs equal widths: "
        f"{given['encoder.name']} with {given['encoder.pooling']} has {student}, "
        f"the teacher {given['teacher.name']} with {given['teacher.pooling']} has {teacher}; "
        "give similarity, or another pooling",
    )


_RULES: tuple[tuple[tuple[str, ...], Callable[[Combination, Mapping[str, Shape]], Misfit | None]], ...] = (
    (("encoder.name", "encoder.keep_layers", "encoder.pooling"), _depth_rule),
    (("encoder.name", "encoder.max_length"), _length_rule),
    (
        (
            "encoder.name",
            "encoder.pooling",
            "teacher.name",
            "teacher.pooling",
            "loss.distillation",
            "loss.distillation_weight",
        ),
        _width_rule,
    ),
)
