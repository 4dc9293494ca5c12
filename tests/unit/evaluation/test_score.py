import warnings

import numpy as np
import pytest
from scipy import stats
from scipy.spatial import distance

from evaluation.errors import InputError
from evaluation.pairs import Pairs
from evaluation.score import score


class Counting:
    """Gives a text the same vector always, and remembers what it was asked."""

    def __init__(self, vector):
        self.vector = vector
        self.calls = []

    def encode(self, sentences):
        self.calls.append(list(sentences))
        return np.array([self.vector(text) for text in sentences], dtype=np.float32)


def letters(text):
    return [1.0 + text.count(letter) for letter in "abcde"]


def pairs(task="one", first=("a", "ab", "b", "c"), second=("a", "b", "e", "cd"), gold=(5, 3, 0, 2.5), subset=None):
    subset = subset or ("all",) * len(first)
    return Pairs(task, "dev", tuple(first), tuple(second), np.array(gold, dtype=np.float64), tuple(subset))


def test_every_distinct_sentence_of_all_the_pairs_is_encoded_once_in_one_call():
    encoder = Counting(letters)
    score(encoder, [pairs(), pairs("two", ("a", "e", "ab"), ("c", "e", "d"), (1, 2, 3))])
    (asked,) = encoder.calls
    assert sorted(asked) == ["a", "ab", "b", "c", "cd", "d", "e"]


def test_scores_are_what_scipy_gives_for_pairs_encoded_one_by_one():
    part = pairs()
    similarity = [1 - distance.cosine(letters(a), letters(b)) for a, b in zip(part.first, part.second, strict=True)]
    (result,) = score(Counting(letters), [part])
    assert result.spearman == pytest.approx(100 * stats.spearmanr(similarity, part.gold)[0])
    assert result.pearson == pytest.approx(100 * stats.pearsonr(similarity, part.gold)[0])
    assert (result.task, result.split, result.pairs, result.failure) == ("one", "dev", 4, None)


def test_subsets_are_ranked_together_and_not_averaged():
    # Within each subset the order is right; across them it is not: "all" must be below 100.
    vectors = {"x": [1, 0], "p": [1, 0.1], "q": [1, 0.2], "r": [1, 1], "s": [1, 2]}
    part = pairs("t", "xxxx", "pqrs", (2, 1, 5, 4), ("low", "low", "high", "high"))
    (result,) = score(Counting(vectors.__getitem__), [part])
    assert result.spearman == pytest.approx(100 * stats.spearmanr([4, 3, 2, 1], part.gold)[0])


def test_duplicate_pairs_count_as_often_as_they_occur():
    part = pairs(first=("a", "a", "a", "b"), second=("a", "a", "e", "c"), gold=(5, 5, 0, 1))
    similarity = [1 - distance.cosine(letters(a), letters(b)) for a, b in zip(part.first, part.second, strict=True)]
    (result,) = score(Counting(letters), [part])
    assert result.pairs == 4
    assert result.pearson == pytest.approx(100 * stats.pearsonr(similarity, part.gold)[0])


@pytest.mark.parametrize("constant", [[1.0, 2.0, 3.0], [0.0, 0.0, 0.0], [1e-30, 0.0, 0.0]])
def test_equal_embeddings_are_named_collapsed(constant):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (result,) = score(Counting(lambda text: constant), [pairs()])
    assert (result.spearman, result.pearson, result.failure) == (None, None, "collapsed")


def test_embeddings_equal_but_for_rounding_are_named_collapsed():
    rng = np.random.default_rng(0)
    (result,) = score(Counting(lambda text: 1 + 1e-7 * rng.normal(size=64)), [pairs()])
    assert result.failure == "collapsed"


def test_equal_similarities_of_different_embeddings_are_named_collapsed():
    orthogonal = dict(zip("abcdef", np.eye(6), strict=True))
    part = pairs(first=("a", "b", "c"), second=("d", "e", "f"), gold=(1, 2, 3))
    assert score(Counting(orthogonal.__getitem__), [part])[0].failure == "collapsed"


def test_embeddings_that_differ_little_still_have_a_score():
    (result,) = score(Counting(lambda text: [1000.0 + x for x in letters(text)]), [pairs()])
    assert result.failure is None
    assert np.isfinite(result.spearman)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_one_non_finite_number_is_named_diverged_in_the_tasks_that_use_it(bad):
    encoder = Counting(lambda text: [bad, 1, 1, 1, 1] if text == "cd" else letters(text))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        hit, other = score(encoder, [pairs(), pairs("two", ("a", "e", "ab"), ("c", "a", "e"), (1, 2, 3))])
    assert (hit.spearman, hit.failure) == (None, "diverged")
    assert other.failure is None


def test_no_pairs_load_no_encoder_work():
    encoder = Counting(letters)
    assert score(encoder, []) == []
    assert encoder.calls == []


def test_an_encoder_that_loses_a_row_is_refused_with_both_shapes():
    class Short:
        def encode(self, sentences):
            return np.zeros((len(sentences) - 1, 8), dtype=np.float32)

    with pytest.raises(InputError, match=r"Short.encode returned shape \[6, 8\] for 7 sentences"):
        score(Short(), [pairs(first=("a", "ab", "b", "c"), second=("f", "d", "e", "a"))])
