from typing import get_args

import numpy as np
import pytest

from model.config import ViewName
from model.views import VIEWS, make_view

IDS = [101, 11, 12, 21, 31, 32, 33, 41, 102]
WORDS = [-1, 0, 0, 1, 2, 2, 2, 3, -1]


def many(kind, rate, ids=IDS, words=WORDS, count=400):
    rng = np.random.default_rng(0)
    return [make_view(kind, ids, words, rate, rng) for _ in range(count)]


def words_of(view):
    return [token // 10 - 1 for token in view[1:-1]]


def test_every_name_of_the_configuration_has_a_view():
    assert set(VIEWS) == set(get_args(ViewName))


def test_the_dropout_view_is_the_sentence_and_draws_nothing():
    rng = np.random.default_rng(0)
    before = rng.bit_generator.state
    assert make_view("dropout", IDS, WORDS, 0.9, rng) == IDS
    assert rng.bit_generator.state == before


@pytest.mark.parametrize("kind", VIEWS)
@pytest.mark.parametrize("rate", [0, 0.1, 0.5, 0.99])
def test_special_tokens_and_at_least_one_whole_word_stay_in_order(kind, rate):
    whole = {0: [11, 12], 1: [21], 2: [31, 32, 33], 3: [41]}
    for view in many(kind, rate):
        assert (view[0], view[-1]) == (101, 102)
        kept = list(dict.fromkeys(words_of(view)))
        assert kept == sorted(kept) != []
        assert view[1:-1] == [token for word in kept for token in whole[word]]


@pytest.mark.parametrize("kind", VIEWS)
def test_no_rate_loses_nothing(kind):
    assert all(view == IDS for view in many(kind, 0, count=20))


@pytest.mark.parametrize("kind", VIEWS)
def test_a_sentence_without_words_and_one_of_one_word_stay_whole(kind):
    assert all(view == [101, 102] for view in many(kind, 0.9, [101, 102], [-1, -1], count=20))
    assert all(view == [101, 11, 12, 102] for view in many(kind, 0.9, [101, 11, 12, 102], [-1, 0, 0, -1], count=20))


@pytest.mark.parametrize("kind", ["word_deletion", "span_crop"])
def test_the_share_of_words_lost_is_the_rate(kind):
    ids, words = [0, *range(1, 101), 0], [-1, *range(100), -1]
    lost = np.mean([1 - (len(view) - 2) / 100 for view in many(kind, 0.3, ids, words)])
    assert lost == pytest.approx(0.3, abs=0.01)  # 400 × 100 words: a standard error of 0.0023


def test_word_deletion_loses_every_word_as_often():
    lost = np.mean([[word not in words_of(view) for word in range(4)] for view in many("word_deletion", 0.2)], axis=0)
    assert lost == pytest.approx([0.2] * 4, abs=0.07)  # 3.5 standard errors of 400 draws


def test_a_span_crop_is_one_run_and_reaches_both_ends():
    starts = set()
    for view in many("span_crop", 0.5):
        kept = list(dict.fromkeys(words_of(view)))
        assert kept == list(range(kept[0], kept[0] + 2))
        starts.add(kept[0])
    assert starts == {0, 1, 2}


@pytest.mark.parametrize("kind", VIEWS)
def test_the_same_generator_gives_the_same_views_and_the_input_stays(kind):
    before = list(IDS)
    assert many(kind, 0.5, count=20) == many(kind, 0.5, count=20)
    assert before == IDS
