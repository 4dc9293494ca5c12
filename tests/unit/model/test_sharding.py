import numpy as np
import pytest

from model.sharding import ShardedEncoder, deal, difference


class _Lengths:
    def encode(self, sentences):
        return np.array([[len(sentence), 1] for sentence in sentences], dtype=np.float32).reshape(-1, 2)


def test_rows_are_dealt_to_and_fro_from_the_longest_on():
    #          row 0   1   2   3   4   5   6
    lengths = [10, 70, 30, 40, 60, 20, 50]
    # By length: 1 4 6 3 2 5 0, to ranks 0 1 2 2 1 0 0.
    assert [share.tolist() for share in deal(lengths, 3)] == [[1, 5, 0], [4, 2], [6, 3]]


@pytest.mark.parametrize("ranks", [1, 2, 3, 8])
@pytest.mark.parametrize("sentences", [0, 1, 2, 7, 16, 601])
def test_every_row_goes_to_one_rank_and_no_rank_has_more_than_one_row_or_one_longest_row_more(sentences, ranks):
    lengths = np.random.default_rng(sentences).integers(1, 400, sentences)
    shares = deal(lengths.tolist(), ranks)
    assert len(shares) == ranks
    assert sorted(row for share in shares for row in share.tolist()) == list(range(sentences))
    assert np.ptp([len(share) for share in shares]) <= 1
    assert np.ptp([lengths[share].sum() for share in shares]) <= lengths.max(initial=0)


def test_sentences_of_one_length_are_dealt_alike_on_every_rank():
    assert [share.tolist() for share in deal([5, 5, 5, 5], 2)] == [[0, 3], [1, 2]]


def test_without_a_process_group_it_is_the_plain_encoder():
    sentences = ["a cat", "", "two dogs"]
    assert ShardedEncoder(_Lengths()).encode(sentences).tolist() == [[5, 1], [0, 1], [8, 1]]
    assert ShardedEncoder(_Lengths()).encode([]).shape == (0, 2)


def test_a_different_sentence_is_named_with_both_ranks_and_both_texts():
    message = difference([["'a'", "'b'"], ["'a'", "'b'"], ["'a'", "'c'"]])
    assert "sentence 1 (from 0) is 'b' on rank 0, 'c' on rank 2" in message


def test_a_different_number_is_named_with_the_first_sentence_that_is_missing():
    message = difference([["'a'"], ["'a'", "'b'"]])
    assert "rank 0 was given 1 and rank 1 2" in message
    assert "sentence 1 (from 0) is nothing on rank 0, 'b' on rank 1" in message
