"""Strategies beside each other over many seeds: what each found, and what it cost to find a given score.

The plain peer is simulated without the proposal that Tune would keep pending (`sweep.simulation.clock`), in its favour.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sweep.simulation.outcome import Outcome

Strategy = Callable[[int], "Outcome"]
"""A seed → a whole simulated sweep; the seed is that of the sampler and of the world's noise."""


@dataclass(frozen=True)
class Result:
    """One strategy over the seeds, in their order.

    Attributes:
        name: The strategy's.
        sentences: Trained until the target was reached; inf where it never was.
        best: Best score at the top rung, × 100; −inf where no trial came there.
    """

    name: str
    sentences: tuple[float, ...]
    best: tuple[float, ...]

    @property
    def median_sentences(self) -> float:
        return median(self.sentences)

    @property
    def quartiles(self) -> tuple[float, float]:
        """The sentences that a quarter of the seeds came to or below, and a quarter came to or above.

        Each is one seed's own: between a number and inf there is nothing to interpolate.
        """
        ordered, place = sorted(self.sentences), (len(self.sentences) - 1) // 4
        return ordered[place], ordered[-1 - place]

    @property
    def median_best(self) -> float:
        return median(self.best)


def compare(
    strategies: Mapping[str, Strategy], seeds: Sequence[int], target: Callable[[int], float]
) -> tuple[Result, ...]:
    """Run each strategy with each seed.

    Args:
        strategies: By name.
        seeds: The same for all, so that all see the same noise.
        target: A seed → the score × 100 whose cost is counted, the same for all strategies.
    """
    found = []
    for name, run in strategies.items():
        outcomes = [run(seed) for seed in seeds]
        found.append(
            Result(
                name,
                tuple(outcome.sentences_to(target(seed)) for seed, outcome in zip(seeds, outcomes, strict=True)),
                tuple(-math.inf if outcome.best is None else outcome.best for outcome in outcomes),
            )
        )
    return tuple(found)


def comparison_text(results: Sequence[Result]) -> str:
    """The results as a table; the last column is the first strategy's cost ÷ this one's."""
    first = results[0].median_sentences
    wide = max(len(result.name) for result in results)
    reach = "sentences to target"
    lines = [f"{'strategy':{wide}} {reach:>22} {'quartiles':>19} {'reached':>8} {'best':>6} {'ratio':>6}"]
    for result in results:
        reached = sum(math.isfinite(each) for each in result.sentences)
        share = f"{reached}/{len(result.sentences)}"
        cost = result.median_sentences
        ratio = f"{first / cost:.3f}" if math.isfinite(first) and math.isfinite(cost) else "none"
        quartiles = " … ".join(map(_sentences, result.quartiles))
        told = f"{result.name:{wide}} {_sentences(cost):>22} {quartiles:>19} {share:>8}"
        lines.append(f"{told} {result.median_best:>6.2f} {ratio:>6}")
    return "\n".join(lines)


def _sentences(cost: float) -> str:
    return f"{cost:,.0f}" if math.isfinite(cost) else "never"
