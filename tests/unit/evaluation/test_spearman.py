import numpy as np
import pytest

from evaluation.spearman import cosine, pearson, spearman, unit_rows


def average_rank_correlation(x, y):
    """Spearman by its definition: Pearson of average ranks, all loops."""

    def ranks(values):
        return [
            sum(other < value for other in values) + (sum(other == value for other in values) + 1) / 2
            for value in values
        ]

    a, b = ranks(x), ranks(y)
    mean_a, mean_b = sum(a) / len(a), sum(b) / len(b)
    covariance = sum((i - mean_a) * (j - mean_b) for i, j in zip(a, b, strict=True))
    return covariance / (sum((i - mean_a) ** 2 for i in a) * sum((j - mean_b) ** 2 for j in b)) ** 0.5


def test_spearman_with_heavy_ties_is_the_correlation_of_average_ranks():
    rng = np.random.default_rng(0)
    gold = rng.integers(0, 6, 80).astype(float)
    similarity = np.round(gold + rng.normal(size=80), 1)
    assert spearman(similarity, gold) == pytest.approx(100 * average_rank_correlation(similarity, gold))


def test_correlations_of_a_monotone_curve_are_told_apart():
    x = np.arange(1.0, 6.0)
    assert spearman(x**3, x) == pytest.approx(100)
    assert pearson(x**3, x) == pytest.approx(100 * np.corrcoef(x**3, x)[0, 1])


def test_cosine_is_the_normalised_dot_product():
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(2, 50, 7))
    naive = [
        sum(p * q for p, q in zip(u, v, strict=True)) / (np.hypot.reduce(u) * np.hypot.reduce(v))
        for u, v in zip(a, b, strict=True)
    ]
    np.testing.assert_allclose(cosine(unit_rows(a), unit_rows(b)), naive, atol=1e-12)


def test_cosine_of_equal_rows_is_exactly_one_so_that_equal_texts_tie():
    rows = unit_rows(np.random.default_rng(2).normal(size=(500, 33)).astype(np.float32))
    assert set(cosine(rows, rows.copy())) == {1.0}


def test_cosine_with_a_zero_row_is_zero():
    rows = unit_rows(np.array([[0.0, 0.0], [3.0, 4.0]]))
    assert cosine(rows, rows[::-1]).tolist() == [0.0, 0.0]
    assert cosine(rows, rows).tolist() == [0.0, 1.0]


def test_rows_near_the_limit_of_float32_do_not_overflow():
    np.testing.assert_allclose(unit_rows(np.full((1, 4), 3e38, dtype=np.float32)), 0.5)
