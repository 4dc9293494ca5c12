from typing import get_args

import pytest
import torch

from model.config import POOLING_DEPTH, PoolingName
from model.errors import InputError
from model.pooling import POOLINGS, check_depth, fitting_poolings, pool, pool_each, pooled_width

LENGTHS, WIDTH, LAYERS = (5, 2, 7), 3, 6

# The paper's table for six layers: which hidden states, and what is done across them.
TABLE = {
    "avg_last_hidden": ([6], "mean"),
    "avg_last_second_hidden": ([5], "mean"),
    "avg_all_hidden": ([0, 1, 2, 3, 4, 5, 6], "mean"),
    "avg_second_to_last_hidden": ([1, 2, 3, 4, 5, 6], "mean"),
    "avg_first_last": ([0, 6], "mean"),
    "avg_last2": ([5, 6], "mean"),
    "avg_last4": ([3, 4, 5, 6], "mean"),
    "max_all_hidden": ([0, 1, 2, 3, 4, 5, 6], "max"),
    "max_second_to_last_hidden": ([1, 2, 3, 4, 5, 6], "max"),
    "max_first_last": ([0, 6], "max"),
    "max_last2": ([5, 6], "max"),
    "max_last4": ([3, 4, 5, 6], "max"),
    "concat_last4": ([3, 4, 5, 6], "concat"),
}


def states(layers=LAYERS, padding=0):
    generator = torch.Generator().manual_seed(0)
    shape = (len(LENGTHS), max(LENGTHS), WIDTH)
    hidden = [torch.randn(shape, generator=generator) for _ in range(layers + 1)]
    mask = torch.tensor([[int(place < length) for place in range(max(LENGTHS))] for length in LENGTHS])
    if padding:
        hidden = [torch.nn.functional.pad(state, (0, 0, 0, padding), value=1e4) for state in hidden]
        mask = torch.nn.functional.pad(mask, (0, padding))
    return hidden, mask


def naive(name, hidden, sentence):
    """One number at a time, token by token and layer by layer."""
    if name == "cls":
        return [float(hidden[6][sentence][0][d]) for d in range(WIDTH)]
    chosen, how = TABLE[name]

    def token_mean(of_token):
        return sum(of_token(t) for t in range(LENGTHS[sentence])) / LENGTHS[sentence]

    if how == "concat":
        return [token_mean(lambda t, n=n, d=d: float(hidden[n][sentence][t][d])) for n in chosen for d in range(WIDTH)]
    join = max if how == "max" else lambda values: sum(values) / len(values)
    return [token_mean(lambda t, d=d: join([float(hidden[n][sentence][t][d]) for n in chosen])) for d in range(WIDTH)]


def test_every_name_of_the_configuration_has_a_pooling_and_a_depth():
    assert set(POOLINGS) == set(get_args(PoolingName)) == set(POOLING_DEPTH) == {"cls", *TABLE}


@pytest.mark.parametrize("name", POOLINGS)
def test_a_pooling_is_the_papers_definition(name):
    hidden, mask = states()
    expected = torch.tensor([naive(name, hidden, sentence) for sentence in range(len(LENGTHS))])
    torch.testing.assert_close(pool(name, hidden, mask), expected)


@pytest.mark.parametrize("name", POOLINGS)
def test_padding_never_changes_a_result(name):
    torch.testing.assert_close(pool(name, *states(padding=4)), pool(name, *states()))


@pytest.mark.parametrize("name", POOLINGS)
def test_the_width_is_what_is_announced_and_the_result_fp32(name):
    hidden, mask = states()
    pooled = pool(name, [state.bfloat16() for state in hidden], mask)
    assert pooled.shape == (len(LENGTHS), pooled_width(name, WIDTH))
    assert pooled.dtype == torch.float32


@pytest.mark.parametrize("name", POOLINGS)
def test_a_pooling_works_at_exactly_its_depth_and_is_refused_below(name):
    check_depth(name, POOLING_DEPTH[name])
    assert torch.isfinite(pool(name, *states(layers=POOLING_DEPTH[name]))).all()
    with pytest.raises(InputError, match=name):
        check_depth(name, POOLING_DEPTH[name] - 1)


def test_a_refusal_names_poolings_that_fit():
    with pytest.raises(InputError, match="avg_last2"):
        check_depth("avg_last4", 3)


def test_several_poolings_of_one_pass_are_each_the_papers_definition():
    hidden, mask = states()
    together = pool_each(sorted(POOLINGS), hidden, mask)
    assert together.keys() == POOLINGS.keys()
    for name, pooled in together.items():
        expected = torch.tensor([naive(name, hidden, sentence) for sentence in range(len(LENGTHS))])
        torch.testing.assert_close(pooled, expected)


def test_two_layers_have_the_poolings_that_read_no_four():
    assert set(POOLINGS) - set(fitting_poolings(2)) == {"avg_last4", "max_last4", "concat_last4"}
    assert set(fitting_poolings(4)) == set(POOLINGS)
