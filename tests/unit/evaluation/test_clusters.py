import os
from pathlib import Path

import numpy as np
import pytest

from evaluation.clusters import Items, clusters_of
from evaluation.errors import InputError
from evaluation.tasks import load_pairs
from evaluation.text import pair_key


def items(texts, subset=None):
    return Items(tuple(map(tuple, texts)), tuple(subset or ["all"] * len(texts)))


def by_busiest_text(texts):
    """For each item the text of its own that occurs in most items, counted one by one; items of one such text."""
    groups = {}
    for i, item in enumerate(texts):
        uses = {text: sum(text in other for other in texts) for text in item}
        busiest = sorted(text for text in item if uses[text] == max(uses.values()))[0]
        groups.setdefault(busiest, set()).add(i)
    return {frozenset(group) for group in groups.values()}


def grouped(cluster):
    return {frozenset(np.flatnonzero(cluster == c).tolist()) for c in set(cluster.tolist())}


def random_texts(rng, n, vocabulary):
    return [tuple(f"s{t}" for t in rng.integers(0, vocabulary, 2)) for _ in range(n)]


@pytest.mark.parametrize("vocabulary", [40, 100, 400])
def test_items_are_clustered_by_the_text_that_most_of_them_have(vocabulary):
    texts = random_texts(np.random.default_rng(vocabulary), 60, vocabulary)
    assert grouped(clusters_of({"one": items(texts)}).of_item["one"]) == by_busiest_text(texts)


def test_pairs_built_on_one_sentence_are_one_cluster_and_a_chain_is_not():
    star = [("reference", f"answer {i}") for i in range(4)]
    chain = [("a", "b"), ("b", "c"), ("c", "d"), ("d", "e")]
    cluster = clusters_of({"one": items([*star, *chain])}).of_item["one"]
    assert len(set(cluster[:4].tolist())) == 1
    assert len(set(cluster[4:].tolist())) > 1


def test_equal_pairs_are_one_cluster_in_either_order_whatever_else_their_texts_are_in():
    texts = [("a", "b"), ("a", "c"), ("b", "d"), ("b", "e"), ("b", "a")]
    cluster = clusters_of({"one": items(texts)}).of_item["one"]
    assert cluster[0] == cluster[4]


def test_texts_are_the_same_whatever_their_case_and_spaces_but_not_their_punctuation():
    texts = [("A man  sings.", "x"), ("y", " a MAN sings."), ("A man sings!", "z")]
    assert grouped(clusters_of({"one": items(texts)}).of_item["one"]) == {frozenset({0, 1}), frozenset({2})}


def test_classified_sentences_are_clusters_of_their_own_unless_they_are_equal():
    cluster = clusters_of({"mr": items([("good",), ("bad",), ("Good",)])}).of_item["mr"]
    assert cluster[0] == cluster[2] != cluster[1]


def test_items_of_several_tasks_are_joined():
    found = clusters_of({"one": items([("a", "b"), ("c", "d")]), "two": items([("b", "e"), ("f", "g")])})
    one, two = found.of_item["one"], found.of_item["two"]
    assert one[0] == two[0]
    assert len({*one.tolist(), *two.tolist()}) == 3


def test_a_cluster_belongs_to_the_subset_of_most_of_its_items():
    texts = [("a", "b"), ("b", "c"), ("b", "d"), ("x", "y"), ("p", "q"), ("q", "r")]
    found = clusters_of({"one": items(texts, ["new", "old", "old", "new", "new", "best"])})
    # On b: two of old; x–y: new; on q: one each, the first by name.
    assert found.strata == {("one", "best"): 1, ("one", "new"): 1, ("one", "old"): 1}


def test_every_resample_draws_as_many_clusters_of_a_stratum_as_it_has():
    rng = np.random.default_rng(0)
    texts = random_texts(rng, 80, 200)
    found = clusters_of({"one": items(texts, [f"part{i % 3}" for i in range(80)])})
    counts = found.draw(rng, 50)
    start = 0
    for size in found.strata.values():
        assert (counts[:, start : start + size].sum(axis=1) == size).all()
        start += size
    assert counts.shape == (50, start)


def test_clusters_of_a_stratum_are_drawn_independently_and_equally_often():
    counts = clusters_of({"one": items([(str(i),) for i in range(10)])}).draw(np.random.default_rng(1), 20_000)
    # A multinomial of 10 draws from 10: variance 0.9, covariance −0.1.
    np.testing.assert_allclose(counts.mean(axis=0), 1.0, atol=0.03)
    covariance = np.cov(counts.T)
    np.testing.assert_allclose(covariance, np.eye(10) - 0.1, atol=0.05)


def test_neither_the_order_of_items_nor_of_tasks_changes_what_is_drawn():
    rng = np.random.default_rng(2)
    texts = {task: random_texts(rng, 50, 90) for task in ("one", "two")}
    subset = ["high", "low"] * 25
    shuffled = rng.permutation(50)
    found = clusters_of({task: items(texts[task], subset) for task in ("one", "two")})
    other = clusters_of(
        {
            "two": items([texts["two"][i] for i in shuffled], [subset[i] for i in shuffled]),
            "one": items([pair[::-1] for pair in texts["one"]], subset),
        }
    )
    assert other.strata == found.strata
    assert list(other.strata) == list(found.strata)
    assert other.of_item["one"].tolist() == found.of_item["one"].tolist()
    assert other.of_item["two"].tolist() == found.of_item["two"][shuffled].tolist()


@pytest.mark.parametrize(
    ("texts", "subset", "message"),
    [
        ((), (), "at least one item"),
        ((("a", "b"), ()), ("x", "x"), "every item at least one text"),
        ((("a", "b"), ("c", "d")), ("x",), "2 items, but 1 subsets"),
    ],
)
def test_items_that_cannot_be_drawn_are_refused(texts, subset, message):
    with pytest.raises(InputError, match=message):
        Items(texts, subset)


@pytest.mark.skipif("STSWEEP_DATA" not in os.environ, reason="STSWEEP_DATA names no data folder")
def test_the_1007_sts_b_pairs_that_occur_again_in_the_yearly_sets_are_resampled_with_them():
    names = ("sts12", "sts13", "sts14", "sts15", "sts16", "stsb")
    loaded = {task: load_pairs(task, "test", Path(os.environ["STSWEEP_DATA"])) for task in names}
    pairs = {task: list(zip(p.first, p.second, strict=True)) for task, p in loaded.items()}
    found = clusters_of({task: items(pairs[task], loaded[task].subset) for task in names})
    yearly = {
        pair_key(*pair): cluster
        for task in names[:-1]
        for pair, cluster in zip(pairs[task], found.of_item[task].tolist(), strict=True)
    }
    clusters = zip(pairs["stsb"], found.of_item["stsb"].tolist(), strict=True)
    again = [yearly[pair_key(*pair)] == cluster for pair, cluster in clusters if pair_key(*pair) in yearly]
    assert len(again) == 1007
    assert all(again)
