import numpy as np
import pytest
import torch

from model.batches import DataOrder, pad
from model.errors import InputError


def _epoch(order, epoch, steps):
    return np.concatenate([order.rows(epoch * steps + step) for step in range(steps)])


def test_an_epoch_holds_every_sentence_at_most_once_and_drops_only_the_partial_batch():
    order = DataOrder(sentences=23, batch_size=5, seed=0)
    for epoch in range(3):
        rows = _epoch(order, epoch, 4)
        assert len(rows) == len(set(rows.tolist())) == 20
        assert set(rows.tolist()) <= set(range(23))


def test_the_order_depends_on_seed_and_epoch():
    orders = [_epoch(DataOrder(40, 4, seed), epoch, 10).tolist() for seed in (0, 1) for epoch in (0, 1)]
    assert len({tuple(order) for order in orders}) == 4


def test_the_position_is_a_pure_function_of_the_step():
    walked, jumped = DataOrder(23, 5, 7), DataOrder(23, 5, 7)
    forwards = [walked.rows(step).tolist() for step in range(12)]
    assert [jumped.rows(step).tolist() for step in reversed(range(12))] == forwards[::-1]


def test_a_batch_larger_than_the_corpus_is_refused_with_both_numbers():
    with pytest.raises(InputError, match=r"64.*23"):
        DataOrder(sentences=23, batch_size=64, seed=0)


def test_padding_reaches_the_longest_row_and_is_masked():
    ids, mask = pad([np.array([5, 6], dtype=np.int32), np.array([7, 8, 9], dtype=np.int32)], pad_id=1)
    assert torch.equal(ids, torch.tensor([[5, 6, 1], [7, 8, 9]]))
    assert torch.equal(mask, torch.tensor([[1, 1, 0], [1, 1, 1]]))
