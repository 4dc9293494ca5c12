import subprocess
import sys

import numpy as np
import pytest

from evaluation.errors import InputError
from evaluation.lexical import LexicalEncoder, read_word_counts, spelling_vector

CORPUS = [f"the {subject} {verb} the {thing}" for subject in ("cat", "dog", "man", "judge") for verb in ("sees", "eats")
          for thing in ("house", "bread", "river", "letter", "music")]  # fmt: skip


@pytest.fixture(scope="module")
def encoder():
    return LexicalEncoder.fit(CORPUS)


def similarity(encoder, a, b):
    u, v = encoder.encode([a, b])
    return float(u @ v / (np.linalg.norm(u) * np.linalg.norm(v)))


def test_words_spelt_alike_are_nearer_than_words_that_share_no_trigram():
    near = spelling_vector("training") @ spelling_vector("trained")
    far = spelling_vector("training") @ spelling_vector("cloud")
    assert near > 0.4
    assert abs(far) < 0.15


def test_vectors_are_the_same_in_a_process_with_another_hash_seed():
    code = "from evaluation.lexical import spelling_vector as v; print(v('naïve').tobytes().hex())"
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, check=True, capture_output=True, text=True
        ).stdout.strip()
        for seed in ("1", "2")
    }
    assert outputs == {spelling_vector("naïve").tobytes().hex()}


def test_a_frequent_word_moves_a_sentence_less_than_a_rare_one():
    encoder = LexicalEncoder.fit(word_counts={"the": 10_000_000, "whale": 100})
    assert similarity(encoder, "the whale", "whale") > 0.95
    assert similarity(encoder, "the whale", "the") < 0.3


def test_an_unknown_word_weighs_as_much_as_the_rarest_known_one():
    encoder = LexicalEncoder.fit(word_counts={"the": 9_990_000, "whale": 10_000})
    known, unknown = encoder.encode(["whale", "squid"])
    assert np.linalg.norm(unknown) == pytest.approx(np.linalg.norm(known), rel=1e-5)


def test_what_is_removed_are_the_top_singular_vectors_of_the_training_sentences():
    plain = LexicalEncoder.fit(CORPUS, components=0)
    fitted = LexicalEncoder.fit(CORPUS, components=3)
    rows = plain.encode(CORPUS).astype(np.float64)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    top = np.linalg.svd(rows, full_matrices=False)[2][:3]
    new = plain.encode(["a letter to the judge"])
    np.testing.assert_allclose(fitted.encode(["a letter to the judge"]), new - new @ top.T @ top, atol=1e-4)


def test_a_small_corpus_does_not_lose_every_direction(encoder):
    assert len(encoder.common) == len(CORPUS) // 10
    assert len(LexicalEncoder.fit(CORPUS[:5]).common) == 0


def test_encoding_does_not_depend_on_the_other_sentences_of_the_call(encoder):
    together = encoder.encode(CORPUS)
    alone = np.concatenate([encoder.encode([text]) for text in CORPUS])
    np.testing.assert_allclose(together, alone, atol=1e-6)


def test_case_and_punctuation_change_nothing(encoder):
    a, b = encoder.encode(["The cat sees, the river!", "the cat sees the river"])
    np.testing.assert_array_equal(a, b)


def test_a_sentence_without_words_is_the_zero_vector_and_no_sentences_are_no_rows(encoder):
    assert not encoder.encode(["...", ""]).any()
    assert encoder.encode([]).shape == (0, 1024)
    assert encoder.encode(["a"]).dtype == np.float32


def test_nothing_to_count_is_refused():
    with pytest.raises(InputError, match="give training sentences or word counts"):
        LexicalEncoder.fit(["...", ""])


def test_word_counts_are_read_and_joined_over_case(tmp_path):
    (tmp_path / "counts.txt").write_text("the 10\nThe 5\nwhale 2\r\n")
    assert read_word_counts(tmp_path / "counts.txt") == {"the": 15, "whale": 2}


def test_every_bad_line_of_the_word_counts_is_told(tmp_path):
    path = tmp_path / "counts.txt"
    path.write_text("the 10\nwhale\nsquid -3\n\ncrab 0\nkrill 1.5\n")
    with pytest.raises(InputError) as caught:
        read_word_counts(path)
    assert [f"{path}:{line}:" in str(caught.value) for line in range(1, 7)] == [False, *[True] * 5]


def test_missing_word_counts_are_told(tmp_path):
    with pytest.raises(InputError, match=r"counts\.txt: no such file"):
        read_word_counts(tmp_path / "counts.txt")
