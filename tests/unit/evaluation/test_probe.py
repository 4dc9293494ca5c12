import warnings
from collections import Counter
from zlib import crc32

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from threadpoolctl import threadpool_info, threadpool_limits

from evaluation.errors import InputError
from evaluation.labelled import Examples, Labelled
from evaluation.logistic import _choose
from evaluation.probe import probe

WIDTH = 6
SMALL = 0.15
"""Vectors so short that the largest C is the best."""
WORDS = ("a", "the", "film", "plot", "is", "was", "awful", "fine", "where")


class Words:
    """A text is the sum of its words' random vectors, times `scale`; remembers what it was asked."""

    def __init__(self, scale=1.0):
        self.scale = scale
        self.calls = []

    def encode(self, sentences):
        self.calls.append(list(sentences))
        return np.array([self.scale * sum_of_words(text) for text in sentences], dtype=np.float32)


def sum_of_words(text):
    return sum(map(word_vector, text.split()), np.zeros(WIDTH))


def word_vector(word):
    return np.random.default_rng(crc32(word.encode())).normal(size=WIDTH)


def made_up(seed, count, classes=2, sides=1):
    """Texts of one to four words, one empty, with a word that mostly tells the class."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(count) % classes)
    texts = [
        tuple(
            " ".join([*rng.choice(WORDS, rng.integers(0, 4)), WORDS[-1 - label if rng.random() < 0.8 else 0]])
            for _ in range(sides)
        )
        for label in labels
    ]
    texts[3] = ("",) * sides
    return Examples(tuple(texts), labels)


def in_sentevals_order(examples, scale=1.0):
    """The features [n, …] and labels [n] as SentEval's tasks sort them, and the texts."""
    rows = sorted(
        zip(examples.texts, examples.labels.tolist(), strict=True),
        key=lambda row: (*[len(text.split()) for text in row[0]], row[1]),
    )
    features = []
    for texts, _ in rows:
        u, *rest = Words(scale).encode(texts)
        features.append(np.concatenate([np.abs(u - rest[0]), u * rest[0]]) if rest else u)
    return np.array(features), np.array([label for _, label in rows]), [texts for texts, _ in rows]


def folds(x, y):
    return StratifiedKFold(n_splits=10, shuffle=True, random_state=1111).split(x, y)


def best(exponents, mean_accuracy):
    """The first C with the best accuracy to two decimals, and that accuracy."""
    scores = [round(100 * mean_accuracy(2.0**k), 2) for k in exponents]
    return 2.0 ** exponents[int(np.argmax(scores))], max(scores)


def mean_over_folds(x, y, c):
    return np.mean([LogisticRegression(C=c).fit(x[a], y[a]).score(x[b], y[b]) for a, b in folds(x, y)])


def right_texts(texts, right):
    return Counter(text for text, is_right in zip(texts, right, strict=True) if is_right)


@pytest.mark.parametrize(("classes", "sides", "scale"), [(3, 1, 1), (2, 2, 1), (2, 1, SMALL)])
def test_a_task_without_dev_is_scored_as_by_a_loop_over_ten_folds_of_train(classes, sides, scale):
    splits = {"train": made_up(1, 150, classes, sides), "test": made_up(2, 90, classes, sides)}
    (x, y, _), (x_test, y_test, texts) = (in_sentevals_order(part, scale) for part in splits.values())
    c, dev = best(range(-1, 6), lambda c: mean_over_folds(x, y, c))
    predicted = LogisticRegression(C=c).fit(x, y).predict(x_test)
    found, wrong = np.sum((predicted == 1) & (y_test == 1)), np.sum((predicted == 1) != (y_test == 1))

    names = ("no", "yes", "maybe")[:classes]
    (score,) = probe(Words(scale), [Labelled("made-up", names, splits, positive="yes")])
    assert score.accuracy == pytest.approx(100 * np.mean(predicted == y_test), abs=1e-9)
    assert score.dev_accuracy == pytest.approx(dev, abs=0.005)
    assert score.f1 == pytest.approx(100 * 2 * found / (2 * found + wrong), abs=1e-9)
    assert right_texts(score.texts, score.correct) == right_texts(texts, predicted == y_test)
    assert score.examples == 90


@pytest.mark.parametrize("scale", [1, SMALL])
def test_a_task_with_dev_is_scored_as_by_one_fit_for_each_c(scale):
    splits = {"train": made_up(10, 200), "dev": made_up(11, 80), "test": made_up(12, 90)}
    (x, y, _), (x_dev, y_dev, _), (x_test, y_test, texts) = (
        in_sentevals_order(part, scale) for part in splits.values()
    )
    fits = {2.0**k: LogisticRegression(C=2.0**k).fit(x, y) for k in range(-2, 4)}
    c, dev = best(range(-2, 4), lambda c: fits[c].score(x_dev, y_dev))
    right = fits[c].predict(x_test) == y_test

    (score,) = probe(Words(scale), [Labelled("made-up", ("no", "yes"), splits)])
    assert score.accuracy == pytest.approx(100 * right.mean(), abs=1e-9)
    assert score.dev_accuracy == pytest.approx(dev, abs=0.005)
    assert right_texts(score.texts, score.correct) == right_texts(texts, right)


def test_of_accuracies_equal_to_two_decimals_the_smallest_c_is_taken():
    shares = np.array([[0.7, 0.80001, 0.80004, 0.8], [0.7, 0.80002, 0.80002, 0.8]])
    c, accuracy = _choose((1.0, 2.0, 4.0, 8.0), shares)
    assert (c, accuracy) == (2.0, pytest.approx(80.0015))


def dev_task(name="made-up", seed=6, sides=1):
    splits = {split: made_up(seed + i, 40, sides=sides) for i, split in enumerate(("train", "dev", "test"))}
    return Labelled(name, ("no", "yes"), splits)


def test_what_is_right_is_told_in_the_order_of_the_files():
    # Long texts come first, so that SentEval's order is another one; only the second of four is told wrong.
    test = Examples((("x x x",), ("y y",), ("y",), ("x",)), np.array([1, 1, 0, 1]))
    train = Examples((("x",), ("y",)) * 3, np.array([1, 0] * 3))
    told_apart = {True: [1.0, 0.0], False: [0.0, 1.0]}
    encoder = embeddings_of(lambda text: told_apart["x" in text])
    (score,) = probe(encoder, [Labelled("t", ("no", "yes"), {"train": train, "dev": train, "test": test})])
    assert score.texts == test.texts
    assert score.correct.tolist() == [True, False, True, True]
    assert (score.accuracy, score.dev_accuracy) == (75.0, 100.0)


def test_every_distinct_text_of_all_the_tasks_is_encoded_once_in_one_call():
    tasks = [dev_task("one"), dev_task("two", 7, sides=2)]
    encoder = Words()
    probe(encoder, tasks)
    (asked,) = encoder.calls
    assert sorted(asked) == sorted(
        {text for task in tasks for part in task.splits.values() for texts in part.texts for text in texts}
    )


def embeddings_of(vector):
    """The encoder, a function, that gives a text the vector."""
    return lambda sentences: np.array([vector(text) for text in sentences], dtype=np.float32)


def failures(vector, tasks):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scores = probe(embeddings_of(vector), tasks)
    for score in scores:
        if score.failure:
            assert (score.accuracy, score.dev_accuracy, score.f1, score.correct) == (None, None, None, None)
            assert len(score.texts) == score.examples == 40
    return [score.failure for score in scores]


@pytest.mark.parametrize("constant", [[1.0, 2.0, 3.0], [0.0, 0.0, 0.0], [1e-30, 0.0, 0.0]])
@pytest.mark.parametrize("sides", [1, 2])
def test_equal_embeddings_are_named_collapsed(constant, sides):
    assert failures(lambda text: constant, [dev_task(sides=sides)]) == ["collapsed"]


@pytest.mark.parametrize("sides", [1, 2])
def test_embeddings_equal_but_for_rounding_are_named_collapsed(sides):
    rng = np.random.default_rng(0)
    vector = rng.normal(size=64)
    assert failures(lambda text: vector * (1 + 1e-7 * rng.normal(size=64)), [dev_task(sides=sides)]) == ["collapsed"]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_one_number_that_is_not_finite_is_named_diverged_in_the_tasks_that_use_it(bad):
    clean = dev_task("clean")
    marked = Examples((*clean.splits["test"].texts[1:], ("mark",)), clean.splits["test"].labels)
    hit = Labelled("hit", clean.classes, {**clean.splits, "test": marked})
    assert failures(lambda text: [bad] * WIDTH if text == "mark" else sum_of_words(text), [hit, clean]) == [
        "diverged",
        None,
    ]


def test_products_that_overflow_are_named_diverged():
    assert failures(lambda text: 1e25 * sum_of_words(text), [dev_task(sides=2), dev_task()]) == ["diverged", None]


def test_a_fit_that_stops_after_a_hundred_iterations_gives_a_score_and_no_warning():
    skewed = np.logspace(0, 3, WIDTH)
    x, y, _ = in_sentevals_order(dev_task().splits["train"])
    with pytest.warns(match="failed to converge"):
        LogisticRegression(C=8.0).fit(x * skewed, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (score,) = probe(lambda texts: Words().encode(texts) * skewed, [dev_task()])
    assert score.failure is None


def test_the_threads_of_the_caller_are_left_as_they_were():
    with threadpool_limits(2, user_api="blas"):
        before = threadpool_info()
        probe(Words(), [dev_task()])
        assert threadpool_info() == before


def test_no_tasks_are_no_work_for_the_encoder():
    encoder = Words()
    assert probe(encoder, []) == []
    assert encoder.calls == []


def test_less_than_one_worker_is_refused():
    with pytest.raises(InputError, match="workers: 0; allowed is 1 or more"):
        probe(Words(), [dev_task()], workers=0)
