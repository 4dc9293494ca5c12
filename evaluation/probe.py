"""The transfer probe: how well a logistic regression tells classes apart by frozen embeddings.

SentEval's protocol with its scikit-learn classifier: the same folds, the same choices of C and the same accuracies from
the same embeddings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import f1_score

from evaluation.errors import InputError
from evaluation.labelled import Examples, Labelled
from evaluation.logistic import Classified, Outcome, by_dev, by_folds, by_nested_folds
from evaluation.protocol import EncodeFunction, Encoder, embed

COLLAPSED_CHANGE = 4e-5
"""Features that move by less than this share of the largest one are the same: float32 rounding moves them by less."""


@dataclass(frozen=True)
class TransferScore:
    """How one encoder does on one transfer task, × 100, or the name of the reason why there is no number."""

    task: str
    examples: int
    """Number of test examples; where there is no test split, each training example is tested once."""
    accuracy: float | None
    dev_accuracy: float | None
    """Of the chosen C, on the examples that it was chosen on."""
    f1: float | None
    """Of `Labelled.positive`, for tasks that have one."""
    failure: Literal["collapsed", "diverged"] | None
    """`diverged`: a feature is not finite. `collapsed`: the features of all training examples are the same."""
    texts: tuple[tuple[str, ...], ...] = field(repr=False, compare=False)
    """Of each test example, in the order of the files."""
    correct: NDArray[np.bool_] | None = field(repr=False, compare=False)
    """[examples]: whether its label was found."""

    def to_json(self) -> dict[str, Any]:
        """Every field but what the single examples are."""
        return {each.name: getattr(self, each.name) for each in fields(self) if each.name not in ("texts", "correct")}


def distinct_texts(tasks: Sequence[Labelled]) -> list[str]:
    """Every text of `tasks` once, in order of appearance."""
    parts = (part for task in tasks for part in task.splits.values())
    return list(dict.fromkeys(text for part in parts for texts in part.texts for text in texts))


def probe(encoder: Encoder | EncodeFunction, tasks: Sequence[Labelled], *, workers: int = 1) -> list[TransferScore]:
    """Score `encoder` on each of `tasks`, in order; every distinct text of all of them is encoded once.

    Args:
        encoder: an object with `encode(sentences)`, or a function of sentences.
        tasks: from `evaluation.transfer.load_labelled`.
        workers: processes, of one CPU core each; the scores are the same for any number.

    Raises:
        InputError: fewer than one worker, or the encoder returned something other than one row a text.
    """
    if not tasks:
        return []
    texts = distinct_texts(tasks)
    return probe_embeddings(embed(encoder, texts), texts, tasks, workers=workers)


def probe_embeddings(
    embeddings: NDArray[np.floating], texts: Sequence[str], tasks: Sequence[Labelled], *, workers: int = 1
) -> list[TransferScore]:
    """The same from embeddings [n, width] that are there already, one row for each of `texts`."""
    if workers < 1:
        raise InputError(f"workers: {workers}; allowed is 1 or more")
    row = {text: index for index, text in enumerate(texts)}
    return [_probe_one(task, row, embeddings, workers) for task in tasks]


def _probe_one(task: Labelled, row: Mapping[str, int], embeddings: NDArray[np.floating], workers: int) -> TransferScore:
    orders = [_senteval_order(part) for part in task.splits.values()]
    parts = [
        Classified(_features([part.texts[index] for index in order], row, embeddings), part.labels[order])
        for part, order in zip(task.splits.values(), orders, strict=True)
    ]
    tested = list(task.splits.values())[-1]
    failure = _failure(parts)
    if failure:
        return TransferScore(task.task, len(tested), None, None, None, failure, tested.texts, None)
    outcome = _outcome(parts, workers)
    predicted = np.empty_like(outcome.predicted)
    predicted[orders[-1]] = outcome.predicted
    f1 = None
    if task.positive is not None:
        label = task.classes.index(task.positive)
        f1 = 100 * float(f1_score(tested.labels == label, predicted == label, zero_division=0.0))
    return TransferScore(
        task=task.task,
        examples=len(tested),
        accuracy=outcome.accuracy,
        dev_accuracy=outcome.dev_accuracy,
        f1=f1,
        failure=None,
        texts=tested.texts,
        correct=predicted == tested.labels,
    )


def _senteval_order(examples: Examples) -> NDArray[np.intp]:
    """Shortest first, which SentEval does to pad less; the folds are drawn from that order."""
    keys = [
        (*(len(text.split()) for text in texts), label)
        for texts, label in zip(examples.texts, examples.labels.tolist(), strict=True)
    ]
    return np.array(sorted(range(len(keys)), key=keys.__getitem__), dtype=np.intp)


def _features(
    texts: Sequence[tuple[str, ...]], row: Mapping[str, int], embeddings: NDArray[np.floating]
) -> NDArray[np.floating]:
    """[n, width] of sentences, [n, 2 width] of pairs: |u − v| and u·v element by element."""
    sides = [embeddings[[row[text] for text in side]] for side in zip(*texts, strict=True)]
    if len(sides) == 1:
        return sides[0]
    first, second = sides
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is named below
        return np.concatenate([np.abs(first - second), first * second], axis=1)


def _failure(parts: Sequence[Classified]) -> Literal["collapsed", "diverged"] | None:
    if not all(np.isfinite(part.features).all() for part in parts):
        return "diverged"
    train = parts[0].features
    with np.errstate(over="ignore"):
        change = np.ptp(train, axis=0).max()
    return "collapsed" if change <= COLLAPSED_CHANGE * np.abs(train[0]).max() else None


def _outcome(parts: Sequence[Classified], workers: int) -> Outcome:
    match parts:
        case [train]:
            return by_nested_folds(train, workers)
        case [train, test]:
            return by_folds(train, test, workers)
        case [train, dev, test]:
            return by_dev(train, dev, test, workers)
    raise AssertionError("Labelled lets no other splits through")
