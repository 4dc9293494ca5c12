"""A world given by formulas, with all that makes a search hard: curves that cross, noise, divergence, no memory."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from sweep.simulation.worlds import Curve, Domain, noise

LEARNING_RATE, TEMPERATURE = "optim.learning_rate", "loss.temperature"
POOLING, BATCH = "encoder.pooling", "optim.batch_size"

POOLINGS = {"cls": -2.0, "avg_last_hidden": 0.0, "avg_first_last": -0.5, "avg_last4": 1.0, "concat_last4": 6.0}
"""Points above or below `avg_last_hidden`; those that the benchmarks search."""
_OTHERS = {
    "avg_last_second_hidden": -3.5,
    "avg_all_hidden": -3.2,
    "avg_second_to_last_hidden": -1.3,
    "avg_last2": -1.7,
    "max_all_hidden": -4.7,
    "max_second_to_last_hidden": -1.2,
    "max_first_last": -1.6,
    "max_last2": -4.7,
    "max_last4": -11.6,
}
"""The same of the other poolings, by the paper's comparison."""
_GAINS = POOLINGS | _OTHERS

WIDE = "concat_last4"
"""The pooling four times as wide as the others: from `FULL` sentences a batch on it has no memory."""
FULL = 192
DIVERGES_ABOVE = 1.5
"""Decades above the best learning rate from which the loss is not finite."""

_START, _TOP = 50.0, 74.0
_SECONDS_A_SENTENCE = 0.01


class AnalyticWorld:
    """Learning rate, temperature, pooling and batch size, with one optimum that lies next to the end of the memory.

    A curve rises from 50 to its asymptote as s / (s + s₀). A high learning rate has a small s₀ and a lower asymptote:
    it leads at the first rung and loses at the top. The best learning rate is 1e-4 at batch 64 and grows with the
    square root of the batch; the best temperature is 0.05; large batches and the widest pooling score best, so that a
    search is drawn to where they have no memory together.

    Args:
        rungs: Sentences, ascending.
        noise_sd: Standard deviation of a score, in points.
    """

    def __init__(self, rungs: tuple[int, ...] = (400, 1600, 6400), *, noise_sd: float = 0.3) -> None:
        self.rungs = rungs
        self.domains: dict[str, Domain] = {
            LEARNING_RATE: Domain((1e-7, 1.0), between=True),
            TEMPERATURE: Domain((1e-4, 10.0), between=True),
            POOLING: Domain(tuple(_GAINS)),
            BATCH: Domain((2, 1024), between=True),
        }
        self.noise_sd = noise_sd

    def run(self, knobs: Mapping[str, Any], seed: int) -> Curve:
        """See `World`; what lies outside a domain has a formula too."""
        given = {knob: knobs[knob] for knob in self.domains}
        pooling, batch = given[POOLING], given[BATCH]
        if pooling == WIDE and batch >= FULL:
            return Curve((), (1.0,), "infeasible")
        above = decades_above(given[LEARNING_RATE], batch)
        pace = _SECONDS_A_SENTENCE * (1.3 if pooling == WIDE else 1.0)
        if above > DIVERGES_ABOVE:
            lost = self.rungs[0] // 4
            return Curve((), (lost * pace,), "diverged", lost)
        asymptote = (
            _TOP
            - 6 * above**2
            - 8 * math.log10(given[TEMPERATURE] / 0.05) ** 2
            + _GAINS[pooling]
            + 1.5 * math.log2(batch / 64)
        )
        half = 0.05 * self.rungs[-1] * 10**-above
        drawn = noise(seed, given, len(self.rungs), self.noise_sd)
        scores = [
            _START + (asymptote - _START) * rung / (rung + half) + off
            for rung, off in zip(self.rungs, drawn, strict=True)
        ]
        # A correlation lies within ±100, however bad the configuration.
        return Curve(tuple(max(-99.0, min(100.0, score)) for score in scores), tuple(r * pace for r in self.rungs))


def decades_above(learning_rate: float, batch: int) -> float:
    """Powers of ten by which a learning rate lies above the best one of its batch size."""
    return math.log10(learning_rate / 1e-4) - 0.5 * math.log10(batch / 64)
