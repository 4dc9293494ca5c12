import math

import numpy as np
import pytest

from evaluation.geometry import MOST_SENTENCES, alignment, spread, uniformity, unit_rows


def points(n=12, width=5, seed=0):
    rows = np.random.default_rng(seed).normal(size=(n, width))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def squared(u, v):
    return sum((float(a) - float(b)) ** 2 for a, b in zip(u, v, strict=True))


def test_alignment_is_the_mean_squared_distance_of_the_pairs_scored_above_four():
    first, second = points(seed=1), points(seed=2)
    gold = np.array([5, 4.2, 4, 3, 0, 4.8, 1, 2, 3, 4.01, 0, 0])
    expected = [squared(u, v) for u, v, g in zip(first, second, gold, strict=True) if g > 4]
    assert len(expected) == 4
    assert alignment(first, second, gold) == pytest.approx(sum(expected) / 4)


def test_without_a_positive_pair_there_is_no_alignment():
    assert alignment(points(), points(), np.full(12, 4.0)) is None


def test_uniformity_is_the_log_of_the_mean_gaussian_kernel_of_different_sentences():
    rows = points()
    kernels = [math.exp(-2 * squared(rows[i], rows[j])) for i in range(12) for j in range(i)]
    assert uniformity(rows) == pytest.approx(math.log(sum(kernels) / len(kernels)), abs=1e-5)


def test_uniformity_is_zero_in_one_point_and_minus_eight_between_opposite_points():
    assert uniformity(np.tile(points(1), (7, 1))) == pytest.approx(0, abs=1e-6)
    assert uniformity(np.array([[1, 0], [-1, 0]], dtype=np.float32)) == pytest.approx(-8)
    assert uniformity(points(1)) == 0


def test_evenly_spread_points_of_many_dimensions_have_a_uniformity_near_minus_four():
    # ‖u − v‖² = 2 for almost all pairs.
    assert uniformity(points(MOST_SENTENCES + 500, 256)) == pytest.approx(-4, abs=0.05)


def test_spread_is_the_root_of_the_summed_variances():
    rows = points()
    assert spread(rows) == pytest.approx(math.sqrt(np.var(rows.astype(np.float64), axis=0).sum()))


def test_spread_is_zero_for_equal_rows_and_one_for_balanced_ones():
    assert spread(np.tile(points(1, 300), (50, 1))) < 1e-6
    assert spread(np.concatenate([points(), -points()])) == pytest.approx(1)


def test_unit_rows_have_length_one_zero_rows_stay_and_nothing_overflows():
    rows = unit_rows(np.array([[3, 4], [0, 0], [3e38, 3e38], [1e-38, 0]], dtype=np.float32))
    np.testing.assert_allclose(rows, [[0.6, 0.8], [0, 0], [0.5**0.5, 0.5**0.5], [1, 0]], rtol=1e-6)
