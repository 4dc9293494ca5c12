"""The transfer probe's longer checks: nested folds by plain loops, and processes against one."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from evaluation.labelled import Labelled
from evaluation.probe import distinct_texts, probe, probe_embeddings
from tests.unit.evaluation.test_probe import (
    Words,
    best,
    dev_task,
    folds,
    in_sentevals_order,
    made_up,
    mean_over_folds,
    right_texts,
)


def test_a_task_of_one_split_is_scored_as_by_nested_loops_over_ten_folds():
    examples = made_up(0, 53)
    x, y, texts = in_sentevals_order(examples)
    dev, accuracies, right = [], [], np.zeros(len(y), dtype=bool)
    for train, test in folds(x, y):
        c, accuracy = best(range(-2, 4), lambda c, rows=train: mean_over_folds(x[rows], y[rows], c))
        dev.append(accuracy)
        right[test] = LogisticRegression(C=c).fit(x[train], y[train]).predict(x[test]) == y[test]
        accuracies.append(100 * right[test].mean())

    (score,) = probe(Words(), [Labelled("made-up", ("no", "yes"), {"train": examples})])
    assert score.accuracy == pytest.approx(np.mean(accuracies), abs=1e-9)
    assert score.dev_accuracy == pytest.approx(np.mean(dev), abs=0.005)
    assert right_texts(score.texts, score.correct) == right_texts(texts, right)
    assert 60 < score.accuracy < 95
    assert (score.task, score.examples, score.f1, score.failure) == ("made-up", 53, None, None)


def test_scores_are_the_same_for_any_number_of_workers_and_from_ready_embeddings():
    tasks = [Labelled("folds", ("no", "yes"), {"train": made_up(8, 60), "test": made_up(9, 60)}), dev_task()]
    texts = distinct_texts(tasks)
    alone, together = probe(Words(), tasks), probe_embeddings(Words().encode(texts), texts, tasks, workers=2)
    assert alone == together
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one.correct, other.correct)
