"""The largest configuration of a search space, which takes most memory, and its smallest batch. Loads no torch."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from model.config import POOLING_DEPTH, TrainConfig
from model.weights import weight_bytes
from sweep.spec.conditions import requirements
from sweep.spec.distribution import Choices
from sweep.spec.misfits import misfits, shapes_of, values_of
from sweep.spec.space import active, grid_points
from sweep.spec.sweep_spec import Sampler

if TYPE_CHECKING:
    from sweep.spec.sweep_spec import SweepSpec

SIZES = (
    *("encoder.name", "encoder.keep_layers", "encoder.pooling", "encoder.max_length"),
    *("optim.batch_size", "loss.contrastive_weight", "precision"),
)
"""Knobs that decide how much a step takes."""
_FITTING = ("loss.distillation_weight", "loss.distillation", "teacher.name", "teacher.pooling")
"""Knobs that decide whether it runs at all."""


def largest_config(spec: SweepSpec) -> TrainConfig:
    """The largest configuration that can run; a knob that decides no size is as in `train`.

    A step's work goes with the weights, the batch, the tokens of a sentence and the views; two views are made when
    `loss.contrastive_weight` is above 0.
    """
    shapes = shapes_of(spec)
    found = sorted(_configs(spec), key=_work, reverse=True)
    alone = spec.model_copy(update={"search": {}, "sampler": Sampler(name="random"), "points": ()})
    return next(config for config in found if not misfits(alone.model_copy(update={"train": config}), shapes, []))


def smallest_batch(spec: SweepSpec) -> int:
    """The least `optim.batch_size` of the space: with it a sentence may take longer than in the largest batch."""
    return int(min(values_of(spec, "optim.batch_size")))


def _configs(spec: SweepSpec) -> Iterator[TrainConfig]:
    for point in _points(spec):
        try:
            yield spec.train.replace(point)
        except ValidationError:  # values that do not go together
            continue


def _points(spec: SweepSpec) -> Iterator[Mapping[str, Any]]:
    if spec.sampler.name == "grid":
        yield from grid_points(spec)
        return
    searched = spec.grids[0]
    deciding = [knob for knob in searched if knob in (*SIZES, *_FITTING)]
    wanted = list(dict.fromkeys(name for knob in deciding for name in (*requirements(searched, knob), knob)))
    ends = [given.choices if isinstance(given := searched[knob], Choices) else (given.high,) for knob in wanted]
    for values in itertools.product(*ends):
        point = dict(zip(wanted, values, strict=True))
        asked = active(spec, point)
        yield {knob: value for knob, value in point.items() if knob in asked}


def _work(config: TrainConfig) -> tuple[float, ...]:
    encoder = config.encoder
    views = 2 if config.loss.contrastive_weight > 0 else 1
    precise = 2 if config.precision == "fp32" else 1
    weights = weight_bytes(encoder.name, encoder.keep_layers) or 1
    return (
        weights * config.optim.batch_size * encoder.max_length * views * precise,
        4 if encoder.pooling == "concat_last4" else 1,
        POOLING_DEPTH[encoder.pooling],
        config.loss.distillation_weight > 0,
    )
