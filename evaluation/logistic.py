"""Logistic regression by SentEval's three protocols: what C is chosen on, and what is tested.

They are those of `senteval/tools/validation.py` with `usepytorch=False` (Conneau and Kiela 2018), at the ten folds of
SimCSE's test mode. Shapes: n examples, W numbers a feature vector.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from threadpoolctl import threadpool_limits

from evaluation.labelled import FOLDS

_T = TypeVar("_T")

SEED = 1111
CS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
CS_BY_FOLDS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
"""SentEval's grid where there is a test split but none to choose on."""

Rows = NDArray[np.intp]
Fold = tuple[Rows, Rows]
"""The rows to fit on and those held out."""


class Classified(NamedTuple):
    """The examples of one split as a classifier sees them."""

    features: NDArray[np.floating]
    """[n, W]; float32 is fitted in float32, in SentEval too."""
    labels: NDArray[np.intp]
    """[n]"""

    def take(self, rows: Rows) -> Classified:
        """Some of them, in that order."""
        return Classified(self.features[rows], self.labels[rows])


class Outcome(NamedTuple):
    """What a protocol finds; the accuracies are × 100."""

    dev_accuracy: float
    """Of the chosen C, on what it was chosen on."""
    accuracy: float
    predicted: NDArray[np.intp]
    """[n], the label given to each test example."""


def by_nested_folds(train: Classified, workers: int) -> Outcome:
    """Each tenth is tested by a fit on the other nine, whose own ten folds choose C; the accuracies are fold means."""
    outer = _folds(train.labels)
    inner = [(rows[fit], rows[held_out]) for rows, _ in outer for fit, held_out in _folds(train.labels[rows])]
    shares = np.array(_run(workers, _shares_of_fold, ((train, CS, fold) for fold in inner)))
    choices = [_choose(CS, part) for part in np.split(shares, FOLDS)]
    jobs = ((train, fold, c) for fold, (c, _) in zip(outer, choices, strict=True))
    predicted = np.empty_like(train.labels)
    for (_, held_out), labels in zip(outer, _run(workers, _predict_fold, jobs), strict=True):
        predicted[held_out] = labels
    return Outcome(
        dev_accuracy=float(np.mean([accuracy for _, accuracy in choices])),
        accuracy=100 * float(np.mean([_share(predicted[rows], train.labels[rows]) for _, rows in outer])),
        predicted=predicted,
    )


def by_folds(train: Classified, test: Classified, workers: int) -> Outcome:
    """The ten folds of the training examples choose C; a fit on all of them is tested."""
    shares = _run(workers, _shares_of_fold, ((train, CS_BY_FOLDS, fold) for fold in _folds(train.labels)))
    c, dev_accuracy = _choose(CS_BY_FOLDS, np.array(shares))
    (predicted,) = _job(_predict, train, (test,), c)
    return Outcome(dev_accuracy, 100 * _share(predicted, test.labels), predicted)


def by_dev(train: Classified, dev: Classified, test: Classified, workers: int) -> Outcome:
    """The dev examples choose C among fits on the training examples; the chosen fit is tested."""
    found = _run(workers, _predict, ((train, (dev, test), c) for c in CS))
    c, dev_accuracy = _choose(CS, np.array([[_share(on_dev, dev.labels) for on_dev, _ in found]]))
    _, predicted = found[CS.index(c)]
    return Outcome(dev_accuracy, 100 * _share(predicted, test.labels), predicted)


def _run(workers: int, function: Callable[..., _T], jobs: Iterable[tuple[Any, ...]]) -> list[_T]:
    """Each job's arguments → its result, in their order, by so many processes; one is this process.

    Threads gain nothing: between two short products of a fit they wait for Python's lock.
    """
    results: list[_T] = Parallel(n_jobs=workers)(delayed(_job)(function, *job) for job in jobs)
    return results


def _job(function: Callable[..., _T], *arguments: Any) -> _T:
    # One BLAS thread: with another number the last bits, and so a label now and then, would be others.
    with threadpool_limits(1, user_api="blas"), warnings.catch_warnings():
        # scikit-learn's solver stops after 100 iterations, in SentEval too: going on would be another protocol.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return function(*arguments)


def _folds(labels: NDArray[np.intp]) -> list[Fold]:
    folds = StratifiedKFold(n_splits=FOLDS, shuffle=True, random_state=SEED)
    return list(folds.split(np.zeros(len(labels)), labels))


def _shares_of_fold(train: Classified, cs: Sequence[float], fold: Fold) -> list[float]:
    fit, held_out = map(train.take, fold)
    return [_share(_predict(fit, (held_out,), c)[0], held_out.labels) for c in cs]


def _predict_fold(train: Classified, fold: Fold, c: float) -> NDArray[np.intp]:
    fit, held_out = map(train.take, fold)
    return _predict(fit, (held_out,), c)[0]


def _predict(train: Classified, parts: Sequence[Classified], c: float) -> list[NDArray[np.intp]]:
    """The labels that a fit on `train` gives each of `parts`."""
    fit = LogisticRegression(C=c, random_state=SEED).fit(train.features, train.labels)
    return [fit.predict(part.features) for part in parts]


def _share(predicted: NDArray[np.intp], labels: NDArray[np.intp]) -> float:
    return float(np.mean(predicted == labels))


def _choose(cs: Sequence[float], shares: NDArray[np.float64]) -> tuple[float, float]:
    """Shares of right answers, [folds, len(cs)] → the C of the best accuracy, and that.

    SentEval compares percentages rounded to two decimals, and takes the first of equals.
    """
    means = [100 * np.mean(column) for column in shares.T]
    best = int(np.argmax([round(mean, 2) for mean in means]))
    return cs[best], float(means[best])
