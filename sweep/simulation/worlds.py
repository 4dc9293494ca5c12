"""Worlds: what a trial would score and how long it would take, without training it.

A world answers for one configuration with its whole learning curve. Noise is a function of the seed and the
configuration, so two strategies under one seed see the same score for the same configuration, as two sweeps with the
same `train.seed` do.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from sweep.trial_record import TrialState


@dataclass(frozen=True)
class Curve:
    """What one trial does when nobody stops it.

    Attributes:
        scores: × 100, at the world's rungs from the first; fewer than those where it fails.
        seconds: From the trial's start to each score, and then to the failure where there is one.
        failure: Why there is no further score; None for a curve that reaches the top rung.
        lost: Sentences trained between the last score and the failure.
    """

    scores: tuple[float, ...]
    seconds: tuple[float, ...]
    failure: TrialState | None = None
    lost: int = 0


@dataclass(frozen=True)
class Domain:
    """What a knob may be in a world.

    Attributes:
        values: In the order of the world's table; ascending where `between`.
        between: Whether all numbers from the least to the greatest are allowed too.
    """

    values: tuple[Any, ...]
    between: bool = False

    def holds(self, value: Any) -> bool:
        """Whether the world knows the value."""
        if value in self.values:
            return True
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return self.between and number and self.values[0] <= value <= self.values[-1]

    def __str__(self) -> str:
        if self.between:
            return f"{self.values[0]:g} to {self.values[-1]:g}"
        return ", ".join(map(str, self.values))


class World(Protocol):
    """Something that knows the learning curve of every configuration of its knobs."""

    @property
    def rungs(self) -> tuple[int, ...]:
        """Sentences at which a trial is scored, ascending."""

    @property
    def domains(self) -> Mapping[str, Domain]:
        """The knobs that matter, by dotted name."""

    @property
    def noise_sd(self) -> float:
        """Standard deviation of a score, in points."""

    def run(self, knobs: Mapping[str, Any], seed: int) -> Curve:
        """The curve of a configuration; knobs that the world does not know are ignored.

        Raises:
            sweep.errors.Refused: a knob is missing, or has a value that the world does not know.
        """


def noise(seed: int, knobs: Mapping[str, Any], rungs: int, sd: float) -> list[float]:
    """Normal noise of one configuration, one number a rung, each of standard deviation `sd`.

    Half of the variance is the trial's own (initial weights, order of the data) and stays over its rungs, half is
    the rung's. That split is an assumption; only the sum, at the top rung, is known for any encoder.
    """
    if sd == 0:
        return [0.0] * rungs
    text = json.dumps(sorted(knobs.items()), default=str)
    key = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
    drawn = np.random.default_rng([seed, key]).normal(size=rungs + 1)
    return [sd * math.sqrt(0.5) * float(drawn[0] + each) for each in drawn[1:]]
