import warnings

import numpy as np
import pytest
from scipy import stats
from scipy.spatial import distance

from evaluation.errors import InputError
from evaluation.pairs import Pairs
from evaluation.score import distinct_sentences, score, score_embeddings
from tests.tiny import tiny_encoder_folder


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
    (result,) = score(Counting(lambda text: [100.0 + x for x in letters(text)]), [pairs()])
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

    with pytest.raises(InputError, match=r"Short returned shape \[6, 8\] of float32 for 7 sentences"):
        score(Short(), [pairs(first=("a", "ab", "b", "c"), second=("f", "d", "e", "a"))])


def two_subsets():
    return pairs(
        "t",
        ("a", "ab", "b", "c", "abc", "bb", "d"),
        ("a", "b", "e", "cd", "ad", "ac", "e"),
        (5, 3, 0, 2.5, 4, 1, 2),
        ("low", "low", "low", "high", "high", "high", "high"),
    )


def test_mean_and_wmean_are_over_the_subsets_own_correlations():
    part = two_subsets()
    similarity = np.array(
        [1 - distance.cosine(letters(a), letters(b)) for a, b in zip(part.first, part.second, strict=True)]
    )
    (result,) = score(Counting(letters), [part])
    for name, correlation in (("spearman", stats.spearmanr), ("pearson", stats.pearsonr)):
        low, high = (100 * correlation(similarity[s], part.gold[s])[0] for s in (slice(0, 3), slice(3, 7)))
        assert getattr(result, f"{name}_mean") == pytest.approx((low + high) / 2)
        assert getattr(result, f"{name}_wmean") == pytest.approx((3 * low + 4 * high) / 7)


def test_a_subset_without_a_correlation_leaves_no_mean_but_the_score_stands():
    part = pairs(gold=(2, 2, 1, 4), subset=("flat", "flat", "other", "other"))
    (result,) = score(Counting(letters), [part])
    assert result.spearman is not None
    assert (result.spearman_mean, result.spearman_wmean, result.pearson_mean, result.pearson_wmean) == (None,) * 4


def test_geometry_is_reported_beside_the_score_and_with_a_collapse_but_not_of_infinite_rows():
    (fine,) = score(Counting(letters), [pairs()])
    assert fine.alignment == pytest.approx(0)  # one pair above 4, of equal sentences
    assert fine.uniformity < 0 < fine.spread < 1
    (flat,) = score(Counting(lambda text: [1.0, 2.0]), [pairs()])
    assert (flat.failure, flat.spread, flat.uniformity) == ("collapsed", 0.0, 0.0)
    (lost,) = score(Counting(lambda text: [np.inf, 2.0]), [pairs()])
    assert (lost.failure, lost.alignment, lost.uniformity, lost.spread) == ("diverged", None, None, None)


def test_a_plain_function_is_an_encoder_and_so_is_one_that_gives_lists_or_integers():
    (expected,) = score(Counting(letters), [pairs()])
    for function in (
        lambda sentences: np.array([letters(text) for text in sentences]),
        lambda sentences: [letters(text) for text in sentences],
        lambda sentences: np.array([letters(text) for text in sentences], dtype=np.int64),
    ):
        (result,) = score(function, [pairs()])
        assert result.spearman == pytest.approx(expected.spearman)


def test_a_sentence_transformer_is_an_encoder(tmp_path):
    library = pytest.importorskip("sentence_transformers", reason="pip install 'stsweep[export]'")
    modules = pytest.importorskip("sentence_transformers.sentence_transformer.modules")
    folder = str(tiny_encoder_folder(tmp_path / "encoder"))
    transformer = modules.Transformer(folder)
    theirs = library.SentenceTransformer(modules=[transformer, modules.Pooling(32, "mean")], device="cpu")
    (result,) = score(theirs, [pairs()])
    first, second = theirs.encode(list(pairs().first)), theirs.encode(list(pairs().second))
    similarity = [1 - distance.cosine(a, b) for a, b in zip(first, second, strict=True)]
    assert result.pearson == pytest.approx(100 * stats.pearsonr(similarity, pairs().gold)[0], abs=1e-3)


@pytest.mark.parametrize("wrong", ["a name", None, 3])
def test_what_is_no_encoder_is_refused(wrong):
    with pytest.raises(InputError, match="is no encoder: give an object with encode"):
        score(wrong, [pairs()])


@pytest.mark.parametrize("rows", [np.zeros((7, 0)), np.array([["x"]] * 7), np.zeros(7), [[1.0], [2.0]]])
def test_rows_that_are_no_embeddings_are_refused(rows):
    with pytest.raises(InputError, match=r"allowed is \[6, width\] of numbers|allowed is \[7, width\]"):
        score(lambda sentences: rows, [pairs(first=("a", "ab", "b", "c"), second=("f", "d", "e", "a"))])


@pytest.mark.parametrize("scale", [1e-20, 1e50, 1e200])
def test_the_scale_of_fp64_embeddings_changes_nothing(scale):
    (expected,) = score(lambda sentences: np.array([letters(text) for text in sentences]), [pairs()])
    (result,) = score(lambda sentences: scale * np.array([letters(text) for text in sentences]), [pairs()])
    for name in ("spearman", "pearson", "uniformity", "spread"):
        assert getattr(result, name) == pytest.approx(getattr(expected, name), abs=1e-5)


def test_a_constant_with_the_rounding_of_bf16_is_collapsed_where_that_was_the_precision():
    rng = np.random.default_rng(0)
    part = pairs()
    sentences = distinct_sentences([part])
    rows = (1 + 2.0**-9 * rng.uniform(-1, 1, (len(sentences), 64))).astype(np.float32)
    assert score_embeddings(rows, sentences, [part], "bf16")[0].failure == "collapsed"
    assert score_embeddings(rows, sentences, [part])[0].failure is None
