"""How sure a score is: percentile intervals (Efron and Tibshirani 1993, chapter 13) over clusters of items.

Clusters matter: the interval of the lexical floor's average over STS12 to STS15 and STS-B test is 2.7 wide; it would be
2.0 if every pair were taken for a new one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from evaluation.clusters import Items, clusters_of
from evaluation.errors import InputError

RESAMPLES = 2000
FEWEST_RESAMPLES = 40
"""With fewer, not one resample lies outside a 95 % interval on either side."""
MOST_UNDEFINED = 0.05
"""Share of the resamples that may have no value; with more the rest are no fair picture of the score."""
CHUNK = 2**18
"""Counts in memory together; larger chunks are no faster."""

Counts = NDArray[np.integer]
"""[resamples, n]: how often each item occurs in each resample."""
Values = NDArray[np.float64]
"""[resamples]: a score × 100 each, NaN where it is undefined. No public result holds one of these NaN."""
Statistic = Callable[[Counts], Values]


@dataclass(frozen=True, eq=False)
class Sample:
    """The items of one task and the score of one encoder as a function of how often each item occurs."""

    items: Items
    statistic: Statistic

    @property
    def value(self) -> float:
        """The score × 100 of the items as they are."""
        return float(self.statistic(np.ones((1, len(self.items)), dtype=np.int32))[0])


@dataclass(frozen=True)
class Interval:
    """A 95 % interval, × 100."""

    low: float
    high: float


def intervals(
    samples: Mapping[str, Sample],
    averages: Mapping[str, Sequence[str]] | None = None,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Interval | None]:
    """The interval of each task's score and of each average of tasks.

    It is None where more than `MOST_UNDEFINED` of the resamples have no score, or where all items of each subset hang
    together by their texts, so that every resample is the same.

    Args:
        samples: task → its items and the encoder's score. A task's interval does not depend on the other tasks.
        averages: name → the tasks whose scores it is the mean of; their items are resampled together.
        resamples: bootstrap resamples, at least `FEWEST_RESAMPLES`.
        seed: the same seed gives the same intervals.

    Raises:
        InputError: an average of unknown tasks or of none, too few resamples, or a negative seed; all mistakes at once.
    """
    values = resample(samples, averages or {}, resamples, seed)
    return {name: interval_of(defined(v)) for name, v in values.items()}


def spearman_of(similarity: NDArray[np.floating], gold: NDArray[np.floating]) -> Statistic:
    """Spearman's rank correlation × 100 of `similarity` [n] and `gold` [n]; ties take their average rank.

    Both are sorted once; the ranks of a resample follow from its counts summed in that order.

    Raises:
        InputError: different lengths, a number that is not finite, or all the same number.
    """
    if len(similarity) != len(gold):
        raise InputError(f"{len(similarity)} similarities, but {len(gold)} golds; every pair needs both")
    for name, values in (("similarity", similarity), ("gold", gold)):
        if not np.isfinite(values).all():
            raise InputError(f"the {name} of pair {int(np.argmin(np.isfinite(values)))} is not finite")
        if len(values) < 2 or (values == values[0]).all():
            raise InputError(f"every {name} is the same; a correlation needs two that differ")
    ranks_of_similarity, ranks_of_gold = _ranks_of(similarity), _ranks_of(gold)

    def statistic(counts: Counts) -> Values:
        x, y = ranks_of_similarity(counts), ranks_of_gold(counts)
        weighted = np.multiply(counts, x, dtype=np.float64)
        covariance = np.einsum("rn,rn->r", weighted, y)
        scale = np.einsum("rn,rn->r", weighted, x)
        np.multiply(counts, y, out=weighted)
        scale *= np.einsum("rn,rn->r", weighted, y)
        correlation = np.full(len(counts), np.nan)
        np.divide(covariance, np.sqrt(scale), out=correlation, where=scale > 0)
        return 100.0 * correlation

    return statistic


def accuracy_of(correct: NDArray[np.bool_]) -> Statistic:
    """The share × 100 of the items whose `correct` [n] is true."""

    def statistic(counts: Counts) -> Values:
        right: Values = np.asarray(100.0 * (counts @ correct.astype(counts.dtype)) / counts.sum(axis=1))
        return right

    return statistic


def _ranks_of(values: NDArray[np.floating]) -> Callable[[Counts], Counts]:
    """Counts → twice the average rank of each item, [resamples, n], less a constant that makes their sum 0."""
    order = np.argsort(values)
    _, tie, sizes = np.unique(values, return_inverse=True, return_counts=True)
    bounds = np.concatenate([[0], np.cumsum(sizes)])

    def ranks(counts: Counts) -> Counts:
        below = np.zeros((len(counts), len(values) + 1), dtype=counts.dtype)
        np.cumsum(counts.take(order, axis=1), axis=1, dtype=counts.dtype, out=below[:, 1:])
        at = below.take(bounds, axis=1)
        item_ranks: Counts = np.take(at[:, :-1] + at[:, 1:] - at[:, -1:], tie, axis=1)
        return item_ranks

    return ranks


def resample(
    samples: Mapping[str, Sample], averages: Mapping[str, Sequence[str]], resamples: int, seed: int
) -> dict[str, Values]:
    """The bootstrap values of each task and each average, whose arguments are those of `intervals`.

    What is drawn follows from the seed, the names of the tasks and their items alone, not from the encoder: the values
    of two encoders are paired.
    """
    _check(samples, averages, resamples, seed)
    groups = {task: (task,) for task in samples} | {name: tuple(tasks) for name, tasks in averages.items()}
    return {
        name: _values({task: samples[task] for task in sorted(tasks)}, resamples, seed)
        for name, tasks in groups.items()
    }


def defined(values: Values) -> Values | None:
    """The values of the resamples that have one; None if too many have none."""
    kept = values[~np.isnan(values)]
    return kept if len(kept) >= (1 - MOST_UNDEFINED) * len(values) else None


def interval_of(values: Values | None) -> Interval | None:
    """From the 2.5th to the 97.5th percentile; None of None."""
    return None if values is None else Interval(*np.quantile(values, (0.025, 0.975)).tolist())


def _check(samples: Mapping[str, Sample], averages: Mapping[str, Sequence[str]], resamples: int, seed: int) -> None:
    faults = []
    if resamples < FEWEST_RESAMPLES:
        faults.append(f"resamples: {resamples}; allowed is {FEWEST_RESAMPLES} or more")
    if seed < 0:
        faults.append(f"seed: {seed}; allowed is 0 or more")
    for name, tasks in averages.items():
        if name in samples:
            faults.append(f"average {name!r} is also the name of a task; give it another")
        if not tasks or len(set(tasks)) < len(tasks):
            faults.append(f"average {name!r} of {list(tasks)}; allowed is one task or more, each once")
        for task in dict.fromkeys(tasks):
            if task not in samples:
                near = get_close_matches(task, samples, n=1)
                hint = f" Did you mean {near[0]!r}?" if near else ""
                faults.append(f"average {name!r}: unknown task {task!r}.{hint} Allowed: {', '.join(samples)}")
    if faults:
        raise InputError("\n".join(faults))


def _values(samples: Mapping[str, Sample], resamples: int, seed: int) -> Values:
    """[resamples]: the mean of the tasks' scores. The samples come sorted by task."""
    clusters = clusters_of({task: sample.items for task, sample in samples.items()})
    if max(clusters.strata.values()) == 1:
        return np.full(resamples, np.nan)
    key = int.from_bytes(sha256("\0".join(samples).encode()).digest())
    rng = np.random.default_rng(np.random.SeedSequence([seed, key]))
    length = max(1, CHUNK // sum(len(sample.items) for sample in samples.values()))
    values = np.empty(resamples)
    for start in range(0, resamples, length):
        chunk = values[start : start + length]
        drawn = clusters.draw(rng, len(chunk))
        scores = [s.statistic(drawn.take(clusters.of_item[task], axis=1)) for task, s in samples.items()]
        np.mean(scores, axis=0, out=chunk)
    return values
