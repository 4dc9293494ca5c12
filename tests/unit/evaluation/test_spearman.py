import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from evaluation.spearman import cosine, pearson, spearman


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


def sentevals_cosine(u, v):
    """SentEval's `utils.cosine` within its `nan_to_num`, as it is published."""
    with np.errstate(invalid="ignore"):
        return np.nan_to_num(np.dot(u, v) / (np.linalg.norm(u) * np.linalg.norm(v)))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("width", [5, 384, 769])
def test_cosine_is_sentevals_to_the_last_bit(dtype, width):
    rows = np.random.default_rng(1).normal(size=(60, width)).astype(dtype)
    first, second = list(range(50)), [*range(10), *range(20, 60)]  # ten rows with themselves
    expected = [float(sentevals_cosine(rows[i].copy(), rows[j].copy())) for i, j in zip(first, second, strict=True)]
    assert cosine(rows, first, second).tolist() == expected


def test_cosine_is_the_normalised_dot_product():
    rows = np.random.default_rng(1).normal(size=(100, 7))
    naive = [
        sum(p * q for p, q in zip(u, v, strict=True)) / (np.hypot.reduce(u) * np.hypot.reduce(v))
        for u, v in zip(rows[:50], rows[50:], strict=True)
    ]
    np.testing.assert_allclose(cosine(rows, range(50), range(50, 100)), naive, atol=1e-12)


def test_cosine_with_a_zero_row_is_zero():
    rows = np.array([[0.0, 0.0], [3.0, 4.0]])
    assert cosine(rows, [0, 1, 0, 1], [1, 0, 0, 1]).tolist() == [0.0, 0.0, 0.0, 1.0]


def test_rows_near_the_limits_of_float32_have_a_cosine():
    huge = np.full((2, 4), 3e38, dtype=np.float32)
    huge[1, 0] = 0
    np.testing.assert_allclose(cosine(huge, [0, 0], [0, 1]), [1, 3 / 12**0.5], rtol=1e-6)


def exact(data):
    return [data.draw(st.lists(st.integers(-50, 50), min_size=size, max_size=size)) for size in (25, 25)]


@given(st.data())
def test_a_monotone_transform_leaves_spearman_unchanged(data):
    x, gold = map(np.array, exact(data))
    assume(np.ptp(x) and np.ptp(gold))
    for transformed in (np.exp(x / 20), x**3 + 2 * x, np.arctan(x / 10)):
        assert spearman(transformed, gold) == pytest.approx(spearman(x, gold))
    assert spearman(-x, gold) == pytest.approx(-spearman(x, gold))


@given(st.data(), st.randoms(use_true_random=False))
def test_the_order_of_the_pairs_does_not_matter(data, random):
    x, gold = map(np.array, exact(data))
    assume(np.ptp(x) and np.ptp(gold))
    order = random.sample(range(25), 25)
    assert spearman(x[order], gold[order]) == pytest.approx(spearman(x, gold))
    assert pearson(x[order], gold[order]) == pytest.approx(pearson(x, gold))
