import os
import string
import unicodedata
from pathlib import Path

import numpy as np
import pytest

from evaluation.leaks import EXAMPLES, Texts, leaked, shared, words
from evaluation.pairs import Pairs
from evaluation.tasks import load_pairs
from evaluation.text import normalised

REAL = os.environ.get("STSWEEP_DATA")
needs_data = pytest.mark.skipif(REAL is None, reason="STSWEEP_DATA names no SentEval archive")


def pairs(*texts):
    first, second = zip(*texts, strict=True)
    return Pairs("t", "s", first, second, np.arange(len(texts), dtype=np.float64), ("x",) * len(texts))


def counts(overlap):
    return overlap.same_text, overlap.same_words, overlap.of


def plain(text):
    """Both rules for plain English, by other means: lower case; then without string.punctuation."""
    text = " ".join(text.lower().split())
    bare = " ".join("".join(" " if c in string.punctuation else c for c in text).split())
    return text, bare


DEV = pairs(
    ("A man plays.", "A dog runs!"),
    ("a dog  runs!", "A MAN plays."),  # the same pair again, turned round
    ("A man plays", "A dog runs"),
    ("A man plays.", "A cat runs."),
    ("Snow, falls.", "It rains."),
    ("Nothing of it", "is there"),
)
TEST = pairs(
    ("A dog runs!", "A man plays."),
    ("It rains!", "Snow falls"),
    ("Snow falls", "A man plays."),
    ("It's late.", "So it is."),
    ("Nothing of it", "was there"),
)


@pytest.mark.parametrize(("these", "those"), [(DEV, TEST), (TEST, DEV), (DEV, DEV)])
def test_shared_pairs_are_those_of_a_double_loop(these, those):
    found = [0, 0]
    for a, b in zip(these.first, these.second, strict=True):
        for level in (0, 1):
            key = {plain(a)[level], plain(b)[level]}
            found[level] += any(
                key == {plain(c)[level], plain(d)[level]} for c, d in zip(those.first, those.second, strict=True)
            )
    overlap = shared(Texts.of_pairs(these), Texts.of_pairs(those))
    assert counts(overlap) == (*found, len(these))


def test_the_double_loop_finds_both_levels_in_both_directions():
    dev, test = Texts.of_pairs(DEV), Texts.of_pairs(TEST)
    assert counts(shared(dev, test)) == (2, 4, 6)
    assert counts(shared(test, dev)) == (1, 2, 5)


def test_a_sentence_counts_once_however_often_and_in_whichever_case_it_occurs():
    dev, test = (Texts.of_sentences(split.first + split.second) for split in (DEV, TEST))
    assert len(dev) == len({plain(text)[0] for text in DEV.first + DEV.second}) == 9
    # The same text: "a man plays.", "a dog runs!", "nothing of it". By words the first two also without their marks,
    # "snow, falls." and "it rains.".
    assert counts(shared(dev, test)) == (3, 7, 9)


def test_two_halves_of_different_pairs_are_no_pair():
    one, other = pairs(("a", "b"), ("c", "d")), pairs(("a", "c"), ("b", "d"))
    assert counts(shared(Texts.of_pairs(one), Texts.of_pairs(other))) == (0, 0, 2)


def test_a_pair_of_one_sentence_twice_is_not_that_sentence():
    one, other = pairs(("a", "a"), ("b", "b")), pairs(("a", "b"), ("c", "a"))
    assert counts(shared(Texts.of_pairs(one), Texts.of_pairs(other))) == (0, 0, 2)


def test_line_ends_and_unicode_case_are_ignored():
    one = Texts.of_sentences(["Die Straße ist naß.\r\n", "ΟΔΟΣ", "Maße\u00a0zählen"])
    other = Texts.of_sentences(["DIE STRASSE IST NASS.", "οδος", "masse zählen"])
    assert counts(shared(one, other)) == (3, 3, 3)


def test_accents_written_in_two_ways_and_wide_letters_are_the_same_words():
    composed, taken_apart = "Café ① ｆｉｎｅ", unicodedata.normalize("NFD", "café") + " 1 fine"
    assert counts(shared(Texts.of_sentences([composed]), Texts.of_sentences([taken_apart]))) == (0, 1, 1)


@pytest.mark.parametrize(
    ("one", "other"),
    [("Is it?", "it is"), ("cafe", "café"), ("कि", "का"), ("?!", "!"), ("...", ""), ("5 %", "50 %")],
)
def test_other_words_are_other_words(one, other):
    assert words(one) != words(other)


@pytest.mark.parametrize(
    "text", ["  The  $5 “Deal”—it's ON_ ", "ℌello", "İstanbul", "ǰ", "ᾴ", "①", "?!", "ﬁNE", "\u0345a"]
)
def test_the_same_text_is_the_same_words(text):
    """The second level never loses what the first found, also where folding case takes characters apart."""
    variants = {text, text.upper(), text.lower(), text.casefold(), f"  {text}\t"}
    for one in variants:
        for other in variants:
            if normalised(one) == normalised(other):
                assert words(one) == words(other)


def test_examples_are_few_and_say_what_was_found_as_what():
    sentences = [f"Sentence {i}." for i in range(EXAMPLES + 2)]
    others = [*(sentence.upper() for sentence in sentences), "So, it is"]
    overlap = shared(Texts.of_sentences([*sentences, "So it is!"]), Texts.of_sentences(others))
    assert counts(overlap) == (EXAMPLES + 2, EXAMPLES + 3, EXAMPLES + 3)
    assert len(overlap.examples) == EXAMPLES + 1
    assert (overlap.examples[0].text, overlap.examples[0].found_as) == (("Sentence 0.",), ("SENTENCE 0.",))
    assert (overlap.examples[-1].text, overlap.examples[-1].found_as) == (("So it is!",), ("So, it is",))
    assert [example.same_text for example in overlap.examples] == [True] * EXAMPLES + [False]


def test_texts_together_are_their_union():
    one, two, three = (Texts.of_pairs(pairs((i, "x"), (i, "y"))) for i in "abc")
    asked = Texts.of_pairs(pairs(("a", "x"), ("y", "b"), ("c", "x"), ("d", "x")))
    assert counts(shared(asked, one + two)) == (2, 2, 4)
    assert len(one + two + three) == 6


def test_corpus_sentences_are_leaked_with_any_punctuation_and_never_in_part():
    corpus = ["A dog runs!", "He said: a dog runs!", "snow falls...", "A dog", "So it was."]
    tests = Texts.of_sentences(TEST.first + TEST.second)
    assert leaked(iter(corpus), tests) == ["A dog runs!", "snow falls..."]
    found = shared(tests, Texts.of_sentences(leaked(corpus, tests)))
    assert counts(found) == (1, 2, len(tests))


@needs_data
def test_stsb_dev_and_test_recur_in_sts12_to_16_as_often_as_their_raw_files_say():
    """Counted from the published lines themselves, not by this project's readers."""
    folder = Path(REAL) / "STS"

    def key(first, second):
        return frozenset(" ".join(text.casefold().split()) for text in (first, second))

    years = set()
    for gold_path in folder.glob("STS1[2-6]-en-test/STS.gs.*.txt"):
        input_path = gold_path.with_name(gold_path.name.replace(".gs.", ".input."))
        if not input_path.exists():  # golds of all subsets together, and of SMT
            continue
        golds = gold_path.read_bytes().decode().split("\n")
        lines = input_path.read_bytes().decode().split("\n")
        years |= {
            key(*line.split("\t")[:2])
            for gold, line in zip(golds, lines, strict=False)
            if gold.strip() and "\t" in line
        }
    tests = Texts.of_pairs(load_pairs("sts12", "test", Path(REAL)))
    for year in range(13, 17):
        tests += Texts.of_pairs(load_pairs(f"sts{year}", "test", Path(REAL)))
    for split, stated in (("dev", 1131), ("test", 1007)):
        rows = (folder / "STSBenchmark" / f"sts-{split}.csv").read_bytes().decode().removesuffix("\n").split("\n")
        counted = sum(key(*row.split("\t")[5:7]) in years for row in rows)
        assert counted == stated
        assert shared(Texts.of_pairs(load_pairs("stsb", split, Path(REAL))), tests).same_text == stated


@needs_data
def test_369_pairs_of_stsb_dev_are_in_no_test_set_and_6_of_them_have_the_words_of_one():
    names = ("sts12", "sts13", "sts14", "sts15", "sts16", "stsb", "sickr")
    first, *others = (Texts.of_pairs(load_pairs(name, "test", Path(REAL))) for name in names)
    for other in others:
        first += other
    overlap = shared(Texts.of_pairs(load_pairs("stsb", "dev", Path(REAL))), first)
    assert overlap.of - overlap.same_text == 369
    assert overlap.same_words - overlap.same_text == 6
