from itertools import combinations
from math import erfc, sqrt

import numpy as np
import pytest

from evaluation.bootstrap import Sample, accuracy_of, intervals, spearman_of
from evaluation.clusters import Items
from evaluation.compare import Difference, differences, holm
from evaluation.errors import InputError


def distinct(n, name="s"):
    return Items(tuple((f"{name} {i}",) for i in range(n)), ("all",) * n)


def two_scorers(rng, n, better=0.0):
    """Two similarities that agree with each other more than with the gold; B has `better` more noise than A."""
    gold = rng.normal(size=n)
    shared = gold + 0.8 * rng.normal(size=n)
    a, b = shared + 0.2 * rng.normal(size=n), shared + (0.2 + better) * rng.normal(size=n)
    return Sample(distinct(n), spearman_of(a, gold)), Sample(distinct(n), spearman_of(b, gold))


def test_holm_by_hand():
    # Sorted: 4 × 0.005, 3 × 0.01, 2 × 0.03, 1 × 0.04, the last raised to the one before.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([0.2]) == [0.2]
    assert holm([]) == []


@pytest.mark.parametrize("seed", range(5))
def test_holm_is_bonferroni_on_every_subset_that_holds_the_hypothesis(seed):
    p = np.round(np.random.default_rng(seed).random(6) ** 3, 2).tolist()
    subsets = [s for size in range(1, 7) for s in combinations(range(6), size)]
    closed = [min(1.0, max(len(s) * min(p[j] for j in s) for s in subsets if i in s)) for i in range(6)]
    assert holm(p) == pytest.approx(closed)


@pytest.mark.parametrize("bad", [-0.1, 1.1, float("nan")])
def test_what_is_no_p_value_is_refused(bad):
    with pytest.raises(InputError, match="allowed is 0 to 1"):
        holm([0.5, bad])


def test_identical_encoders_do_not_differ():
    a, _ = two_scorers(np.random.default_rng(0), 60)
    found = differences({"one": a, "two": a}, {"one": a, "two": a}, {"mean": ["one", "two"]}, resamples=100)
    assert found["one"] == found["two"] == Difference(0.0, 0.0, 0.0, p=1.0, p_holm=1.0)
    assert found["mean"] == Difference(0.0, 0.0, 0.0, p=1.0, p_holm=None)


def test_averages_that_are_equal_but_for_rounding_do_not_differ():
    # A is right in the first task where B is in the second: equal means, summed in another order.
    right = np.arange(70) % 3 == 0
    one, other = Sample(distinct(70), accuracy_of(right)), Sample(distinct(70), accuracy_of(~right))
    a = {"x": one, "y": other, "z": one}
    b = {"x": one, "y": one, "z": other}
    assert differences(a, b, {"mean": list(a)}, resamples=200)["mean"] == Difference(0.0, 0.0, 0.0, 1.0, None)


def test_a_paired_difference_is_much_surer_than_the_two_scores():
    a, b = two_scorers(np.random.default_rng(1), 300)
    difference = differences({"t": a}, {"t": b})["t"]
    widths = [v.high - v.low for v in (intervals({"t": s})["t"] for s in (a, b))]
    assert difference.high - difference.low < min(widths) / 2


def test_the_difference_is_a_less_b_and_swapping_them_turns_it_round():
    a, b = two_scorers(np.random.default_rng(2), 200, better=0.3)
    there, back = differences({"t": a}, {"t": b})["t"], differences({"t": b}, {"t": a})["t"]
    assert there.difference == pytest.approx(a.value - b.value, abs=1e-8)
    assert there.low < there.difference < there.high
    assert (there.low, there.high) == pytest.approx((-back.high, -back.low), abs=1e-8)
    assert there.p == back.p


def test_the_difference_of_an_average_is_the_mean_of_the_differences():
    rng = np.random.default_rng(3)
    (a1, b1), (a2, b2) = two_scorers(rng, 50), two_scorers(rng, 50)
    found = differences({"x": a1, "y": a2}, {"x": b1, "y": b2}, {"mean": ["x", "y"]}, resamples=100)
    assert found["mean"].difference == pytest.approx((found["x"].difference + found["y"].difference) / 2, abs=1e-8)


def test_p_is_that_of_mcnemars_test_for_two_classifiers():
    # 600 sentences: 40 right by A alone, 22 by B alone; z = 18 / √62.
    a, b = np.arange(600) < 300, (np.arange(600) >= 40) & (np.arange(600) < 322)
    found = differences(
        {"mr": Sample(distinct(600), accuracy_of(a))}, {"mr": Sample(distinct(600), accuracy_of(b))}, resamples=8000
    )["mr"]
    assert found.difference == pytest.approx(100 * 18 / 600)
    assert found.p == pytest.approx(erfc(18 / sqrt(62) / sqrt(2)), abs=0.01)


def test_p_cannot_be_below_what_the_resamples_can_show():
    right = np.ones(50, dtype=bool)
    found = differences(
        {"t": Sample(distinct(50), accuracy_of(right))}, {"t": Sample(distinct(50), accuracy_of(~right))}, resamples=199
    )["t"]
    assert (found.difference, found.low, found.high, found.p) == (100, 100, 100, 2 / 200)


def test_equal_encoders_are_called_different_in_about_5_of_100_tasks_and_hardly_ever_after_correction():
    rng = np.random.default_rng(4)
    pairs = {f"set {i}": two_scorers(rng, 80) for i in range(200)}
    found = differences(
        {task: a for task, (a, _) in pairs.items()}, {task: b for task, (_, b) in pairs.items()}, resamples=200
    ).values()
    assert 0.01 <= np.mean([d.p <= 0.05 for d in found]) <= 0.09
    assert min(d.p_holm for d in found) > 0.05
    assert all(d.p_holm >= d.p for d in found)


def test_tasks_are_corrected_for_their_number_and_averages_are_not():
    rng = np.random.default_rng(5)
    pairs = {task: two_scorers(rng, 80, better=0.5) for task in "xyz"}
    a, b = ({task: pair[i] for task, pair in pairs.items()} for i in (0, 1))
    found = differences(a, b, {"mean": ["x", "y"]}, resamples=200)
    assert [found[task].p_holm for task in a] == pytest.approx(holm([found[task].p for task in a]))
    assert found["mean"].p_holm is None


def test_a_task_that_cannot_be_tested_has_no_difference_and_stays_in_the_family():
    one_differs = np.repeat([1.0, 0.0], [1, 19])
    untested = Sample(distinct(20), spearman_of(np.arange(20.0), one_differs))
    a, b = two_scorers(np.random.default_rng(6), 80, better=1.0)
    found = differences({"t": a, "few": untested}, {"t": b, "few": untested}, resamples=200)
    assert found["few"] is None
    assert found["t"].p_holm == pytest.approx(2 * found["t"].p)


def test_encoders_scored_on_different_items_are_refused_with_all_that_differs():
    a, b = two_scorers(np.random.default_rng(7), 20)
    longer, _ = two_scorers(np.random.default_rng(8), 30)
    moved = Sample(Items((("other",), *b.items.texts[1:]), b.items.subset), b.statistic)
    with pytest.raises(InputError) as error:
        differences(
            {"same": a, "more": a, "moved": a, "mine": a}, {"same": b, "more": longer, "moved": moved, "his": b}
        )
    told = str(error.value)
    assert "more: 20 items for encoder A, 30 for B" in told
    assert "moved: item 0 is (('s 0',), 'all') for encoder A, (('other',), 'all') for B" in told
    assert "mine: only encoder A is scored on it" in told
    assert "his: only encoder B is scored on it" in told
    assert "same:" not in told
