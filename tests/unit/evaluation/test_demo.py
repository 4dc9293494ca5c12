"""What the demonstration data claims of itself, counted."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

HOUSE = Path(__file__).parents[3]
SENTENCES = (HOUSE / "model" / "demo" / "sentences.txt").read_text().splitlines()


def _pairs(split):
    lines = (HOUSE / "evaluation" / "demo" / f"{split}.tsv").read_text().splitlines()
    return [(float(score), first, second) for score, first, second in (line.split("\t") for line in lines)]


def test_there_are_at_least_3000_distinct_sentences_and_400_pairs_a_split():
    assert len({sentence.lower() for sentence in SENTENCES}) == len(SENTENCES) >= 3000
    for split in ("dev", "test"):
        assert len({frozenset(pair[1:]) for pair in _pairs(split)}) == len(_pairs(split)) >= 400


def test_at_most_two_percent_of_the_sentences_share_their_first_four_words():
    openings = Counter(tuple(sentence.lower().split()[:4]) for sentence in SENTENCES)
    assert sum(count for count in openings.values() if count > 1) <= 0.02 * len(SENTENCES)


def test_no_sentence_of_a_pair_is_in_the_corpus_or_in_the_other_split():
    said = {split: {text.lower() for _, *texts in _pairs(split) for text in texts} for split in ("dev", "test")}
    assert not said["dev"] & said["test"]
    assert not (said["dev"] | said["test"]) & {sentence.lower() for sentence in SENTENCES}


@pytest.mark.parametrize("split", ["dev", "test"])
def test_scores_are_half_steps_from_0_to_5_and_every_grade_is_common(split):
    scores = [score for score, _, _ in _pairs(split)]
    assert set(scores) <= {half / 2 for half in range(11)}
    whole = Counter(int(score) for score in scores)
    assert all(whole[grade] >= len(scores) / 10 for grade in range(6))
