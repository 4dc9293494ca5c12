"""Is one encoder better than another? Paired bootstrap differences, Holm-corrected over the tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

import numpy as np

from evaluation.bootstrap import RESAMPLES, Sample, Values, defined, interval_of, resample
from evaluation.clusters import Items
from evaluation.errors import InputError

DECIMALS = 9
"""Of a difference × 100. Equal means that are summed in another order differ by about 1e-14; they count as equal."""


@dataclass(frozen=True)
class Difference:
    """The score × 100 of encoder A less that of B on the same items."""

    difference: float
    low: float
    """To `high`: the 95 % interval of the difference."""
    high: float
    p: float
    """Two-sided; with R resamples it is never below 2 / (R + 1)."""
    p_holm: float | None
    """`p` after Holm's correction over the tasks; None for an average, which is outside that family."""


def differences(
    a: Mapping[str, Sample],
    b: Mapping[str, Sample],
    averages: Mapping[str, Sequence[str]] | None = None,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Difference | None]:
    """A − B for each task and each average of tasks; None where too few resamples have a score of both.

    Both encoders are scored on the same resamples, so that what is hard for both cancels: two scores whose own
    intervals overlap widely can differ for certain.

    Args:
        a: task → its items and the score of encoder A.
        b: the same tasks with the same items, and the score of encoder B.
        averages: name → the tasks whose scores it is the mean of; their items are resampled together.
        resamples: bootstrap resamples, at least `bootstrap.FEWEST_RESAMPLES`.
        seed: the same seed gives the same result.

    Raises:
        InputError: `a` and `b` differ in tasks or items, or what `bootstrap.intervals` refuses.
    """
    _check_same_items(a, b)
    averages = averages or {}
    of_a, of_b = resample(a, averages, resamples, seed), resample(b, averages, resamples, seed)
    groups = {task: [task] for task in a} | {name: list(tasks) for name, tasks in averages.items()}
    found = {
        name: _difference(fmean(a[task].value - b[task].value for task in tasks), of_a[name] - of_b[name])
        for name, tasks in groups.items()
    }
    # A task that could not be tested stays in the family, as one that shows nothing.
    corrected = holm([1.0 if (one := found[task]) is None else one.p for task in a])
    for task, p in zip(a, corrected, strict=True):
        if (one := found[task]) is not None:
            found[task] = replace(one, p_holm=p)
    return found


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction (1979), in the order given: the i-th smallest of m times m − i + 1, never falling.

    Raises:
        InputError: a p-value is not between 0 and 1.
    """
    p = np.array(p_values, dtype=np.float64)
    if not ((p >= 0) & (p <= 1)).all():
        raise InputError(f"p-values {list(p_values)}; allowed is 0 to 1")
    order = np.argsort(p)
    corrected = np.empty_like(p)
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    result: list[float] = corrected.tolist()
    return result


def _difference(point: float, values: Values) -> Difference | None:
    kept = defined(np.round(values, DECIMALS))
    interval = interval_of(kept)
    if kept is None or interval is None:
        return None
    tail = int(min(np.count_nonzero(kept <= 0), np.count_nonzero(kept >= 0)))
    p = min(1.0, 2.0 * (1 + tail) / (len(kept) + 1))
    return Difference(round(point, DECIMALS), interval.low, interval.high, p, None)


def _check_same_items(a: Mapping[str, Sample], b: Mapping[str, Sample]) -> None:
    faults = []
    for task in dict.fromkeys([*a, *b]):
        if task not in a or task not in b:
            faults.append(f"{task}: only encoder {'A' if task in a else 'B'} is scored on it")
        elif a[task].items != b[task].items:
            faults.append(f"{task}: {_first_difference(a[task].items, b[task].items)}")
    if faults:
        raise InputError("\n  ".join(["two encoders can only be compared on the same items:", *faults]))


def _first_difference(a: Items, b: Items) -> str:
    if len(a) != len(b):
        return f"{len(a)} items for encoder A, {len(b)} for B"
    entries = enumerate(zip(zip(a.texts, a.subset, strict=True), zip(b.texts, b.subset, strict=True), strict=True))
    return next(f"item {i} is {one} for encoder A, {other} for B" for i, (one, other) in entries if one != other)
