import warnings

import numpy as np
import pytest
from scipy import stats

from evaluation.bootstrap import Interval, Sample, accuracy_of, intervals, spearman_of
from evaluation.clusters import Items
from evaluation.errors import InputError


def items(texts, subset=None):
    return Items(tuple((text,) for text in texts), tuple(subset or ["all"] * len(texts)))


def distinct(n, name="s"):
    return items([f"{name} {i}" for i in range(n)])


def width(interval):
    return interval.high - interval.low


def correlated(rng, n, rho):
    x = rng.normal(size=n)
    return x, rho * x + np.sqrt(1 - rho**2) * rng.normal(size=n)


def spearman_sample(rng, n, rho=0.7, texts=None):
    return Sample(distinct(n) if texts is None else items(texts), spearman_of(*correlated(rng, n, rho)))


@pytest.mark.parametrize(("similarities", "golds"), [(4, 3), (50, 6), (10_000, 6), (10_000, 10_000)])
def test_spearman_of_counts_is_scipys_of_the_repeated_pairs(similarities, golds):
    rng = np.random.default_rng(similarities + golds)
    similarity, gold = rng.integers(0, similarities, 70) / 7, rng.integers(0, golds, 70).astype(float)
    counts = rng.multinomial(70, np.full(70, 1 / 70), size=40)
    expected = [100 * stats.spearmanr(np.repeat(similarity, c), np.repeat(gold, c)).statistic for c in counts]
    np.testing.assert_allclose(spearman_of(similarity, gold)(counts), expected, rtol=0, atol=1e-10)
    np.testing.assert_array_equal(
        spearman_of(similarity, gold)(counts.astype(np.int32)), spearman_of(similarity, gold)(counts)
    )


def test_spearman_of_many_pairs_does_not_overflow():
    rng = np.random.default_rng(0)
    similarity, gold = correlated(rng, 60_000, 0.9)
    counts = np.full((1, 60_000), 3, dtype=np.int32)
    expected = 100 * stats.spearmanr(similarity, gold).statistic
    assert spearman_of(similarity, gold)(counts)[0] == pytest.approx(expected, abs=1e-9)


def test_accuracy_of_counts_is_the_mean_of_the_repeated_items():
    rng = np.random.default_rng(1)
    correct, counts = rng.random(30) < 0.7, rng.integers(0, 4, (20, 30))
    expected = [100 * np.repeat(correct, c).mean() for c in counts]
    np.testing.assert_allclose(accuracy_of(correct)(counts), expected)


def test_the_value_of_a_sample_is_the_score_of_its_items_as_they_are():
    similarity, gold = correlated(np.random.default_rng(2), 50, 0.5)
    sample = Sample(distinct(50), spearman_of(similarity, gold))
    assert sample.value == pytest.approx(100 * stats.spearmanr(similarity, gold).statistic)


def test_the_interval_of_an_accuracy_is_the_binomial_one():
    correct = np.arange(1000) < 800
    found = intervals({"mr": Sample(distinct(1000), accuracy_of(correct))}, resamples=4000)["mr"]
    # 80 % ± 1.96 · √(0.8 · 0.2 / 1000)
    assert (found.low, found.high) == pytest.approx((77.52, 82.48), abs=0.25)


def test_the_interval_covers_the_true_spearman_in_about_95_of_100_sets():
    rng, rho = np.random.default_rng(3), 0.7
    truth = 100 * 6 / np.pi * np.arcsin(rho / 2)
    sets = {f"set {i}": spearman_sample(rng, 60, rho) for i in range(200)}
    covered = [v.low <= truth <= v.high for v in intervals(sets, resamples=300).values()]
    assert 0.90 <= np.mean(covered) <= 0.98


def test_items_that_move_together_widen_the_interval_when_they_share_a_text():
    # 60 groups of 5 equal items: 60 observations, not 300, so that the true interval is √5 times as wide.
    rng = np.random.default_rng(4)
    similarity, gold = (np.repeat(x, 5) for x in correlated(rng, 60, 0.6))
    statistic = spearman_of(similarity, gold)
    together = Sample(items([f"text {i // 5}" for i in range(300)]), statistic)
    found = intervals({"together": together, "apart": Sample(distinct(300), statistic)})
    assert width(found["together"]) / width(found["apart"]) == pytest.approx(5**0.5, rel=0.15)


def test_duplicating_every_pair_leaves_the_interval_as_it_is():
    rng = np.random.default_rng(5)
    similarity, gold = correlated(rng, 80, 0.6)
    texts, subset = [f"text {i}" for i in range(80)], ["high", "low"] * 40
    once = Sample(items(texts, subset), spearman_of(similarity, gold))
    twice = Sample(items(texts * 2, subset * 2), spearman_of(np.tile(similarity, 2), np.tile(gold, 2)))
    (a,), (b,) = (intervals({"t": s}, resamples=200).values() for s in (once, twice))
    assert (a.low, a.high) == pytest.approx((b.low, b.high), abs=1e-9)


def test_the_order_of_items_and_of_tasks_changes_nothing():
    rng = np.random.default_rng(6)
    data = {task: (*correlated(rng, 60, 0.5), [f"{i % 50}" for i in range(60)]) for task in ("one", "two")}
    shuffled = rng.permutation(60)

    def sample(task, order):
        similarity, gold, texts = data[task]
        return Sample(items([texts[i] for i in order]), spearman_of(similarity[order], gold[order]))

    a = intervals({"one": sample("one", np.arange(60)), "two": sample("two", np.arange(60))}, {"both": ["one", "two"]})
    b = intervals({"two": sample("two", shuffled), "one": sample("one", shuffled)}, {"both": ["two", "one"]})
    assert a == b


def test_subsets_keep_their_share_in_every_resample():
    # Half of the items is always right and half always wrong: only their shares could move the accuracy.
    sample = Sample(items([str(i) for i in range(40)], ["easy"] * 20 + ["hard"] * 20), accuracy_of(np.arange(40) < 20))
    mixed = Sample(distinct(40), accuracy_of(np.arange(40) < 20))
    found = intervals({"strata": sample, "one stratum": mixed})
    assert found["strata"] == Interval(50, 50)
    assert width(found["one stratum"]) > 20


def test_the_interval_of_a_task_does_not_depend_on_the_other_tasks():
    rng = np.random.default_rng(7)
    one, two = (spearman_sample(rng, 60) for _ in range(2))
    both = intervals({"two": two, "one": one}, {"mean": ["one", "two"]}, resamples=100)
    assert both["one"] == intervals({"one": one}, resamples=100)["one"]


def test_an_average_of_tasks_with_the_same_texts_is_as_unsure_as_one_of_them():
    # Independent tasks average their errors out (√2); the same pairs again do not.
    rng = np.random.default_rng(8)
    statistic = accuracy_of(rng.random(300) < 0.6)
    samples = {
        "one": Sample(distinct(300), statistic),
        "same": Sample(distinct(300), statistic),
        "other": Sample(distinct(300, "other"), accuracy_of(rng.random(300) < 0.6)),
    }
    found = intervals(samples, {"again": ["one", "same"], "independent": ["one", "other"]})
    assert width(found["again"]) == pytest.approx(width(found["one"]), rel=0.1)
    assert width(found["independent"]) == pytest.approx(width(found["one"]) / 2**0.5, rel=0.1)


def test_an_average_is_the_mean_of_the_tasks_and_of_one_task_that_task():
    samples = {"all": Sample(distinct(20), accuracy_of(np.ones(20, dtype=bool)))}
    samples["none"] = Sample(distinct(20), accuracy_of(np.zeros(20, dtype=bool)))
    samples["some"] = spearman_sample(np.random.default_rng(9), 40)
    found = intervals(samples, {"half": ["all", "none"], "alone": ["some"]}, resamples=100)
    assert found["half"] == Interval(50, 50)
    assert found["alone"] == found["some"]


def test_resamples_without_a_correlation_are_left_out_while_they_are_few():
    # 4 of 20 golds differ: (16/20)^20 = 1.2 % of the resamples hold none of them.
    rng = np.random.default_rng(10)
    gold = np.repeat([1.0, 0.0], [4, 16])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = intervals({"t": Sample(distinct(20), spearman_of(rng.normal(size=20), gold))})["t"]
    assert -100 <= found.low < found.high <= 100


def test_there_is_no_interval_when_many_resamples_have_no_correlation():
    # 1 of 20 golds differs: (19/20)^20 = 36 %.
    gold = np.repeat([1.0, 0.0], [1, 19])
    sample = Sample(distinct(20), spearman_of(np.arange(20.0), gold))
    assert intervals({"t": sample}, {"mean": ["t"]}) == {"t": None, "mean": None}


def test_there_is_no_interval_when_everything_hangs_together():
    sample = Sample(items(["same"] * 30), spearman_of(*correlated(np.random.default_rng(11), 30, 0.5)))
    assert intervals({"t": sample}) == {"t": None}


def test_tasks_do_not_share_their_random_draw():
    sample = spearman_sample(np.random.default_rng(14), 50)
    found = intervals({"one": sample, "two": sample}, resamples=100)
    assert found["one"] != found["two"]


def test_the_seed_alone_decides():
    sample = spearman_sample(np.random.default_rng(12), 50)
    first, again, other = (intervals({"t": sample}, resamples=100, seed=seed)["t"] for seed in (1, 1, 2))
    assert first == again != other


@pytest.mark.parametrize(
    ("similarity", "gold", "message"),
    [
        ([0.1, 0.2], [1, 2, 3], "2 similarities, but 3 golds"),
        ([0.1, np.nan, 0.3], [1, 2, 3], "the similarity of pair 1 is not finite"),
        ([0.1, 0.2, 0.3], [1, 2, np.inf], "the gold of pair 2 is not finite"),
        ([0.1, 0.1, 0.1], [1, 2, 3], "every similarity is the same"),
        ([0.1, 0.2, 0.3], [2, 2, 2], "every gold is the same"),
        ([], [], "every similarity is the same"),
    ],
)
def test_what_has_no_correlation_is_refused(similarity, gold, message):
    with pytest.raises(InputError, match=message):
        spearman_of(np.array(similarity, dtype=float), np.array(gold, dtype=float))


def test_all_mistakes_of_a_call_are_told_at_once():
    samples = {"sts12": spearman_sample(np.random.default_rng(13), 20)}
    averages = {"sts12": ["sts12"], "empty": [], "twice": ["sts12", "sts12"], "mean": ["sts21"]}
    with pytest.raises(InputError) as error:
        intervals(samples, averages, resamples=10, seed=-1)
    told = str(error.value)
    assert "resamples: 10; allowed is 40 or more" in told
    assert "seed: -1; allowed is 0 or more" in told
    assert "average 'sts12' is also the name of a task" in told
    assert "average 'empty' of []" in told
    assert "average 'twice' of ['sts12', 'sts12']" in told
    assert "unknown task 'sts21'. Did you mean 'sts12'?" in told
